"""ASGI's lifespan: an app is told of the start and the stop of its worker."""

from __future__ import annotations

import asyncio
from typing import Any

from ._context import App, Error, described
from ._logging import ERR, INFO, WARN, write, write_exception

_STARTUP = ("lifespan.startup.complete", "lifespan.startup.failed")
_SHUTDOWN = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class Lifespan:
    """Where the mode is off, nothing happens. `auto`: an app that knows no lifespan does without."""

    def __init__(self, app: App) -> None:
        self.app, self.mode = app, app.lifespan
        #: What the app puts there is in the scope of each request.
        self.state: dict[str, Any] = {}
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.started, self.stopped = asyncio.Event(), asyncio.Event()
        #: What `*.failed` has said.
        self.failed: str | None = None
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Returns once the app has started; raises Error where it has not."""
        if self.mode == "off":
            return
        self.task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        self.messages.put_nowait({"type": "lifespan.startup"})
        await self.started.wait()
        if self.failed is not None:
            raise Error(
                1, f"the app's startup has failed: {self.failed}" if self.failed else "the app's startup has failed"
            )
        if self.error is not None and self.mode == "on":
            raise Error(1, f"the app's lifespan has failed: {described(self.error)}")

    async def shutdown(self, seconds: float) -> None:
        """Gives the app so much time to shut down."""
        if self.task is None or self.task.done():
            return
        self.messages.put_nowait({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait_for(self.stopped.wait(), seconds)
        except TimeoutError:
            write(WARN, f"the app's shutdown takes longer than {seconds:.1f} s: it is cut off", self.app)
        if self.failed is not None:
            write(ERR, f"the app's shutdown has failed: {self.failed}", self.app)
        await self.end()

    async def end(self) -> None:
        """Of an app that has not ended by itself."""
        if self.task is not None and not self.task.done():
            # It may end by itself now: after "complete" there is often no more than a return.
            await asyncio.wait([self.task], timeout=0.1)
            self.task.cancel()
            await asyncio.wait([self.task], timeout=0.1)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app.handler(scope, self._receive, self._send)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # SystemExit too: the worker is not the app's
            self.error = error
            if self.failed is not None:
                return  # said already
            if self.mode == "auto" and not self.started.is_set():
                write(INFO, "the app knows no lifespan: it does without", self.app)
            else:
                write_exception("Exception in 'lifespan' protocol", error, self.app)
        finally:
            self.started.set()
            self.stopped.set()

    async def _receive(self) -> dict[str, Any]:
        return await self.messages.get()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in _STARTUP + _SHUTDOWN:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' in the lifespan protocol.")
        event = self.started if kind in _STARTUP else self.stopped
        if event.is_set() or (kind in _SHUTDOWN and not self.started.is_set()):
            raise RuntimeError(f"ASGI message '{kind}' at the wrong time in the lifespan protocol.")
        if kind.endswith("failed"):
            self.failed = str(message.get("message", ""))
        event.set()
