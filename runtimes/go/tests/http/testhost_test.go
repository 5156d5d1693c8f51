package http

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// host runs nffi-testhost with the library, and returns the answer's body and what is said of it.
func host(t *testing.T, stdin []byte, arguments ...string) (body, said string) {
	t.Helper()
	if os.Getenv("NFFI_TESTHOST") == "" {
		t.Skip("NFFI_TESTHOST is not set")
	}
	config := fmt.Sprintf(`{"files":%q,"backend":"http://127.0.0.1:1"}`, filepath.Join(site.dir, "files"))
	c := exec.Command(os.Getenv("NFFI_TESTHOST"), append([]string{site.library, "--config", config}, arguments...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := c.Run(); err != nil {
		t.Errorf("%q: %v: %s", arguments, err, errs.String())
	}
	return out.String(), errs.String()
}

func TestInTesthost(t *testing.T) {
	if body, said := host(t, nil, "--http", "GET /hello/host"); body != "hello, host\n" || !strings.Contains(said, "HTTP/1.1 200") {
		t.Errorf("%q %s", body, said)
	}
	want := fmt.Sprintf("%d <nil> %s", len(big()), sumOf(big()))
	for _, how := range [][]string{{"--stdin"}, {"--stdin", "--stream"}, {"--body-file", filepath.Join(site.dir, "files", "big.bin")}} {
		if body, said := host(t, big(), append([]string{"--http", "POST /sum"}, how...)...); body != want {
			t.Errorf("%q: %q %s", how, body, said)
		}
	}
	if body, said := host(t, nil, "--http", "GET /files/big.bin"); body != string(big()) {
		t.Errorf("a file: %d bytes, %s", len(body), said)
	}
	if body, said := host(t, nil, "--http", "GET /trailers"); body != "body" || !strings.Contains(said, "X-Sum: 42") {
		t.Errorf("%q %s", body, said)
	}
}
