module github.com/nffi/nffi/runtimes/go/examples/http-server

go 1.24

require (
	github.com/coder/websocket v1.8.15
	github.com/nffi/nffi/runtimes/go v0.0.0
)

replace github.com/nffi/nffi/runtimes/go => ../..
