"""WSGI apps (PEP 3333) on the pool of threads."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._context import App, Error, current_request, described
from ._logging import WARN, write, write_exception
from ._streams import FULL, GONE, OK, WRITABLE
from ._threads import ThreadServer
from ._wsgi_io import ClientGone, Errors, FileWrapper, body

if TYPE_CHECKING:
    from ._native import WsgiRequest

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

#: Blocks of a list that are sent as one: it is all there already.
JOINED = 65536


class Answer:
    """One answer on its way. Its head is sent with the first bytes of the body, or with the end."""

    __slots__ = (
        "ended",
        "errors",
        "head_sent",
        "headers",
        "is_head",
        "left",
        "native",
        "request",
        "status",
        "wants_body",
    )

    def __init__(self, native: Any, request: WsgiRequest, errors: Errors) -> None:
        self.native, self.request, self.errors = native, request, errors
        self.is_head = request.is_head
        self.status = 0
        self.headers: list[tuple[str, str]] | None = None
        self.head_sent = self.ended = False
        self.wants_body = True
        #: What the Content-Length leaves to be sent; None without one.
        self.left: int | None = None

    def start_response(
        self, status: str, response_headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # its frames hold this one
        elif self.headers is not None:
            raise AssertionError("start_response() was called already; again only with exc_info")
        if not isinstance(status, str):
            raise TypeError(f'a status is a str such as "200 OK", not {type(status).__name__}')
        code = status[:3]
        if not (code.isascii() and code.isdigit() and len(code) == 3 and status[3:4] in (" ", "")):
            raise ValueError(f'a status is of the kind "200 OK", not {status!r}')
        if code < "200":
            raise ValueError(f"{status!r} is no status to end a request with")
        if not isinstance(response_headers, list):
            raise TypeError(f"headers are a list of (name, value), not {type(response_headers).__name__}")
        length = self.request._set_head(int(code), response_headers)
        self.status, self.headers = int(code), response_headers
        self.wants_body = code not in ("204", "304") and not self.is_head
        self.left = length if length >= 0 and self.wants_body else None
        return self.write

    def write(self, data: bytes, /) -> None:
        """What start_response() returns: sends now, and waits while the client has no room."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if self.ended:
            if data and self.wants_body:
                raise ValueError("write() after the answer was complete: of its Content-Length nothing is left")
        elif data:
            self.send(data)

    def send(self, data: bytes) -> None:
        """A piece of at least one byte. Ends the answer where nothing can follow it."""
        self._check_head()
        if not self.wants_body:
            self.end()
        elif self.left is None:
            self._put(self.request._write, data)
        elif len(data) < self.left:
            self.left -= len(data)
            self._put(self.request._write, data)
        else:
            self._end_with(data)

    def send_all(self, pieces: Iterable[bytes]) -> None:
        if type(pieces) is FileWrapper:
            part = pieces.part()
            if part is not None and self._send_file(*part):
                return
        elif type(pieces) is list or type(pieces) is tuple:
            # Nothing is computed any more while it is sent.
            if len(pieces) == 1:
                self._send_last(pieces[0])
                return
            if all(type(piece) is bytes for piece in pieces) and sum(map(len, pieces)) <= JOINED:
                self._send_last(b"".join(pieces))
                return
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError(f"a WSGI app's answer is made of bytes, not {type(piece).__name__}")
            if not piece:
                continue
            if self.ended:
                if self.wants_body:
                    self._complain()
                return
            self.send(piece)
            if not self.wants_body:
                return
        if not self.ended:
            self._check_head()
            self.end()

    def _send_last(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI app's answer is made of bytes, not {type(data).__name__}")
        if self.ended:
            if data and self.wants_body:
                self._complain()
            return
        self._check_head()
        if self.wants_body:
            self._end_with(data)
        else:
            if data and not self.head_sent and self.is_head and not self._has_length():
                self._set_length(len(data))
            self.end()

    def _end_with(self, data: bytes) -> None:
        if self.left is not None and len(data) > self.left:
            self._complain()
            data = data[: self.left]
        self.end(data)

    def _send_file(self, descriptor: int, offset: int, length: int) -> bool:
        """False where nothing was sent and the file has to be read."""
        self._check_head()
        if self.ended or not self.wants_body:
            return False
        if self.left is not None:
            length = min(length, self.left)
        elif not self.head_sent:
            # So that nginx can answer with ranges of it, too.
            self._set_length(length)
        if length:
            self._put(self.request._send_file, os.dup(descriptor), offset, length)
        self.end()
        return True

    def _set_length(self, length: int) -> None:
        self.request._set_head(self.status, [*(self.headers or ()), ("Content-Length", str(length))])

    def _has_length(self) -> bool:
        return any(name.lower() == "content-length" for name, _ in self.headers or ())

    def _check_head(self) -> None:
        if self.headers is None:
            raise AssertionError("the app has given a part of its answer without calling start_response()")

    def _put(self, send: Callable[..., int], *what: Any) -> None:
        """Sends, and waits until there is room for more. Watched before, so that no event is missed."""
        self.head_sent = True
        task = self.request.task
        seen = self.native.watch(task, WRITABLE)
        try:
            code = send(*what)
            if code == FULL:
                if self.native.wait(task, WRITABLE, seen) is None:
                    raise ClientGone
            elif code == GONE:
                raise ClientGone
            elif code != OK:
                raise RuntimeError("nginx does not take this part of the answer; see the line before")
        finally:
            self.native.unwatch(task, WRITABLE)

    def end(self, data: bytes = b"") -> None:
        """The last bytes. The head goes with them where it has not been sent."""
        self.head_sent = self.ended = True
        self.errors.finish()
        self.request._finish(data)

    def fail(self, error: BaseException) -> None:
        """500 where nothing has been sent; else the connection is cut, so that nobody takes it for a whole answer."""
        if self.ended:
            return
        self.ended = True
        self.errors.finish()
        if isinstance(error, ClientGone):
            self.request._fail(1, "the client has gone")
        elif self.head_sent:
            self.request._fail(1, described(error))
        else:
            self.request._set_head(500, [("Content-Type", "text/plain; charset=utf-8")])
            self.request._finish(b"Internal Server Error")

    def _complain(self) -> None:
        write(WARN, "the app gives more bytes than its Content-Length says; they are left out")


class Server(ThreadServer):
    """Hands requests to the app, on threads that live as long as the runtime."""

    def __init__(self, app: App) -> None:
        if any(map(inspect.iscoroutinefunction, (app.handler, type(app.handler).__call__))):
            raise Error(1, f"{app.module}.{app.function} is an ASGI app: it needs interface asgi")
        super().__init__(app)
        self.template = {
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "SERVER_SOFTWARE": "nffi",
        }

    def _loop(self) -> None:
        next_request = self.native.next_wsgi
        while (request := next_request()) is not None:
            # Nothing that happens here ends a thread, or leaves a request without an end.
            with contextlib.suppress(BaseException):
                current_request.set(request)  # type: ignore[arg-type] # as much of one as the log needs
                self._run(request)
            request._fail(1, "the app has ended without an answer")
            # Not before the next one comes: it may be large.
            request = None

    def _run(self, request: WsgiRequest) -> None:
        errors = Errors(request, self.app)
        answer = Answer(self.native, request, errors)
        pieces = None
        try:
            environ = request.environ(self.template)
            environ["wsgi.input"] = body(self.native, request)
            environ["wsgi.errors"] = errors
            pieces = self.handler(environ, answer.start_response)
            answer.send_all(pieces)
        except BaseException as error:  # SystemExit too: an app does not end a worker
            self._app_failed(answer, error)
        finally:
            self._close(pieces)
            errors.finish()

    def _app_failed(self, answer: Answer, error: BaseException) -> None:
        try:
            if not isinstance(error, ClientGone):
                write_exception("", error, self.app)
            answer.fail(error)
        finally:
            # The traceback's frames hold the request, and it them.
            error.__traceback__ = None

    def _close(self, pieces: Any) -> None:
        try:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            write_exception("in the answer's close()", error, self.app)
            error.__traceback__ = None
