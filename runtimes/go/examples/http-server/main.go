// Http-server is a web application inside nginx: a page, a JSON API, server-sent events and a WebSocket chat.
//
// Nothing in it but init knows of nffi: routes() is a handler for any server of package http.
package main

import (
	_ "embed"
	"fmt"
	"net/http"

	nffi "github.com/nffi/nffi/runtimes/go"
)

type config struct {
	// Notes is how many are kept; the oldest go.
	Notes int
}

func (c *config) SetDefaults() { c.Notes = 100 }

func (c *config) Check() error {
	if c.Notes < 1 {
		return fmt.Errorf("option \"notes\": at least 1, got %d", c.Notes)
	}
	return nil
}

func init() {
	nffi.ServeHTTPConfig(func(cfg config) (http.Handler, error) { return routes(cfg), nil })
}

func main() {} // never called

//go:embed page.html
var page []byte

func routes(cfg config) http.Handler {
	board := newBoard(cfg.Notes)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })
	mux.HandleFunc("GET /api/notes", board.list)
	mux.HandleFunc("POST /api/notes", board.add)
	mux.HandleFunc("DELETE /api/notes/{id}", board.remove)
	mux.HandleFunc("GET /api/events", board.events)
	mux.HandleFunc("GET /chat", new(room).chat)
	return mux
}
