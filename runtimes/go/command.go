package nffi

/*
#include "child.h"
#include <stdlib.h>
#include <sys/wait.h>
*/
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// defaultPath is where commands are looked for in a worker without PATH, which is the rule.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Cmd is a program to be run, as in package os/exec, from which it differs in what the child gets: standard input,
// output and error and no other descriptor, no blocked signal, and a process group of its own. A child of os/exec
// inherits nginx's listening sockets, its clients' connections and its epoll descriptor, so that ports stay taken and
// connections open for as long as it runs; and it has TERM, INT and HUP blocked. A Cmd runs once.
type Cmd struct {
	Path string
	Args []string // Args[0] is the program's name
	Env  []string // nil: the environment of this process
	Dir  string   // "": the working directory of this runtime
	// Nil is /dev/null. An *os.File is handed to the child; anything else is copied by a goroutine.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	Process      *os.Process
	ProcessState *os.ProcessState // after Wait

	ctx    context.Context
	err    error      // why it cannot be started
	pipes  []*os.File // our ends
	copies sync.WaitGroup
	mu     sync.Mutex
	failed error // the first copy that failed
	waited chan struct{}
	reaped bool // its number may be another program's by now
}

// Command prepares a program. Where ctx ends first, the program and all of its process group are killed. A name
// without a slash is looked for in PATH, or, where a worker has none, where programs usually are.
func Command(ctx context.Context, name string, arguments ...string) *Cmd {
	c := &Cmd{Path: name, Args: append([]string{name}, arguments...), ctx: ctx, waited: make(chan struct{})}
	if !strings.Contains(name, "/") {
		c.Path, c.err = look(name)
	}
	return c
}

func look(name string) (string, error) {
	if os.Getenv("PATH") != "" {
		return exec.LookPath(name)
	}
	for _, dir := range filepath.SplitList(defaultPath) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// Run starts the program and waits for it. An exit code other than 0 is an [*exec.ExitError].
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("nffi: Stdout is set already")
	}
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns its standard output and error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("nffi: Stdout or Stderr is set already")
	}
	out := &lockedBuffer{}
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	return out.all.Bytes(), err
}

// lockedBuffer takes two streams.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer // not embedded: its ReadFrom would be taken for ours, and does not lock
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// Start starts the program. Wait must follow.
func (c *Cmd) Start() error {
	if c.Process != nil {
		return errors.New("nffi: the command has been started already")
	}
	if c.err != nil {
		return c.err
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var theirs [3]*os.File
	var copies []func() error
	defer func() {
		for _, file := range theirs {
			if file != nil {
				file.Close()
			}
		}
	}()
	streams := []any{c.Stdin, c.Stdout, c.Stderr}
	for i, stream := range streams {
		file, run, err := c.stream(i, stream)
		if err != nil {
			c.closePipes()
			return err
		}
		theirs[i] = file
		if run != nil {
			copies = append(copies, run)
		}
	}
	if err := c.spawn(theirs); err != nil {
		c.closePipes()
		return fmt.Errorf("cannot start %s: %w", c.Path, err)
	}
	for _, run := range copies {
		c.copies.Add(1)
		go func() {
			defer c.copies.Done()
			if err := run(); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.failed == nil {
					c.failed = err
				}
			}
		}()
	}
	go c.watch()
	return nil
}

// stream makes the child's descriptor i, at 3 or above, and what copies between it and ours.
func (c *Cmd) stream(i int, stream any) (theirs *os.File, run func() error, err error) {
	switch s := stream.(type) {
	case nil:
		flag := os.O_WRONLY
		if i == 0 {
			flag = os.O_RDONLY
		}
		theirs, err = os.OpenFile(os.DevNull, flag, 0)
		return theirs, nil, err
	case *os.File:
		theirs, err = duplicate(s)
		return theirs, nil, err
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	if i == 0 {
		c.pipes = append(c.pipes, to)
		in := stream.(io.Reader)
		return from, func() error {
			_, err := io.Copy(to, in)
			to.Close()
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
				return nil // the child has not read it all
			}
			return err
		}, nil
	}
	c.pipes = append(c.pipes, from)
	out := stream.(io.Writer)
	return to, func() error {
		_, err := io.Copy(out, from)
		if errors.Is(err, os.ErrClosed) {
			return nil // Wait has given up
		}
		return err
	}, nil
}

