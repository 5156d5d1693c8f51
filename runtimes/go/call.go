package nffi

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Why a call's context was cancelled, by [context.Cause]. After the handler has returned it is [context.Canceled].
var (
	// ErrCallerGone: the caller waits no more. What the handler returns is dropped.
	ErrCallerGone = errors.New("nffi: the caller has gone")
	// ErrStopping: the runtime was told to stop.
	ErrStopping = errors.New("nffi: the runtime is stopping")
)

// longCall is from when on a call is not worth waiting for others that may end at the same time.
const longCall = 50 * time.Microsecond

// call is one task between its CALL and its end. It is the handler's context as well: a real one is made only when
// somebody asks it for more than its deadline, since making one costs as much as a short call.
type call struct {
	in       *instance
	task     uint64
	flags    uint32
	deadline uint64 // of the host's clock, 0 none
	began    time.Time
	req      []byte
	http     *exchange // what this is the call of; nil with a message

	// One token for each READABLE and WRITABLE; nil until wake has been called. Set with mu held.
	readable, writable chan struct{}

	mu     sync.Mutex
	real   context.Context
	cancel context.CancelCauseFunc
	until  time.Time // the deadline on Go's clock, once it was asked for
	cause  error     // why it is cancelled
}

// callKey finds the call in a context that was derived from it.
type callKey struct{}

// callOf returns the call that ctx belongs to, or nil.
func callOf(ctx context.Context) *call {
	if ctx == nil {
		return nil
	}
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Deadline is when the caller stops waiting. No timer of ours runs for it: the host cancels the call then, and one of
// ours would let a handler answer with its own "deadline exceeded" where the caller is to see the host's timeout.
func (c *call) Deadline() (time.Time, bool) {
	if c.deadline == 0 {
		return time.Time{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.IsZero() {
		c.until = deadlineTime(c.in.host, c.deadline)
	}
	return c.until, true
}

func (c *call) Done() <-chan struct{} { return c.context().Done() }

func (c *call) Err() error { return c.context().Err() }

func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	if c.http != nil {
		if value := c.http.value(key); value != nil {
			return value
		}
	}
	// Package context looks for its own keys here: with an answer of the real one it takes this for a context of its
	// own, and needs no goroutine to follow it.
	return c.context().Value(key)
}

// context makes the real one.
func (c *call) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real != nil {
		return c.real
	}
	c.real, c.cancel = context.WithCancelCause(context.Background())
	if c.cause != nil {
		c.cancel(c.cause)
	}
	return c.real
}

// stop cancels the context, once.
func (c *call) stop(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	if c.cancel != nil {
		c.cancel(cause)
	}
}

// lose is stop for a call that nobody waits for any more.
func (c *call) lose(cause error) {
	c.stop(cause)
	if c.http != nil {
		c.http.lose(cause)
	}
}

// stopped says why the context was cancelled, nil where it was not. It does not make a context.
func (c *call) stopped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// wake prepares for READABLE and WRITABLE. It is called before the host is asked for what they may follow.
func (c *call) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readable == nil {
		c.readable, c.writable = make(chan struct{}, 1), make(chan struct{}, 1)
	}
}

// signal puts the one token of an event into its channel.
func (c *call) signal(to *chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case *to <- struct{}{}:
	default: // nobody has use for pieces here
	}
}
