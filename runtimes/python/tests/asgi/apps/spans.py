"""Apps whose lifespan goes one way or another."""

import asyncio
import os


async def answer(send, text):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})


def spans(lifespan):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
        else:
            await answer(send, scope["state"].get("text", "no state"))

    return app


async def _good(scope, receive, send):
    await receive()
    await asyncio.sleep(0.05)
    scope["state"]["text"] = "from startup"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    with open(os.environ["SPANS_FILE"], "a") as file:
        file.write("shut down\n")
    await send({"type": "lifespan.shutdown.complete"})


async def _failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def _raises(scope, receive, send):
    raise ValueError("lifespan is not for me")


async def _hangs(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(3600)


good, failed, raises, hangs = spans(_good), spans(_failed), spans(_raises), spans(_hangs)


def make():
    return good


def make_none():
    return None


def wsgi(environ, start_response):
    return []
