package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// room is a chat: what one says, all hear.
type room struct {
	mu      sync.Mutex
	members map[chan<- string]bool
}

func (m *room) enter(member chan<- string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.members == nil {
		m.members = make(map[chan<- string]bool)
	}
	m.members[member] = true
}

func (m *room) leave(member chan<- string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.members, member)
}

func (m *room) say(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for member := range m.members {
		select {
		case member <- text:
		default: // it reads too slowly, and misses this
		}
	}
}

func (m *room) chat(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		slog.WarnContext(r.Context(), "no chat", "error", err)
		return // Accept has answered
	}
	defer conn.CloseNow()
	heard := make(chan string, 64)
	m.enter(heard)
	defer m.leave(heard)

	ctx, end := context.WithCancel(r.Context())
	defer end()
	go func() {
		defer end()
		for {
			select {
			case text := <-heard:
				within, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := conn.Write(within, websocket.MessageText, []byte(text))
				cancel()
				if err != nil {
					return
				}
			case <-ctx.Done():
				conn.Close(websocket.StatusGoingAway, "")
				return
			}
		}
	}()
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		m.say(string(text))
	}
}
