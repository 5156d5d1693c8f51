package nffi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// collect is how much of an answer is kept back for one call into C; more is sent at once.
const collect = 16 << 10

var (
	errHandlerOver = errors.New("nffi: the answer was written to after its handler had returned")
	errWriteGone   = fmt.Errorf("%w: %w", ErrCallerGone, syscall.EPIPE)
)

// response is the [http.ResponseWriter]. It follows the rules of package http's own.
type response struct {
	x      *exchange
	header http.Header
	isHead bool // of a HEAD request: the body is counted, and not sent

	// mu lets a goroutine that has outlived its handler do no harm.
	mu          sync.Mutex
	scratch     *scratch
	status      int
	wroteHeader bool
	sentHead    bool
	hijacked    bool
	closed      bool  // the handler has returned
	full        bool  // the host has said to wait
	length      int64 // what Content-Length says; -1 nothing
	written     int64
	sniff       bool // the type is to be found out
	addLength   bool // the length is to be said, if it is known in time
	trailers    bool
	declared    []string  // names of trailers
	conn        *hijacked // where the answer is written as it would go over the wire
	err         error     // why nothing can be written any more
}

func (w *response) init(x *exchange) {
	w.x, w.header, w.isHead = x, make(http.Header), x.req.Method == http.MethodHead
	w.scratch, w.length = scratches.Get().(*scratch), -1
}

