package nffi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func echo(_ context.Context, req []byte) ([]byte, error) { return req, nil }

func TestEveryCallIsAnsweredOnce(t *testing.T) {
	h := serving(t, "", echo)
	const n = 5000
	for i := uint64(1); i <= n; i++ {
		h.put(called(i, fmt.Sprint(i)))
	}
	h.until("all answers", func() bool { return len(h.answers) == n })
	for i := uint64(1); i <= n; i++ {
		if a := h.answer(i); a.status != 0 || string(a.data) != fmt.Sprint(i) {
			t.Fatalf("task %d: %+v", i, a)
		}
	}
}

func TestShortCallsAreAnsweredTogether(t *testing.T) {
	h := newFakeHost(t)
	library.calls, library.http = nil, nil
	Serve(echo)
	const n = 4096
	for i := uint64(1); i <= n; i++ {
		h.put(called(i, "x"))
	}
	// One processor, as in a worker that is pinned to a core, and no call that counts as long: there the batches are certain.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	own, user, err := configure(nil)
	if err != nil {
		t.Fatal(err)
	}
	in := newInstance(h, own)
	in.longCall = time.Hour
	for i, p := range parts() {
		if err := p.start(in, user[i]); err != nil {
			t.Fatal(err)
		}
	}
	go in.poll()
	h.until("all answers", func() bool { return len(h.answers) == n })
	h.stop()
	// The fake host hands out 8 events at a time.
	if h.replies > n/2 {
		t.Errorf("%d answers took %d calls of reply", n, h.replies)
	}
}

func TestErrors(t *testing.T) {
	h := serving(t, "", func(_ context.Context, req []byte) ([]byte, error) {
		switch string(req) {
		case "own":
			return nil, fmt.Errorf("wrapped: %w", Errorf(404, "no %s", "such"))
		case "zero":
			return nil, &Error{Message: "zero"}
		case "plain":
			return []byte("dropped"), errors.New("plain")
		case "goexit":
			runtime.Goexit()
		case "nil panic":
			panic(nil)
		}
		panic("boom")
	})
	for i, want := range []struct {
		req    string
		status int32
		text   string
	}{
		{"own", 404, "wrapped: no such"},
		{"zero", 1, "zero"},
		{"plain", 1, "plain"},
		{"goexit", 1, "the handler has ended its goroutine (runtime.Goexit)"},
		{"nil panic", 1, "panic: " + new(runtime.PanicNilError).Error()},
		{"x", 1, "panic: boom"},
	} {
		task := uint64(i + 1)
		h.put(called(task, want.req))
		if a := h.answer(task); a.status != want.status || string(a.data) != want.text {
			t.Errorf("%s: %d %q", want.req, a.status, a.data)
		}
	}
	var stack int
	for _, line := range h.logged() {
		if strings.Contains(line, "\n") {
			t.Errorf("a line with a line's end: %q", line)
		}
		if strings.HasPrefix(line, "6 3 ") {
			stack++
		}
	}
	if stack < 5 {
		t.Errorf("no stack trace with the call's task: %q", h.logged())
	}
}

func TestGoroutinesAreBounded(t *testing.T) {
	var running, most atomic.Int32
	gate := make(chan struct{})
	h := serving(t, `{"goroutines":"3"}`, func(_ context.Context, req []byte) ([]byte, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		<-gate
		return req, nil
	})
	for i := uint64(1); i <= 50; i++ {
		h.put(called(i, "x"))
	}
	time.Sleep(20 * time.Millisecond)
	if n := running.Load(); n != 3 {
		t.Errorf("%d handlers run, not 3", n)
	}
	close(gate)
	h.until("all answers", func() bool { return len(h.answers) == 50 })
	if most.Load() != 3 {
		t.Errorf("%d handlers ran at once", most.Load())
	}
}

func TestCancel(t *testing.T) {
	causes, running := make(chan error, 2), make(chan struct{})
	h := serving(t, `{"goroutines":"1"}`, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(running)
		// A derived context must follow without a goroutine of its own.
		derived, end := context.WithCancel(ctx)
		defer end()
		<-derived.Done()
		causes <- context.Cause(derived)
		return nil, derived.Err()
	})
	h.put(called(1, "runs"), called(2, "waits"))
	<-running
	// The one that waits for a goroutine never reaches the handler.
	h.put(event{kind: eventCancel, task: 2})
	time.Sleep(10 * time.Millisecond)
	h.put(event{kind: eventCancel, task: 1}, event{kind: eventCancel, task: 1}, event{kind: eventCancel, task: 99})
	if a := h.answer(1); a.status != 1 || string(a.data) != "context canceled" {
		t.Errorf("the one that ran: %+v", a)
	}
	if a := h.answer(2); a.status != 1 || string(a.data) != ErrCallerGone.Error() {
		t.Errorf("the one that waited: %d %q", a.status, a.data)
	}
	if cause := <-causes; cause != ErrCallerGone || len(causes) != 0 {
		t.Errorf("cause %v, and %d more", cause, len(causes))
	}
}

func TestContext(t *testing.T) {
	kept := make(chan context.Context, 1)
	h := serving(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		kept <- ctx
		if ctx.Err() != nil || ctx.Value("nothing") != nil {
			return nil, errors.New("cancelled from the start")
		}
		until, ok := ctx.Deadline()
		return fmt.Appendf(nil, "%v %v", ok, time.Until(until).Round(time.Second)), nil
	})
	e := called(1, "")
	e.deadline = h.now() + uint64(time.Minute)
	h.put(e)
	if a := h.answer(1); string(a.data) != "true 1m0s" {
		t.Errorf("deadline: %q", a.data)
	}
	ctx := <-kept
	<-ctx.Done() // after the handler has returned
	if context.Cause(ctx) != context.Canceled {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	h.put(called(2, ""))
	if a := h.answer(2); !strings.HasPrefix(string(a.data), "false") {
		t.Errorf("without a deadline: %q", a.data)
	}
}

