// The runtime that tests load: it does, on demand, what handlers do wrong, and what no other test does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	nffi "github.com/nffi/nffi/runtimes/go"
)

func init() {
	nffi.ServeStream(handle)
}

func main() {}

func handle(ctx context.Context, req *nffi.Request, res *nffi.Response) error {
	var first []byte
	for len(first) == 0 { // a stream may begin with a piece of no bytes
		piece, err := req.Next()
		if err != nil {
			return err
		}
		first = piece
	}
	command, rest, _ := strings.Cut(string(first), " ")
	switch command {
	case "echo":
		if _, err := io.WriteString(res, rest); err != nil {
			return err
		}
		_, err := io.Copy(res, req)
		return err
	case "count": // so many pieces, and an error behind them
		n, _ := strconv.Atoi(rest)
		for i := range n {
			if _, err := fmt.Fprintln(res, i); err != nil {
				return err
			}
		}
		return nffi.Errorf(9, "counted")
	case "nil":
		var nothing *int
		*nothing = 1
	case "exit":
		code, _ := strconv.Atoi(rest)
		os.Exit(code)
	case "sleep":
		ms, _ := strconv.Atoi(rest)
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			_, err := io.WriteString(res, "slept")
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case "print":
		fmt.Println("stdout", rest)
		fmt.Fprintln(os.Stderr, "stderr", rest)
		log.Println("log", rest)
	case "procs":
		_, err := fmt.Fprint(res, runtime.GOMAXPROCS(0))
		return err
	case "os_exec": // through os/exec
		return output(res, rest, func() ([]byte, error) { return exec.CommandContext(ctx, "/bin/sh", "-c", rest).Output() })
	case "masks": // of both kinds of children, which a shell would reset
		for _, run := range []func() ([]byte, error){
			exec.CommandContext(ctx, "/bin/grep", "SigBlk", "/proc/self/status").Output,
			nffi.Command(ctx, "grep", "SigBlk", "/proc/self/status").Output,
		} {
			if err := output(res, command, run); err != nil {
				return err
			}
		}
		return nil
	case "command": // through the SDK's
		return output(res, rest, func() ([]byte, error) { return nffi.Command(ctx, "sh", "-c", rest).Output() })
	default:
		return fmt.Errorf("unknown command %q", command)
	}
	return nil
}

// output answers with the exit code and the output.
func output(res io.Writer, command string, run func() ([]byte, error)) error {
	out, err := run()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	_, err = fmt.Fprintf(res, "%d %s", code, out)
	return err
}
