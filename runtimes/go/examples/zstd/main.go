// zstd compresses a text of this machine at every level of a pure Go zstd, and says what each costs and saves.
//
// A request is the name of a file in the option dir, or nothing for the list of them; an answer is JSON.
package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	nffi "github.com/nffi/nffi/runtimes/go"
)

type config struct {
	// Dir holds the texts.
	Dir string
}

type level struct {
	Level        string  `json:"level"`
	Bytes        int     `json:"bytes"`
	Milliseconds float64 `json:"milliseconds"`
}

type report struct {
	File   string  `json:"file"`
	Bytes  int     `json:"bytes"`
	Levels []level `json:"levels"`
}

func init() {
	nffi.ServeConfig(func(cfg config) (nffi.Handler, error) {
		texts, err := regularFiles(cfg.Dir)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, req []byte) ([]byte, error) {
			if len(req) == 0 {
				return json.Marshal(texts)
			}
			// Only what is in the list: a request is no path.
			for _, name := range texts {
				if name == string(req) {
					return compress(ctx, cfg.Dir, name)
				}
			}
			return nil, nffi.Errorf(404, "no text named %q", req)
		}, nil
	})
}

func regularFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func compress(ctx context.Context, dir, name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	result := report{File: name, Bytes: len(text)}
	for l := zstd.SpeedFastest; l <= zstd.SpeedBestCompression; l++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		packed := encoder.EncodeAll(text, nil)
		took := time.Since(begin)
		encoder.Close()
		result.Levels = append(result.Levels, level{l.String(), len(packed), float64(took.Microseconds()) / 1000})
	}
	return json.Marshal(result)
}

func main() {}
