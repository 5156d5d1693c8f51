package nffi

/*
#cgo CFLAGS: -fvisibility=hidden
#cgo noescape nffi_go_read
#cgo noescape nffi_go_write
#cgo noescape nffi_go_reply
#cgo noescape nffi_go_log
#cgo nocallback nffi_go_head_now
#cgo nocallback nffi_go_send
#cgo nocallback nffi_go_file
#cgo nocallback nffi_go_pull
#cgo nocallback nffi_go_poll
#cgo nocallback nffi_go_poll_fd
#cgo nocallback nffi_go_reply
#cgo nocallback nffi_go_write
#cgo nocallback nffi_go_read
#cgo nocallback nffi_go_release
#cgo nocallback nffi_go_log
#cgo nocallback nffi_go_stopped
#include "shim.h"
#include <stdlib.h>
#include <time.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// batch is how many events one look takes, and how many answers one call into C hands over.
const batch = 128

// A number that differs from nffi.h's is an index out of range, which does not compile.
var (
	_ = [1]bool{}[eventCall-C.NFFI_CALL]
	_ = [1]bool{}[eventHTTP-C.NFFI_HTTP]
	_ = [1]bool{}[eventReadable-C.NFFI_READABLE]
	_ = [1]bool{}[eventWritable-C.NFFI_WRITABLE]
	_ = [1]bool{}[eventCancel-C.NFFI_CANCEL]
	_ = [1]bool{}[eventStop-C.NFFI_STOP]
	_ = [1]bool{}[flagMore-C.NFFI_MORE]
	_ = [1]bool{}[resultOK-C.NFFI_OK]
	_ = [1]bool{}[resultFull-C.NFFI_FULL]
	_ = [1]bool{}[resultAgain-C.NFFI_AGAIN]
	_ = [1]bool{}[resultEOF-C.NFFI_EOF]
	_ = [1]bool{}[resultGone-C.NFFI_GONE]
	_ = [1]bool{}[resultBad-C.NFFI_BAD]
	_ = [1]bool{}[severityError-C.NFFI_LOG_ERR]
	_ = [1]bool{}[severityWarn-C.NFFI_LOG_WARN]
	_ = [1]bool{}[severityInfo-C.NFFI_LOG_INFO]
	_ = [1]bool{}[severityDebug-C.NFFI_LOG_DEBUG]
)

// So is an offset or a size that differs.
var (
	_ = [1]bool{}[httpUpgrade-C.NFFI_HTTP_UPGRADE]
	_ = [1]bool{}[httpBody-C.NFFI_HTTP_BODY]
	_ = [1]bool{}[httpTLS-C.NFFI_HTTP_TLS]
	_ = [1]bool{}[unsafe.Sizeof(requestHead{})-C.sizeof_nffi_http_request]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.clientPort)-unsafe.Offsetof(C.nffi_http_request{}.client_port)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.method)-unsafe.Offsetof(C.nffi_http_request{}.method)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.query)-unsafe.Offsetof(C.nffi_http_request{}.query)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.clientAddr)-unsafe.Offsetof(C.nffi_http_request{}.client_addr)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.serverName)-unsafe.Offsetof(C.nffi_http_request{}.server_name)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.headers)-unsafe.Offsetof(C.nffi_http_request{}.headers)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.params)-unsafe.Offsetof(C.nffi_http_request{}.params)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.contentLength)-unsafe.Offsetof(C.nffi_http_request{}.content_length)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.body)-unsafe.Offsetof(C.nffi_http_request{}.body)]
	_ = [1]bool{}[unsafe.Offsetof(requestHead{}.bodyFD)-unsafe.Offsetof(C.nffi_http_request{}.body_fd)]
)

// cHost is the host that init was handed.
type cHost struct {
	table  *C.nffi_host
	queue  C.nffi_queue
	events *C.nffi_event // batch of them, in C's memory: cgo looks through Go's at every call
	taken  []event       // the same in Go's terms, used again by each poll
	bell   *os.File      // a dup of poll_fd, for Go's netpoller

	// Answers on their way, in C's memory. Used by one goroutine at a time.
	replying sync.Mutex
	records  *C.nffi_go_answer
}

func newCHost(table *C.nffi_host, queue C.nffi_queue) (*cHost, error) {
	if table.abi != C.NFFI_ABI || uintptr(table.size) < unsafe.Offsetof(table.http) {
		return nil, fmt.Errorf("this library speaks version %d of nffi's ABI, the host has version %d with a table of %d bytes",
			C.NFFI_ABI, table.abi, table.size)
	}
	fd := C.nffi_go_poll_fd(table, queue)
	if fd < 0 {
		return nil, errors.New("the host has no descriptor to wait on: are there too few (worker_rlimit_nofile)?")
	}
	own, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return nil, fmt.Errorf("cannot duplicate the descriptor to wait on: %w", errno)
	}
	h := &cHost{table: table, queue: queue, bell: os.NewFile(own, "nffi queue"), taken: make([]event, 0, batch)}
	h.events = (*C.nffi_event)(C.calloc(batch, C.size_t(unsafe.Sizeof(C.nffi_event{}))))
	h.records = (*C.nffi_go_answer)(C.calloc(batch, C.size_t(unsafe.Sizeof(C.nffi_go_answer{}))))
	if h.events == nil || h.records == nil {
		h.free()
		return nil, errors.New("no memory for the events")
	}
	return h, nil
}

func (h *cHost) free() {
	h.bell.Close()
	C.free(unsafe.Pointer(h.events))
	C.free(unsafe.Pointer(h.records))
}

func (h *cHost) poll() ([]event, bool) {
	n := int(C.nffi_go_poll(h.table, h.queue, h.events, batch))
	taken := h.taken[:0]
	for _, e := range unsafe.Slice(h.events, n) {
		// SAFETY: the host keeps data, len bytes, until the task ends; whoever gets the event copies it before.
		var data []byte
		if e.data != nil {
			data = unsafe.Slice((*byte)(unsafe.Pointer(e.data)), int(e.len))
		}
		taken = append(taken, event{
			kind:     eventKind(e.kind),
			flags:    uint32(e.flags),
			task:     uint64(e.task),
			data:     data,
			deadline: uint64(e.deadline),
		})
	}
	return taken, n == batch
}

func (h *cHost) wait(look func() bool) error {
	conn, err := h.bell.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(uintptr) bool { return look() })
}

func (h *cHost) reply(answers []answer) {
	h.replying.Lock()
	defer h.replying.Unlock()
	for len(answers) > 0 {
		some := answers[:min(len(answers), batch)]
		records := unsafe.Slice(h.records, len(some))
		for i := range some {
			// SAFETY: Go's heap does not move, and `answers` keeps what data points to until the call is over.
			records[i] = C.nffi_go_answer{
				task:     C.uint64_t(some[i].task),
				data:     address(some[i].data),
				len:      C.size_t(len(some[i].data)),
				head:     address(some[i].head),
				trailers: address(some[i].trailers),
				status:   C.int32_t(some[i].status),
			}
		}
		C.nffi_go_reply(h.table, h.records, C.size_t(len(some)))
		runtime.KeepAlive(answers)
		answers = answers[len(some):]
	}
}

func (h *cHost) write(task uint64, piece []byte) result {
	data := (*C.char)(unsafe.Pointer(unsafe.SliceData(piece)))
	return result(C.nffi_go_write(h.table, C.nffi_task(task), data, C.size_t(len(piece))))
}

// address is where bytes are, as a number: cgo need not look behind it. Whoever uses it keeps the bytes alive, which are
// on Go's heap and do not move.
func address(p []byte) C.uintptr_t {
	return C.uintptr_t(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
}

func (h *cHost) head(task uint64, head headBlock) result {
	got := result(C.nffi_go_head_now(h.table, C.nffi_task(task), address(head)))
	runtime.KeepAlive(head)
	return got
}

func (h *cHost) send(task uint64, head headBlock, collected, piece []byte) result {
	got := result(C.nffi_go_send(h.table, C.nffi_task(task), address(head), address(collected), C.size_t(len(collected)),
		address(piece), C.size_t(len(piece))))
	runtime.KeepAlive(head)
	runtime.KeepAlive(collected)
	runtime.KeepAlive(piece)
	return got
}

func (h *cHost) file(task uint64, head headBlock, collected []byte, fd int, offset, length int64) result {
	got := result(C.nffi_go_file(h.table, C.nffi_task(task), address(head), address(collected), C.size_t(len(collected)),
		C.int(fd), C.int64_t(offset), C.int64_t(length)))
	runtime.KeepAlive(head)
	runtime.KeepAlive(collected)
	return got
}

func (h *cHost) pull(task uint64, p []byte) (int, *rest, result) {
	got := C.nffi_go_pull(h.table, C.nffi_task(task), address(p), C.size_t(len(p)))
	runtime.KeepAlive(p)
	if got.data == nil {
		return int(got.copied), nil, result(got.rc)
	}
	// SAFETY: read has handed over len bytes at data, ours until they are released.
	whole := unsafe.Slice((*byte)(unsafe.Pointer(got.data)), int(got.len))
	return int(got.copied), &rest{base: unsafe.Pointer(got.data), left: whole[int(got.copied):]}, result(got.rc)
}

func (h *cHost) release(r *rest) {
	C.nffi_go_release(h.table, (*C.char)(r.base))
	r.base, r.left = nil, nil
}

func (h *cHost) read(task uint64) ([]byte, result) {
	var data *C.char
	var size C.size_t
	got := result(C.nffi_go_read(h.table, C.nffi_task(task), &data, &size))
	if got != resultOK {
		return nil, got
	}
	defer C.nffi_go_release(h.table, data)
	piece := make([]byte, int(size))
	// SAFETY: read has handed over size bytes at data, ours until they are released.
	copy(piece, unsafe.Slice((*byte)(unsafe.Pointer(data)), int(size)))
	return piece, got
}

func (h *cHost) log(task uint64, level severity, line string) {
	text := (*C.char)(unsafe.Pointer(unsafe.StringData(line)))
	C.nffi_go_log(h.table, h.queue, C.nffi_task(task), C.int(level), text, C.size_t(len(line)))
}

func (h *cHost) stopped() {
	table, queue := h.table, h.queue
	h.free()
	C.nffi_go_stopped(table, queue)
}

func (h *cHost) now() uint64 {
	var now syscall.Timespec
	// It fails for clocks that are not there only, and this one always is.
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, C.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0)
	return uint64(now.Nano())
}
