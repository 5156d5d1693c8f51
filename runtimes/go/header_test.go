package nffi

import (
	"bytes"
	"os"
	"testing"
)

// A Go module cannot reach outside itself, so it has a copy of the header.
func TestHeaderIsTheProjects(t *testing.T) {
	theirs, err := os.ReadFile("../../include/nffi.h")
	if os.IsNotExist(err) {
		t.Skip("the module stands alone here")
	}
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile("nffi.h")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("runtimes/go/nffi.h is not include/nffi.h: copy it")
	}
}
