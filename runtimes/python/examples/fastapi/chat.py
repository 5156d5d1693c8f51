"""A chat in FastAPI: endpoints, a stream of events, a WebSocket, and a page with the interactive documentation.

Everybody is in one room, which is in this process's memory: nginx runs it with one worker.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import FastAPI, File, Query, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field


class Message(BaseModel):
    name: str = Field(min_length=1, max_length=40)
    text: str = Field(min_length=1, max_length=1000)


class Room:
    """Who is there, and what was said last."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque(maxlen=100)
        self.sockets: set[WebSocket] = set()

    async def say(self, message: Message) -> None:
        self.messages.append(message)
        for socket in list(self.sockets):
            try:
                await socket.send_text(message.model_dump_json())
            except (OSError, RuntimeError, WebSocketDisconnect):
                self.sockets.discard(socket)


class State(TypedDict):
    room: Room
    started: float


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    yield {"room": Room(), "started": time.time()}


# FastAPI, with the files of its documentation in a package, not on other people's servers.
app = FastAPIOffline(title="A chat in nginx", lifespan=lifespan)


@app.get("/api/messages")
async def messages(request: Request, last: Annotated[int, Query(ge=1, le=100)] = 20) -> list[Message]:
    """What was said last."""
    return list(request.state.room.messages)[-last:]


@app.post("/api/messages", status_code=201)
async def say(message: Message, request: Request) -> Message:
    """Says something to all who are there."""
    await request.state.room.say(message)
    return message


@app.get("/api/about")
def about(request: Request) -> dict[str, object]:
    """How the request came. A def, so it runs on a thread."""
    scope = request.scope
    return {
        "http_version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"][0] if scope["client"] else None,
        "there": len(request.state.room.sockets),
        "up": round(time.time() - request.state.started),
    }


@app.post("/api/size")
async def size(file: Annotated[UploadFile, File()]) -> dict[str, object]:
    """How large a file is, read piece by piece."""
    total = 0
    while piece := await file.read(1 << 16):
        total += len(piece)
    return {"name": file.filename, "size": total}


@app.get("/api/clock")
async def clock(ticks: Annotated[int, Query(ge=1, le=60)] = 5) -> StreamingResponse:
    """The time, once a second, as server-sent events."""

    async def events() -> AsyncIterator[str]:
        for tick in range(ticks):
            if tick:
                await asyncio.sleep(1)
            yield f"data: {time.strftime('%H:%M:%S')}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/chat")
async def chat(socket: WebSocket, name: Annotated[str, Query(min_length=1, max_length=40)]) -> None:
    await socket.accept()
    room: Room = socket.state.room
    for message in list(room.messages)[-20:]:
        await socket.send_text(message.model_dump_json())
    room.sockets.add(socket)
    try:
        async for text in socket.iter_text():
            if text:
                await room.say(Message(name=name, text=text[:1000]))
    finally:
        room.sockets.discard(socket)
