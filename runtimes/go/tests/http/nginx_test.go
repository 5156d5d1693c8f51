// Package http runs handlers of package http in a real nginx. scripts/test go says where that is.
package http

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

var site struct {
	dir, addr, library string
	master             *exec.Cmd
}

func TestMain(m *testing.M) {
	binary := os.Getenv("TEST_NGINX_BINARY")
	if binary == "" {
		fmt.Println("skipped: TEST_NGINX_BINARY is not set")
		return
	}
	os.Exit(run(m, binary))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func run(m *testing.M, binary string) int {
	var err error
	site.dir, err = os.MkdirTemp("", "nffi-go-http-")
	must(err)
	defer os.RemoveAll(site.dir)
	must(os.Chmod(site.dir, 0o755))
	site.library = filepath.Join(site.dir, "libhttp.so")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", site.library, "./library")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	must(os.Mkdir(filepath.Join(site.dir, "files"), 0o755))
	must(os.Mkdir(filepath.Join(site.dir, "tmp"), 0o755))
	must(os.WriteFile(filepath.Join(site.dir, "files", "big.bin"), big(), 0o644))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
			if err != nil {
				return
			}
			kind, message, _ := conn.ReadMessage()
			conn.WriteMessage(kind, message)
			conn.Close()
			return
		}
		if r.URL.Path == "/cut" {
			w.Header().Set("Content-Length", "1000000")
			io.WriteString(w, strings.Repeat("x", 100_000)) // less is not even begun to be sent
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Backend", "yes")
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
	}))
	defer backend.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	site.addr = l.Addr().String()
	l.Close()
	modules := ""
	for _, module := range strings.Fields(os.Getenv("TEST_NGINX_LOAD_MODULES")) {
		modules += "load_module " + module + ";\n"
	}
	if os.Geteuid() == 0 {
		modules += "user root;\n"
	}
	conf := filepath.Join(site.dir, "nginx.conf")
	must(os.WriteFile(conf, []byte(modules+fmt.Sprintf(`
worker_processes 1;
worker_shutdown_timeout 20s;
error_log %[1]s/error.log info;
pid %[1]s/nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    client_max_body_size 0;
    client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp; fastcgi_temp_path %[1]s/tmp;
    uwsgi_temp_path %[1]s/tmp; scgi_temp_path %[1]s/tmp;
    lua_package_path "%[5]s";
    nffi_runtime app %[2]s { files %[1]s/files; backend %[3]s; }
    server {
        listen %[4]s backlog=4096;
        keepalive_requests 1000000;
        location / { nffi_pass app; nffi_param USER $arg_user; }
        location /unbuffered/ { rewrite ^/unbuffered(/.*)$ $1 break; nffi_pass app; nffi_request_buffering off; }
        location /app/ { nffi_pass app; nffi_prefix /app; }
        location = /call {
            content_by_lua_block { ngx.print(require("resty.nffi").call("app", "a message")) }
        }
        location = /bare { return 200 "bare"; }
    }
}
`, site.dir, site.library, backend.URL, site.addr, os.Getenv("NFFI_LUA_PATH"))), 0o644))
	site.master = exec.Command(binary, "-p", site.dir, "-c", conf, "-g", "daemon off;")
	site.master.Stderr = os.Stderr
	must(site.master.Start())
	ended := make(chan error, 1)
	go func() { ended <- site.master.Wait() }()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if response, err := http.Get("http://" + site.addr + "/hello/x"); err == nil {
			response.Body.Close()
			break
		}
		if time.Since(began) > 20*time.Second {
			fmt.Println(log())
			panic("nginx does not answer")
		}
	}
	code := m.Run()
	site.master.Process.Signal(syscall.SIGQUIT)
	select {
	case err := <-ended:
		if err != nil {
			fmt.Println("nginx ended with", err)
			code = 1
		}
	case <-time.After(30 * time.Second):
		fmt.Println("nginx does not end")
		site.master.Process.Kill()
		code = 1
	}
	if bad := regexp.MustCompile(`(?m)^.*(\[(emerg|alert|crit)\]|DATA RACE|panicked at).*$`).FindString(log()); bad != "" {
		fmt.Println("in error.log:", bad)
		code = 1
	}
	return code
}

func log() string {
	text, _ := os.ReadFile(filepath.Join(site.dir, "error.log"))
	return string(text)
}

var big = sync.OnceValue(func() []byte {
	b := make([]byte, 3<<20+17)
	rand.Read(b)
	return b
})

func sumOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// until waits for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s: not after 20 s", what)
		}
	}
}

