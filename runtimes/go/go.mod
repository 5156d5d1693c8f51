module github.com/nffi/nffi/runtimes/go

go 1.24
