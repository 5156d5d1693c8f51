package nffi

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// The streams as they were. Kept, since the garbage collector closes files that nobody holds, and these are nginx's.
var processOutput, processError = os.Stdout, os.Stderr

// redirect sends what Go code writes to its standard streams and to its loggers to the host's log: nginx in the
// background has no terminal. Descriptors 1 and 2 stay nginx's, so what the Go runtime itself has to say before it
// ends the process (a fatal error) goes where nginx has pointed its stderr.
func redirect() {
	slog.SetDefault(slog.New(NewLogHandler(nil))) // and with it package log
	os.Stdout = logged(processOutput, severityInfo)
	os.Stderr = logged(processError, severityWarn)
}

// logged returns a pipe whose lines go to the log; the old stream where there is no pipe to be had.
func logged(old *os.File, level severity) *os.File {
	from, to, err := os.Pipe()
	if err != nil {
		slog.Warn(fmt.Sprintf("%s stays as it is: no pipe: %v", old.Name(), err))
		return old
	}
	go lines(from, func(line string) {
		if in := oldest(); in != nil {
			in.log(0, level, line)
		}
	})
	return to
}

// longestLine is where a line without an end is cut.
const longestLine = 16 << 10

// lines reads until the end, and hands over line by line.
func lines(from io.Reader, each func(string)) {
	r := bufio.NewReaderSize(from, longestLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			each(strings.TrimRight(string(line), "\r\n"))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}
