// The handlers that the tests ask through nginx: frameworks and libraries as they are, and a few of our own.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	gorilla "github.com/gorilla/websocket"

	nffi "github.com/nffi/nffi/runtimes/go"
)

type config struct {
	Files   string
	Backend string // of the reverse proxy
}

func init() {
	nffi.ServeHTTPConfig(func(cfg config) (http.Handler, error) { return routes(cfg) })
	nffi.Serve(func(_ context.Context, req []byte) ([]byte, error) { return req, nil })
}

func main() {}

var cancelled, written atomic.Int64

// release lets the handler of /panic?after go on.
var release = make(chan struct{})

func routes(cfg config) (http.Handler, error) {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Compress(5, "text/css"))
	r.Get("/hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", chi.URLParam(r, "name"))
	})
	r.Get("/show", show)
	r.HandleFunc("/sum", sum)
	r.HandleFunc("/echo", echo)
	r.Get("/stream", stream)
	r.Get("/wait", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		if errors.Is(context.Cause(r.Context()), nffi.ErrCallerGone) {
			cancelled.Add(1)
		}
	})
	r.Get("/counts", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d %d %d", cancelled.Load(), written.Load(), runtime.NumGoroutine())
	})
	r.Get("/trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-More", "yes")
	})
	r.Get("/panic", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "after" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			<-release
		}
		if r.URL.RawQuery == "abort" {
			panic(http.ErrAbortHandler)
		}
		panic("boom")
	})
	r.Get("/release", func(http.ResponseWriter, *http.Request) { release <- struct{}{} })
	r.Get("/log", func(_ http.ResponseWriter, r *http.Request) { slog.WarnContext(r.Context(), "logged") })
	r.HandleFunc("/gorilla", withGorilla)
	r.HandleFunc("/coder", withCoder)
	r.HandleFunc("/raw", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 6\r\n\r\nteapot")
	})
	r.Handle("/files/*", http.StripPrefix("/files/", http.FileServer(http.Dir(cfg.Files))))
	backend, err := url.Parse(cfg.Backend)
	if err != nil {
		return nil, err
	}
	r.Handle("/proxy/*", http.StripPrefix("/proxy", httputil.NewSingleHostReverseProxy(backend)))
	return r, nil
}

func show(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s host=%s tls=%v ip=%v prefix=%s params=%v accept=%q\n", r.Method, r.RequestURI, r.Proto, r.Host, r.TLS != nil,
		strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"), nffi.Prefix(r), nffi.Params(r), r.Header["Accept"])
}

func sum(w http.ResponseWriter, r *http.Request) {
	if ms, _ := strconv.Atoi(r.URL.Query().Get("ms")); ms > 0 {
		time.Sleep(time.Duration(ms) * time.Millisecond) // the body waits meanwhile
	}
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	fmt.Fprintf(w, "%d %v %s", n, err, hex.EncodeToString(h.Sum(nil)))
}

func echo(w http.ResponseWriter, r *http.Request) {
	buffer := make([]byte, 8<<10)
	for {
		n, err := r.Body.Read(buffer)
		w.Write(buffer[:n])
		w.(http.Flusher).Flush()
		if err != nil {
			return
		}
	}
}

func stream(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("mib"))
	piece := make([]byte, 1<<20)
	written.Store(0)
	for range n {
		if _, err := w.Write(piece); err != nil {
			return
		}
		written.Add(1)
	}
}

func withGorilla(w http.ResponseWriter, r *http.Request) {
	conn, err := (&gorilla.Upgrader{EnableCompression: true}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func withCoder(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for {
		// The request's context is this handler's, which is not over.
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			fmt.Fprintln(os.Stderr, "coder:", websocket.CloseStatus(err))
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