func request(t *testing.T, method, path string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+site.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		all = append(all, err.Error()...)
	}
	return response, string(all)
}

func get(t *testing.T, path string) string {
	t.Helper()
	_, body := request(t, "GET", path, nil)
	return body
}

func TestRouter(t *testing.T) {
	response, body := request(t, "GET", "/hello/world", nil)
	if body != "hello, world\n" || response.StatusCode != 200 || response.ContentLength != 13 || response.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %q %d %v", response.StatusCode, body, response.ContentLength, response.Header)
	}
	if response, body := request(t, "GET", "/nothing", nil); response.StatusCode != 404 || body != "404 page not found\n" {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	if response, _ := request(t, "POST", "/show", nil); response.StatusCode != 405 {
		t.Errorf("%d", response.StatusCode)
	}
	if response, body := request(t, "HEAD", "/hello/world", nil); body != "" || response.StatusCode != 405 {
		t.Errorf("%d %q", response.StatusCode, body)
	}
}

func TestShow(t *testing.T) {
	want := "GET /show?user=me HTTP/1.1 host=" + site.addr + ` tls=false ip=true prefix= params=map[USER:me] accept=[]` + "\n"
	if body := get(t, "/show?user=me"); body != want {
		t.Errorf("%q, not %q", body, want)
	}
}

// The library has a handler of messages, too.
func TestBothKinds(t *testing.T) {
	if body := get(t, "/call"); body != "a message" {
		t.Errorf("%q", body)
	}
}

func TestBodies(t *testing.T) {
	want := fmt.Sprintf("%d <nil> %s", len(big()), sumOf(big()))
	for _, prefix := range []string{"", "/unbuffered"} {
		for _, size := range []int{0, 1, 100_000, len(big())} {
			want := fmt.Sprintf("%d <nil> %s", size, sumOf(big()[:size]))
			if _, body := request(t, "POST", prefix+"/sum", bytes.NewReader(big()[:size])); body != want {
				t.Errorf("%s %d: %s", prefix, size, body)
			}
		}
		// Of no known length, chunked.
		if _, body := request(t, "PUT", prefix+"/sum?ms=100", io.MultiReader(bytes.NewReader(big()))); body != want {
			t.Errorf("%s chunked: %s", prefix, body)
		}
	}
}

func TestFullDuplex(t *testing.T) {
	conn, err := net.Dial("tcp", site.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "POST /unbuffered/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\none")
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, 3)
	if _, err := io.ReadFull(response.Body, half); err != nil || string(half) != "one" {
		t.Fatalf("%q %v", half, err)
	}
	io.WriteString(conn, "two")
	if all, err := io.ReadAll(response.Body); string(all) != "two" || err != nil {
		t.Errorf("%q %v", all, err)
	}
}

func TestFileServer(t *testing.T) {
	response, body := request(t, "GET", "/files/big.bin", nil)
	if body != string(big()) || response.ContentLength != int64(len(big())) || response.Header.Get("Last-Modified") == "" {
		t.Errorf("%d bytes, %v", len(body), response.Header)
	}
	r, _ := http.NewRequest("GET", "http://"+site.addr+"/files/big.bin", nil)
	r.Header.Set("Range", "bytes=100000-2100000")
	part, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Body.Close()
	if all, err := io.ReadAll(part.Body); err != nil || part.StatusCode != 206 || !bytes.Equal(all, big()[100000:2100001]) {
		t.Errorf("%d, %d bytes, %v", part.StatusCode, len(all), err)
	}
	r.Header.Del("Range")
	r.Header.Set("If-Modified-Since", response.Header.Get("Last-Modified"))
	same, err := http.DefaultClient.Do(r)
	if err != nil || same.StatusCode != 304 {
		t.Errorf("%v %v", same, err)
	}
}

func TestTrailers(t *testing.T) {
	response, body := request(t, "GET", "/trailers", nil)
	if body != "body" || response.Trailer.Get("X-Sum") != "42" || response.Trailer.Get("X-More") != "yes" {
		t.Errorf("%q %v", body, response.Trailer)
	}
}

