"""Requests and answers in pieces. How a wait is done is the server's business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._native import Request

# What the host's read and write return.
OK, FULL, AGAIN, EOF, GONE, BAD = 0, 1, 2, 3, -1, -2

# Events that are no requests.
READABLE, WRITABLE, CANCEL, STOP = 3, 4, 5, 6


class Pieces:
    """The pieces of a request, the first included. `for` in a `def`, `async for` in an `async def`."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __iter__(self) -> Iterator[bytes]:
        yield self.request.data
        while self.request.has_more:
            piece = self.request._server.read(self.request)
            if piece is None:
                return
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.request.data
        while self.request.has_more:
            piece = await self.request._server.read(self.request)
            if piece is None:
                return
            yield piece


def write(request: Request, piece: object) -> Awaitable[None]:
    waiting: Awaitable[None] = request._server.write(request, piece)
    return waiting
