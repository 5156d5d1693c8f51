package nffi

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/nffi/nffi/runtimes/go/internal/options"
)

// library is what its init functions have registered: what takes messages, and what takes HTTP requests.
var library struct{ calls, http *part }

// part is one handler and its configuration.
type part struct {
	// decode makes the configuration of the options that are its own; alsoKnown are for its error messages.
	decode func(o options.Object, alsoKnown []string) (any, error)
	// names of its options. all: it takes any. none: it has no configuration.
	names     []string
	all, none bool
	start     func(in *instance, cfg any) error
}

func newPart[T any](start func(*instance, any) error) *part {
	p := &part{decode: decode[T], start: start}
	switch t := reflect.TypeFor[T](); {
	case t.Kind() != reflect.Struct:
		p.all = true
	case t.NumField() == 0:
		p.none = true
	default:
		p.names = options.Names(new(T))
	}
	return p
}

func register(where **part, p *part) {
	if *where != nil {
		panic("nffi: a library has one handler of a kind, and a second one was registered")
	}
	*where = p
}

// parts are those that there are, in the order in which they start.
func parts() []*part {
	return slices.DeleteFunc([]*part{library.calls, library.http}, func(p *part) bool { return p == nil })
}

// decodeAll gives each part its options. An option that is none's is refused.
func decodeAll(o options.Object, all []*part) ([]any, error) {
	found := make([]any, len(all))
	for i, p := range all {
		if p.none && o.IsText && len(all) > 1 {
			continue // the other one takes it
		}
		own, alsoKnown := o, options.Names(&ownOptions{})
		for _, other := range all {
			if other == p {
				continue
			}
			alsoKnown = append(alsoKnown, other.names...)
			own = own.Without(func(name string) bool {
				return !p.all && !slices.Contains(p.names, name) && (other.all || slices.Contains(other.names, name))
			})
		}
		user, err := p.decode(own, alsoKnown)
		if err != nil {
			return nil, err
		}
		found[i] = user
	}
	return found, nil
}

// configure reads a configuration. It starts nothing.
func configure(cfg []byte) (own ownOptions, user []any, err error) {
	all := parts()
	if len(all) == 0 {
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
	user, err = decodeAll(rest, all)
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
	for i, p := range parts() {
		if err := p.start(in, user[i]); err != nil {
			return err
		}
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
