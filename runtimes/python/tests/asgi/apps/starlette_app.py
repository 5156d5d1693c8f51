"""Starlette: files, streams, the request's body as it comes."""

import os
import tempfile

from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

FOLDER = tempfile.mkdtemp()
FILE = os.path.join(FOLDER, "file.txt")
with open(FILE, "wb") as file:
    file.write(b"0123456789" * 20_000)


async def size(request):
    total = 0
    async for piece in request.stream():
        total += len(piece)
    return JSONResponse({"size": total})


async def stream(request):
    def pieces():
        for _ in range(100):
            yield b"x" * 10_000

    return StreamingResponse(pieces())


async def endless(request):
    async def pieces():
        while True:
            yield b"x" * 10_000

    return StreamingResponse(pieces())


async def form(request):
    async with request.form() as form:
        return JSONResponse({name: value for name, value in form.items()})


app = Starlette(
    routes=[
        Route("/size", size, methods=["POST"]),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/form", form, methods=["POST"]),
        Route("/file", lambda request: FileResponse(FILE)),
        Route("/plain", lambda request: PlainTextResponse("plain"), methods=["GET", "HEAD"]),
        Mount("/static", StaticFiles(directory=FOLDER)),
    ]
)
