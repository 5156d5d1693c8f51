module github.com/nffi/nffi/bench/http/go

go 1.24

require github.com/nffi/nffi/runtimes/go v0.0.0

replace github.com/nffi/nffi/runtimes/go => ../../../runtimes/go
