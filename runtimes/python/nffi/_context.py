"""Where the running code belongs: to which runtime, and to which of its requests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import Request, Runtime

log = logging.getLogger("nffi")


class Error(Exception):
    """An answer that is an error: a status other than 0, for the caller's program, and a message for people."""

    def __init__(self, status: int, message: str = "") -> None:
        if not isinstance(status, int) or status == 0 or not -(2**31) <= status < 2**31:
            raise ValueError(f"the status of an error is a 32-bit number other than 0, not {status!r}")
        super().__init__(message)
        self.status = status


class Gone(Exception):
    """The caller has gone: nobody reads what is written, and nothing more comes to be read."""


class App:
    """One runtime: its options, its handler, and what its init has returned."""

    def __init__(self, native: Runtime, options: bytes) -> None:
        read = json.loads(options)
        self.native = native
        #: message, asgi, wsgi
        self.interface: str = read["interface"]
        self.factory: bool = read["factory"]
        self.lifespan: str = read["lifespan"]
        self.ws_max_size: int = read["ws_max_size"]
        self.ws_per_message_deflate: bool = read["ws_per_message_deflate"]
        #: Seconds; None: off.
        self.ws_ping_interval: float | None = read["ws_ping_interval"]
        self.ws_ping_timeout: float | None = read["ws_ping_timeout"]
        self.module: str = read["module"]
        self.function: str = read["function"]
        self.reload: bool = read["reload"]
        self.path: list[str] = read["path"]
        self.threads: int = read["threads"]
        self.switch_interval: float = read["switch_interval"]
        self.uvloop: str = read["uvloop"]
        self.log_level: int = getattr(logging, read["log_level"].upper())
        self.grace: float = read["grace"]
        self.config: dict[str, Any] = read["config"]
        #: The function, or the app, and what takes requests to it.
        self.handler: Callable[..., Any]
        self.state: Any = None


current_app: ContextVar[App] = ContextVar("nffi.app")
current_request: ContextVar[Request] = ContextVar("nffi.request")


def request() -> Request:
    """The request that the running code works on."""
    try:
        return current_request.get()
    except LookupError:
        raise RuntimeError(
            "nffi.request(): no request here; threads of your own need contextvars.copy_context()"
        ) from None


def cancelled() -> bool:
    """Has the caller gone? For long work in `def` handlers; an `async def` handler gets CancelledError."""
    return request().cancelled()


def _app() -> App:
    try:
        return current_app.get()
    except LookupError:
        raise RuntimeError("no runtime here; threads of your own need contextvars.copy_context()") from None


def config() -> dict[str, Any]:
    """The options of this runtime that are not the host's own: strings, or lists of them, or True."""
    return _app().config


def state() -> Any:
    """What this runtime's init(config) has returned."""
    return _app().state


def described(error: BaseException) -> str:
    """What a caller is told of an exception: UTF-8, whatever its text is made of."""
    try:
        text = str(error).encode("utf-8", "backslashreplace").decode()
    except BaseException:  # a __str__ of the user's
        text = "its text cannot be had"
    if isinstance(error, Error):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
