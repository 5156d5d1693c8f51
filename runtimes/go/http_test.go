package nffi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	var params map[string]string
	var prefix string
	var local net.Addr
	h := servingHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		got, params, prefix = r, Params(r), Prefix(r)
		local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if _, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok {
			t.Error("no http.ServerContextKey")
		}
	})
	h.get(1, fakeRequest{
		path: "/app/a b", rawPath: "/app/a%20b", query: "q=1&q=2", prefix: "/app",
		headers: [][2]string{{"Host", "example.com:81"}, {"x-one", "1"}, {"X-Two", "a"}, {"Accept", "*/*"}, {"x-two", "b"}, {"Transfer-Encoding", "chunked"}},
		params:  [][2]string{{"USER", "me"}, {"EMPTY", ""}},
	})
	if got.Method != "GET" || got.URL.Path != "/app/a b" || got.URL.EscapedPath() != "/app/a%20b" || got.URL.RawQuery != "q=1&q=2" ||
		got.RequestURI != "/app/a%20b?q=1&q=2" || got.FormValue("q") != "1" {
		t.Errorf("%s %q %q %q %q", got.Method, got.URL.Path, got.URL.EscapedPath(), got.URL.RawQuery, got.RequestURI)
	}
	if got.Proto != "HTTP/1.1" || got.ProtoMajor != 1 || got.ProtoMinor != 1 || got.Host != "example.com:81" || got.RemoteAddr != "192.0.2.1:1234" || got.TLS != nil {
		t.Errorf("%s %s %s %v", got.Proto, got.Host, got.RemoteAddr, got.TLS)
	}
	want := http.Header{"X-One": {"1"}, "X-Two": {"a", "b"}, "Accept": {"*/*"}}
	if !reflect.DeepEqual(got.Header, want) {
		t.Errorf("header %v", got.Header)
	}
	if got.ContentLength != 0 || got.Body != http.NoBody || got.TransferEncoding != nil {
		t.Errorf("body %d %v %v", got.ContentLength, got.Body, got.TransferEncoding)
	}
	if prefix != "/app" || !reflect.DeepEqual(params, map[string]string{"USER": "me", "EMPTY": ""}) {
		t.Errorf("prefix %q, params %v", prefix, params)
	}
	if local == nil || local.String() != "192.0.2.2:80" {
		t.Errorf("local address %v", local)
	}
	if got.Context().Err() == nil {
		t.Error("the context outlives the handler")
	}
	for client, want := range map[string]string{"unix:": "@", "2001:db8::1": "[2001:db8::1]:1234"} {
		h.get(uint64(len(client)), fakeRequest{client: client, version: 2000, flags: httpTLS, path: "//double/../x", rawPath: "//double/../x"})
		if got.RemoteAddr != want || got.Proto != "HTTP/2.0" || got.TLS == nil || got.TLS.NegotiatedProtocol != "h2" || got.Host != "name.example" {
			t.Errorf("%s %s %v %s", got.RemoteAddr, got.Proto, got.TLS, got.Host)
		}
		if got.URL.Path != "//double/../x" || got.RequestURI != "//double/../x" {
			t.Errorf("path %q, %q", got.URL.Path, got.RequestURI)
		}
	}
}

func TestHTTPRequestPathThatIsNone(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	if got := h.get(1, fakeRequest{path: "/decoded", rawPath: "/%zz"}); got.body != "/decoded" {
		t.Errorf("%q", got.body)
	}
}

func TestStripPrefix(t *testing.T) {
	h := servingWith(t, "", func() {
		ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path+" "+Prefix(r)) }), StripPrefix())
	})
	for i, c := range [][3]string{{"/app/x", "/app", "/x /app"}, {"/other", "", "/other "}, {"/app/y", "/app/", "/y /app/"}} {
		if got := h.get(uint64(i+1), fakeRequest{path: c[0], prefix: c[1]}); got.body != c[2] {
			t.Errorf("%q", got.body)
		}
	}
}

