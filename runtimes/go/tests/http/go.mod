module github.com/nffi/nffi/runtimes/go/tests/http

go 1.25

require github.com/nffi/nffi/runtimes/go v0.0.0

replace github.com/nffi/nffi/runtimes/go => ../..
