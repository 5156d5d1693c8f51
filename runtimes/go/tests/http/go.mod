module github.com/nffi/nffi/runtimes/go/tests/http

go 1.24

require (
	github.com/coder/websocket v1.8.15
	github.com/go-chi/chi/v5 v5.5.0
	github.com/gorilla/websocket v1.5.3
	github.com/nffi/nffi/runtimes/go v0.0.0
)

replace github.com/nffi/nffi/runtimes/go => ../..