func TestHTTPBodies(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d %v ", r.ContentLength, r.TransferEncoding)
		w.(http.Flusher).Flush() // reading goes on after the answer has begun
		var small [3]byte
		n, err := r.Body.Read(small[:])
		fmt.Fprintf(w, "%s %v ", small[:n], err)
		io.WriteString(w, readAll(r.Body))
		if _, err := r.Body.Read(small[:]); err != io.EOF {
			t.Errorf("behind the end: %v", err)
		}
		r.Body.Close()
		if _, err := r.Body.Read(small[:]); err != http.ErrBodyReadAfterClose {
			t.Errorf("after Close: %v", err)
		}
	})
	if got := h.get(1, fakeRequest{method: "POST", body: "0123456789"}); got.body != "10 [] 012 <nil> 3456789" {
		t.Errorf("memory: %q", got.body)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString(strings.Repeat("f", 100_000)) // and so it does not stand at its beginning
	if got := h.get(2, fakeRequest{method: "POST", file: file}); got.body != "100000 [] fff <nil> "+strings.Repeat("f", 99_997) {
		t.Errorf("file: %d bytes, %.40q", len(got.body), got.body)
	}
	if _, err := file.WriteString("still open"); err != nil {
		t.Error(err)
	}
	h.put(ask(3, fakeRequest{method: "POST", more: true, length: 4, headers: [][2]string{{"Transfer-Encoding", "chunked"}}}))
	h.until("the head", func() bool { return len(h.heads[3]) == 1 })
	h.feed(3, []byte("streamed, "))
	h.feed(3, []byte{})
	h.feed(3, []byte("in pieces"))
	h.feed(3, nil)
	if got := h.fetch(3); got.body != "-1 [chunked] str <nil> eamed, in pieces" {
		t.Errorf("stream: %q", got.body)
	}
}

func TestHTTPBodyThatEndsEarly(t *testing.T) {
	errs, running := make(chan error, 2), make(chan struct{}, 2)
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/deadline" {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		}
		var half [4]byte
		if _, err := io.ReadFull(r.Body, half[:]); err != nil {
			errs <- err
			return
		}
		running <- struct{}{}
		_, err := io.ReadAll(r.Body)
		errs <- err
	})
	h.put(ask(1, fakeRequest{path: "/", more: true, length: 10}))
	h.feed(1, []byte("half"))
	<-running
	h.put(event{kind: eventCancel, task: 1})
	if err := <-errs; !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, ErrCallerGone) {
		t.Errorf("cancelled: %v", err)
	}
	h.put(ask(2, fakeRequest{path: "/deadline", more: true, length: 10}))
	h.feed(2, []byte("half"))
	if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
}

// The host's memory goes with the task.
func TestHTTPBodyAfterTheHandler(t *testing.T) {
	kept := make(chan io.Reader, 1)
	h := servingHTTP(t, func(_ http.ResponseWriter, r *http.Request) { kept <- r.Body })
	h.get(1, fakeRequest{method: "POST", body: "0123456789"})
	if n, err := (<-kept).Read(make([]byte, 10)); n != 0 || err != http.ErrBodyReadAfterClose {
		t.Errorf("%d, %v", n, err)
	}
}

