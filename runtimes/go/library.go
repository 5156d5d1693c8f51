package nffi

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/nffi/nffi/runtimes/go/internal/options"
)

// library is what an init function has registered.
var library struct {
	decode func(options.Object) (any, error)
	start  func(in *instance, cfg any) (func(*call) ([]byte, error), error)
	pieces bool
}

func register(decode func(options.Object) (any, error), pieces bool, start func(*instance, any) (func(*call) ([]byte, error), error)) {
	if library.decode != nil {
		panic("nffi: a library has one handler, and a second one was registered")
	}
	library.decode, library.start, library.pieces = decode, start, pieces
}

// configure reads a configuration. It starts nothing.
func configure(cfg []byte) (own ownOptions, user any, err error) {
	if library.decode == nil {
		return own, nil, errors.New("the library registers no handler: call nffi.Serve in an init function")
	}
	o, err := options.Parse(cfg)
	if err != nil {
		return own, nil, err
	}
	own.SetDefaults()
	rest, err := o.Take(&own)
	if err == nil {
		err = own.Check()
	}
	if err != nil {
		return own, nil, err
	}
	user, err = library.decode(rest)
	return own, user, err
}

// start makes a runtime of a host and a configuration, and starts its poller.
func start(h host, cfg []byte) (err error) {
	own, user, err := configure(cfg)
	if err != nil {
		return err
	}
	in := newInstance(h, own)
	remember(in)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			in.log(0, severityError, fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
		}
		if err != nil {
			forget(in)
		}
	}()
	in.pieces = library.pieces
	in.serve, err = library.start(in, user)
	if err != nil {
		return err
	}
	go in.poll()
	return nil
}

// The runtimes of this library that have started and not stopped, the oldest first.
var instances struct {
	sync.Mutex
	live []*instance
}

func remember(in *instance) {
	instances.Lock()
	defer instances.Unlock()
	instances.live = append(instances.live, in)
}

func forget(in *instance) {
	instances.Lock()
	defer instances.Unlock()
	instances.live = slices.DeleteFunc(instances.live, func(one *instance) bool { return one == in })
}

// oldest is the runtime that a log line goes to when nothing says to which; nil where there is none.
func oldest() *instance {
	instances.Lock()
	defer instances.Unlock()
	if len(instances.live) == 0 {
		return nil
	}
	return instances.live[0]
}
