package nffi

import (
	"encoding/binary"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// headBlock is header lines as shim.h says: no pointers, so that cgo looks at nothing.
type headBlock []byte

// headFixed is where the table of lengths begins: behind the status, the number of lines, and the room for lines.
const headFixed = 12

var native = binary.NativeEndian

// begin makes an empty block with room for so many lines, in the memory of an old one.
func (h headBlock) begin(status, room int) headBlock {
	size := headFixed + 8*room
	h = slices.Grow(h[:0], size+256)[:size]
	native.PutUint32(h, uint32(status))
	native.PutUint32(h[4:], 0)
	native.PutUint32(h[8:], uint32(room))
	return h
}

func (h headBlock) status() int { return int(native.Uint32(h)) }

func (h headBlock) lines() int { return int(native.Uint32(h[4:])) }

// add appends a line, for which begin has made room. A name that is none is left out, as net/http does; what would end
// a line becomes a space.
func (h headBlock) add(name, value string) headBlock {
	if !isToken(name) {
		return h
	}
	n := h.lines()
	value = textproto.TrimString(value)
	at := headFixed + 8*n
	native.PutUint32(h[at:], uint32(len(name)))
	native.PutUint32(h[at+4:], uint32(len(value)))
	native.PutUint32(h[4:], uint32(n+1))
	h = append(h, name...)
	start := len(h)
	h = append(h, value...)
	if strings.ContainsAny(value, "\r\n\x00") {
		for i, b := range h[start:] {
			if b == '\r' || b == '\n' || b == 0 {
				h[start+i] = ' '
			}
		}
	}
	return h
}

// each calls f for every line.
func (h headBlock) each(f func(name, value string)) {
	at := headFixed + 8*int(native.Uint32(h[8:]))
	for i := range h.lines() {
		name := at + int(native.Uint32(h[headFixed+8*i:]))
		value := name + int(native.Uint32(h[headFixed+8*i+4:]))
		f(string(h[at:name]), string(h[name:value]))
		at = value
	}
}

// pack makes a block of a header, in the order of its names, without those that leave says; it keeps room for more.
func (h headBlock) pack(status int, header http.Header, more int, leave func(name string) bool) headBlock {
	var few [16]string
	names, lines := few[:0], 0
	for name, values := range header {
		if leave != nil && leave(name) {
			continue
		}
		names = append(names, name)
		lines += len(values)
	}
	slices.Sort(names)
	h = h.begin(status, lines+more)
	for _, name := range names {
		for _, value := range header[name] {
			h = h.add(name, value)
		}
	}
	return h
}

// tokens are the bytes that a header's name is made of, RFC 9110 section 5.6.2.
var tokens = func() (is [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		is[b] = true
	}
	return is
}()

func isToken(name string) bool {
	for i := range len(name) {
		if !tokens[name[i]] {
			return false
		}
	}
	return name != ""
}

// bodyAllowed: an answer with that status has a body.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