func TestHTTPAnswers(t *testing.T) {
	big := strings.Repeat("0123456789", 10_000)
	for i, c := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		lines   string
		body    string
		failed  string
	}{
		{name: "nothing", handler: func(http.ResponseWriter, *http.Request) {}, status: 200, lines: "Content-Length: 0"},
		{name: "small", handler: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
			status: 200, lines: "Content-Length: 6|Content-Type: text/html; charset=utf-8", body: "<html>"},
		{name: "sorted, with duplicates", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["B"] = []string{"1", "2"}
			w.Header().Set("A", " x ")
			w.Header().Set("Content-Type", "a/b")
			w.WriteHeader(404)
			w.Header().Set("Late", "x")
		}, status: 404, lines: "A: x|B: 1|B: 2|Content-Type: a/b|Content-Length: 0"},
		{name: "no type at all", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "x")
		}, status: 200, lines: "Content-Length: 1", body: "x"},
		{name: "encoded, so not sniffed", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, "x")
		}, status: 200, lines: "Content-Encoding: br|Content-Length: 1", body: "x"},
		{name: "large", handler: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, big) },
			status: 200, lines: "Content-Type: text/plain; charset=utf-8", body: big},
		{name: "large with a length", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, big[:50])
			io.WriteString(w, big[50:])
		}, status: 200, lines: "Content-Type: a/b|Content-Length: 100000", body: big},
		{name: "no content", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "abc"); err != http.ErrBodyNotAllowed {
				t.Errorf("204: %v", err)
			}
		}, status: 204},
		{name: "not modified", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(304)
		}, status: 304, lines: `Etag: "x"`},
		{name: "too much", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			if n, err := io.WriteString(w, "abcd"); n != 0 || err != http.ErrContentLength {
				t.Errorf("too much: %d, %v", n, err)
			}
		}, status: 200, lines: "Content-Length: 3"},
		{name: "bad length", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "many")
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, "abcd")
		}, status: 200, lines: "Content-Type: a/b|Content-Length: 4", body: "abcd"},
		{name: "what would split the head", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("A", "1\r\nB: 2\x00")
			w.Header()["C D"] = []string{"x"}
			w.Header()["E:"] = []string{"x"}
		}, status: 200, lines: "A: 1  B: 2 |Content-Length: 0"},
		{name: "panic", handler: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "never seen")
			panic("boom")
		}, failed: "1 panic: boom"},
		{name: "abort", handler: func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
			failed: "1 the handler has given up the answer (http.ErrAbortHandler)"},
		{name: "bad status", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) }, failed: "1 panic: invalid WriteHeader code 99"},
		{name: "twice", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(202)
		}, status: 201, lines: "Content-Length: 0"},
		{name: "trailers", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum, content-length")
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, "x")
			w.Header().Set("X-Sum", "42")
			w.Header().Set(http.TrailerPrefix+"X-More", "yes")
		}, status: 200, lines: "Content-Type: a/b|Trailer: X-Sum, content-length|trailer X-More: yes|trailer X-Sum: 42", body: "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := servingHTTP(t, c.handler)
			got := h.get(uint64(i+1), fakeRequest{path: "/"})
			if got.failed != c.failed || got.status != c.status || got.body != c.body {
				t.Errorf("%d %q, %d bytes %.40q", got.status, got.failed, len(got.body), got.body)
			}
			lines := got.lines
			for _, line := range got.trailers {
				lines = append(lines, "trailer "+line)
			}
			if all := strings.Join(lines, "|"); all != c.lines {
				t.Errorf("head %s", all)
			}
			switch c.name {
			case "twice":
				h.expectLog("superfluous response.WriteHeader call from github.com/nffi/nffi/runtimes/go.TestHTTPAnswers.func")
			case "bad length":
				h.expectLog(`invalid Content-Length of "many"`)
			case "panic":
				h.expectLog("http: panic serving 192.0.2.1:1234: boom")
				h.expectLog("http_test.go:")
			case "abort":
				if lines := h.logged(); len(lines) > 0 {
					t.Errorf("an abort is no news: %q", lines)
				}
			}
		})
	}
}

func TestHEAD(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flush" {
			io.WriteString(w, "<html>")
			w.(http.Flusher).Flush()
		}
		if n, err := io.WriteString(w, "<html>"); n != 6 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	for i, c := range [][2]string{{"/", "Content-Length: 6|Content-Type: text/html; charset=utf-8"}, {"/flush", "Content-Type: text/html; charset=utf-8"}} {
		got := h.get(uint64(i+1), fakeRequest{method: "HEAD", path: c[0]})
		if all := strings.Join(got.lines, "|"); got.body != "" || all != c[1] {
			t.Errorf("%s: %s %q", c[0], all, got.body)
		}
	}
}

func TestEarlyHints(t *testing.T) {
	h := servingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(100) // nginx's
		w.Header().Del("Link")
		io.WriteString(w, "x")
	})
	got := h.get(1, fakeRequest{path: "/"})
	if len(got.early) != 1 || got.early[0].status != 103 || got.early[0].get("Link") != "</a>" || got.status != 200 || got.get("Link") != "" {
		t.Errorf("%+v", got)
	}
}

