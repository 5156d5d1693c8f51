package nffi

import (
	"time"
	"unsafe"
)

// What a runtime needs of its host: the table of nffi.h, or a test's. Every method may be called on any thread, by
// any number of goroutines at once, but for poll and wait, which are the poller's.
type host interface {
	// poll takes what is there, up to the capacity of the batch, and does not wait. Each event's data is the host's,
	// and stays until the task ends.
	poll() (events []event, more bool)
	// wait calls look until it returns true, and sleeps in between until there may be events.
	wait(look func() bool) error
	// reply ends one task with each answer.
	reply(answers []answer)
	// write sends a copy of the piece.
	write(task uint64, piece []byte) result
	// read returns the next piece, the caller's own.
	read(task uint64) ([]byte, result)

	// head gives a head that is sent at once: 1xx.
	head(task uint64, head headBlock) result
	// send is a head, where there is one, and a copy of what was collected and of the piece behind it, as one piece.
	send(task uint64, head headBlock, collected, piece []byte) result
	// file is a head, what was collected, and a part of a file. It takes fd. resultBad: the file was refused, and all
	// else has been sent.
	file(task uint64, head headBlock, collected []byte, fd int, offset, length int64) result
	// pull copies the next piece to p. What p has no room for is left in a rest, which the caller releases.
	pull(task uint64, p []byte) (int, *rest, result)
	release(*rest)

	log(task uint64, level severity, line string)
	// stopped is the last call to the host.
	stopped()
	// now is the clock of event.deadline.
	now() uint64
}

type eventKind uint32

// The numbers are those of nffi.h; chost.go compares them.
const (
	eventCall     eventKind = 1
	eventHTTP     eventKind = 2
	eventReadable eventKind = 3
	eventWritable eventKind = 4
	eventCancel   eventKind = 5
	eventStop     eventKind = 6
)

// flagMore: pieces of the request follow.
const flagMore = 1

type event struct {
	kind     eventKind
	flags    uint32
	task     uint64
	data     []byte
	deadline uint64 // nanoseconds of CLOCK_MONOTONIC; 0 never
}

type answer struct {
	task   uint64
	status int32
	data   []byte

	// Of an HTTP answer that was not begun yet, or has trailers.
	head, trailers headBlock
	// scratch is the memory of all that, to be used again.
	scratch *scratch
}

// rest is what was read of a piece and not used yet. The memory is the host's.
type rest struct {
	base unsafe.Pointer
	left []byte
}

type result int

const (
	resultOK    result = 0
	resultFull  result = 1
	resultAgain result = 2
	resultEOF   result = 3
	resultGone  result = -1
	resultBad   result = -2
)

type severity int

const (
	severityError severity = 3
	severityWarn  severity = 4
	severityInfo  severity = 6
	severityDebug severity = 7
)

// deadlineTime turns a deadline of the host's clock into one of Go's.
func deadlineTime(h host, deadline uint64) time.Time {
	return time.Now().Add(time.Duration(int64(deadline) - int64(h.now())))
}
