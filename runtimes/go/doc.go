// Package nffi makes a Go function a runtime of nffi: nginx calls it, and does not block while it works.
//
//	package main
//
//	import (
//		"context"
//
//		nffi "github.com/nffi/nffi/runtimes/go"
//	)
//
//	func init() {
//		nffi.Serve(func(ctx context.Context, req []byte) ([]byte, error) {
//			return append([]byte("hello, "), req...), nil
//		})
//	}
//
//	func main() {} // never called
//
// Build it with
//
//	go build -buildmode=c-shared -o libhello.so .
//
// and declare the library with nffi_runtime in nginx.conf.
//
// # Life
//
// [Serve] and its relatives are called once, in an init function. The library is loaded by each nginx worker, and by
// a short-lived child process whenever a configuration is tested; so an init function should register the handler and
// do nothing else. What a runtime needs (connections, tables) is made in the function given to [ServeConfig], which
// runs once for each nffi_runtime block that names the library. Two blocks are two runtimes: each has its own queue,
// configuration and handler. They share the Go runtime (its heap, its garbage collector, package variables).
//
// # Calls
//
// Each call runs in a goroutine; the option goroutines bounds how many run at once. Its context has the caller's
// deadline, and is cancelled when the caller has gone: after a timeout (within 200 ms of the deadline), a kill or a
// disconnect; and when the runtime is told to stop. A panic in the handler is an error answer and a stack trace in the log; one in a goroutine that the
// handler has started ends the worker, as in any Go program.
//
// # HTTP
//
// [ServeHTTP] takes an [net/http.Handler], for locations with nffi_pass. A library may have both kinds of handlers.
//
// # What not to do
//
// The process is nginx's. os.Exit, log.Fatal and flag.Parse with a bad flag end the worker and all its requests.
// signal.Notify and signal.Ignore for HUP, INT, QUIT, TERM, USR1, USR2, WINCH, IO, ALRM and CHLD take from nginx what
// it lives on. os.Chdir moves whichever threads share that thread's directory. os/exec hands nginx's sockets to the
// child, and its blocked signals: use [Command].
package nffi