func TestFlushSendsAtOnce(t *testing.T) {
	gate := make(chan struct{})
	h := servingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-gate
		io.WriteString(w, "one")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-gate
		io.WriteString(w, "two")
	})
	h.put(ask(1, fakeRequest{path: "/"}))
	h.until("the head", func() bool { return len(h.pieces[1]) == 1 && len(h.pieces[1][0]) == 0 && len(h.heads[1]) == 1 })
	gate <- struct{}{}
	h.until("the first piece", func() bool { return len(h.pieces[1]) == 2 && string(h.pieces[1][1]) == "one" })
	gate <- struct{}{}
	if got := h.fetch(1); got.body != "onetwo" {
		t.Errorf("%q", got.body)
	}
}

func TestHTTPWindow(t *testing.T) {
	result := make(chan error, 3)
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/deadline" {
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		}
		n, err := w.Write(make([]byte, 5*maxPiece))
		if err == nil && n != 5*maxPiece {
			err = io.ErrShortWrite
		}
		result <- err
	})
	h.mu.Lock()
	h.window = 2
	h.mu.Unlock()
	h.put(ask(1, fakeRequest{path: "/"}))
	for _, most := range []int{2, 4} {
		h.until("a full window", func() bool { return len(h.pieces[1]) == most })
		time.Sleep(10 * time.Millisecond)
		h.mu.Lock()
		if n := len(h.pieces[1]); n != most {
			t.Errorf("%d pieces, and the window holds %d", n, most)
		}
		h.mu.Unlock()
		h.put(event{kind: eventWritable, task: 1})
	}
	if got := h.fetch(1); got.failed != "" || <-result != nil || len(got.body) != 5*maxPiece {
		t.Errorf("%q, %d bytes", got.failed, len(got.body))
	}
	h.put(ask(2, fakeRequest{path: "/"}))
	h.until("a full window", func() bool { return len(h.pieces[2]) == 2 })
	h.put(event{kind: eventCancel, task: 2})
	if err := <-result; !errors.Is(err, ErrCallerGone) {
		t.Errorf("cancelled: %v", err)
	}
	h.put(ask(3, fakeRequest{path: "/deadline"}))
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	// Nobody must take it for a whole one.
	if got := h.fetch(3); !strings.HasPrefix(got.failed, "1 the answer is not whole") {
		t.Errorf("after the deadline: %q", got.failed)
	}
}

func TestHTTPCancel(t *testing.T) {
	causes := make(chan error, 1)
	running := make(chan struct{})
	h := servingHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		close(running)
		<-r.Context().Done()
		causes <- context.Cause(r.Context())
	})
	h.put(ask(1, fakeRequest{path: "/"}))
	<-running
	h.put(event{kind: eventCancel, task: 1})
	if cause := <-causes; cause != ErrCallerGone {
		t.Errorf("%v", cause)
	}
	h.fetch(1)
}

