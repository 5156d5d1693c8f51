"""`async def` handlers: one asyncio loop, on a thread of its own, woken by the host's descriptor."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ._context import App, Error, Gone, current_app, current_request, described
from ._logging import WARN, uninstall, write, write_exception
from ._streams import AGAIN, CANCEL, FULL, GONE, OK, READABLE, STOP, WRITABLE

if TYPE_CHECKING:
    from ._native import Request

#: What is left of a stop's grace for tasks that were cancelled.
LAST = 0.2


class AsyncServer:
    """Hands requests to the handler, a task for each."""

    def __init__(self, app: App) -> None:
        self.app, self.native = app, app.native
        self.handler = app.handler
        if inspect.isasyncgenfunction(self.handler):
            self.handler = self._pieces_of_generator(self.handler)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        #: Handlers that wait for a piece or for room, by task and event. Several may wait for the same.
        self.waiting: dict[tuple[int, int], list[asyncio.Future[None]]] = {}
        self.loop: asyncio.AbstractEventLoop
        self.stop: asyncio.Event

    def start(self) -> None:
        self.loop = self._new_loop()
        self.descriptor = self.native.poll_fd()
        threading.Thread(target=self._serve, name=f"{self.app.module}-loop", daemon=True).start()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        if self.app.uvloop != "off":
            try:
                import uvloop

                return uvloop.new_event_loop()
            except ImportError:
                if self.app.uvloop == "on":
                    raise
        return asyncio.new_event_loop()

    def _serve(self) -> None:
        current_app.set(self.app)
        asyncio.set_event_loop(self.loop)
        main = self.loop.create_task(self._main())
        try:
            while not main.done():
                try:
                    self.loop.run_until_complete(main)
                except (SystemExit, KeyboardInterrupt) as error:
                    # asyncio lets these through from tasks that a handler has made. The worker is not theirs.
                    write_exception(f"{type(error).__name__} in a task is ignored", error, self.app)
                except RuntimeError:
                    if main.done() or self.loop.is_closed():
                        raise
                    # Under a server of its own an application would end that. Here the worker's other requests go on.
                    write(WARN, "the application called loop.stop(); the loop goes on", self.app)
        except BaseException as error:
            write_exception("the event loop has ended", error, self.app)
        finally:
            self._ended()

    def _ended(self) -> None:
        uninstall(self.app)
        self.native.stopped()

    async def _main(self) -> None:
        """Serves until STOP, then sees to the end of what runs."""
        self.stop = asyncio.Event()
        self.loop.add_reader(self.descriptor, self._on_readable)
        await self.stop.wait()
        self.loop.remove_reader(self.descriptor)
        await self._finish(self.app.grace)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await self._finish(LAST)
        self.native.flush()
        await self.loop.shutdown_asyncgens()

    async def _finish(self, seconds: float) -> None:
        running = list(self.tasks.values())
        if running:
            await asyncio.wait(running, timeout=seconds)

    def _on_readable(self) -> None:
        # One batch: the descriptor stays readable where there is more.
        self.native.poll(self._begin, self._control)
        self.native.flush()

    def _begin(self, request: Request) -> None:
        task = _start_at_once(self.loop, self._run(request))
        if not task.done():
            self.tasks[request.task] = task

    async def _run(self, request: Request) -> None:
        current_request.set(request)
        try:
            if request._answer_later(await self.handler(request.data)):
                self.loop.call_soon(self.native.flush)
        except BaseException as error:  # SystemExit too: a handler does not end a loop
            self._failed(request, error)
        finally:
            self.tasks.pop(request.task, None)

    def _failed(self, request: Request, error: BaseException) -> None:
        if isinstance(error, Error):
            request._fail(error.status, described(error))
        elif isinstance(error, Gone):
            request._fail(1, "the caller has gone")
        elif isinstance(error, asyncio.CancelledError):
            request._fail(1, "cancelled")
        else:
            write_exception("", error, self.app)
            request._fail(1, described(error))
        # The traceback's frames hold the request, and it them.
        error.__traceback__ = None

    @staticmethod
    def _pieces_of_generator(function: Callable[[bytes], Any]) -> Callable[[bytes], Coroutine[Any, Any, None]]:
        async def handler(data: bytes) -> None:
            request = current_request.get()
            async for piece in function(data):
                await request.write(piece)

        return handler

    def _control(self, kind: int, number: int) -> None:
        # One thread polls, and events come in their order: none overtakes its request.
        if kind in (READABLE, WRITABLE):
            self._wake(number, kind)
        elif kind == CANCEL:
            task = self.tasks.get(number)
            if task is not None:
                task.cancel("the caller has gone")
            # Tasks that the handler has made may wait, too.
            self._wake(number, READABLE)
            self._wake(number, WRITABLE)
        elif kind == STOP:
            self.stop.set()

    # Pieces

    def _wake(self, number: int, kind: int) -> None:
        for future in self.waiting.pop((number, kind), ()):
            if not future.done():
                future.set_result(None)

    async def _wait(self, request: Request, kind: int) -> None:
        key, future = (request.task, kind), self.loop.create_future()
        self.waiting.setdefault(key, []).append(future)
        try:
            await future
        finally:
            others = self.waiting.get(key, [])
            if future in others:
                others.remove(future)
                if not others:
                    del self.waiting[key]

    async def read(self, request: Request) -> bytes | None:
        while True:
            code, piece = request._read()
            if code == OK:
                return piece
            if code == GONE:
                raise Gone("the caller has gone")
            if code != AGAIN:
                return None
            await self._wait(request, READABLE)

    async def write(self, request: Request, piece: object) -> None:
        code = request._write(piece)
        if code == FULL:
            await self._wait(request, WRITABLE)
        elif code != OK:
            raise Gone("the caller has gone")


if sys.version_info >= (3, 12):

    def _start_at_once(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[None]:
        """A task whose first step is taken now: most handlers need no other."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def _start_at_once(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[None]:
        """A task whose first step is taken now: most handlers need no other. Before 3.12 a task hands its first
        step to call_soon, from which it is taken here."""
        steps: list[tuple[Any, Any]] = []
        loop.call_soon = lambda step, *_, context=None: steps.append((step, context))  # type: ignore[assignment]
        try:
            task = asyncio.Task(coroutine, loop=loop)
        finally:
            del loop.call_soon
        step, context = steps[0]
        context.run(step)
        return task
