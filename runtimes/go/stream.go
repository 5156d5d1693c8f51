package nffi

import (
	"context"
	"errors"
	"io"
	"sync"
)

// maxPiece is the largest piece that Write makes: that of the host's window.
const maxPiece = 64 << 10

// Request is a request that comes in pieces. Use it in one goroutine at a time, until the handler returns.
type Request struct {
	c     *call
	first bool // the piece that came with the call has not been read
	rest  []byte
	err   error
}

// Next returns the next piece as it was sent, which may be of 0 bytes, or [io.EOF] behind the last. The piece is the
// caller's. It waits for the sender; where the context is cancelled meanwhile it returns [context.Cause].
func (r *Request) Next() ([]byte, error) {
	if len(r.rest) > 0 {
		piece := r.rest
		r.rest = nil
		return piece, nil
	}
	if r.first {
		r.first = false
		return r.c.req, nil
	}
	for r.err == nil {
		if r.c.flags&flagMore == 0 {
			r.err = io.EOF
			break
		}
		var piece []byte
		got := resultGone
		r.c.in.use(func(h host) { piece, got = h.read(r.c.task) })
		switch got {
		case resultOK:
			return piece, nil
		case resultAgain:
			select {
			case <-r.c.readable:
			case <-r.c.Done():
				r.err = context.Cause(r.c)
			}
		case resultEOF:
			r.err = io.EOF
		case resultGone:
			r.err = ErrCallerGone
		default:
			r.err = errors.New("nffi: the request was read after its handler had returned")
		}
	}
	return nil, r.err
}

// Read implements [io.Reader].
func (r *Request) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		piece, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.rest = piece
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Response is an answer that goes out in pieces. Several goroutines may write; each Write stays in one.
type Response struct {
	c      *call
	mu     sync.Mutex
	full   bool // the host has said to wait
	closed bool
}

// Write sends p as one piece, or as several of at most 64 KiB. It waits while the host's window is full, and returns
// [ErrCallerGone] (or another [context.Cause]) where nobody wants the answer any more. p may be used again when it
// returns. It implements [io.Writer]; a piece of 0 bytes is sent too.
func (w *Response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := 0
	for first := true; first || sent < len(p); first = false {
		if w.closed {
			return sent, errors.New("nffi: a write after the handler has returned")
		}
		if err := w.room(); err != nil {
			return sent, err
		}
		piece := p[sent:min(len(p), sent+maxPiece)]
		got := resultGone
		w.c.in.use(func(h host) { got = h.write(w.c.task, piece) })
		switch got {
		case resultOK, resultFull:
			w.full = got == resultFull
			sent += len(piece)
		default:
			return sent, ErrCallerGone
		}
	}
	return sent, nil
}

// room waits while the window is full.
func (w *Response) room() error {
	if !w.full {
		return nil
	}
	select {
	case <-w.c.writable:
		w.full = false
		return nil
	case <-w.c.Done():
		return context.Cause(w.c)
	}
}

// close: the handler has returned, and the call's context is cancelled.
func (w *Response) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}
