// The conformance handler in Go, as a user of the SDK would write it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	nffi "github.com/nffi/nffi/runtimes/go"
)

// Config has the options of the nffi_runtime block.
type Config struct {
	Greeting  string
	InitFail  string
	InitSleep int // milliseconds
}

type conformance struct {
	greeting  string
	cancelled atomic.Int64
}

func init() {
	nffi.ServeConfig(func(cfg Config) (nffi.Handler, error) {
		time.Sleep(time.Duration(cfg.InitSleep) * time.Millisecond)
		if cfg.InitFail != "" {
			return nil, errors.New(cfg.InitFail)
		}
		c := &conformance{greeting: cfg.Greeting}
		return c.handle, nil
	})
}

func main() {}

func (c *conformance) handle(ctx context.Context, req []byte) ([]byte, error) {
	if len(req) == 0 || req[0] != '!' {
		return req, nil
	}
	command, rest, _ := strings.Cut(string(req[1:]), " ")
	switch command {
	case "greeting":
		return []byte(c.greeting), nil
	case "fail":
		number, text, _ := strings.Cut(rest, " ")
		status, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return nil, err
		}
		return nil, &nffi.Error{Status: int32(status), Message: text}
	case "error":
		return nil, errors.New(rest)
	case "throw":
		panic(rest)
	case "sleep":
		return c.sleep(ctx, rest)
	case "cancelled":
		return strconv.AppendInt(nil, c.cancelled.Load(), 10), nil
	case "log":
		return logLine(ctx, rest)
	case "env":
		value, ok := os.LookupEnv(rest)
		if !ok {
			return nil, fmt.Errorf("no %s", rest)
		}
		return []byte(value), nil
	case "cwd":
		dir, err := os.Getwd()
		return []byte(dir), err
	case "run":
		return run(ctx, rest)
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

func (c *conformance) sleep(ctx context.Context, ms string) ([]byte, error) {
	n, err := strconv.Atoi(ms)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
		return []byte("slept"), nil
	case <-ctx.Done():
		c.cancelled.Add(1)
		return nil, context.Cause(ctx)
	}
}

func logLine(ctx context.Context, rest string) ([]byte, error) {
	name, text, _ := strings.Cut(rest, " ")
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, err
	}
	slog.Log(ctx, level, text)
	return []byte("logged"), nil
}

func run(ctx context.Context, command string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).Output()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%d %s", code, out), nil
}
