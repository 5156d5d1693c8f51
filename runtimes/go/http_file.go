package nffi

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// smallFile is up to what a file's bytes are copied: one call into C for all is cheaper than a descriptor.
const smallFile = collect

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// writerOnly hides ReadFrom.
type writerOnly struct{ io.Writer }

// ReadFrom implements [io.ReaderFrom]. A regular file, or a part of one by [io.LimitedReader], is not read: nginx sends
// it. So [io.Copy], [http.ServeContent] and [http.FileServer] cost little.
func (w *response) ReadFrom(from io.Reader) (int64, error) {
	file, _ := from.(*os.File)
	most := int64(-1)
	part, limited := from.(*io.LimitedReader)
	if limited {
		file, _ = part.R.(*os.File)
		most = part.N
	}
	sent := int64(0)
	if file != nil {
		n, err := w.sendFile(file, most)
		if limited {
			part.N -= n
		}
		if err != nil {
			return n, err
		}
		sent = n // what is left, which is nothing if all went well, is copied
	}
	buffer := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buffer)
	n, err := io.CopyBuffer(writerOnly{w}, from, buffer[:])
	return sent + n, err
}

// sendFile sends from where the file stands, and moves it. 0 bytes: it is for copying.
func (w *response) sendFile(file *os.File, most int64) (int64, error) {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, nil
	}
	offset, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, nil
	}
	length := info.Size() - offset
	if most >= 0 {
		length = min(length, most)
	}
	if length <= smallFile {
		return 0, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isHead || w.length >= 0 && w.written+length > w.length {
		return 0, nil
	}
	if err := w.admit(length); err != nil {
		return 0, err
	}
	if err := w.room(); err != nil {
		return 0, err
	}
	w.x.wake()
	fd, err := duplicateFile(file)
	if err != nil {
		w.written -= length
		return 0, nil
	}
	var head headBlock
	if !w.sentHead {
		first := w.scratch.body
		if w.sniff && len(first) < sniffed {
			var sample [sniffed]byte
			n, _ := file.ReadAt(sample[:min(length, sniffed)], offset)
			first = append(first, sample[:n]...)
		}
		head = w.takeHead(first)
	}
	collected, got := w.scratch.body, resultGone
	w.scratch.body = collected[:0]
	if !w.x.in.use(func(h host) { got = h.file(w.x.task, head, collected, fd, offset, length) }) {
		syscall.Close(fd)
	}
	if got == resultBad {
		w.written -= length // it has shrunk: copied, as far as it goes
		return 0, nil
	}
	if err := w.sent(got); err != nil {
		return 0, err
	}
	_, err = file.Seek(offset+length, io.SeekStart)
	return length, err
}

// duplicateFile makes a descriptor for the host.
func duplicateFile(file *os.File) (fd int, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	var errno syscall.Errno
	failed := conn.Control(func(own uintptr) {
		var r uintptr
		r, _, errno = syscall.Syscall(syscall.SYS_FCNTL, own, syscall.F_DUPFD_CLOEXEC, 3)
		fd = int(r)
	})
	if failed != nil {
		return -1, failed
	}
	if errno != 0 {
		return -1, errno
	}
	return fd, nil
}
