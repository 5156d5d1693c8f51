package nffi

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// HTTPOption is an option of [ServeHTTP].
type HTTPOption func(*httpServer)

// StripPrefix takes [Prefix] off r.URL.Path, as [http.StripPrefix] does, so that the handler need not know where
// nginx has mounted it.
func StripPrefix() HTTPOption { return func(s *httpServer) { s.strip = true } }

// ServeHTTP registers the handler of HTTP requests: those of locations with nffi_pass. nil is [http.DefaultServeMux].
// Call it once, in an init function, beside [Serve] or instead of it.
//
// The handler is called as package http's own server calls it, concurrently, each time in a goroutine of its own. The
// ResponseWriter is an [http.Flusher], an [http.Hijacker] and an [io.ReaderFrom], and [http.ResponseController] can do
// all that it offers. The request's context is cancelled when the client has gone, and when the handler has returned.
func ServeHTTP(handler http.Handler, options ...HTTPOption) {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	ServeHTTPConfig(func(struct{}) (http.Handler, error) { return handler, nil }, options...)
}

// ServeHTTPConfig registers what makes a handler of HTTP requests of a configuration, as [ServeConfig] does. Where both
// are registered, an option belongs to each of the two that has a field for it.
func ServeHTTPConfig[T any](start func(cfg T) (http.Handler, error), options ...HTTPOption) {
	register(&library.http, newPart[T](func(in *instance, cfg any) error {
		handler, err := start(cfg.(T))
		if err != nil {
			return err
		}
		if handler == nil {
			return errors.New("the library's start function has returned no handler")
		}
		in.http = newHTTPServer(in, handler, options)
		return nil
	}))
}

// Prefix is where nginx has mounted the handler: nffi_prefix, where the request's path is below it, else "". It is the
// beginning of r.URL.Path.
func Prefix(r *http.Request) string {
	if c := callOf(r.Context()); c != nil && c.http != nil {
		return c.http.prefix
	}
	return ""
}

// Params returns what nffi_param adds to a request, by name. The map is the caller's; nil where there is none.
func Params(r *http.Request) map[string]string {
	c := callOf(r.Context())
	if c == nil || c.http == nil || len(c.http.params) == 0 {
		return nil
	}
	params := make(map[string]string, len(c.http.params))
	for _, p := range c.http.params {
		params[p[0]] = p[1]
	}
	return params
}

// httpServer is what all exchanges of a runtime share.
type httpServer struct {
	in      *instance
	handler http.Handler
	strip   bool
	// server is what handlers find under http.ServerContextKey. Nobody calls it; some look whether it is there.
	server *http.Server
}

func newHTTPServer(in *instance, handler http.Handler, options []HTTPOption) *httpServer {
	s := &httpServer{in: in, handler: handler}
	s.server = &http.Server{Handler: handler, ErrorLog: log.New(serverLog{in}, "", 0)}
	for _, option := range options {
		option(s)
	}
	return s
}

// serverLog is http.Server.ErrorLog.
type serverLog struct{ in *instance }

func (l serverLog) Write(line []byte) (int, error) {
	l.in.log(0, severityError, string(line))
	return len(line), nil
}

// exchange is an HTTP request and its answer.
type exchange struct {
	call
	server *httpServer
	from   *requestHead // the host's, until the task ends
	req    *http.Request
	url    url.URL
	prefix string

	serverAddr, clientAddr peer

	params [][2]string
	body   requestBody
	res    response

	readDeadline, writeDeadline deadline

	conn atomic.Pointer[hijacked]
}

// newExchange registers nothing and copies nothing yet: that is the handler's goroutine's work.
func (s *httpServer) newExchange(e *event) (*call, error) {
	if uintptr(len(e.data)) < unsafe.Sizeof(requestHead{}) {
		return nil, fmt.Errorf("the host's HTTP requests have %d bytes, and this library knows those of %d and more", len(e.data), unsafe.Sizeof(requestHead{}))
	}
	x := &exchange{server: s}
	// SAFETY: the host's structure, of that size, aligned, and there until the task ends.
	x.from = (*requestHead)(unsafe.Pointer(unsafe.SliceData(e.data)))
	x.http = x
	return &x.call, nil
}

// value answers for the context: what package http's server puts there.
func (x *exchange) value(key any) any {
	switch key {
	case http.ServerContextKey:
		return x.server.server
	case http.LocalAddrContextKey:
		return x.serverAddr.net()
	}
	return nil
}

// answer calls the handler. ended is false where the handler has taken the connection, whose Close ends the task.
func (x *exchange) answer() (a answer, ended bool) {
	a.task = x.task
	ended = true
	x.req = x.newRequest()
	x.res.init(x)
	defer func() {
		if p := recover(); p != nil {
			a, ended = x.panicked(p), x.conn.Load() == nil
		}
	}()
	x.server.serve(&x.res, x.req)
	if x.conn.Load() != nil {
		return a, false
	}
	return x.res.finish(), true
}

func (s *httpServer) serve(w http.ResponseWriter, r *http.Request) {
	if s.strip {
		if prefix := Prefix(r); prefix != "" && prefix != "/" {
			http.StripPrefix(strings.TrimSuffix(prefix, "/"), s.handler).ServeHTTP(w, r)
			return
		}
	}
	s.handler.ServeHTTP(w, r)
}

// panicked: the client gets a 502, or a cut connection where it has got something already.
func (x *exchange) panicked(p any) answer {
	x.stop(context.Canceled)
	x.res.close()
	if p == http.ErrAbortHandler {
		return answer{task: x.task, status: 1, data: []byte("the handler has given up the answer (http.ErrAbortHandler)")}
	}
	text := fmt.Sprintf("panic: %v", p)
	x.in.log(x.task, severityError, fmt.Sprintf("http: panic serving %s: %v\n%s", x.req.RemoteAddr, p, debug.Stack()))
	return answer{task: x.task, status: 1, data: []byte(text)}
}

// over: the handler has returned, and what it was given is no more: the task is about to end.
func (x *exchange) over() {
	x.from = nil
	x.body.close(http.ErrBodyReadAfterClose)
	x.res.close()
	if x.conn.Load() == nil {
		x.readDeadline.set(time.Time{}) // no timer holds what is no more
		x.writeDeadline.set(time.Time{})
	}
}

// lose tells a connection that the handler has taken.
func (x *exchange) lose(cause error) {
	if k := x.conn.Load(); k != nil {
		k.lose(cause)
	}
}

// scratch is memory that answers use one after the other.
type scratch struct {
	head, trailers headBlock
	body           []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) free() {
	if s != nil {
		s.head, s.trailers, s.body = s.head[:0], s.trailers[:0], s.body[:0]
		scratches.Put(s)
	}
}
