"""`def` handlers: a pool of threads."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from ._context import App, Error, Gone, current_app, current_request, described
from ._logging import uninstall, write_exception
from ._streams import AGAIN, FULL, GONE, OK, READABLE, WRITABLE

if TYPE_CHECKING:
    from ._native import Request


class _Done(Awaitable[None]):
    """For an `await request.write(...)` where nothing is left to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()


class ThreadServer:
    """Hands requests to the handler, on threads that live as long as the runtime."""

    def __init__(self, app: App) -> None:
        self.app, self.native = app, app.native
        self.handler = app.handler
        if inspect.isgeneratorfunction(self.handler):
            self.handler = self._pieces_of_generator(self.handler)
        self.left = app.threads
        self.lock = threading.Lock()

    def start(self) -> None:
        self.native.start_polling(self.app.threads, self.app.grace, self.app.interface == "wsgi")
        for number in range(self.app.threads):
            # Daemons: one that a handler holds up does not hold up the process.
            threading.Thread(target=self._serve, name=f"{self.app.module}-{number}", daemon=True).start()

    def _serve(self) -> None:
        current_app.set(self.app)
        try:
            contextvars.copy_context().run(self._loop)
        finally:
            with self.lock:
                self.left -= 1
                if self.left == 0:
                    uninstall(self.app)
            self.native.worker_done()

    def _loop(self) -> None:
        handler, next_request = self.handler, self.native.next_request
        while (request := next_request()) is not None:
            try:
                current_request.set(request)
                request._answer(handler(request.data))
            except BaseException as error:  # SystemExit too: a handler does not end a thread
                # Nor does what happens here, where memory may have ended: the request answers for itself.
                with contextlib.suppress(BaseException):
                    self._failed(request, error)
            # Not before the next one comes: it may be large.
            request = None

    def _failed(self, request: Request, error: BaseException) -> None:
        if isinstance(error, Error):
            request._fail(error.status, described(error))
        elif isinstance(error, Gone):
            request._fail(1, "the caller has gone")
        else:
            write_exception("", error, self.app)
            request._fail(1, described(error))
        # The traceback's frames hold the request, and it them.
        error.__traceback__ = None

    @staticmethod
    def _pieces_of_generator(function: Callable[[bytes], Any]) -> Callable[[bytes], None]:
        def handler(data: bytes) -> None:
            request = current_request.get()
            for piece in function(data):
                request.write(piece)

        return handler

    # Pieces. Watched before the host is asked, so that no event is missed.

    def read(self, request: Request) -> bytes | None:
        seen: int | None = self.native.watch(request.task, READABLE)
        try:
            while seen is not None:
                code, piece = request._read()
                if code == OK:
                    return piece
                if code == GONE:
                    break
                if code != AGAIN:
                    return None
                seen = self.native.wait(request.task, READABLE, seen)
            raise Gone("the caller has gone")
        finally:
            self.native.unwatch(request.task, READABLE)

    def write(self, request: Request, piece: object) -> Awaitable[None]:
        seen = self.native.watch(request.task, WRITABLE)
        try:
            code = request._write(piece)
            if code == FULL:
                self.native.wait(request.task, WRITABLE, seen)
            elif code != OK:
                raise Gone("the caller has gone")
        finally:
            self.native.unwatch(request.task, WRITABLE)
        return _DONE