func TestStopCancelsAndWaits(t *testing.T) {
	var seen atomic.Value
	running := make(chan struct{})
	h := serving(t, `{"goroutines":"1"}`, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(running)
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		seen.Store(context.Cause(ctx))
		return nil, nil
	})
	h.put(called(1, ""), called(2, ""))
	<-running
	h.stop()
	if seen.Load() != ErrStopping {
		t.Errorf("the handler saw %v", seen.Load())
	}
	if len(h.answers) != 2 {
		t.Errorf("%d of 2 calls were ended", len(h.answers))
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	h := serving(t, `{"drain":"30ms"}`, func(ctx context.Context, _ []byte) ([]byte, error) {
		defer done.Done()
		close(running)
		<-release
		// The host must not hear of it any more; the fake one watches.
		callOf(ctx).in.log(0, severityError, "late")
		return nil, nil
	})
	h.put(called(1, ""))
	<-running
	h.stop()
	close(release)
	done.Wait()
	time.Sleep(20 * time.Millisecond)
	if lines := strings.Join(h.logged(), "\n"); !strings.Contains(lines, "1 calls are still running 30ms after") || strings.Contains(lines, "late") {
		t.Errorf("log: %s", lines)
	}
}

func TestStopWaitsForAnswersOnTheirWay(t *testing.T) {
	h := newFakeHost(t)
	h.slow = 50 * time.Millisecond
	library.calls, library.http = nil, nil
	Serve(func(_ context.Context, req []byte) ([]byte, error) {
		time.Sleep(time.Duration(len(req)) * time.Millisecond)
		return req, nil
	})
	if err := start(h, nil); err != nil {
		t.Fatal(err)
	}
	h.put(called(1, "x"), called(2, "a while"))
	time.Sleep(20 * time.Millisecond) // the first is on its way, and the second waits behind it
	h.stop()
	if len(h.answers) != 2 {
		t.Errorf("%d of 2 calls were ended", len(h.answers))
	}
}

// On one processor the poller runs again when all the new goroutines have run: a long one must not keep its answer
// for so long.
func TestLongCallsDoNotWaitForOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var most atomic.Int32
	h := newFakeHost(t)
	library.calls, library.http = nil, nil
	Serve(func(_ context.Context, req []byte) ([]byte, error) {
		h.mu.Lock()
		most.Store(max(most.Load(), int32(len(h.answers))))
		h.mu.Unlock()
		for began := time.Now(); time.Since(began) < 2*time.Millisecond; {
		}
		return req, nil
	})
	h.put(called(1, ""), called(2, ""), called(3, ""))
	if err := start(h, nil); err != nil {
		t.Fatal(err)
	}
	h.until("all answers", func() bool { return len(h.answers) == 3 })
	h.stop()
	if most.Load() == 0 {
		t.Error("no call was answered before the last one ran")
	}
}

func TestTwoRuntimesAreTwo(t *testing.T) {
	type config struct{ Greeting string }
	register := func() {
		ServeConfig(func(cfg config) (Handler, error) {
			return func(context.Context, []byte) ([]byte, error) { return []byte(cfg.Greeting), nil }, nil
		})
	}
	one := servingWith(t, `{"greeting":"one"}`, register)
	two := servingWith(t, `{"greeting":"two"}`, register)
	one.put(called(1, ""))
	two.put(called(1, ""))
	if a, b := one.answer(1), two.answer(1); string(a.data) != "one" || string(b.data) != "two" {
		t.Errorf("got %q and %q", a.data, b.data)
	}
	one.stop()
	two.put(called(2, ""))
	if a := two.answer(2); string(a.data) != "two" {
		t.Errorf("after the other has stopped: %q", a.data)
	}
}

type checked struct{ N int }

func (c *checked) SetDefaults() { c.N = 3 }

func (c *checked) Check() error {
	if c.N > 5 {
		return fmt.Errorf("option \"n\": at most 5, got %d", c.N)
	}
	return nil
}

func TestStartFails(t *testing.T) {
	for cfg, want := range map[string]string{
		`{"goroutines":"0"}`: `option "goroutines": a number from 1 to 1000000 expected, got 0`,
		`{"drain":"2h"}`:     `option "drain": at most 1h`,
		`{"n":"6"}`:          `option "n": at most 5, got 6`,
		`{"n":"1"}`:          "one is not enough",
		`{"n":"2"}`:          "panic: two",
		`{"n":"4"}`:          "has returned no handler",
		`{"m":"1"}`:          `unknown option "m"; known are drain, gather_limit, goroutines, n`,
	} {
		library.calls, library.http = nil, nil
		ServeConfig(func(cfg checked) (Handler, error) {
			switch cfg.N {
			case 1:
				return nil, errors.New("one is not enough")
			case 2:
				panic("two")
			case 4:
				return nil, nil
			}
			return echo, nil
		})
		err := start(newFakeHost(t), []byte(cfg))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", cfg, err, want)
		}
		if oldest() != nil {
			t.Errorf("%s: the runtime is still known", cfg)
		}
	}
	library.calls, library.http = nil, nil
	if err := start(newFakeHost(t), nil); err == nil || !strings.Contains(err.Error(), "call nffi.Serve in an init function") {
		t.Errorf("without a handler: %v", err)
	}
}
