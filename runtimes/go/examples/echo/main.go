// Echo answers each request with itself.
//
//	go build -buildmode=c-shared -o libecho.so ./examples/echo
package main

import (
	"context"

	nffi "github.com/nffi/nffi/runtimes/go"
)

func init() {
	nffi.Serve(func(_ context.Context, req []byte) ([]byte, error) {
		return req, nil
	})
}

func main() {}
