package nffi

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unsafe"
)

// requestHead is nffi_http_request. The host's memory, until the task ends; chost.go compares the layouts.
type requestHead struct {
	size, flags, version   uint32
	clientPort, serverPort uint16
	method, rawPath, path  hostString
	query, prefix, scheme  hostString
	clientAddr, serverAddr hostString
	serverName             hostString
	headers                *hostField
	headersLen             uintptr
	params                 *hostField
	paramsLen              uintptr
	contentLength          int64
	body                   hostString
	bodyFD                 int32
	_                      uint32
}

type hostString struct {
	data *byte
	len  uintptr
}

type hostField struct{ name, value hostString }

const (
	httpUpgrade = 1
	httpBody    = 2
	httpTLS     = 4
)

// bytes are the host's.
func (s hostString) bytes() []byte {
	if s.len == 0 {
		return nil
	}
	// SAFETY: the host keeps len bytes at data while the task lives.
	return unsafe.Slice(s.data, s.len)
}

func fieldsOf(first *hostField, n uintptr) []hostField {
	if n == 0 {
		return nil
	}
	// SAFETY: as above.
	return unsafe.Slice(first, n)
}

// text is one piece of memory for all strings of a request. It never grows, so that they stay where they are.
type text []byte

func (t *text) add(s []byte) string {
	if len(s) == 0 {
		return ""
	}
	at := len(*t)
	*t = append(*t, s...)
	return unsafe.String(&(*t)[at], len(s))
}

// methods that need no memory.
var methods = map[string]string{
	"GET": "GET", "HEAD": "HEAD", "POST": "POST", "PUT": "PUT", "DELETE": "DELETE", "OPTIONS": "OPTIONS", "PATCH": "PATCH",
}

// newRequest makes the handler's request of the host's. What it holds is Go's own, but for the body.
func (x *exchange) newRequest() *http.Request {
	from := x.from
	headers, params := fieldsOf(from.headers, from.headersLen), fieldsOf(from.params, from.paramsLen)
	size := from.method.len + from.rawPath.len + from.query.len + 1 + from.prefix.len + 2*from.clientAddr.len + 10 + from.serverAddr.len + from.serverName.len
	for i := range headers {
		size += headers[i].name.len + headers[i].value.len
	}
	for i := range params {
		size += params[i].name.len + params[i].value.len
	}
	all := make(text, 0, size)

	r := http.Request{ContentLength: 0, Body: http.NoBody, URL: &x.url}
	var known bool
	if r.Method, known = methods[string(from.method.bytes())]; !known {
		r.Method = all.add(from.method.bytes())
	}
	x.setURL(&r, &all)
	x.prefix = all.add(from.prefix.bytes())
	r.ProtoMajor, r.ProtoMinor = int(from.version/1000), int(from.version%1000)
	r.Proto = protocol(r.ProtoMajor, r.ProtoMinor)
	x.serverAddr = peer{all.add(from.serverAddr.bytes()), from.serverPort}
	x.clientAddr = peer{all.add(from.clientAddr.bytes()), from.clientPort}
	r.RemoteAddr = x.clientAddr.text(&all)

	r.Header = make(http.Header, len(headers))
	values := make([]string, len(headers))
	for i := range headers {
		name := http.CanonicalHeaderKey(all.add(headers[i].name.bytes()))
		value := all.add(headers[i].value.bytes())
		if name == "Host" {
			if r.Host == "" {
				r.Host = value
			}
			continue
		}
		if before, again := r.Header[name]; again {
			r.Header[name] = append(before, value)
			continue
		}
		values[i] = value
		r.Header[name] = values[i : i+1 : i+1]
	}
	if r.Host == "" {
		r.Host = all.add(from.serverName.bytes())
	}
	if len(params) > 0 {
		x.params = make([][2]string, len(params))
		for i := range params {
			x.params[i] = [2]string{all.add(params[i].name.bytes()), all.add(params[i].value.bytes())}
		}
	}

	more := x.flags&flagMore != 0
	length := from.contentLength
	if _, there := r.Header["Transfer-Encoding"]; there {
		// A body that nginx has read whole has a length; of one on its way it knows what has come so far.
		if more {
			length, r.TransferEncoding = -1, []string{"chunked"}
		}
		delete(r.Header, "Transfer-Encoding")
	}
	if from.flags&httpBody != 0 || more {
		if r.ContentLength = length; length != 0 {
			x.body.open(x, more)
			r.Body = &x.body
		}
	}
	if from.flags&httpTLS != 0 {
		r.TLS = x.tls(&r)
	}
	return r.WithContext(&x.call)
}

// setURL: the path as the client sent it, as net/http's own server takes it.
func (x *exchange) setURL(r *http.Request, all *text) {
	start := len(*all)
	raw := all.add(x.from.rawPath.bytes())
	r.RequestURI = raw
	if query := x.from.query; query.len > 0 {
		all.add([]byte{'?'})
		x.url.RawQuery = all.add(query.bytes())
		r.RequestURI = unsafe.String(&(*all)[start], len(*all)-start)
	}
	if isPlain(raw) {
		x.url.Path = raw
		return
	}
	if parsed, err := url.ParseRequestURI(raw); err == nil {
		x.url.Path, x.url.RawPath = parsed.Path, parsed.RawPath
		return
	}
	x.url.Path = string(x.from.path.bytes())
}

// isPlain: the path is the same encoded and decoded.
func isPlain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		if !plain[path[i]] {
			return false
		}
	}
	return true
}

var plain = func() (is [256]bool) {
	for _, b := range []byte("-_.~/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		is[b] = true
	}
	return is
}()

func protocol(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "HTTP/1.1"
	case major == 1 && minor == 0:
		return "HTTP/1.0"
	case major == 2 && minor == 0:
		return "HTTP/2.0"
	}
	return "HTTP/" + strconv.Itoa(major) + "." + strconv.Itoa(minor)
}

// peer is one end of a connection.
type peer struct {
	addr string
	port uint16
}

// text is "ip:port", or "@" for a unix socket without a name, as in Go.
func (p peer) text(all *text) string {
	if p.addr == "" || strings.HasPrefix(p.addr, "unix:") {
		return "@"
	}
	var buffer [64]byte
	b := buffer[:0]
	if strings.IndexByte(p.addr, ':') >= 0 {
		b = append(append(append(b, '['), p.addr...), ']')
	} else {
		b = append(b, p.addr...)
	}
	return all.add(strconv.AppendUint(append(b, ':'), uint64(p.port), 10))
}

func (p peer) net() net.Addr {
	if path, unix := strings.CutPrefix(p.addr, "unix:"); unix {
		return &net.UnixAddr{Name: path, Net: "unix"}
	}
	ip, err := netip.ParseAddr(p.addr)
	if err != nil {
		return &net.TCPAddr{Port: int(p.port)}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, p.port))
}

// tls is what is known of a connection that nginx has decrypted: that it was encrypted. The client's certificate and
// the like are for nffi_param.
func (x *exchange) tls(r *http.Request) *tls.ConnectionState {
	state := &tls.ConnectionState{HandshakeComplete: true, ServerName: string(x.from.serverName.bytes())}
	if r.ProtoMajor == 2 {
		state.NegotiatedProtocol = "h2"
	}
	return state
}