func duplicate(file *os.File) (*os.File, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd uintptr
	var errno syscall.Errno
	err = conn.Control(func(old uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 3)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(fd, file.Name()), nil
}

func (c *Cmd) spawn(files [3]*os.File) error {
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	for _, text := range append(append([]string{c.Path, c.Dir}, c.Args...), env...) {
		if strings.IndexByte(text, 0) >= 0 {
			return fmt.Errorf("a byte 0 in %q", text)
		}
	}
	argv, freeArgv := stringArray(c.Args)
	defer freeArgv()
	envp, freeEnvp := stringArray(env)
	defer freeEnvp()
	path := C.CString(c.Path)
	defer C.free(unsafe.Pointer(path))
	var dir *C.char
	if c.Dir != "" {
		dir = C.CString(c.Dir)
		defer C.free(unsafe.Pointer(dir))
	}
	var pid C.int
	// Fd sets a file to blocking, which is what a child expects; these are the child's alone.
	in, out, errs := C.int(files[0].Fd()), C.int(files[1].Fd()), C.int(files[2].Fd())
	if rc := C.nffi_go_spawn(&pid, path, argv, envp, dir, in, out, errs); rc != 0 {
		return syscall.Errno(rc)
	}
	process, err := os.FindProcess(int(pid))
	if err != nil {
		return err
	}
	c.Process = process
	return nil
}

// stringArray makes an array of C strings with NULL behind it, in C's memory.
func stringArray(texts []string) (**C.char, func()) {
	size := C.size_t(unsafe.Sizeof((*C.char)(nil)))
	array := (**C.char)(C.calloc(C.size_t(len(texts)+1), size))
	all := unsafe.Slice(array, len(texts)+1)
	for i, text := range texts {
		all[i] = C.CString(text)
	}
	return array, func() {
		for _, text := range all {
			C.free(unsafe.Pointer(text))
		}
		C.free(unsafe.Pointer(array))
	}
}

// watch kills the program where its context ends first.
func (c *Cmd) watch() {
	select {
	case <-c.waited:
	case <-c.ctx.Done():
		c.kill()
	}
}

// kill kills the program's group, unless the program has been reaped.
func (c *Cmd) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	}
}

// reap waits until the program has ended, and reaps it: from then on its number may be another's.
func (c *Cmd) reap() (*os.ProcessState, error) {
	awaitEnd(c.Process.Pid)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reaped = true
	return c.Process.Wait() // it has ended, so this does not hold up kill
}

// Wait waits for the program's end, and for what copies its output.
func (c *Cmd) Wait() error {
	if c.Process == nil {
		return errors.New("nffi: the command has not been started")
	}
	if c.ProcessState != nil {
		return errors.New("nffi: the command has been waited for already")
	}
	// A descendant that has left the group may hold the pipes open for ever.
	stop := context.AfterFunc(c.ctx, c.closePipes)
	state, err := c.reap()
	close(c.waited)
	c.copies.Wait()
	stop()
	c.closePipes()
	if err != nil {
		return err
	}
	c.ProcessState = state
	if !state.Success() {
		if cause := c.ctx.Err(); cause != nil {
			return cause
		}
		return &exec.ExitError{ProcessState: state}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// awaitEnd waits for the end of a child, which stays a zombie: its number is its own until it is reaped. It also
// returns where there is no such child, which Process.Wait reports.
func awaitEnd(pid int) {
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		_, _, errno = syscall.Syscall6(syscall.SYS_WAITID, C.P_PID, uintptr(pid), 0, C.WEXITED|C.WNOWAIT, 0, 0)
	}
}

func (c *Cmd) closePipes() {
	for _, pipe := range c.pipes {
		pipe.Close()
	}
}
