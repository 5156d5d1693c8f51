package nffi

// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// surroundings makes Go see the environment and the working directory that the host has prepared.
//
// Runs on: the host's start thread.
func surroundings() error {
	refreshEnvironment()
	tuneOnce.Do(tune)
	return sameDirectory()
}

// refreshEnvironment: Go has read the environment where the process had it at exec, which nginx has left since.
//
// os.Setenv calls C's setenv. That gets the values which are there already, so the environment stays as it is for
// other threads that look at it.
func refreshEnvironment() {
	now := make(map[string]string)
	for i := 0; ; i++ {
		entry := C.nffi_go_environment(C.size_t(i))
		if entry == nil {
			break
		}
		if name, value, ok := strings.Cut(C.GoString(entry), "="); ok && name != "" {
			now[name] = value
		}
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if _, there := now[name]; !there {
			os.Unsetenv(name)
		}
	}
	for name, value := range now {
		if old, there := os.LookupEnv(name); !there || old != value {
			os.Setenv(name, value)
		}
	}
}

var tuneOnce sync.Once

// tune applies the variables that the Go runtime read when it started, too early for nffi_runtime's env.
func tune() {
	if n, err := strconv.Atoi(os.Getenv("GOMAXPROCS")); err == nil && n > 0 {
		runtime.GOMAXPROCS(n)
	}
	if text := os.Getenv("GOGC"); text == "off" {
		debug.SetGCPercent(-1)
	} else if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		debug.SetGCPercent(n)
	}
	if n, ok := memoryLimit(os.Getenv("GOMEMLIMIT")); ok {
		debug.SetMemoryLimit(n)
	}
}

// memoryLimit reads GOMEMLIMIT: bytes, or with B, KiB, MiB, GiB or TiB behind, or off.
func memoryLimit(text string) (int64, bool) {
	if text == "off" {
		return math.MaxInt64, true
	}
	unit := int64(1)
	if number, ok := strings.CutSuffix(text, "B"); ok {
		text = number
		for i, suffix := range []string{"Ki", "Mi", "Gi", "Ti"} {
			if number, ok := strings.CutSuffix(text, suffix); ok {
				text, unit = number, 1<<(10*(i+1))
				break
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// firstDirectory is that of the library's first runtime. Init runs for one runtime at a time.
var firstDirectory string

// sameDirectory refuses a second working directory: a directory belongs to threads, and Go moves goroutines of all
// runtimes of the library over all its threads.
func sameDirectory() error {
	buffer := make([]byte, 4096)
	n, err := syscall.Getcwd(buffer)
	if err != nil || n < 1 {
		return nil // it was removed, or is too deep: nothing to compare
	}
	here := string(buffer[:n-1])
	if firstDirectory == "" {
		firstDirectory = here
	}
	if here != firstDirectory {
		return fmt.Errorf("working_directory %s: another runtime of this library runs in %s, and one Go library has one working directory: "+
			"give both the same, or build the library a second time under another name", here, firstDirectory)
	}
	return nil
}
