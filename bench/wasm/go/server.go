//go:build !wasip1

package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

// server PATH: behind a unix socket.
func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	// nginx's worker may be another user's.
	if err := os.Chmod(os.Args[1], 0o666); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, hello(string(body), r.Method, r.RequestURI))
	})))
}
