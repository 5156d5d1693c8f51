package nffi

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// Runs on: the host's start thread, one call of a library at a time.
//
//export nffiGoInit
func nffiGoInit(table *C.nffi_host, queue C.nffi_queue, cfg *C.char, size C.size_t, message *C.char, room C.size_t) C.int {
	h, err := newCHost(table, queue)
	if err == nil {
		err = surroundings()
	}
	if err == nil {
		takeOutput.Do(redirect)
		err = startGuarded(h, bytesOf(cfg, size))
	}
	if err == nil {
		return 0
	}
	if h != nil {
		h.free()
	}
	return refuse(err, message, room)
}

// startGuarded is start; a panic of the user's SetDefaults, Check or UnmarshalText is an error of it.
func startGuarded(h host, cfg []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return start(h, cfg)
}

// Runs on: a process of its own, which ends after it.
//
//export nffiGoCheck
func nffiGoCheck(cfg *C.char, size C.size_t, message *C.char, room C.size_t) (rc C.int) {
	defer func() {
		if p := recover(); p != nil {
			rc = refuse(fmt.Errorf("panic: %v", p), message, room)
		}
	}()
	if err := surroundings(); err != nil {
		return refuse(err, message, room)
	}
	if _, _, err := configure(bytesOf(cfg, size)); err != nil {
		return refuse(err, message, room)
	}
	return 0
}

// takeOutput: once for all runtimes of the library.
var takeOutput sync.Once

// bytesOf copies a configuration, which is the host's again after the call.
func bytesOf(data *C.char, size C.size_t) []byte {
	if data == nil {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(data), C.int(size))
}

// refuse writes an error into the host's room for it.
func refuse(err error, message *C.char, room C.size_t) C.int {
	if message == nil || room == 0 {
		return 1
	}
	// SAFETY: the host gives room bytes at message for the time of the call.
	to := unsafe.Slice((*byte)(unsafe.Pointer(message)), int(room))
	n := copy(to[:len(to)-1], err.Error())
	to[n] = 0
	return 1
}
