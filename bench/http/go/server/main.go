// Command server is the handler in package http's own server, behind a unix socket: server PATH.
package main

import (
	"log"
	"net"
	"net/http"
	"os"

	"github.com/nffi/nffi/bench/http/go/hello"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	// nginx's worker is another user's.
	if err := os.Chmod(os.Args[1], 0o666); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, hello.Handler()))
}
