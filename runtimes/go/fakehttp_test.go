package nffi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// What the fake host does of HTTP.

// fakeHead is a head, or, with status 0, trailers.
type fakeHead struct {
	status int
	lines  []string
}

func (f fakeHead) get(name string) string {
	for _, line := range f.lines {
		if value, is := strings.CutPrefix(line, name+": "); is {
			return value
		}
	}
	return ""
}

func read(block headBlock) fakeHead {
	f := fakeHead{status: block.status()}
	block.each(func(name, value string) { f.lines = append(f.lines, name+": "+value) })
	return f
}

// fakeFile is a part of a file behind so many pieces.
type fakeFile struct {
	behind         int
	offset, length int64
	bytes          string
}

// giveHead is called with the lock held.
func (h *fakeHost) giveHead(task uint64, block headBlock) bool {
	if block == nil {
		return true
	}
	f := read(block)
	for _, before := range h.heads[task] {
		if before.status >= 200 || before.status == http.StatusSwitchingProtocols {
			h.t.Errorf("task %d: a second head", task)
		}
	}
	if f.status == http.StatusSwitchingProtocols && !h.upgrades[task] {
		return false
	}
	h.heads[task] = append(h.heads[task], f)
	h.answered.Broadcast()
	return true
}

func (h *fakeHost) head(task uint64, block headBlock) result {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use("head")
	if !h.giveHead(task, block) {
		return resultBad
	}
	return resultOK
}

func (h *fakeHost) send(task uint64, block headBlock, collected, piece []byte) result {
	h.mu.Lock()
	if _, ended := h.answers[task]; ended {
		h.t.Errorf("task %d: a piece after its end", task)
	}
	good := h.giveHead(task, block)
	h.mu.Unlock()
	if !good {
		return resultBad
	}
	return h.write(task, append(bytes.Clone(collected), piece...))
}

func (h *fakeHost) file(task uint64, block headBlock, collected []byte, fd int, offset, length int64) result {
	defer syscall.Close(fd)
	if block != nil || len(collected) > 0 {
		h.send(task, block, collected, nil)
	}
	data := make([]byte, length)
	n, err := syscall.Pread(fd, data, offset)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || int64(n) != length {
		h.t.Errorf("task %d: a file of %d bytes from %d: %d, %v", task, length, offset, n, err)
		return resultBad
	}
	h.files[task] = append(h.files[task], fakeFile{len(h.pieces[task]), offset, length, string(data)})
	return resultOK
}

func (h *fakeHost) pull(task uint64, p []byte) (int, *rest, result) {
	piece, got := h.read(task)
	if got != resultOK {
		return 0, nil, got
	}
	n := copy(p, piece)
	if n == len(piece) {
		return n, nil, got
	}
	return n, &rest{base: unsafe.Pointer(unsafe.SliceData(piece)), left: piece[n:]}, got
}

func (h *fakeHost) release(r *rest) {
	if r.base == nil {
		h.t.Error("a piece was released twice")
	}
	r.base, r.left = nil, nil
}

// fakeRequest is an HTTP request as a test writes it.
type fakeRequest struct {
	method, path, query, prefix, body string
	headers                           [][2]string
	params                            [][2]string
	version                           uint32
	flags                             uint32
	more                              bool
	file                              *os.File
	length                            int64
	client                            string
	rawPath                           string
}

func strOf(s string) hostString {
	return hostString{unsafe.StringData(s), uintptr(len(s))}
}

func fields(from [][2]string) (*hostField, uintptr) {
	var list []hostField
	for _, f := range from {
		list = append(list, hostField{strOf(f[0]), strOf(f[1])})
	}
	return unsafe.SliceData(list), uintptr(len(list))
}

// ask makes the event of a request.
func ask(task uint64, r fakeRequest) event {
	from := &requestHead{
		size: uint32(unsafe.Sizeof(requestHead{})), version: max(r.version, 1001), flags: r.flags,
		clientPort: 1234, serverPort: 80, method: strOf(r.method), path: strOf(r.path), rawPath: strOf(r.path),
		query: strOf(r.query), prefix: strOf(r.prefix), scheme: strOf("http"), clientAddr: strOf("192.0.2.1"),
		serverAddr: strOf("192.0.2.2"), serverName: strOf("name.example"), body: strOf(r.body), bodyFD: -1,
		contentLength: int64(len(r.body)),
	}
	if r.version != 0 {
		from.version = r.version
	}
	if r.method == "" {
		from.method = strOf("GET")
	}
	if r.rawPath != "" {
		from.rawPath = strOf(r.rawPath)
	}
	if r.client != "" {
		from.clientAddr = strOf(r.client)
	}
	from.headers, from.headersLen = fields(r.headers)
	from.params, from.paramsLen = fields(r.params)
	e := event{kind: eventHTTP, task: task}
	if r.body != "" || r.more || r.file != nil {
		from.flags |= httpBody
	}
	if r.more {
		e.flags, from.contentLength = flagMore, r.length
	}
	if r.file != nil {
		info, _ := r.file.Stat()
		from.bodyFD, from.contentLength = int32(r.file.Fd()), info.Size()
	}
	e.data = unsafe.Slice((*byte)(unsafe.Pointer(from)), unsafe.Sizeof(requestHead{}))
	return e
}

// servingHTTP starts a runtime with a handler.
func servingHTTP(t *testing.T, handler http.HandlerFunc) *fakeHost {
	t.Helper()
	return servingWith(t, "", func() { ServeHTTP(handler) })
}

// fetched is an answer as a client would see it.
type fetched struct {
	fakeHead
	body     string
	pieces   int
	trailers []string
	failed   string // the message of a failure
	early    []fakeHead
}

// fetch waits for the end of a task, and puts its answer together.
func (h *fakeHost) fetch(task uint64) (f fetched) {
	h.t.Helper()
	a := h.answer(task)
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.status != 0 {
		f.failed = fmt.Sprintf("%d %s", a.status, a.data)
	}
	for _, head := range h.heads[task] {
		switch {
		case head.status == 0:
			f.trailers = head.lines
		case head.status < 200 && head.status != http.StatusSwitchingProtocols:
			f.early = append(f.early, head)
		default:
			f.fakeHead = head
		}
	}
	files := h.files[task]
	var body strings.Builder
	for i, piece := range append(h.pieces[task], nil) {
		for len(files) > 0 && files[0].behind == i {
			body.WriteString(files[0].bytes)
			files = files[1:]
		}
		body.Write(piece)
	}
	f.pieces = len(h.pieces[task])
	if a.status == 0 {
		body.Write(a.data)
	}
	f.body = body.String()
	return f
}

// get asks and fetches.
func (h *fakeHost) get(task uint64, r fakeRequest) fetched {
	h.t.Helper()
	h.put(ask(task, r))
	return h.fetch(task)
}

func (h *fakeHost) expectLog(pattern string) {
	h.t.Helper()
	if lines := strings.Join(h.logged(), "\n"); !strings.Contains(lines, pattern) {
		h.t.Errorf("the log has no %q: %s", pattern, lines)
	}
}

func readAll(r io.Reader) string {
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Sprintf("%s(%v)", b, err)
	}
	return string(b)
}
