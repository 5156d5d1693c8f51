package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

type note struct {
	ID   int       `json:"id"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// board keeps notes in memory: those of one worker.
type board struct {
	mu      sync.Mutex
	most    int
	last    int
	notes   []note
	changed chan struct{} // closed at the next change
}

func newBoard(most int) *board {
	return &board{most: most, changed: make(chan struct{}), notes: []note{}}
}

func (b *board) now() ([]note, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notes), b.changed
}

func (b *board) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) list(w http.ResponseWriter, _ *http.Request) {
	notes, _ := b.now()
	answer(w, http.StatusOK, notes)
}

func (b *board) add(w http.ResponseWriter, r *http.Request) {
	var n note
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&n); err != nil || n.Text == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": `a body like {"text": "..."} of at most 4096 bytes expected`})
		return
	}
	n.At = time.Now().UTC()
	b.change(func() {
		b.last++
		n.ID = b.last
		b.notes = append(b.notes, n)
		b.notes = b.notes[max(0, len(b.notes)-b.most):]
	})
	w.Header().Set("Location", "/api/notes/"+strconv.Itoa(n.ID))
	answer(w, http.StatusCreated, n)
}

func (b *board) remove(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	found := false
	b.change(func() {
		before := len(b.notes)
		b.notes = slices.DeleteFunc(b.notes, func(n note) bool { return err == nil && n.ID == id })
		found = len(b.notes) < before
	})
	if !found {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such note"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// events sends the number of notes at each change, until the client goes. A line now and then keeps nffi_timeout and
// what is between away.
func (b *board) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	alive := time.NewTicker(15 * time.Second)
	defer alive.Stop()
	for {
		notes, changed := b.now()
		fmt.Fprintf(w, "event: notes\ndata: %d\n\n", len(notes))
		for again := true; again; {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-changed:
				again = false
			case <-alive.C:
				fmt.Fprint(w, ":\n\n")
			case <-r.Context().Done():
				return
			}
		}
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
