package nffi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestRequestInPieces(t *testing.T) {
	h := servingWith(t, "", func() {
		ServeStream(func(_ context.Context, req *Request, res *Response) error {
			for {
				piece, err := req.Next()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if _, err := res.Write(bytes.ToUpper(piece)); err != nil {
					return err
				}
			}
		})
	})
	e := called(1, "first ")
	e.flags = flagMore
	h.put(e)
	h.until("the first piece", func() bool { return len(h.pieces[1]) == 1 })
	h.feed(1, []byte("second "))
	h.until("the second piece", func() bool { return len(h.pieces[1]) == 2 })
	h.feed(1, []byte{})
	h.until("the empty piece", func() bool { return len(h.pieces[1]) == 3 })
	h.feed(1, nil)
	if a := h.answer(1); a.status != 0 || len(a.data) != 0 {
		t.Errorf("end: %+v", a)
	}
	if got := string(bytes.Join(h.pieces[1], []byte("|"))); got != "FIRST |SECOND |" {
		t.Errorf("pieces: %q", got)
	}
}

func TestGatheredRequest(t *testing.T) {
	h := serving(t, `{"gather_limit":"10"}`, echo)
	for task, pieces := range map[uint64][]string{1: {"01234", "56789"}, 2: {"01234", "567890"}} {
		e := called(task, "")
		e.flags = flagMore
		h.put(e)
		for _, piece := range pieces {
			h.feed(task, []byte(piece))
		}
		h.feed(task, nil)
	}
	if a := h.answer(1); a.status != 0 || string(a.data) != "0123456789" {
		t.Errorf("gathered: %d %q", a.status, a.data)
	}
	if a := h.answer(2); a.status != 1 || !strings.Contains(string(a.data), "larger than 10 bytes") {
		t.Errorf("too large: %d %q", a.status, a.data)
	}
}

func TestCancelWhileTheRequestIsAwaited(t *testing.T) {
	h := serving(t, "", echo)
	e := called(1, "")
	e.flags = flagMore
	h.put(e)
	time.Sleep(5 * time.Millisecond)
	h.put(event{kind: eventCancel, task: 1})
	if a := h.answer(1); a.status != 1 || string(a.data) != ErrCallerGone.Error() {
		t.Errorf("got %d %q", a.status, a.data)
	}
}

// writing starts a runtime that writes n pieces, behind a window of 3.
func writing(t *testing.T, n int, result chan error) *fakeHost {
	h := servingWith(t, "", func() {
		ServeStream(func(_ context.Context, _ *Request, res *Response) error {
			for range n {
				if _, err := res.Write([]byte("x")); err != nil {
					result <- err
					return err
				}
			}
			result <- nil
			return nil
		})
	})
	h.mu.Lock()
	h.window = 3
	h.mu.Unlock()
	return h
}

func TestWriteWaitsForTheWindow(t *testing.T) {
	result := make(chan error, 1)
	h := writing(t, 7, result)
	h.put(called(1, ""))
	for _, most := range []int{3, 6} {
		h.until("a full window", func() bool { return len(h.pieces[1]) == most })
		time.Sleep(10 * time.Millisecond)
		h.mu.Lock()
		if n := len(h.pieces[1]); n != most {
			t.Errorf("%d pieces, and the window holds %d", n, most)
		}
		h.mu.Unlock()
		h.put(event{kind: eventWritable, task: 1})
	}
	if a := h.answer(1); a.status != 0 || <-result != nil || len(h.pieces[1]) != 7 {
		t.Errorf("got %+v, %d pieces", a, len(h.pieces[1]))
	}
}

func TestWriteGivesUp(t *testing.T) {
	result := make(chan error, 1)
	h := writing(t, 7, result)
	h.put(called(1, ""))
	h.until("a full window", func() bool { return len(h.pieces[1]) == 3 })
	h.put(event{kind: eventCancel, task: 1})
	if err := <-result; err != ErrCallerGone {
		t.Errorf("cancelled: %v", err)
	}
	h.mu.Lock()
	h.gone[2] = true
	h.mu.Unlock()
	h.put(called(2, ""))
	if err := <-result; err != ErrCallerGone {
		t.Errorf("gone: %v", err)
	}
}

func TestLargeWriteIsCut(t *testing.T) {
	h := servingWith(t, "", func() {
		ServeStream(func(_ context.Context, req *Request, res *Response) error {
			n, err := io.Copy(res, req)
			if n != 100_000 {
				return errors.New("copied less")
			}
			return err
		})
	})
	h.put(called(1, strings.Repeat("y", 100_000)))
	if a := h.answer(1); a.status != 0 {
		t.Fatalf("got %d %q", a.status, a.data)
	}
	for _, piece := range h.pieces[1] {
		if len(piece) > maxPiece {
			t.Errorf("a piece of %d bytes", len(piece))
		}
	}
	if all := bytes.Join(h.pieces[1], nil); len(all) != 100_000 {
		t.Errorf("%d bytes came through", len(all))
	}
}

func TestWriteAfterTheHandler(t *testing.T) {
	result := make(chan error, 1)
	h := servingWith(t, "", func() {
		ServeStream(func(ctx context.Context, _ *Request, res *Response) error {
			go func() {
				<-ctx.Done()
				time.Sleep(5 * time.Millisecond)
				_, err := res.Write([]byte("late"))
				result <- err
			}()
			return nil
		})
	})
	h.put(called(1, ""))
	h.answer(1)
	if err := <-result; err == nil || len(h.pieces[1]) != 0 {
		t.Errorf("a late write: %v, %d pieces", err, len(h.pieces[1]))
	}
}
