// Markdown to HTML, by goldmark: a function in Go for `interface wasi`. A reactor, so that `snapshot on` starts Go's
// runtime, and makes the parser, once for all requests:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o markdown.wasm
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

// Raw HTML in the text is left out: goldmark's default.
var parser = goldmark.New(goldmark.WithExtensions(extension.GFM))

type request struct {
	Method string `json:"method"`
	Body   string `json:"body"`
}

type response struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body"`
}

func main() {}

// Once for all requests: encoding/json learns the types, the parser makes its tables.
func init() {
	var req request
	_ = json.Unmarshal([]byte(`{"method":"POST","body":"# *a*"}`), &req)
	var html bytes.Buffer
	_ = parser.Convert([]byte(req.Body), &html)
	_, _ = json.Marshal(response{Headers: map[string][]string{"A": {"b"}}, Body: html.String()})
}

//go:wasmexport handle
func handle() {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		fail(err)
	}
	var html bytes.Buffer
	if err := parser.Convert([]byte(req.Body), &html); err != nil {
		fail(err)
	}
	headers := map[string][]string{"Content-Type": {"text/html; charset=utf-8"}}
	if err := json.NewEncoder(os.Stdout).Encode(response{200, headers, html.String()}); err != nil {
		fail(err)
	}
}

// A line of the error log, and a 502.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
