//go:build wasip1 && reactor

package main

import "encoding/json"

// With a snapshot once for all requests: encoding/json learns the types.
func init() {
	var req request
	_ = json.Unmarshal([]byte(`{"headers":{"A":["b"]}}`), &req)
	_, _ = json.Marshal(response{Headers: req.Headers})
}
