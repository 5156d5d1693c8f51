package nffi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

var errReadReset = fmt.Errorf("%w: %w", ErrCallerGone, syscall.ECONNRESET)

// Hijack implements [http.Hijacker]: the connection is the caller's from now on, also when the handler has returned,
// until it closes it. What is written first is the head of an answer, as on a real connection: after one with status
// 101 the bytes of both sides go through as they are. Any other answer that is written is sent as an ordinary one; the
// connection stays nginx's then. So nothing can be read before a 101. HTTP/2 has no connections to give.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.closed:
		return nil, nil, errHandlerOver
	case w.x.req.ProtoMajor != 1:
		return nil, nil, fmt.Errorf("nffi: a connection of %s cannot be hijacked: %w", w.x.req.Proto, http.ErrNotSupported)
	case w.sentHead || w.wroteHeader && w.status != http.StatusSwitchingProtocols:
		return nil, nil, errors.New("nffi: the answer has begun, so its connection cannot be hijacked")
	}
	k := &hijacked{x: w.x, lost: make(chan struct{}), closed: make(chan struct{}), decided: make(chan struct{})}
	if w.wroteHeader {
		if err := k.upgrade(w.takeHead(nil)); err != nil {
			w.err = err
			return nil, nil, err
		}
	}
	w.hijacked = true
	w.x.wake()
	k.SetDeadline(time.Time{})
	w.x.conn.Store(k)
	if cause := w.x.stopped(); cause != nil {
		k.lose(cause) // it may have been too early for that
	}
	return k, bufio.NewReadWriter(bufio.NewReader(k), bufio.NewWriter(k)), nil
}

// hijacked is the connection: a stream both ways.
type hijacked struct {
	x *exchange

	once     sync.Once
	closed   chan struct{} // by its owner
	loseOnce sync.Once
	lost     chan struct{} // the client has gone, or the runtime stops
	cause    error         // why; set before lost is closed

	decided  chan struct{} // closed when it is known what is read
	upgraded bool          // set before that

	reading sync.Mutex
	rest    *rest
	end     error // what reading ends with

	writing sync.Mutex
	head    []byte // of the answer, as far as it was written
	raw     *rawAnswer
	full    bool
}

// lose wakes whoever waits.
func (k *hijacked) lose(cause error) {
	k.loseOnce.Do(func() {
		k.cause = cause
		close(k.lost)
	})
}

// Read implements [net.Conn].
func (k *hijacked) Read(p []byte) (int, error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	if k.x.readDeadline.hasPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	if err := k.wait(k.decided, &k.x.readDeadline); err != nil {
		return 0, err
	}
	if !k.upgraded {
		return 0, io.EOF
	}
	if k.end != nil {
		return 0, k.end
	}
	if len(p) == 0 {
		return 0, nil
	}
	if k.rest != nil {
		n := copy(p, k.rest.left)
		if k.rest.left = k.rest.left[n:]; len(k.rest.left) == 0 {
			k.release()
		}
		return n, nil
	}
	for {
		var n int
		got := resultGone
		k.x.in.use(func(h host) { n, k.rest, got = h.pull(k.x.task, p) })
		switch got {
		case resultOK:
			if n > 0 {
				return n, nil
			}
		case resultAgain:
			if err := k.wait(k.x.readable, &k.x.readDeadline); err != nil {
				return 0, err
			}
		case resultEOF:
			k.end = io.EOF
			return 0, k.end
		default:
			k.end = errReadReset
			return 0, k.end
		}
	}
}

func (k *hijacked) release() {
	if k.rest != nil {
		k.x.in.use(func(h host) { h.release(k.rest) })
		k.rest = nil
	}
}

// wait returns nil when there is something on the channel.
func (k *hijacked) wait(ready <-chan struct{}, until *deadline) error {
	select {
	case <-k.closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-ready:
		return nil
	case <-k.closed:
		return net.ErrClosed
	case <-k.lost:
		if k.cause == ErrCallerGone {
			return errReadReset
		}
		return k.cause
	case <-until.wait():
		return os.ErrDeadlineExceeded
	}
}

// Write implements [net.Conn]. It waits while the client's window is full.
func (k *hijacked) Write(p []byte) (int, error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	select {
	case <-k.closed:
		return 0, net.ErrClosed
	default:
	}
	if k.x.writeDeadline.hasPassed() {
		return 0, os.ErrDeadlineExceeded
	}
	switch {
	case k.upgraded:
		return k.stream(p)
	case k.raw != nil:
		return k.raw.Write(p)
	}
	k.head = append(k.head, p...)
	if err := k.decide(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stream sends bytes of an upgraded connection.
func (k *hijacked) stream(p []byte) (int, error) {
	for sent := 0; ; {
		if k.full {
			if err := k.wait(k.x.writable, &k.x.writeDeadline); err != nil {
				return sent, err
			}
			k.full = false
		}
		if sent == len(p) {
			return sent, nil
		}
		piece := p[sent:min(len(p), sent+maxPiece)]
		got := resultGone
		k.x.in.use(func(h host) { got = h.send(k.x.task, nil, nil, piece) })
		if got != resultOK && got != resultFull {
			return sent, errWriteGone
		}
		k.full = got == resultFull
		sent += len(piece)
		if sent == len(p) {
			return sent, nil
		}
	}
}

// upgrade sends the 101. Called with k.writing held, or before anybody has k.
func (k *hijacked) upgrade(head headBlock) error {
	got := resultGone
	k.x.in.use(func(h host) { got = h.head(k.x.task, head) })
	switch got {
	case resultOK:
		k.upgraded = true
		close(k.decided)
		return nil
	case resultBad:
		return errors.New("nffi: the connection cannot be upgraded: the client has not asked for it, or nginx has reasons of its own")
	default:
		return errWriteGone
	}
}

// Close implements [net.Conn]. It ends the answer, or the upgraded connection.
func (k *hijacked) Close() error {
	err := net.ErrClosed
	k.once.Do(func() {
		close(k.closed)
		k.writing.Lock()
		defer k.writing.Unlock()
		k.reading.Lock()
		k.release()
		k.reading.Unlock()
		a := answer{task: k.x.task}
		switch {
		case k.upgraded:
		case k.raw != nil:
			a = k.raw.finish()
		default:
			a.status, a.data = 1, []byte("the handler has closed the connection that it had hijacked, without an answer")
		}
		k.SetDeadline(time.Time{}) // no timer holds what is no more
		k.x.in.end(&k.x.call, a)
		err = nil
	})
	return err
}

// LocalAddr implements [net.Conn].
func (k *hijacked) LocalAddr() net.Addr { return k.x.serverAddr.net() }

// RemoteAddr implements [net.Conn].
func (k *hijacked) RemoteAddr() net.Addr { return k.x.clientAddr.net() }

// SetDeadline implements [net.Conn].
func (k *hijacked) SetDeadline(t time.Time) error {
	k.x.readDeadline.set(t)
	k.x.writeDeadline.set(t)
	return nil
}

// SetReadDeadline implements [net.Conn].
func (k *hijacked) SetReadDeadline(t time.Time) error {
	k.x.readDeadline.set(t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (k *hijacked) SetWriteDeadline(t time.Time) error {
	k.x.writeDeadline.set(t)
	return nil
}
