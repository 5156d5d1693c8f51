// Command library is the handler as a runtime.
package main

import (
	"github.com/nffi/nffi/bench/http/go/hello"
	nffi "github.com/nffi/nffi/runtimes/go"
)

func init() { nffi.ServeHTTP(hello.Handler()) }

func main() {}
