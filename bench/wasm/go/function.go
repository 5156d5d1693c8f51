//go:build wasip1

package main

import (
	"encoding/json"
	"os"
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

func main() { handle() }

//go:wasmexport handle
func handle() {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		os.Exit(1)
	}
	err := json.NewEncoder(os.Stdout).Encode(response{
		Status:  200,
		Headers: map[string][]string{"Content-Type": {"text/plain"}},
		Body:    hello(req.Body, req.Method, req.URI),
	})
	if err != nil {
		os.Exit(1)
	}
}
