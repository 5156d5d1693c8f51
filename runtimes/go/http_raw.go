package nffi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// longestHead is that of an answer which is written into a hijacked connection.
const longestHead = 1 << 20

// decide looks at what was written of a head, and acts when it is whole. Called with k.writing held.
func (k *hijacked) decide() error {
	for {
		status, length, err := headOf(k.head)
		if err != nil {
			return err
		}
		if length == 0 {
			if len(k.head) > longestHead {
				return fmt.Errorf("nffi: no head of an answer in the first %d bytes that were written", longestHead)
			}
			return nil
		}
		if status >= 200 {
			first := k.head
			k.head = nil
			k.raw = newRawAnswer(k)
			close(k.decided)
			_, err := k.raw.Write(first)
			return err
		}
		head, err := parseHead(status, k.head[:length])
		if err != nil {
			return err
		}
		k.head = k.head[length:]
		switch status {
		case http.StatusContinue: // nginx's
		case http.StatusSwitchingProtocols:
			if err := k.upgrade(head); err != nil {
				return err
			}
			rest := k.head
			k.head = nil
			if len(rest) > 0 {
				_, err = k.stream(rest)
			}
			return err
		default:
			k.x.in.use(func(h host) { h.head(k.x.task, head) })
		}
	}
}

// headOf finds the status and the length of a head. Length 0: it is not whole yet.
func headOf(p []byte) (status, length int, err error) {
	line, _, whole := bytes.Cut(p, []byte{'\n'})
	if !whole {
		if len(p) >= 5 && !bytes.HasPrefix(p, []byte("HTTP/")) {
			return 0, 0, errNoHead
		}
		return 0, 0, nil
	}
	version, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r"), " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err = strconv.Atoi(code)
	if err != nil || status < 100 || status > 999 || !strings.HasPrefix(version, "HTTP/1.") {
		return 0, 0, errNoHead
	}
	for _, end := range []string{"\r\n\r\n", "\n\n"} {
		if at := bytes.Index(p, []byte(end)); at >= 0 {
			return status, at + len(end), nil
		}
	}
	return status, 0, nil
}

var errNoHead = errors.New("nffi: the first bytes that are written to a hijacked connection must be the head of an HTTP/1.1 answer")

func parseHead(status int, p []byte) (headBlock, error) {
	_, lines, _ := bytes.Cut(p, []byte{'\n'})
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(lines))).ReadMIMEHeader()
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("nffi: a malformed head was written to a hijacked connection: %w", err)
	}
	return headBlock(nil).pack(status, http.Header(header), 0, nil), nil
}

// rawAnswer turns an answer that is written as it would go over the wire into an ordinary one.
type rawAnswer struct {
	to   *io.PipeWriter
	done chan struct{}
	res  response
	err  error // set before done is closed
}

func newRawAnswer(k *hijacked) *rawAnswer {
	from, to := io.Pipe()
	r := &rawAnswer{to: to, done: make(chan struct{})}
	r.res.init(k.x)
	r.res.conn = k
	go func() {
		defer close(r.done)
		r.err = r.copy(from)
		from.CloseWithError(orTrailing(r.err))
	}()
	return r
}

// orTrailing: what is written behind an answer is too much.
func orTrailing(err error) error {
	if err == nil {
		return errors.New("nffi: bytes behind the end of the answer")
	}
	return err
}

func (r *rawAnswer) copy(from io.Reader) error {
	got, err := http.ReadResponse(bufio.NewReader(from), r.res.x.req)
	if err != nil {
		return err
	}
	for name, values := range got.Header {
		r.res.header[name] = values
	}
	if _, there := got.Header["Content-Type"]; !there {
		r.res.header["Content-Type"] = nil // what is written is all there is
	}
	for name := range got.Trailer {
		r.res.header.Add("Trailer", name)
	}
	r.res.WriteHeader(got.StatusCode)
	if bodyAllowed(got.StatusCode) {
		if _, err := io.Copy(flushed{&r.res}, got.Body); err != nil {
			return err
		}
	}
	for name, values := range got.Trailer {
		r.res.header[name] = values
	}
	return nil
}

// flushed sends at once, as a connection does.
type flushed struct{ w *response }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.w.FlushError()
	}
	return n, err
}

func (r *rawAnswer) Write(p []byte) (int, error) { return r.to.Write(p) }

// finish: the connection was closed, which ends an answer of no known length.
func (r *rawAnswer) finish() answer {
	r.to.Close()
	<-r.done
	if r.err != nil && !errors.Is(r.err, errWriteGone) {
		return answer{task: r.res.x.task, status: 1, data: []byte("an answer was written to a hijacked connection that is not whole: " + r.err.Error())}
	}
	return r.res.finish()
}
