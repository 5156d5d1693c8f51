package nffi

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestLogLines(t *testing.T) {
	logger := slog.New(NewLogHandler(nil))
	h := serving(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		derived, end := context.WithCancel(ctx)
		defer end()
		logger.DebugContext(derived, "d")
		logger.InfoContext(ctx, "i", "a", 1, "level", 2, "msg", "three", "time", 4)
		logger.With("w", "x y").WithGroup("g").WarnContext(ctx, "w", "a", 1)
		logger.ErrorContext(ctx, "two\nlines", "err", errors.New("bad"))
		logger.Log(ctx, slog.LevelError+4, "worse")
		logger.Info("no context")
		return nil, nil
	})
	h.put(called(7, ""))
	h.answer(7)
	want := []string{
		"7 7 d",
		"7 6 i a=1 level=2 msg=three time=4",
		`7 4 w w="x y" g.a=1`,
		"7 3 two",
		"7 3 lines err=bad",
		"7 3 worse",
		"0 6 no context",
	}
	if got := h.logged(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogOfAnEndedCall(t *testing.T) {
	logger := slog.New(NewLogHandler(nil))
	kept := make(chan context.Context, 1)
	h := serving(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		kept <- ctx
		return nil, nil
	})
	h.put(called(7, ""))
	h.answer(7)
	ctx := <-kept
	<-ctx.Done()
	logger.InfoContext(ctx, "later")
	if got := h.logged(); !slices.Equal(got, []string{"0 6 later"}) {
		t.Errorf("a task that is over was named: %q", got)
	}
}

func TestLogLevelAndReplace(t *testing.T) {
	logger := slog.New(NewLogHandler(&slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == "secret" {
				a.Value = slog.StringValue("*")
			}
			return a
		},
	}))
	h := serving(t, "", echo)
	logger.Info("dropped")
	logger.Warn("kept", "secret", "x")
	if got := h.logged(); !slices.Equal(got, []string{"0 4 kept secret=*"}) {
		t.Errorf("got %q", got)
	}
}

func TestPackageLog(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	slog.SetDefault(slog.New(NewLogHandler(nil)))
	h := serving(t, "", echo)
	log.Print("from package log")
	if got := h.logged(); !slices.Equal(got, []string{"0 6 from package log"}) {
		t.Errorf("got %q", got)
	}
}

func TestLines(t *testing.T) {
	var got []string
	lines(strings.NewReader("a\n\r\nb\r\n"+strings.Repeat("c", longestLine+1)+"\nd"), func(line string) { got = append(got, line) })
	want := []string{"a", "", "b", strings.Repeat("c", longestLine), "c", "d"}
	if !slices.Equal(got, want) {
		t.Errorf("got %.200q", got)
	}
}
