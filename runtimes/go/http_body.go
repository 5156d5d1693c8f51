package nffi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// errBodyCut is what reading a body ends with when the client has gone in its middle.
var errBodyCut = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, ErrCallerGone)

// requestBody reads a body from where the host has it: in memory, in a file, or still on its way.
type requestBody struct {
	x  *exchange
	mu sync.Mutex

	memory []byte // the host's
	fd     int    // -1 none. The host's too, so it is never closed here
	offset int64
	left   int64 // of the file
	more   bool
	rest   *rest

	err error // what reading ends with
}

// open is called before anybody else has the body.
func (b *requestBody) open(x *exchange, more bool) {
	b.x, b.more, b.fd = x, more, -1
	if more {
		return
	}
	b.memory = x.from.body.bytes()
	if len(b.memory) == 0 && x.from.bodyFD >= 0 {
		b.fd, b.left = int(x.from.bodyFD), x.from.contentLength
	}
}

// Read implements [io.Reader].
func (b *requestBody) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if b.x.readDeadline.hasPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch {
	case b.more:
		n, err = b.readStream(p)
	case b.fd >= 0:
		n, err = b.readFile(p)
	default:
		n = copy(p, b.memory)
		b.memory = b.memory[n:]
		if len(b.memory) == 0 {
			err = io.EOF
		}
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.err = err
	}
	return n, err
}

func (b *requestBody) readFile(p []byte) (int, error) {
	p = p[:min(int64(len(p)), b.left)]
	for len(p) > 0 {
		n, err := syscall.Pread(b.fd, p, b.offset)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("pread", err)
		}
		if n == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		b.offset += int64(n)
		b.left -= int64(n)
		if b.left > 0 {
			return n, nil
		}
		return n, io.EOF
	}
	return 0, io.EOF
}

func (b *requestBody) readStream(p []byte) (int, error) {
	if b.rest != nil {
		return b.readRest(p), nil
	}
	b.x.wake()
	for {
		var n int
		got := resultGone
		b.x.in.use(func(h host) { n, b.rest, got = h.pull(b.x.task, p) })
		switch got {
		case resultOK:
			if n > 0 {
				return n, nil
			}
		case resultAgain:
			select {
			case <-b.x.readable:
			case <-b.x.Done():
				if cause := context.Cause(b.x); cause != ErrCallerGone {
					return 0, cause
				}
				return 0, errBodyCut
			case <-b.x.readDeadline.wait():
				return 0, os.ErrDeadlineExceeded
			}
		case resultEOF:
			return 0, io.EOF
		default:
			return 0, errBodyCut
		}
	}
}

func (b *requestBody) readRest(p []byte) int {
	n := copy(p, b.rest.left)
	b.rest.left = b.rest.left[n:]
	if len(b.rest.left) == 0 {
		b.release()
	}
	return n
}

func (b *requestBody) release() {
	if b.rest != nil {
		b.x.in.use(func(h host) { h.release(b.rest) })
		b.rest = nil
	}
}

// Close implements [io.Closer].
func (b *requestBody) Close() error {
	b.close(http.ErrBodyReadAfterClose)
	return nil
}

// close: from now on reading gives that error, and the host's memory is not looked at.
func (b *requestBody) close(err error) {
	if b.x == nil {
		return // there is no body
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.memory, b.fd = err, nil, -1
	b.release()
}
