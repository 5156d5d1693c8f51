// Package hello is the handler that the benchmark compares in nginx and behind it.
package hello

import (
	"io"
	"net/http"
)

// Handler answers every request with five bytes.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello")
	})
	return mux
}
