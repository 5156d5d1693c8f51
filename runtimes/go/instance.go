package nffi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// instance is one runtime: one nffi_runtime block in one process.
//
// A single goroutine polls. So a CANCEL cannot overtake its CALL: the host cancels only what it has handed out, and
// whatever this goroutine was handed it has registered before it polls again.
type instance struct {
	host host
	own  ownOptions
	// serve answers messages, and http HTTP requests; nil where the library does not.
	serve func(*call) ([]byte, error)
	http  *httpServer
	// pieces: the handler wants them, for every call.
	pieces bool

	// gate is held for reading by whoever uses the host, and for writing by who closes it.
	gate   sync.RWMutex
	closed bool

	mu       sync.Mutex
	calls    map[uint64]*call // all that are not ended
	running  int              // goroutines that run handlers
	pending  fifo             // calls for which there is no goroutine yet
	stopping bool
	idle     chan struct{} // closed when stopping and no call is left
	answers  answers

	longCall time.Duration // the constant, but in tests that must not depend on the machine's speed
}

func newInstance(h host, own ownOptions) *instance {
	return &instance{
		host: h, own: own, calls: make(map[uint64]*call), idle: make(chan struct{}), longCall: longCall,
	}
}

// poll is the poller: it ends when the host says STOP.
func (in *instance) poll() {
	err := in.host.wait(in.look)
	if err != nil {
		in.log(0, severityError, fmt.Sprintf("cannot wait for calls: %v; the runtime stops", err))
	}
	in.stop()
}

// look takes all events there are, starts their calls and hands over what has been answered meanwhile. It returns
// true at STOP, and false where there is nothing more to do until the queue's descriptor is readable.
func (in *instance) look() bool {
	in.mu.Lock()
	in.answers.awaited = true
	in.mu.Unlock()
	for {
		events, more := in.host.poll()
		started, stop := in.take(events)
		if started {
			// The new goroutines run now, on this thread as like as not, and leave their answers to this one: one call
			// into C for all, and no other thread is woken for short work.
			runtime.Gosched()
		}
		in.mu.Lock()
		in.flushLocked()
		if stop || !more {
			in.answers.awaited = false
			in.mu.Unlock()
			return stop
		}
		in.mu.Unlock()
	}
}

// take registers and starts calls, and passes the other events on.
func (in *instance) take(events []event) (started, stop bool) {
	if len(events) == 0 {
		return false, false
	}
	now := time.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range events {
		e := &events[i]
		switch e.kind {
		case eventCall, eventHTTP:
			c, err := in.newCall(e)
			if err != nil {
				in.answers.add(answer{task: e.task, status: 1, data: []byte(err.Error())})
				continue
			}
			c.in, c.task, c.flags, c.deadline, c.began = in, e.task, e.flags, e.deadline, now
			in.startLocked(c)
			started = true
		case eventCancel:
			if c := in.calls[e.task]; c != nil {
				c.lose(ErrCallerGone)
			}
		case eventReadable:
			if c := in.calls[e.task]; c != nil {
				c.signal(&c.readable)
			}
		case eventWritable:
			if c := in.calls[e.task]; c != nil {
				c.signal(&c.writable)
			}
		case eventStop:
			stop = true
		}
	}
	return started, stop
}

var (
	errNoHTTP     = errors.New("takes messages (nffi.call), not HTTP requests (nffi_pass)")
	errNoMessages = errors.New("takes HTTP requests (nffi_pass), not messages (nffi.call)")
)

// newCall makes a call of what has arrived. An error is the answer.
func (in *instance) newCall(e *event) (*call, error) {
	if e.kind == eventHTTP {
		if in.http == nil {
			return nil, errNoHTTP
		}
		return in.http.newExchange(e)
	}
	if in.serve == nil {
		return nil, errNoMessages
	}
	c := &call{}
	// A copy, since handlers keep what they are given, and the host's memory goes with the task.
	c.req = make([]byte, len(e.data))
	copy(c.req, e.data)
	if in.pieces || e.flags&flagMore != 0 {
		c.wake()
	}
	return c, nil
}

