package nffi

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// log writes to the host's log, a line of the log for each line of the text.
func (in *instance) log(task uint64, level severity, text string) {
	in.use(func(h host) {
		for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
			h.log(task, level, strings.TrimRight(line, "\r"))
		}
	})
}

// NewLogHandler returns a handler for package slog that writes to nginx's error log: the message, then the attributes
// as key=value. A record that is logged with a call's context (slog.InfoContext) appears with the connection of the
// request and under the name of the runtime; others under the name of the library's oldest runtime. Levels below
// Info become debug, then info, warn, and error from slog.LevelError on; nginx's error_log decides which are written.
//
// It is slog's default when the function given to [ServeConfig] runs, so package log goes there too, at level info.
// opts may be nil; its Level drops records before nginx does.
func NewLogHandler(opts *slog.HandlerOptions) slog.Handler {
	var own slog.HandlerOptions
	if opts != nil {
		own = *opts
	}
	h := &logHandler{level: own.Level, line: new(logLine)}
	replace := own.ReplaceAttr
	own.Level = slog.Level(-1 << 30) // ours decides
	own.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && builtIn(a) {
			return slog.Attr{}
		}
		if replace != nil {
			return replace(groups, a)
		}
		return a
	}
	h.text = slog.NewTextHandler(h.line, &own)
	return h
}

// logHandler lets a TextHandler write the attributes, and puts the message before them.
type logHandler struct {
	level slog.Leveler
	text  slog.Handler
	line  *logLine // shared with those made by WithAttrs and WithGroup
}

// noMessage stands for the message where the TextHandler would write it.
const noMessage = "\x00nffi"

// builtIn: the level and the message, which nginx and we write.
func builtIn(a slog.Attr) bool {
	if a.Key == slog.LevelKey {
		_, ok := a.Value.Any().(slog.Level)
		return ok
	}
	return a.Key == slog.MessageKey && a.Value.Kind() == slog.KindString && a.Value.String() == noMessage
}

// logLine collects what the TextHandler writes for one record.
type logLine struct {
	sync.Mutex
	text strings.Builder
}

func (l *logLine) Write(p []byte) (int, error) { return l.text.Write(p) }

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.level == nil || level >= h.level.Level()
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	in, task := oldest(), uint64(0)
	if c := callOf(ctx); c != nil {
		in = c.in
		if c.stopped() != context.Canceled {
			task = c.task
		}
	}
	if in == nil {
		return nil // the last runtime has stopped, and nobody listens
	}
	attributes := slog.NewRecord(time.Time{}, r.Level, noMessage, r.PC) // nginx writes the time
	r.Attrs(func(a slog.Attr) bool {
		attributes.AddAttrs(a)
		return true
	})
	more, err := h.format(ctx, attributes)
	text := r.Message
	if more != "" {
		text += " " + more
	}
	in.log(task, severityOf(r.Level), text)
	return err
}

// format writes the attributes as text. The user's code may run here, and panic.
func (h *logHandler) format(ctx context.Context, attributes slog.Record) (string, error) {
	h.line.Lock()
	defer h.line.Unlock()
	h.line.text.Reset()
	err := h.text.Handle(ctx, attributes)
	return strings.TrimSpace(h.line.text.String()), err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{level: h.level, text: h.text.WithAttrs(attrs), line: h.line}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{level: h.level, text: h.text.WithGroup(name), line: h.line}
}

func severityOf(level slog.Level) severity {
	switch {
	case level < slog.LevelInfo:
		return severityDebug
	case level < slog.LevelWarn:
		return severityInfo
	case level < slog.LevelError:
		return severityWarn
	default:
		return severityError
	}
}
