"""What a WSGI app finds in its environ: the request's body, the log, files to send."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ._context import Gone
from ._logging import ERR, write
from ._streams import AGAIN, GONE, OK, READABLE

if TYPE_CHECKING:
    from ._native import Runtime, WsgiRequest

#: Bytes that are read ahead of what the app asks for.
READ_AHEAD = 65536


class ClientGone(Gone, ConnectionResetError):
    """The client has gone. An OSError, too: that is what frameworks expect of a connection."""

    def __init__(self) -> None:
        super().__init__("the client has gone")


class _File(io.RawIOBase):
    """A body that nginx has put into a file. At a position of its own: the file is the host's."""

    def __init__(self, descriptor: int) -> None:
        # The app may read after the request has ended, when the host has closed its own.
        self.descriptor = os.dup(descriptor)
        self.at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = os.preadv(self.descriptor, [buffer], self.at)
        self.at += n
        return n

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: os.fstat(self.descriptor).st_size}[whence]
        if start + offset < 0:
            raise OSError(22, "a position before the file's beginning")
        self.at = start + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def close(self) -> None:
        descriptor, self.descriptor = getattr(self, "descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()


class _Stream(io.RawIOBase):
    """A body that comes while it is read. Who does not read holds up the client."""

    def __init__(self, native: Runtime, request: WsgiRequest) -> None:
        self.native, self.request = native, request
        self.rest = memoryview(b"")
        self.at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest and not self.at_end:
            piece = read(self.native, self.request)
            self.at_end = piece is None
            self.rest = memoryview(piece or b"")
        n = min(len(buffer), len(self.rest))
        buffer[:n] = self.rest[:n]
        self.rest = self.rest[n:]
        return n


def read(native: Runtime, request: WsgiRequest) -> bytes | None:
    """The next piece of the body, None at its end. Watched before the host is asked, so that no event is missed."""
    seen: int | None = native.watch(request.task, READABLE)
    try:
        while seen is not None:
            code, piece = request._read()
            if code == OK:
                return piece
            if code == GONE:
                break
            if code != AGAIN:
                return None
            seen = native.wait(request.task, READABLE, seen)
        raise ClientGone
    finally:
        native.unwatch(request.task, READABLE)


def body(native: Runtime, request: WsgiRequest) -> io.BytesIO | io.BufferedReader:
    """wsgi.input: ends where the body does."""
    if request.has_more:
        return io.BufferedReader(_Stream(native, request), READ_AHEAD)
    if request.body_fd >= 0:
        return io.BufferedReader(_File(request.body_fd), READ_AHEAD)
    return io.BytesIO(request.body)


class Errors:
    """wsgi.errors: lines of the host's log, with the request, whatever thread they come from."""

    __slots__ = ("_request", "_rest", "_write")

    def __init__(self, request: WsgiRequest, app: Any) -> None:
        self._request, self._rest = request, ""
        self._write: Callable[[str], object] = lambda line: write(ERR, line, app, request)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._write(line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing: what has no end yet waits for it."""

    def finish(self) -> None:
        """While the request is known: its end is near."""
        rest, self._rest = self._rest, ""
        if rest:
            self._write(rest)


class FileWrapper:
    """wsgi.file_wrapper: a file to send. Where it is one of the system's, nginx sends it by itself."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike, self.block_size = filelike, block_size
        close = getattr(filelike, "close", None)
        if close is not None:
            self.close = close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def part(self) -> tuple[int, int, int] | None:
        """Descriptor, offset and bytes, from where the file is now to its end; None where it has to be read."""
        file = self.filelike
        if not isinstance(file, io.IOBase):
            # What tempfile and Django make of a file.
            file = getattr(file, "file", None)
        # Others have a fileno too, whose bytes are not theirs: gzip.GzipFile.
        raw = file if isinstance(file, io.FileIO) else getattr(file, "raw", None)
        if type(raw) is not io.FileIO or not isinstance(file, (io.FileIO, io.BufferedReader, io.BufferedRandom)):
            return None
        try:
            if isinstance(file, io.BufferedRandom):
                file.flush()
            found, at = os.fstat(raw.fileno()), file.tell()
        except (OSError, ValueError):  # closed, or a pipe
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return raw.fileno(), at, max(found.st_size - at, 0)