func (in *instance) startLocked(c *call) {
	in.calls[c.task] = c
	if in.running >= in.own.Goroutines {
		in.pending.push(c)
		return
	}
	in.running++
	go in.run(c)
}

// run works on a call, and then on those that wait for a goroutine.
func (in *instance) run(c *call) {
	// runtime.Goexit in a handler leaves by this way only.
	defer func() {
		if c != nil {
			next := in.finish(c, answer{task: c.task, status: 1, data: []byte("the handler has ended its goroutine (runtime.Goexit)")}, true)
			if next != nil {
				go in.run(next)
			}
		}
	}()
	for c != nil {
		a, ended := in.answer(c)
		c = in.finish(c, a, ended)
	}
}

// answer calls the handler. A panic is an answer too. ended is false where the handler has taken an HTTP connection.
func (in *instance) answer(c *call) (a answer, ended bool) {
	a.task, ended = c.task, true
	if cause := c.stopped(); cause != nil {
		// It has waited for a goroutine for too long.
		a.status, a.data = 1, []byte(cause.Error())
		return a, true
	}
	if c.http != nil {
		return c.http.answer()
	}
	defer func() {
		if p := recover(); p != nil {
			text := fmt.Sprintf("panic: %v", p)
			in.log(c.task, severityError, text+"\n"+string(debug.Stack()))
			a.status, a.data = 1, []byte(text)
		}
	}()
	data, err := in.serve(c)
	if err != nil {
		a.status, a.data = statusOf(err)
		return a, true
	}
	a.data = data
	return a, true
}

// finish is called when a handler has returned, and ends the call, unless that comes later. It returns the next that
// waits for a goroutine.
func (in *instance) finish(c *call, a answer, ended bool) *call {
	c.stop(context.Canceled)
	if c.http != nil {
		c.http.over()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if ended {
		in.endLocked(c, a)
	}
	next := in.pending.pop()
	if next == nil {
		in.running--
	} else {
		next.began = time.Now()
	}
	if !in.answers.awaited || time.Since(c.began) > in.longCall {
		in.flushLocked()
	}
	return next
}

// end ends a call whose handler returned some time ago.
func (in *instance) end(c *call, a answer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.endLocked(c, a)
	in.flushLocked()
}

func (in *instance) endLocked(c *call, a answer) {
	delete(in.calls, c.task)
	in.answers.add(a)
	if in.stopping && len(in.calls) == 0 {
		in.idleLocked()
	}
}

func (in *instance) idleLocked() {
	select {
	case <-in.idle:
	default:
		close(in.idle)
	}
}

// stop cancels what runs, gives it some time, and takes leave of the host. What runs on after that is not answered:
// the host has ended it.
func (in *instance) stop() {
	in.mu.Lock()
	in.stopping = true
	for _, c := range in.calls {
		c.lose(ErrStopping)
	}
	for c := in.pending.pop(); c != nil; c = in.pending.pop() {
		delete(in.calls, c.task)
		in.answers.add(answer{task: c.task, status: 1, data: []byte(ErrStopping.Error())})
	}
	if len(in.calls) == 0 {
		in.idleLocked()
	}
	in.mu.Unlock()

	select {
	case <-in.idle:
	case <-time.After(in.own.Drain):
		in.mu.Lock()
		left := len(in.calls)
		in.mu.Unlock()
		in.log(0, severityWarn, fmt.Sprintf("%d calls are still running %v after they were cancelled: left behind", left, in.own.Drain))
	}
	forget(in)
	for !in.flushed() {
		time.Sleep(100 * time.Microsecond)
	}
	in.gate.Lock()
	in.closed = true
	in.gate.Unlock()
	in.host.stopped()
}

// flushed hands over what there is, and says whether all of it has arrived.
func (in *instance) flushed() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.flushLocked()
	return !in.answers.handing
}

// use calls f unless the runtime has taken leave of its host, and says whether it did.
func (in *instance) use(f func(host)) bool {
	in.gate.RLock()
	defer in.gate.RUnlock()
	if in.closed {
		return false
	}
	f(in.host)
	return true
}
