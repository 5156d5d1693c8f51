package nffi

// answers collects what handlers have answered, so that one call into C hands over many. No goroutine does only
// that, and none is woken for it: whoever finds that nobody else is about to hand over does so.
type answers struct {
	waiting []answer
	spare   []answer // the memory of the last batch
	// handing: a goroutine is handing over, and will look again.
	handing bool
	// awaited: the poller is awake, and will look before it sleeps.
	awaited bool
}

func (a *answers) add(one answer) { a.waiting = append(a.waiting, one) }

// flushLocked hands over all answers. It is called with in.mu held, and gives it up meanwhile.
func (in *instance) flushLocked() {
	a := &in.answers
	if a.handing {
		return
	}
	a.handing = true
	for len(a.waiting) > 0 {
		batch := a.waiting
		a.waiting = a.spare[:0]
		in.mu.Unlock()
		in.use(func(h host) { h.reply(batch) })
		for i := range batch {
			batch[i].scratch.free()
		}
		clear(batch) // so that the answers' memory can go
		in.mu.Lock()
		a.spare = batch
	}
	a.handing = false
}

// fifo is a queue of calls.
type fifo struct {
	calls []*call
	first int
}

func (f *fifo) push(c *call) { f.calls = append(f.calls, c) }

func (f *fifo) pop() *call {
	if f.first == len(f.calls) {
		return nil
	}
	c := f.calls[f.first]
	f.calls[f.first] = nil
	f.first++
	if f.first == len(f.calls) {
		f.calls, f.first = f.calls[:0], 0
	} else if f.first > 1024 && f.first > len(f.calls)/2 {
		f.calls = append(f.calls[:0], f.calls[f.first:]...)
		f.first = 0
	}
	return c
}
