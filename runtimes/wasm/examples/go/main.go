// A function in Go, for `interface wasi`: it answers with what it was asked.
//
//	GOOS=wasip1 GOARCH=wasm go build -o hello.wasm
//
// As a reactor it can be started once for all requests, with `snapshot on`:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o hello.wasm
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type request struct {
	Method  string              `json:"method"`
	URI     string              `json:"uri"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body"`
	TraceID string              `json:"trace_id"`
}

type response struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body"`
}

// With a snapshot once for all requests: encoding/json learns the types, and that takes longer than all the rest.
func init() {
	var req request
	_ = json.Unmarshal([]byte(`{"headers":{"A":["b"]}}`), &req)
	_, _ = json.Marshal(response{Headers: req.Headers})
}

// A command: each request starts Go's runtime, and runs main.
func main() {
	handle()
}

// A reactor: each request runs this, and main is never run.
//
//go:wasmexport handle
func handle() {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		fmt.Fprintln(os.Stderr, "reading the request:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "trace", req.TraceID)
	name := strings.TrimSpace(req.Body)
	if name == "" {
		name = "nobody"
	}
	err := json.NewEncoder(os.Stdout).Encode(response{
		Status:  200,
		Headers: map[string][]string{"Content-Type": {"text/plain"}, "X-Agent": req.Headers["User-Agent"]},
		Body:    fmt.Sprintf("hello %s, this is %s %s\n", name, req.Method, req.URI),
	})
	if err != nil {
		os.Exit(1)
	}
}
