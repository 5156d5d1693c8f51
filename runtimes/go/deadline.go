package nffi

import (
	"sync"
	"time"
)

// deadline is a time that may be moved while somebody waits for it.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	turn   int           // of the timer that counts
	passed chan struct{} // closed when it has passed; made when it is needed
	isPast bool
}

// set moves it; the zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.isPast {
		d.isPast, d.passed = false, nil // who has waited is awake
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.pass()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.turn == turn {
			d.pass()
		}
	})
}

func (d *deadline) pass() {
	d.isPast = true
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	close(d.passed)
}

// wait returns what is closed when it has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func (d *deadline) hasPassed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isPast
}
