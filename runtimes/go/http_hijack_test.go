package nffi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

// echoing hijacks, writes a head, and sends every byte back.
func echoing(t *testing.T, head func(w http.ResponseWriter, c net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { // as many do: the handler is gone long before
			<-r.Context().Done()
			defer c.Close()
			head(w, c)
			io.Copy(c, both)
		}()
	}
}

func upgradable(h *fakeHost, task uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upgrades[task] = true
}

func TestHijackedConnection(t *testing.T) {
	h := servingHTTP(t, echoing(t, func(_ http.ResponseWriter, c net.Conn) {
		for _, b := range []byte(switching) { // in however many writes
			if _, err := c.Write([]byte{b}); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintf(c, "%s %s|", c.LocalAddr(), c.RemoteAddr())
	}))
	upgradable(h, 1)
	h.put(ask(1, fakeRequest{path: "/"}))
	h.feed(1, []byte("hello"))
	h.until("an echo", func() bool { return len(h.pieces[1]) == 2 })
	h.feed(1, []byte(strings.Repeat("x", 10_000)))
	h.feed(1, nil)
	got := h.fetch(1)
	if want := "192.0.2.2:80 192.0.2.1:1234|hello" + strings.Repeat("x", 10_000); got.status != 101 || got.get("Upgrade") != "echo" || got.body != want || got.failed != "" {
		t.Errorf("%d %q %d bytes %.60q %q", got.status, got.lines, len(got.body), got.body, got.failed)
	}
}

func TestHijackAfterWriteHeader(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _, err := w.(http.Hijacker).Hijack()
		if r.URL.Path == "/no" {
			if err == nil {
				t.Error("a connection that cannot be upgraded was hijacked")
			}
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := w.Write([]byte("x")); err != http.ErrHijacked {
			t.Errorf("Write: %v", err)
		}
		io.WriteString(c, "raw")
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close again: %v", err)
		}
	})
	upgradable(h, 1)
	if got := h.get(1, fakeRequest{path: "/"}); got.status != 101 || got.body != "raw" || got.failed != "" {
		t.Errorf("%+v", got)
	}
	if got := h.get(2, fakeRequest{path: "/no"}); !strings.Contains(got.failed, "cannot be upgraded") {
		t.Errorf("%+v", got)
	}
}

func TestRawAnswers(t *testing.T) {
	raw := ""
	h := servingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		c, both, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		both.WriteString(raw)
		both.Flush()
		c.Close()
	})
	for i, c := range []struct{ raw, want string }{
		{"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-A: b\r\n\r\nno", "403 X-A: b|Content-Length: 2 no"},
		{"HTTP/1.0 200 OK\r\n\r\nuntil the end", "200  until the end"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nSum: 5\r\n\r\n", "200 Trailer: Sum abcde Sum: 5"},
		{"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204  "},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "an answer was written to a hijacked connection that is not whole: unexpected EOF"},
		{"", "closed the connection that it had hijacked, without an answer"},
		{"SSH-2.0-x\r\n", "without an answer"},
	} {
		raw = c.raw
		got := h.get(uint64(i+1), fakeRequest{path: "/"})
		if got.failed != "" {
			if !strings.Contains(got.failed, c.want) {
				t.Errorf("%q: %s", c.raw, got.failed)
			}
			continue
		}
		text := fmt.Sprintf("%d %s %s", got.status, strings.Join(got.lines, "|"), got.body)
		if len(got.trailers) > 0 {
			text += " " + strings.Join(got.trailers, "|")
		}
		if text != c.want {
			t.Errorf("%q: %q", c.raw, text)
		}
	}
}

func TestHijackIsRefused(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.WriteHeader(200)
		}
		_, _, err := w.(http.Hijacker).Hijack()
		fmt.Fprint(w, err)
	})
	if got := h.get(1, fakeRequest{path: "/", version: 2000}); !strings.Contains(got.body, "HTTP/2.0 cannot be hijacked") {
		t.Errorf("%q", got.body)
	}
	if got := h.get(2, fakeRequest{path: "/begun"}); !strings.Contains(got.body, "the answer has begun") {
		t.Errorf("%q", got.body)
	}
}

func TestHijackedDeadlinesAndCancel(t *testing.T) {
	conns := make(chan net.Conn, 3)
	h := servingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
		}
		io.WriteString(c, switching)
		conns <- c
	})
	h.mu.Lock()
	h.window = 1
	h.mu.Unlock()
	open := func(task uint64) net.Conn {
		upgradable(h, task)
		h.put(ask(task, fakeRequest{path: "/"}))
		return <-conns
	}
	c := open(1)
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	h.feed(1, []byte("x"))
	if line, err := bufio.NewReader(c).ReadByte(); line != 'x' || err != nil {
		t.Errorf("after the deadline was lifted: %v", err)
	}
	c.Write([]byte("full"))
	c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	c.SetDeadline(time.Time{})
	failed := make(chan error, 2)
	go func() {
		_, err := c.Write([]byte("x"))
		failed <- err
	}()
	go func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
	}()
	h.put(event{kind: eventCancel, task: 1})
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrCallerGone) {
			t.Errorf("cancelled: %v", err)
		}
	}
	c.Close()
	h.fetch(1)

	c = open(2) // Close wakes who waits
	go func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
	}()
	c.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	h.fetch(2)

	c = open(3) // and so does STOP, which waits for it
	go func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
		c.Close()
	}()
	h.stop()
	if err := <-failed; err != ErrStopping {
		t.Errorf("stopped: %v", err)
	}
	h.fetch(3)
}
