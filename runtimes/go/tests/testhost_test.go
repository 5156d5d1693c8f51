// Package tests runs whole libraries in nffi-testhost, whose path is in NFFI_TESTHOST. scripts/test go sets it.
package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var library string

func TestMain(m *testing.M) {
	if os.Getenv("NFFI_TESTHOST") == "" {
		fmt.Println("skipped: NFFI_TESTHOST is not set")
		return
	}
	dir, err := os.MkdirTemp("", "nffi-go-")
	if err != nil {
		panic(err)
	}
	library = filepath.Join(dir, "libtest.so")
	out, err := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, "./library").CombinedOutput()
	if err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// host runs nffi-testhost, and expects its exit code.
func host(t *testing.T, code int, stdin string, arguments ...string) (stdout, stderr string) {
	t.Helper()
	c := exec.Command(os.Getenv("NFFI_TESTHOST"), append([]string{library}, arguments...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	c.Run()
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("%q: exit code %d, not %d: %s%s", arguments, got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

func expect(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("no %q in %s", pattern, text)
	}
}

func TestLibrary(t *testing.T) {
	flags, err := exec.Command("readelf", "--dynamic", "--wide", library).Output()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, string(flags), "NODELETE")
	symbols, err := exec.Command("nm", "-D", "--defined-only", library).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"init", "check"} {
		expect(t, string(symbols), " T nffi_runtime_"+name+"_v1\n")
	}
	if strings.Contains(string(symbols), "nffi_go_") {
		t.Errorf("what is the SDK's own is exported: %s", symbols)
	}
}

func TestAnswersAndErrors(t *testing.T) {
	out, errs := host(t, 1, "", "--call", "echo hello", "--call", "echo ", "--call", "nil", "--call", "echo after")
	if out != "hello\n\nafter\n" {
		t.Errorf("answers: %q", out)
	}
	expect(t, errs, "status 1: panic: runtime error: invalid memory address or nil pointer dereference")
	expect(t, errs, `\[error\] test, call 3: .*tests/library/main.go:\d+`)
	expect(t, errs, "4 calls, 4 answers, 1 errors; stopped after")
}

func TestSizes(t *testing.T) {
	for _, size := range []int{0, 1, 65535, 65536, 65537, 16 << 20} {
		body := strings.Repeat("\x00x\xff\n", size/4+1)[:size]
		for _, how := range [][]string{{"--stdin"}, {"--stdin", "--stream"}} {
			if out, _ := host(t, 0, "echo "+body, how...); out != body {
				t.Errorf("%d bytes %q: %d came back", size, how, len(out))
			}
		}
	}
}

func TestPiecesThenAnError(t *testing.T) {
	out, errs := host(t, 1, "", "--stream", "--call", "count 100000")
	if !strings.HasSuffix(out, "\n99999\n") || strings.Count(out, "\n") < 100000 {
		t.Errorf("%d bytes, the end is %q", len(out), out[max(0, len(out)-20):])
	}
	expect(t, errs, "status 9: counted")
}

func TestCancelled(t *testing.T) {
	_, errs := host(t, 1, "", "--timeout", "50", "--call", "sleep 60000")
	expect(t, errs, "timeout")
	expect(t, errs, `1 calls.*stopped after \d{1,3}\.`)
}

func TestConfiguration(t *testing.T) {
	host(t, 0, "", "--check", "--config", `{"goroutines":"5"}`)
	_, errs := host(t, 1, "", "--check", "--config", `{"gorutines":"5"}`)
	expect(t, errs, `unknown option "gorutines"; known are drain, gather_limit, goroutines`)
	_, errs = host(t, 1, "", "--config", `{"goroutines":"many"}`, "--call", "echo x")
	expect(t, errs, `option "goroutines": a whole number expected, got "many"`)
}

func TestSurroundings(t *testing.T) {
	out, _ := host(t, 0, "", "--env", "NFFI_TEST=a b", "--env", "GOMAXPROCS=7", "--working-directory", "/usr",
		"--call", "procs", "--call", `command echo "$NFFI_TEST"; pwd`, "--call", `os_exec echo "$NFFI_TEST"; pwd; exit 3`)
	if out != "7\n0 a b\n/usr\n\n3 a b\n/usr\n\n" {
		t.Errorf("got %q", out)
	}
}

func TestOutputGoesToTheLog(t *testing.T) {
	_, errs := host(t, 0, "", "--call", "print one", "--call", "sleep 50")
	expect(t, errs, `\[info\] test: stdout one`)
	expect(t, errs, `\[warn\] test: stderr one`)
	expect(t, errs, `\[info\] test: log one`)
}

func TestChildren(t *testing.T) {
	for _, how := range []string{"os_exec", "command"} {
		var calls []string
		for code := range 20 {
			calls = append(calls, "--call", fmt.Sprintf("%s echo %d; exit %d", how, code, code))
		}
		out, _ := host(t, 0, "", calls...)
		for code := range 20 {
			expect(t, out, fmt.Sprintf("(?m)^%d %d$", code, code))
		}
	}
	// nffi-testhost blocks in its start thread what nginx does. os/exec hands that on, the SDK does not.
	out, _ := host(t, 0, "", "--call", "masks")
	masks := regexp.MustCompile(`SigBlk:\t(\S+)`).FindAllStringSubmatch(out, -1)
	if len(masks) != 2 || masks[1][1] != "0000000000000000" {
		t.Errorf("blocked signals of children: %q", out)
	} else if masks[0][1] == masks[1][1] {
		t.Error("a child of os/exec has no signal blocked any more: say so in the documentation")
	}
}

func TestNoHTTP(t *testing.T) {
	_, errs := host(t, 1, "", "--http", "GET /")
	expect(t, errs, `takes messages \(nffi\.call\), not HTTP requests \(nffi_pass\)`)
}

func TestManyCalls(t *testing.T) {
	for _, concurrency := range []string{"1", "64", "2000"} {
		out, _ := host(t, 0, "", "--call", "echo hello", "--repeat", "20000", "--concurrency", concurrency)
		expect(t, out, "20000 calls")
	}
}
