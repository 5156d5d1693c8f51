package nffi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nffi/nffi/runtimes/go/internal/options"
)

// Handler answers one request. req and the answer are bytes of any content, from none up; both belong to Go, so they
// may be kept. Handlers run concurrently, each in its own goroutine.
//
// An error reaches the caller as its text with status 1, an [*Error] with the status that it carries.
type Handler func(ctx context.Context, req []byte) ([]byte, error)

// StreamHandler answers one request piece by piece: it reads the request from req, writes the answer to res and
// returns. It serves plain calls too: the host puts their pieces together.
type StreamHandler func(ctx context.Context, req *Request, res *Response) error

// Size is a number of bytes in a configuration: 1024, 64k, 1m, 1g.
type Size = options.Size

// Error is an error with a status of its own, which the caller gets beside the message.
type Error struct {
	// Status is not 0; where it is, the caller gets 1.
	Status  int32
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an [*Error].
func Errorf(status int32, format string, arguments ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, arguments...)}
}

func statusOf(err error) (int32, []byte) {
	var own *Error
	if errors.As(err, &own) && own.Status != 0 {
		return own.Status, []byte(err.Error())
	}
	return 1, []byte(err.Error())
}

// Serve registers the handler of a library that takes no configuration of its own. Call it once, in an init function.
func Serve(handler Handler) {
	if handler == nil {
		panic("nffi: Serve with a nil handler")
	}
	ServeConfig(func(struct{}) (Handler, error) { return handler, nil })
}

// ServeConfig registers what makes a handler of a configuration. start runs for each nffi_runtime block that names
// the library, in each worker, when it starts; an error is why the runtime does not start, and every call is answered
// with it. Call ServeConfig once, in an init function.
//
// T is a struct whose fields are the options: by the tag `nffi:"name"`, else by the tag json, else the field's name in
// snake case. Fields are strings, numbers, bool (on, off, or no value), [time.Duration] and [Size] (as nginx writes
// them), slices (an option that may be repeated), pointers (nil where the option is missing), whatever implements
// encoding.TextUnmarshaler, and, for config '{...}', nested structs and maps. Options that T has no field for are
// refused. T may also be a map with string keys, or string or []byte for config '...' as it stands.
//
// Where *T has a method SetDefaults(), that is called first; where it has Check() error, that is called last. Both also
// run when a configuration is tested, so they must only look.
func ServeConfig[T any](start func(cfg T) (Handler, error)) {
	register(&library.calls, newPart[T](func(in *instance, cfg any) error {
		handler, err := start(cfg.(T))
		if err != nil {
			return err
		}
		if handler == nil {
			return errors.New("the library's start function has returned no handler")
		}
		limit := int64(in.own.GatherLimit)
		in.serve = func(c *call) ([]byte, error) {
			req, err := c.whole(limit)
			if err != nil {
				return nil, err
			}
			return handler(c, req)
		}
		return nil
	}))
}

// ServeStream is [Serve] for a handler of pieces.
func ServeStream(handler StreamHandler) {
	if handler == nil {
		panic("nffi: ServeStream with a nil handler")
	}
	ServeStreamConfig(func(struct{}) (StreamHandler, error) { return handler, nil })
}

// ServeStreamConfig is [ServeConfig] for a handler of pieces.
func ServeStreamConfig[T any](start func(cfg T) (StreamHandler, error)) {
	register(&library.calls, newPart[T](func(in *instance, cfg any) error {
		handler, err := start(cfg.(T))
		if err != nil {
			return err
		}
		if handler == nil {
			return errors.New("the library's start function has returned no handler")
		}
		in.pieces = true
		in.serve = func(c *call) ([]byte, error) {
			req, res := &Request{c: c, first: true}, &Response{c: c}
			defer func() {
				c.stop(context.Canceled) // a write that waits in another goroutine gives up
				res.close()
			}()
			return nil, handler(c, req, res)
		}
		return nil
	}))
}

// ownOptions are the SDK's, in every Go runtime's block.
type ownOptions struct {
	// Goroutines is how many calls run at once; the others wait.
	Goroutines int
	// Drain is how long calls may run on after they were cancelled by a stop.
	Drain time.Duration
	// GatherLimit bounds a request that comes in pieces, where the handler takes it as a whole.
	GatherLimit options.Size
}

func (o *ownOptions) SetDefaults() {
	*o = ownOptions{Goroutines: 10_000, Drain: 3 * time.Second, GatherLimit: 64 << 20}
}

func (o *ownOptions) Check() error {
	if o.Goroutines < 1 || o.Goroutines > 1_000_000 {
		return fmt.Errorf("option \"goroutines\": a number from 1 to 1000000 expected, got %d", o.Goroutines)
	}
	if o.Drain > time.Hour {
		return fmt.Errorf("option \"drain\": at most 1h, got %v", o.Drain)
	}
	return nil
}

// decode makes a T of what is left of a configuration once others have taken their options.
func decode[T any](o options.Object, alsoKnown []string) (any, error) {
	var cfg T
	if d, ok := any(&cfg).(interface{ SetDefaults() }); ok {
		d.SetDefaults()
	}
	if err := o.Decode(&cfg, alsoKnown); err != nil {
		return nil, err
	}
	if c, ok := any(&cfg).(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// whole returns the request, of however many pieces.
func (c *call) whole(limit int64) ([]byte, error) {
	if c.flags&flagMore == 0 {
		return c.req, nil
	}
	all, err := io.ReadAll(io.LimitReader(&Request{c: c, first: true}, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(all)) > limit {
		return nil, fmt.Errorf("the request is larger than %d bytes: see the option gather_limit", limit)
	}
	return all, nil
}
