package nffi

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommandStreams(t *testing.T) {
	var out, errs bytes.Buffer
	c := Command(t.Context(), "sh", "-c", `read line; echo "got $line"; echo no >&2; pwd; echo "$NAME"`)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader("hello\nmore\n"), &out, &errs
	c.Dir, c.Env = "/usr", []string{"NAME=value"}
	if err := c.Run(); err != nil || out.String() != "got hello\n/usr\nvalue\n" || errs.String() != "no\n" {
		t.Errorf("%v, %q, %q", err, out.String(), errs.String())
	}
	if err := c.Start(); err == nil {
		t.Error("it ran a second time")
	}
	if err := c.Wait(); err == nil {
		t.Error("it was waited for a second time")
	}
}

func TestCommandExitCode(t *testing.T) {
	for code := range 100 {
		out, err := Command(t.Context(), "sh", "-c", "echo x; exit $0", string([]byte{byte('0' + code/10), byte('0' + code%10)})).Output()
		var exit *exec.ExitError
		if code != 0 && (!errors.As(err, &exit) || exit.ExitCode() != code) || code == 0 && err != nil || string(out) != "x\n" {
			t.Fatalf("exit %d: %v, %q", code, err, out)
		}
	}
}

func TestCommandCombinedOutput(t *testing.T) {
	out, err := Command(t.Context(), "sh", "-c", "echo a; echo b >&2").CombinedOutput()
	if err != nil || len(out) != 4 {
		t.Errorf("%v, %q", err, out)
	}
}

func TestCommandNotFound(t *testing.T) {
	if err := Command(t.Context(), "nffi-no-such-program").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("by name: %v", err)
	}
	if err := Command(t.Context(), "/nffi/no/such/program").Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("by path: %v", err)
	}
	c := Command(t.Context(), "true")
	c.Dir = "/nffi/no/such/directory"
	if err := c.Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
	c = Command(t.Context(), "true", "a\x00b")
	if err := c.Run(); err == nil || !strings.Contains(err.Error(), "a byte 0") {
		t.Errorf("byte 0: %v", err)
	}
}

func TestCommandWithoutPath(t *testing.T) {
	t.Setenv("PATH", "")
	if out, err := Command(t.Context(), "echo", "x").Output(); err != nil || string(out) != "x\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// A descriptor without close-on-exec, as nginx's sockets are, and a blocked signal.
func TestCommandInheritsNothing(t *testing.T) {
	var pair [2]int
	if err := syscall.Pipe(pair[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	const list = "ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status"
	inherited, err := exec.Command("sh", "-c", list).Output()
	if err != nil || len(strings.Fields(string(inherited))) <= 4+4 {
		t.Fatalf("os/exec: %v, %q: there is nothing to be inherited, so nothing is tested", err, inherited)
	}
	out, err := Command(t.Context(), "sh", "-c", list).Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out))
	// 3 is ls's own. glibc ignores signals 32 and 33, which are its own, in what it spawns.
	if want := []string{"0", "1", "2", "3", "SigBlk:", "0000000000000000", "SigIgn:", "0000000180000000"}; !slices.Equal(words, want) {
		t.Errorf("got %q", words)
	}
}

func TestCommandIsKilledWithItsGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	// The sleep is a grandchild, and holds the pipe.
	c := Command(ctx, "sh", "-c", "sleep 100 & echo $!; wait")
	pipe, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout = theirs
	c.Stderr = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	line := make([]byte, 32)
	n, _ := pipe.Read(line)
	time.AfterFunc(20*time.Millisecond, cancel)
	began := time.Now()
	if err := c.Wait(); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	// The end of the pipe says that nobody holds it: the grandchild is gone too.
	pipe.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := pipe.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("sleep %s lives: %v", line[:n], err)
	}
	if err := Command(ctx, "true").Run(); err != context.Canceled {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Whoever kills after the program was waited for may hit another one that has got its number. Here that number still
// means a group, of a program that it has left behind.
func TestCommandIsNotKilledOnceItIsReaped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := Command(ctx, "sh", "-c", "sleep 100 & echo $!")
	c.Stdout = theirs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, _ := in.Read(line)
	left, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(left, syscall.SIGKILL)
	cancel()
	for range 100 {
		c.watch() // what it has waited for and the cancellation are there both: it may see either
	}
	in.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := in.Read(line); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the group was killed: %v", err)
	}
}