// Header implements [http.ResponseWriter].
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *response) writeHeader(status int) {
	switch {
	case w.hijacked:
		w.warn("http: response.WriteHeader on hijacked connection from %s", caller())
		return
	case w.wroteHeader:
		w.warn("http: superfluous response.WriteHeader call from %s", caller())
		return
	case w.closed:
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.wroteHeader, w.status = true, status
	w.pack()
}

// inform sends a head of 1xx. 100 is nginx's.
func (w *response) inform(status int) {
	if status == http.StatusContinue {
		return
	}
	head := headBlock(nil).pack(status, w.header, 0, func(name string) bool {
		return name == "Content-Length" || name == "Transfer-Encoding"
	})
	w.x.in.use(func(h host) { h.head(w.x.task, head) })
}

// pack takes the header as it is now: what the handler changes later is for trailers only.
func (w *response) pack() {
	allowed := bodyAllowed(w.status)
	if values, there := w.header["Content-Length"]; there && len(values) > 0 {
		n, err := strconv.ParseInt(strings.TrimSpace(values[0]), 10, 64)
		if err != nil || n < 0 {
			w.warn("http: invalid Content-Length of %q", values[0])
		} else {
			w.length = n
		}
	}
	for _, value := range w.header["Trailer"] {
		w.trailers = true
		for name := range strings.SplitSeq(value, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if isToken(name) && name != "Trailer" && name != "Content-Length" && name != "Transfer-Encoding" && !slices.Contains(w.declared, name) {
				w.declared = append(w.declared, name)
			}
		}
	}
	_, hasType := w.header["Content-Type"]
	hasTE := w.header.Get("Transfer-Encoding") != ""
	w.sniff = allowed && !hasType && !hasTE && w.header.Get("Content-Encoding") == ""
	w.addLength = allowed && w.length < 0 && !w.trailers && !hasTE
	w.scratch.head = w.scratch.head.pack(w.status, w.header, 2, func(name string) bool {
		if prefixed := strings.HasPrefix(name, http.TrailerPrefix); prefixed {
			w.trailers, w.addLength = true, false
			return true
		}
		switch name {
		case "Content-Length":
			return true // added below, once
		case "Transfer-Encoding":
			return !allowed
		case "Content-Type":
			return w.status == http.StatusNotModified
		}
		return false
	})
	if w.length >= 0 && allowed {
		w.addNumber("Content-Length", w.length)
	}
}

// addNumber uses up the room for the length.
func (w *response) addNumber(name string, n int64) {
	var digits [20]byte
	number := strconv.AppendInt(digits[:0], n, 10)
	w.scratch.head = w.scratch.head.add(name, unsafe.String(&number[0], len(number)))
}

// takeHead completes the head that goes out with these first bytes of the body. nil where it is sent already.
func (w *response) takeHead(first []byte) headBlock {
	if w.sentHead {
		return nil
	}
	w.sentHead = true
	if w.sniff && len(first) > 0 {
		w.scratch.head = w.scratch.head.add("Content-Type", http.DetectContentType(first))
	}
	return w.scratch.head
}

// Write implements [http.ResponseWriter]. It waits while the client's window is full.
func (w *response) Write(p []byte) (int, error) { return w.write(p) }

// WriteString implements [io.StringWriter].
func (w *response) WriteString(s string) (int, error) {
	return w.write(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func (w *response) write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	if w.isHead {
		w.keepForHead(p)
		return len(p), nil
	}
	if len(w.scratch.body)+len(p) <= collect {
		w.scratch.body = append(w.scratch.body, p...)
		return len(p), nil
	}
	return w.send(p)
}

// admit says whether n more bytes of a body may be written.
func (w *response) admit(n int64) error {
	if w.hijacked {
		if n > 0 {
			w.warn("http: response.Write on hijacked connection from %s", caller())
		}
		return http.ErrHijacked
	}
	if w.closed {
		return errHandlerOver
	}
	if !w.wroteHeader {
		w.writeHeader(http.StatusOK)
	}
	if n == 0 {
		return nil
	}
	if !bodyAllowed(w.status) {
		return http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+n > w.length {
		w.written += n
		return http.ErrContentLength
	}
	if w.err != nil {
		return w.err
	}
	if w.x.writeDeadline.hasPassed() {
		w.err = os.ErrDeadlineExceeded
		return w.err
	}
	w.written += n
	return nil
}

// sniffed is how many bytes package http looks at for a type.
const sniffed = 512

// keepForHead: of a HEAD request's answer the first bytes tell the type.
func (w *response) keepForHead(p []byte) {
	if room := sniffed - len(w.scratch.body); room > 0 && !w.sentHead {
		w.scratch.body = append(w.scratch.body, p[:min(room, len(p))]...)
	}
}

// send sends what was collected, and p, in pieces.
func (w *response) send(p []byte) (int, error) {
	w.x.wake()
	for sent := 0; ; {
		if err := w.room(); err != nil {
			return sent, err
		}
		collected := w.scratch.body
		piece := p[sent:min(len(p), sent+maxPiece)]
		var head headBlock
		if !w.sentHead {
			first := collected
			if len(first) < sniffed && w.sniff {
				first = append(first, piece[:min(len(piece), sniffed)]...)
			}
			head = w.takeHead(first)
		}
		if w.isHead {
			collected, piece = nil, nil
		}
		got := resultGone
		w.x.in.use(func(h host) { got = h.send(w.x.task, head, collected, piece) })
		if err := w.sent(got); err != nil {
			return sent, err
		}
		w.scratch.body = w.scratch.body[:0]
		sent += len(piece)
		if sent >= len(p) || w.isHead {
			return sent, nil
		}
	}
}

// sent takes note of the host's answer to a piece.
func (w *response) sent(got result) error {
	switch got {
	case resultOK, resultFull:
		w.full = got == resultFull
		return nil
	case resultBad:
		w.err = errors.New("nffi: the host has refused the answer; its log says why")
	default:
		w.err = errWriteGone
	}
	return w.err
}

// room waits while the window is full.
func (w *response) room() error {
	if w.err != nil {
		return w.err
	}
	if !w.full {
		return nil
	}
	select {
	case <-w.x.writable:
		w.full = false
	case <-w.interrupted():
		w.err = w.interruption()
		if w.err == ErrCallerGone {
			w.err = errWriteGone
		}
	case <-w.x.writeDeadline.wait():
		w.err = os.ErrDeadlineExceeded
	}
	return w.err
}

// interrupted is closed when nobody waits for the answer any more.
func (w *response) interrupted() <-chan struct{} {
	if w.conn != nil {
		return w.conn.lost // the handler may have returned long ago
	}
	return w.x.Done()
}

func (w *response) interruption() error {
	if w.conn != nil {
		return w.conn.cause
	}
	return context.Cause(w.x)
}

// Flush implements [http.Flusher].
func (w *response) Flush() { w.FlushError() }

// FlushError is for [http.ResponseController].
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(0); err != nil {
		return err
	}
	if w.sentHead && len(w.scratch.body) == 0 {
		return w.err
	}
	_, err := w.send(nil)
	return err
}

// finish makes the answer that ends the task, once the handler has returned.
func (w *response) finish() answer {
	w.x.stop(context.Canceled) // a write that waits in another goroutine gives up
	w.mu.Lock()
	defer w.mu.Unlock()
	a := answer{task: w.x.task}
	if w.err != nil && w.err != errWriteGone {
		w.closed = true
		a.status, a.data = 1, []byte("the answer is not whole: "+w.err.Error())
		return a
	}
	if !w.wroteHeader {
		w.writeHeader(http.StatusOK)
	}
	w.closed = true
	if !w.sentHead {
		if w.addLength && (!w.isHead || w.written > 0 && w.written <= collect) {
			w.addNumber("Content-Length", w.written)
		}
		a.head = w.takeHead(w.scratch.body)
	}
	if !w.isHead {
		a.data = w.scratch.body
	}
	if w.trailers {
		a.trailers = w.packTrailers()
	}
	a.scratch, w.scratch = w.scratch, nil
	return a
}

// packTrailers takes those that were announced, and those with the prefix. nil where there is none.
func (w *response) packTrailers() headBlock {
	found := make(http.Header)
	for name, values := range w.header {
		if name, prefixed := strings.CutPrefix(name, http.TrailerPrefix); prefixed {
			found[name] = append(found[name], values...)
		}
	}
	for _, name := range w.declared {
		if values := w.header[name]; len(values) > 0 {
			found[name] = append(found[name], values...)
		}
	}
	if len(found) == 0 {
		return nil
	}
	w.scratch.trailers = w.scratch.trailers.pack(0, found, 0, nil)
	return w.scratch.trailers
}

// close: nothing may be written any more.
func (w *response) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// SetReadDeadline is for [http.ResponseController]: reading the body ends then, with [os.ErrDeadlineExceeded].
func (w *response) SetReadDeadline(t time.Time) error {
	w.x.readDeadline.set(t)
	return nil
}

// SetWriteDeadline is for [http.ResponseController]: a write that waits for the client then ends with
// [os.ErrDeadlineExceeded], and the answer is cut.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.x.writeDeadline.set(t)
	return nil
}

// EnableFullDuplex is for [http.ResponseController]. A handler may always read while it writes.
func (w *response) EnableFullDuplex() error { return nil }

// CloseNotify is for old handlers: the request's context is the better way.
func (w *response) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.x, func() {
		if context.Cause(w.x) == ErrCallerGone {
			gone <- true
		}
	})
	return gone
}

func (w *response) warn(format string, arguments ...any) {
	w.x.in.log(w.x.task, severityError, fmt.Sprintf(format, arguments...))
}

// caller is the first function outside of this package, as package http writes it.
func caller() string {
	var counters [16]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "github.com/nffi/nffi/runtimes/go.") || strings.HasSuffix(frame.File, "_test.go") {
			return fmt.Sprintf("%s (%s:%d)", frame.Function, frame.File[strings.LastIndexByte(frame.File, '/')+1:], frame.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
