"""ASGI apps: one asyncio loop, on a thread of its own. What a request costs is native: `core/src/asgi`."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

from ._asyncio import LAST, AsyncServer
from ._context import App, Error, current_request, described
from ._lifespan import Lifespan
from ._logging import INFO, write, write_exception

#: What of a stop's grace is kept for the app's shutdown.
SHUTDOWN = 0.3


class ClientDisconnected(OSError):
    """A `send` whose client has gone."""


class Server(AsyncServer):
    """Hands requests to an app, a task for each."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        _check(app)
        self.running: set[asyncio.Task[None]] = set()
        self.started: Future[None] = Future()

    def start(self) -> None:
        self.loop = self._new_loop()
        self.descriptor = self.native.poll_fd()
        threading.Thread(target=self._serve, name=f"{self.app.module}-loop", daemon=True).start()
        self.started.result()

    def _ended(self) -> None:
        # A runtime that has not started is none: there is nothing to tell the host.
        if self.started.exception() is None:
            super()._ended()

    async def _main(self) -> None:
        self.stop = asyncio.Event()
        self.lifespan = Lifespan(self.app)
        try:
            await self.lifespan.startup()
            native = self._native()
            self.loop.add_reader(self.descriptor, native.on_readable)
        except BaseException as error:
            await self.lifespan.end()
            self.started.set_exception(error)
            return
        self.started.set_result(None)
        await self.stop.wait()
        self.loop.remove_reader(self.descriptor)
        await self._stop(self.app.grace)
        native.flush()
        await self.loop.shutdown_asyncgens()

    def _native(self) -> Any:
        return self.native.asgi(
            {
                "loop": self.loop,
                "state": self.lifespan.state,
                "app": self.app.handler,
                "awaited": _awaited,
                "running": self.running,
                "raised": self._raised,
                "stop": self.stop.set,
                "disconnected": ClientDisconnected,
                "set_request": current_request.set,
                "ws_max_size": self.app.ws_max_size,
                "ws_per_message_deflate": self.app.ws_per_message_deflate,
                "ws_ping_interval": self.app.ws_ping_interval,
                "ws_ping_timeout": self.app.ws_ping_timeout,
            }
        )

    def _raised(self, exchange: Any, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            exchange.raised("cancelled")
        else:
            if not (exchange.cancelled() and _is_of_disconnect(error)):
                write_exception("Exception in ASGI application", error, self.app)
            elif not isinstance(error, ClientDisconnected):
                why = f"the client has gone, and the application has ended with {described(error)}"
                write(INFO, why, self.app)
            exchange.raised(described(error))
        # The traceback's frames hold the exchange.
        error.__traceback__ = None

    async def _stop(self, grace: float) -> None:
        """What runs may end, then the app shuts down: all of it within the grace."""
        end = self.loop.time() + grace
        reserve = grace * SHUTDOWN if self.lifespan.task is not None else 0.0
        if self.running:
            await asyncio.wait(list(self.running), timeout=max(end - reserve - self.loop.time(), 0))
        for task in list(self.running):
            task.cancel()
        if self.running:
            await asyncio.wait(list(self.running), timeout=LAST)
        await self.lifespan.shutdown(max(end - self.loop.time(), LAST))
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=LAST)


def _is_of_disconnect(error: BaseException | None, seen: frozenset[int] = frozenset()) -> bool:
    """Is it ClientDisconnected, or what a framework made of it? Such chains may have cycles."""
    while error is not None and id(error) not in seen:
        seen |= {id(error)}
        if isinstance(error, ClientDisconnected):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all([_is_of_disconnect(each, seen) for each in error.exceptions])
        error = error.__cause__ or error.__context__
    return False


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _check(app: App) -> None:
    """Says so at the start where it is no ASGI 3 app. What can be told is how it may be called."""
    try:
        signature = inspect.signature(app.handler)
    except (TypeError, ValueError):
        return
    try:
        signature.bind({}, None, None)
    except TypeError:
        name = f"{app.module}:{app.function}"
        what = "what it returns" if app.factory else name
        hint = "" if app.factory else "; a function that makes the app wants factory on"
        raise Error(
            1,
            f"app {name}: {what} cannot be called with scope, receive and send: no ASGI 3 app. "
            f"A WSGI app wants interface wsgi{hint}",
        ) from None
