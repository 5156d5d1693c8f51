"""FastAPI: what an app of some size uses of it."""

import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware


@asynccontextmanager
async def lifespan(app):
    yield {"greeting": "hello from the lifespan"}


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=10_000)
notes: list[str] = []


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-middleware"] = "seen"
        return response


app.add_middleware(Timing)


class Item(BaseModel):
    name: str
    price: float


@app.get("/item/{number}")
async def item(number: int, q: str | None = None):
    return {"number": number, "q": q}


@app.post("/item")
def make_item(item: Item, request: Request):
    return {"name": item.name.upper(), "price": item.price * 2, "greeting": request.state.greeting}


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()]):
    size = 0
    while piece := await file.read(65536):
        size += len(piece)
    return {"name": file.filename, "size": size}


async def note(text):
    await asyncio.sleep(0.01)
    notes.append(text)


@app.post("/later")
async def later(tasks: BackgroundTasks):
    tasks.add_task(note, "in the background")
    return {"notes": len(notes)}


@app.get("/notes")
async def read_notes():
    return notes


@app.get("/events")
async def events(n: int = 3):
    async def all_events():
        try:
            for i in range(n):
                yield f"data: {i}\n\n"
                await asyncio.sleep(0.005)
        finally:
            notes.append("events over")

    return StreamingResponse(all_events(), media_type="text/event-stream")


def user(request: Request):
    if request.headers.get("authorization") != "Bearer me":
        raise HTTPException(401, "who are you?")
    return "me"


@app.get("/me")
def me(who: Annotated[str, Depends(user)]):
    return {"who": who}


@app.get("/kaboom")
async def kaboom():
    raise ValueError("kaboom in FastAPI")


@app.get("/url")
async def url(request: Request):
    return {"url": str(request.url), "item": str(request.url_for("item", number=7))}


room: set[WebSocket] = set()


@app.websocket("/chat/{name}")
async def chat(socket: WebSocket, name: str):
    await socket.accept()
    room.add(socket)
    try:
        while True:
            text = await socket.receive_text()
            for other in list(room):
                await other.send_text(f"{name}: {text}")
    except WebSocketDisconnect:
        room.discard(socket)
        for other in list(room):
            await other.send_text(f"{name} has left")