func TestPanics(t *testing.T) {
	for path, want := range map[string]string{"/panic": "boom", "/panic?abort": "http.ErrAbortHandler"} {
		if response, _ := request(t, "GET", path, nil); response.StatusCode != 502 {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
		until(t, "the log", func() bool { return strings.Contains(log(), want) })
	}
	response, err := http.Get("http://" + site.addr + "/panic?after")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	get(t, "/release") // now that the head has arrived
	if body, err := io.ReadAll(response.Body); string(body) != "begun" || err != io.ErrUnexpectedEOF {
		t.Errorf("after the head: %q %v", body, err)
	}
	until(t, "the stack", func() bool { return strings.Contains(log(), "library/main.go:") })
}

func TestLog(t *testing.T) {
	get(t, "/log")
	until(t, "the log", func() bool { return regexp.MustCompile(`\[warn\].* \*\d+ .*logged`).MatchString(log()) })
}

func counts(t *testing.T) (cancelled, written int) {
	fmt.Sscan(get(t, "/counts"), &cancelled, &written)
	return cancelled, written
}

func TestDisconnectCancels(t *testing.T) {
	before, _ := counts(t)
	for range 20 {
		conn, err := net.Dial("tcp", site.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(2 * time.Millisecond)
		conn.Close()
	}
	// One that goes before its handler has begun may be answered without it.
	until(t, "cancelled contexts", func() bool { now, _ := counts(t); return now >= before+10 })
}

// workers are the pids of the master's children.
func workers() (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", site.master.Process.Pid, site.master.Process.Pid))
	for _, field := range strings.Fields(string(text)) {
		pid, _ := strconv.Atoi(field)
		pids = append(pids, pid)
	}
	return pids
}

func rss(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	found := regexp.MustCompile(`VmRSS:\s+(\d+)`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

func TestSlowClient(t *testing.T) {
	conn, err := net.Dial("tcp", site.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := workers()[0]
	before := rss(pid)
	io.WriteString(conn, "GET /stream?mib=512 HTTP/1.0\r\n\r\n")
	stands := func() int { // until the handler has stopped
		last, same := -1, 0
		until(t, "a handler that waits", func() bool {
			_, now := counts(t)
			if now == last && now > 0 {
				same++
			} else {
				last, same = now, 0
			}
			return same > 20
		})
		return last
	}
	at := stands()
	if at > 64 {
		t.Errorf("%d MiB were written, and nothing was read", at)
	}
	n, err := io.CopyN(io.Discard, conn, 100<<20)
	if err != nil {
		t.Fatalf("%d bytes: %v", n, err)
	}
	if now := stands(); now < 99 || now > 99+64 {
		t.Errorf("%d MiB after 100 MiB were read", now)
	}
	if grown := rss(pid) - before; grown > 16<<10 {
		t.Errorf("the worker has grown by %d KiB", grown)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n < 411<<20 {
		t.Errorf("the rest: %d bytes, %v", n, err)
	}
}

// counted is a body that counts what was taken of a body.
type counted struct {
	left int64
	sent atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n := min(int64(len(p)), c.left-c.sent.Load())
	if n == 0 {
		return 0, io.EOF
	}
	c.sent.Add(n)
	return int(n), nil
}

func TestSlowHandler(t *testing.T) {
	pid := workers()[0]
	before := rss(pid)
	body := &counted{left: 256 << 20}
	early := make(chan int64, 1)
	time.AfterFunc(700*time.Millisecond, func() { early <- body.sent.Load() })
	_, answer := request(t, "POST", "/unbuffered/sum?ms=1000", body)
	if !strings.HasPrefix(answer, "268435456 <nil> ") {
		t.Errorf("%q", answer)
	}
	// What the sockets hold has left the client.
	if n := <-early; n > 64<<20 {
		t.Errorf("%d bytes were sent before the handler read", n)
	}
	if grown := rss(pid) - before; grown > 16<<10 {
		t.Errorf("the worker has grown by %d KiB", grown)
	}
}

func goroutines(t *testing.T) (n int) {
	var skip int
	fmt.Sscan(get(t, "/counts"), &skip, &skip, &n)
	return n
}

func TestDroppedWebSockets(t *testing.T) {
	before := goroutines(t)
	for _, path := range []string{"/gorilla", "/coder"} {
		for range 200 {
			conn, _, err := gorilla.DefaultDialer.Dial("ws://"+site.addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			conn.NetConn().Close()
		}
	}
	until(t, "the end of their handlers", func() bool { return goroutines(t) <= before+5 })
}

func TestGorilla(t *testing.T) {
	conn, _, err := (&gorilla.Dialer{EnableCompression: true, WriteBufferSize: 1000}).Dial("ws://"+site.addr+"/gorilla", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for _, message := range [][]byte{[]byte("hello"), {}, big(), []byte("after")} {
		// Behind a buffer of 1000 bytes this makes many fragments.
		w, err := conn.NextWriter(gorilla.BinaryMessage)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			w.Write(message)
			w.Close()
		}()
		_, got, err := conn.ReadMessage()
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes, not %d: %v", len(got), len(message), err)
		}
	}
	ponged := make(chan string, 1)
	conn.SetPongHandler(func(data string) error { ponged <- data; return nil })
	conn.WriteControl(gorilla.PingMessage, []byte("ping"), time.Now().Add(time.Second))
	conn.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4000, "bye"), time.Now().Add(time.Second))
	if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, 4000) {
		t.Errorf("close: %v", err)
	}
	if got := <-ponged; got != "ping" {
		t.Errorf("pong: %q", got)
	}
}

func TestCoder(t *testing.T) {
	ctx, end := context.WithTimeout(context.Background(), 30*time.Second)
	defer end()
	conn, _, err := websocket.Dial(ctx, "ws://"+site.addr+"/coder", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for _, message := range [][]byte{[]byte("hello"), {}, big(), []byte("after")} {
		go func() {
			w, _ := conn.Writer(ctx, websocket.MessageBinary)
			for part := range bytes.SplitSeq(message, nil) { // a frame for each byte of the small ones
				if len(message) > 100 {
					w.Write(message)
					break
				}
				w.Write(part)
			}
			w.Close()
		}()
		_, got, err := conn.Read(ctx)
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes, not %d: %v", len(got), len(message), err)
		}
	}
	if err := conn.Ping(conn.CloseRead(ctx)); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("close: %v", err)
	}
}

// As a request that is none, and as one from another site, which gorilla and coder refuse.
func TestNoUpgrade(t *testing.T) {
	for _, path := range []string{"/gorilla", "/coder"} {
		if response, body := request(t, "GET", path, nil); response.StatusCode != 400 && response.StatusCode != 426 {
			t.Errorf("%s: %d %q", path, response.StatusCode, body)
		}
		_, response, err := gorilla.DefaultDialer.Dial("ws://"+site.addr+path, http.Header{"Origin": {"http://elsewhere.example"}})
		if err == nil || response == nil || response.StatusCode != 403 {
			t.Errorf("%s from elsewhere: %v %v", path, response, err)
		}
	}
	if response, body := request(t, "GET", "/raw", nil); response.StatusCode != 418 || body != "teapot" {
		t.Errorf("raw: %d %q", response.StatusCode, body)
	}
}

func TestReverseProxy(t *testing.T) {
	response, body := request(t, "POST", "/proxy/some/path", bytes.NewReader(big()))
	if body != fmt.Sprintf("POST /some/path %d", len(big())) || response.Header.Get("X-Backend") != "yes" {
		t.Errorf("%q %v", body, response.Header)
	}
	if _, body := request(t, "GET", "/proxy/cut", nil); !strings.HasSuffix(body, "xunexpected EOF") {
		t.Errorf("cut: %d bytes, %.100q", len(body), body)
	}
	conn, _, err := gorilla.DefaultDialer.Dial("ws://"+site.addr+"/proxy/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteMessage(gorilla.TextMessage, []byte("through two"))
	if _, got, err := conn.ReadMessage(); string(got) != "through two" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestReloadsUnderLoad(t *testing.T) {
	var good, failed, bare atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	load := func(path, want string, good *atomic.Int64) {
		defer clients.Done()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			select {
			case <-stop:
				return
			default:
			}
			response, err := client.Get("http://" + site.addr + path)
			if err != nil {
				failed.Add(1)
				t.Log(err)
				continue
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || string(body) != want {
				failed.Add(1)
				t.Log(response.StatusCode, string(body), err)
				continue
			}
			good.Add(1)
		}
	}
	for range 4 {
		clients.Add(1)
		go load("/hello/x", "hello, x\n", &good)
	}
	clients.Add(1)
	go load("/bare", "bare", &bare)
	// A connection that was upgraded outlives the reloads.
	conn, _, err := gorilla.DefaultDialer.Dial("ws://"+site.addr+"/gorilla", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 20 {
		before := good.Load()
		site.master.Process.Signal(syscall.SIGHUP)
		until(t, "answers after a reload", func() bool { return good.Load() > before+20 })
		if i < 5 {
			text := fmt.Sprint("reload ", i)
			conn.WriteMessage(gorilla.TextMessage, []byte(text))
			if _, got, err := conn.ReadMessage(); string(got) != text || err != nil {
				t.Errorf("%s: %q %v", text, got, err)
			}
		}
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 || bare.Load() == 0 {
		t.Errorf("%d good, %d failed, %d of the bare location", good.Load(), failed.Load(), bare.Load())
	}
	conn.Close()
	until(t, "the end of the old workers", func() bool { return len(workers()) == 1 })
}
