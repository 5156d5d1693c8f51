// One handler as a function for `interface wasi`, and as a server of its own:
//
//	GOOS=wasip1 GOARCH=wasm go build -o hello.wasm
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -tags reactor -o reactor.wasm
//	go build -o server
package main

// The handler.
func hello(name, method, uri string) string {
	if name == "" {
		name = "nobody"
	}
	return "hello " + name + ", this is " + method + " " + uri + "\n"
}
