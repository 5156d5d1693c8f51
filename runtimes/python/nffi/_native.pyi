"""What libnffi_python_core.so brings."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, final

from ._streams import Pieces

@final
class Request:
    """The request that a handler works on; see `nffi.request()`. May be used from any thread."""

    @property
    def data(self) -> bytes:
        """The request's bytes; of a request that comes in pieces, the first."""
    @property
    def task(self) -> int:
        """Its number, never used again in the life of the process."""
    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting, in seconds on the clock of time.monotonic(); None: never."""
    @property
    def is_cast(self) -> bool:
        """Nobody waits for the answer."""
    @property
    def wants_pieces(self) -> bool:
        """The caller takes the answer piece by piece."""
    @property
    def has_more(self) -> bool:
        """Pieces of the request follow `data`."""
    @property
    def pieces(self) -> Pieces:
        """All pieces of the request, for `for` in a `def` and `async for` in an `async def`. Raises nffi.Gone."""
    def cancelled(self) -> bool:
        """Has the caller gone, or the request been answered?"""
    def write(self, piece: Any) -> Awaitable[None]:
        """Sends a piece of the answer, and waits until there is room for the next: in an `async def` where it is
        awaited. Raises nffi.Gone where nobody reads it."""
    @property
    def _server(self) -> Any: ...
    def _answer(self, value: Any) -> None: ...
    def _answer_later(self, value: Any) -> bool: ...
    def _fail(self, status: int, message: str) -> None: ...
    def _write(self, piece: Any) -> int: ...
    def _read(self) -> tuple[int, bytes | None]: ...

@final
class Runtime:
    """A runtime's queue. For the package's own use."""

    def set_server(self, server: Any) -> None: ...
    def log(self, task: int, level: int, message: str) -> bool: ...
    def stopped(self) -> None: ...
    def poll_fd(self) -> int: ...
    def poll(self, begin: Callable[[Request], None], control: Callable[[int, int], None]) -> None: ...
    def flush(self) -> None: ...
    def start_polling(self, workers: int, grace: float) -> None: ...
    def next_request(self) -> Request | None: ...
    def worker_done(self) -> None: ...
    def watch(self, task: int, kind: int) -> int: ...
    def unwatch(self, task: int, kind: int) -> None: ...
    def wait(self, task: int, kind: int, seen: int) -> int | None: ...

def environ() -> Iterable[tuple[bytes, bytes]]:
    """The process's environment as it is now."""