func TestWriteAfterTheHTTPHandler(t *testing.T) {
	kept := make(chan http.ResponseWriter, 1)
	h := servingHTTP(t, func(w http.ResponseWriter, _ *http.Request) { kept <- w })
	h.get(1, fakeRequest{path: "/"})
	w := <-kept
	w.WriteHeader(500)
	if _, err := w.Write([]byte("late")); err != errHandlerOver {
		t.Errorf("Write: %v", err)
	}
	if err := http.NewResponseController(w).Flush(); err != errHandlerOver {
		t.Errorf("Flush: %v", err)
	}
	if _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("late")); err != errHandlerOver {
		t.Errorf("ReadFrom: %v", err)
	}
	if _, _, err := w.(http.Hijacker).Hijack(); err != errHandlerOver {
		t.Errorf("Hijack: %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 10_000)
	os.WriteFile(filepath.Join(dir, "big.txt"), []byte(content), 0o600)
	os.WriteFile(filepath.Join(dir, "small"), []byte("<html>small"), 0o600)
	files := http.FileServer(http.Dir(dir))
	h := servingHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/copy" {
			files.ServeHTTP(w, r)
			return
		}
		file, err := os.Open(filepath.Join(dir, "big.txt"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		file.Seek(10, io.SeekStart)
		io.WriteString(w, "<")
		n, err := io.CopyN(w, file, 50_000)
		if at, _ := file.Seek(0, io.SeekCurrent); n != 50_000 || err != nil || at != 50_010 {
			t.Errorf("%d bytes, %v, at %d", n, err, at)
		}
		io.WriteString(w, ">")
	})
	for i, c := range []struct {
		path, span, body, kind, length string
		status, files                  int
	}{
		{"/big.txt", "", content, "text/plain; charset=utf-8", "100000", 200, 1},
		{"/big.txt", "bytes=50000-", content[50000:], "text/plain; charset=utf-8", "50000", 206, 1},
		{"/big.txt", "bytes=3-5", "345", "text/plain; charset=utf-8", "3", 206, 0},
		{"/small", "", "<html>small", "text/html; charset=utf-8", "11", 200, 0},
		{"/copy", "", "<" + content[10:50010] + ">", "text/plain; charset=utf-8", "", 200, 1},
		{"/none", "", "404 page not found\n", "text/plain; charset=utf-8", "19", 404, 0},
	} {
		task := uint64(i + 1)
		got := h.get(task, fakeRequest{path: c.path, headers: [][2]string{{"Range", c.span}}})
		if got.body != c.body || got.status != c.status || len(h.files[task]) != c.files || got.get("Content-Type") != c.kind || got.get("Content-Length") != c.length {
			t.Errorf("%s %s: %d, %d bytes, %d files, %q", c.path, c.span, got.status, len(got.body), len(h.files[task]), got.lines)
		}
	}
	if got := h.get(99, fakeRequest{method: "HEAD", path: "/big.txt"}); got.body != "" || got.get("Content-Length") != "100000" || len(h.files[99]) != 0 {
		t.Errorf("HEAD: %+v", got)
	}
}

func TestOtherKinds(t *testing.T) {
	h := serving(t, "", echo)
	if got := h.get(1, fakeRequest{path: "/"}); got.failed != "1 takes messages (nffi.call), not HTTP requests (nffi_pass)" {
		t.Errorf("HTTP to Serve: %q", got.failed)
	}
	h = servingHTTP(t, func(http.ResponseWriter, *http.Request) {})
	h.put(called(1, "x"))
	if a := h.answer(1); a.status != 1 || string(a.data) != "takes HTTP requests (nffi_pass), not messages (nffi.call)" {
		t.Errorf("a message to ServeHTTP: %d %q", a.status, a.data)
	}
	type calls struct{ Greeting string }
	type web struct{ Greeting, Root string }
	h = servingWith(t, `{"greeting":"hi","root":"/r","drain":"1s"}`, func() {
		ServeConfig(func(cfg calls) (Handler, error) {
			return func(context.Context, []byte) ([]byte, error) { return []byte(cfg.Greeting), nil }, nil
		})
		ServeHTTPConfig(func(cfg web) (http.Handler, error) {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, cfg.Greeting+cfg.Root) }), nil
		})
	})
	h.put(called(1, "x"))
	if a, got := h.answer(1), h.get(2, fakeRequest{path: "/"}); string(a.data) != "hi" || got.body != "hi/r" {
		t.Errorf("both: %q, %q", a.data, got.body)
	}
	err := start(newFakeHost(t), []byte(`{"rot":"/r"}`))
	if err == nil || err.Error() != `unknown option "rot"; known are drain, gather_limit, goroutines, greeting, root` {
		t.Errorf("unknown to both: %v", err)
	}
}

func TestGoexitInAnHTTPHandler(t *testing.T) {
	h := servingHTTP(t, func(http.ResponseWriter, *http.Request) { panicOrExit() })
	if got := h.get(1, fakeRequest{path: "/"}); got.failed != "1 the handler has ended its goroutine (runtime.Goexit)" {
		t.Errorf("%q", got.failed)
	}
}

func panicOrExit() { runtime.Goexit() }
