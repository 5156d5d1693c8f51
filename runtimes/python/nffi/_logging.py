"""The host's log: for logging, for warnings, for what is printed."""

from __future__ import annotations

import io
import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from ._context import App, current_app, current_request

if TYPE_CHECKING:
    from ._native import Request, WsgiRequest

# Of syslog.
ERR, WARN, INFO, DEBUG = 3, 4, 6, 7

#: Runtimes of this process that have not stopped, for lines of threads that belong to none.
_running: list[App] = []


def _level(number: int) -> int:
    if number >= logging.ERROR:
        return ERR if number < logging.CRITICAL else ERR - 1
    if number >= logging.WARNING:
        return WARN
    return INFO if number >= logging.INFO else DEBUG


def write(level: int, message: str, app: App | None = None, request: Request | WsgiRequest | None = None) -> bool:
    """A line, or several, with the request, else the running one. False where there is no host to tell."""
    request = request or current_request.get(None)
    task = request.task if request is not None else 0
    message = message.encode("utf-8", "backslashreplace").decode()  # lone surrogates are no UTF-8
    app = app or current_app.get(None)
    if app is not None and app.native.log(task, level, message):
        return True
    return any(other.native.log(0, level, message) for other in list(_running))


def write_exception(what: str, error: BaseException, app: App | None = None) -> None:
    """The traceback, line by line, from where the program's own code begins."""
    begin = error.__traceback__
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith("<nffi"):
        begin = begin.tb_next
    lines = "".join(traceback.format_exception(type(error), error, begin)).rstrip()
    write(ERR, f"{what}\n{lines}" if what else lines, app)


class Handler(logging.Handler):
    """Hands records to the host, at their level."""

    def emit(self, record: logging.LogRecord) -> None:
        app = current_app.get(None)
        if app is not None and record.levelno < app.log_level:
            return
        try:
            write(_level(record.levelno), self.format(record))
        except Exception:  # as logging's own handlers: a line that cannot be written is no one's failure
            self.handleError(record)


class _Format(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return record.message if record.name == "root" else f"{record.name}: {record.message}"


class _Lines(io.RawIOBase):
    """A stream whose lines are log lines. What has no end yet waits for it, thread by thread."""

    def __init__(self, level: int, descriptor: int) -> None:
        self.level, self.descriptor = level, descriptor
        self.unfinished = threading.local()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        # For subprocess: a child writes where the process does.
        return self.descriptor

    def write(self, data: Any) -> int:
        text = getattr(self.unfinished, "text", "") + bytes(data).decode("utf-8", "backslashreplace")
        *lines, self.unfinished.text = text.split("\n")
        for line in lines:
            # After the last runtime has stopped there is no host to tell.
            write(self.level, line)
        return len(data)


def _stream(level: int, descriptor: int) -> io.TextIOWrapper:
    raw = _Lines(level, descriptor)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[arg-type]


_installed = False


def install(app: App) -> None:
    """From now on this process's logging and printing goes to the host. May be called again."""
    global _installed
    root = logging.getLogger()
    _running.append(app)
    root.setLevel(min(app.log_level for app in _running))
    if _installed:
        return
    _installed = True
    handler = Handler()
    handler.setFormatter(_Format())
    root.addHandler(handler)
    sys.stdout, sys.stderr = _stream(INFO, 1), _stream(ERR, 2)
    # What the interpreter itself falls back on.
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def uninstall(app: App) -> None:
    """The runtime has stopped, or never started."""
    if app in _running:
        _running.remove(app)
