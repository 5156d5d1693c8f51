package nffi

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"
)

// fakeHost is a host that a test scripts.
type fakeHost struct {
	t *testing.T

	mu       sync.Mutex
	bell     sync.Cond
	queue    []event
	answers  map[uint64]answer
	replies  int // calls of reply
	pieces   map[uint64][][]byte
	incoming map[uint64][][]byte // pieces of requests; a nil one is the end
	window   int                 // write says FULL once so many pieces are unread; 0 never
	gone     map[uint64]bool
	lines    []string
	over     bool
	slow     time.Duration // how long reply takes
	heads    map[uint64][]fakeHead
	files    map[uint64][]fakeFile
	upgrades map[uint64]bool // which may
	answered sync.Cond
}

func newFakeHost(t *testing.T) *fakeHost {
	h := &fakeHost{
		t: t, answers: map[uint64]answer{}, pieces: map[uint64][][]byte{}, incoming: map[uint64][][]byte{}, gone: map[uint64]bool{},
		heads: map[uint64][]fakeHead{}, files: map[uint64][]fakeFile{}, upgrades: map[uint64]bool{},
	}
	h.bell.L, h.answered.L = &h.mu, &h.mu
	return h
}

func (h *fakeHost) put(events ...event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, events...)
	h.bell.Broadcast()
}

func (h *fakeHost) use(what string) {
	if h.over {
		h.t.Errorf("%s after stopped", what)
	}
}

func (h *fakeHost) poll() ([]event, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("poll")
	n := min(len(h.queue), 8)
	taken := h.queue[:n:n]
	h.queue = h.queue[n:]
	return taken, n == 8
}

func (h *fakeHost) wait(look func() bool) error {
	for !look() {
		h.mu.Lock()
		for len(h.queue) == 0 {
			h.bell.Wait()
		}
		h.mu.Unlock()
	}
	return nil
}

func (h *fakeHost) reply(answers []answer) {
	time.Sleep(h.slow)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("reply")
	h.replies++
	for _, a := range answers {
		if _, twice := h.answers[a.task]; twice {
			h.t.Errorf("task %d was ended twice", a.task)
		}
		if !h.giveHead(a.task, a.head) {
			a.status, a.data = 1, []byte("the head was refused")
		}
		if a.trailers != nil {
			h.heads[a.task] = append(h.heads[a.task], read(a.trailers))
		}
		a.data, a.head, a.trailers, a.scratch = bytes.Clone(a.data), nil, nil, nil
		h.answers[a.task] = a
	}
	h.answered.Broadcast()
}

func (h *fakeHost) write(task uint64, piece []byte) result {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("write")
	if h.gone[task] {
		return resultGone
	}
	h.pieces[task] = append(h.pieces[task], bytes.Clone(piece))
	h.answered.Broadcast()
	if h.window > 0 && len(h.pieces[task])%h.window == 0 {
		return resultFull
	}
	return resultOK
}

func (h *fakeHost) read(task uint64) ([]byte, result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("read")
	pieces := h.incoming[task]
	if len(pieces) == 0 {
		return nil, resultAgain
	}
	if pieces[0] == nil {
		return nil, resultEOF
	}
	h.incoming[task] = pieces[1:]
	return pieces[0], resultOK
}

// feed gives a task's request a piece; nil ends it.
func (h *fakeHost) feed(task uint64, piece []byte) {
	h.mu.Lock()
	h.incoming[task] = append(h.incoming[task], piece)
	h.mu.Unlock()
	h.put(event{kind: eventReadable, task: task})
}

func (h *fakeHost) log(task uint64, level severity, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("log")
	h.lines = append(h.lines, fmt.Sprintf("%d %d %s", task, level, line))
}

func (h *fakeHost) stopped() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("stopped")
	h.over = true
	h.answered.Broadcast()
}

func (h *fakeHost) now() uint64 { return 1_000_000_000 }

// until waits for something to be so, under the lock.
func (h *fakeHost) until(what string, so func() bool) {
	h.t.Helper()
	late := time.AfterFunc(10*time.Second, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.answered.Broadcast()
	})
	defer late.Stop()
	deadline := time.Now().Add(10 * time.Second)
	h.mu.Lock()
	defer h.mu.Unlock()
	for !so() {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not after 10 s", what)
		}
		h.answered.Wait()
	}
}

func (h *fakeHost) answer(task uint64) answer {
	h.t.Helper()
	h.until(fmt.Sprintf("an answer to task %d", task), func() bool {
		_, ok := h.answers[task]
		return ok
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answers[task]
}

// stop ends the runtime and waits until it has left.
func (h *fakeHost) stop() {
	h.t.Helper()
	h.put(event{kind: eventStop})
	h.until("stopped", func() bool { return h.over })
}

func (h *fakeHost) logged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.lines...)
}

func called(task uint64, req string) event {
	return event{kind: eventCall, task: task, data: []byte(req)}
}

// serving starts a runtime with a handler. A library has one; a test one after the other.
func serving(t *testing.T, cfg string, handler Handler) *fakeHost {
	t.Helper()
	return servingWith(t, cfg, func() { Serve(handler) })
}

func servingWith(t *testing.T, cfg string, register func()) *fakeHost {
	t.Helper()
	library.calls, library.http = nil, nil
	register()
	h := newFakeHost(t)
	if err := start(h, []byte(cfg)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.mu.Lock()
		over := h.over
		h.mu.Unlock()
		if !over {
			h.stop()
		}
	})
	return h
}
