"""Raw ASGI whose behaviour the path chooses. Every scope and every event is compared with asgiref's definitions."""

import asyncio
import contextlib
import json
import logging
import os
import urllib.parse

from typed import RECEIVED, SCOPES, problems

found: list[str] = []
notes: list[str] = []
log = logging.getLogger("raw")


async def app(scope, receive, send):
    found.extend(problems(scope, SCOPES[scope["type"]], scope["type"]))

    async def checked():
        event = await receive()
        found.extend(problems(event, RECEIVED[event["type"]], event["type"]))
        return event

    if scope["type"] == "lifespan":
        return await lifespan(scope, checked, send)
    name = scope["path"].removeprefix(scope["root_path"]).strip("/").replace("/", "_") or "index"
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    return await globals()[f"{scope['type']}_{name}"](scope, checked, send, query)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = "yes"
        else:
            log.warning("shut down")
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def start(send, status=200, *headers, **more):
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain"), *headers],
            **more,
        }
    )


async def answer(send, text, status=200, *headers):
    body = text if isinstance(text, bytes) else text.encode()
    await start(send, status, (b"content-length", b"%d" % len(body)), *headers)
    await send({"type": "http.response.body", "body": body})


def shown(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {shown(k): shown(v) for k, v in value.items()}
    return [shown(one) for one in value] if isinstance(value, (list, tuple)) else value


async def http_problems(scope, receive, send, query):
    await answer(send, json.dumps({"found": found, "notes": notes}))


async def http_scope(scope, receive, send, query):
    await answer(send, json.dumps(shown(scope)))
    scope["state"]["mine"] = "not yours"
    scope["extensions"]["mine"] = {}


async def http_hello(scope, receive, send, query):
    await answer(send, "hello")


async def http_body(scope, receive, send, query):
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message["body"])
        more = message["more_body"]
    await start(send)
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def http_count(scope, receive, send, query):
    size, pieces, most, more = 0, 0, 0, True
    while more:
        message = await receive()
        size, pieces, most = size + len(message["body"]), pieces + 1, max(most, len(message["body"]))
        more = message["more_body"]
    await answer(send, json.dumps({"size": size, "pieces": pieces, "most": most}))


async def http_stream(scope, receive, send, query):
    await start(send)
    piece = b"x" * int(query["size"])
    for _ in range(int(query["n"])):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


#: How many bytes a client that does not read was sent.
sent = 0


async def http_flood(scope, receive, send, query):
    global sent
    await start(send)
    try:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536
    except OSError as error:
        notes.append(f"flood: {type(error).__name__}")
        raise


async def http_sent(scope, receive, send, query):
    await answer(send, str(sent))


release = asyncio.Event()


async def http_head_first(scope, receive, send, query):
    """The head is seen before there is a body."""
    await start(send)
    await release.wait()
    release.clear()
    await send({"type": "http.response.body", "body": b"later"})


async def http_release(scope, receive, send, query):
    release.set()
    await answer(send, "released")


async def http_trailers(scope, receive, send, query):
    how = query.get("how")
    await start(send, 200, (b"trailer", b"x-sum"), trailers=True)
    await send({"type": "http.response.body", "body": b"body"})
    if how == "none":
        return
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"a\nb" if how == "bad" else b"42")]}
    try:
        for i in range(int(query.get("more", 0))):
            await send({**trailers, "headers": [(b"x-more", b"%d" % i)], "more_trailers": True})
        await send({**trailers, "more_trailers": how == "more"})
    except RuntimeError as error:
        notes.append(f"trailers: {type(error).__name__}: {error}")
        raise


async def http_file(scope, receive, send, query):
    await start(send)
    await send({"type": "http.response.pathsend", "path": query["path"]})


async def http_status(scope, receive, send, query):
    await start(send, int(query["code"]))
    await send({"type": "http.response.body", "body": query.get("body", "").encode()})


async def http_header(scope, receive, send, query):
    await start(send, 200, (query["name"].encode(), query["value"].encode()))
    await send({"type": "http.response.body", "body": b"sent"})


async def http_disconnect(scope, receive, send, query):
    await receive()
    notes.append("waits")
    message = await receive()
    notes.append(message["type"])
    try:
        await answer(send, "nobody hears")
    except OSError as error:
        notes.append(type(error).__name__)


async def http_task(scope, receive, send, query):
    """receive() is a coroutine to asyncio: a task, cancelled and awaited again, loses nothing."""
    first = await asyncio.create_task(receive.__self__.receive() if hasattr(receive, "__self__") else receive())
    waiting = asyncio.create_task(receive())
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    try:
        await asyncio.wait_for(receive(), 0.01)
    except TimeoutError:
        await answer(send, first["type"])


async def http_background(scope, receive, send, query):
    await answer(send, "answered")
    message = await receive()
    await release.wait()
    release.clear()
    notes.append(f"background after {message['type']}")


async def http_wrong(scope, receive, send, query):
    """What an app must not do, and what it is told."""
    how = query["how"]
    try:
        if how == "body_first":
            await send({"type": "http.response.body", "body": b"x"})
        elif how == "two_heads":
            await start(send)
            await start(send)
        elif how == "after_end":
            await answer(send, "done")
            await send({"type": "http.response.body", "body": b"x"})
        elif how == "long":
            await start(send, 200, (b"content-length", b"3"))
            await send({"type": "http.response.body", "body": b"four"})
        elif how == "short":
            await start(send, 200, (b"content-length", b"5"))
            await send({"type": "http.response.body", "body": b"four"})
        elif how == "header_name":
            await start(send, 200, (b"a b", b"c"))
        elif how == "header_value":
            await start(send, 200, (b"a", b"b\r\nc: d"))
        elif how == "no_dict":
            await send("http.response.start")
        elif how == "status":
            await start(send, 42)
        elif how == "hint":
            await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        elif how == "text":
            await start(send)
            await send({"type": "http.response.body", "body": "text"})
    except Exception as error:
        notes.append(f"{how}: {type(error).__name__}: {error}")
        raise


async def http_nothing(scope, receive, send, query):
    pass


async def http_started(scope, receive, send, query):
    """Fails behind its head: in the same turn of the loop, or later."""
    await start(send)
    if query.get("later"):
        await asyncio.sleep(0.1)
    raise ValueError("behind the head")


async def http_half(scope, receive, send, query):
    await start(send)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    if query.get("raise"):
        raise ValueError("in the middle")


async def http_result(scope, receive, send, query):
    return "a result"


async def http_raise(scope, receive, send, query):
    raise ValueError(query.get("text", "kaboom"))


async def http_exit(scope, receive, send, query):
    raise SystemExit(2)


async def http_stop(scope, receive, send, query):
    """Stops the loop that it runs on, now and in the loop's next turn."""
    loop = asyncio.get_running_loop()
    loop.stop()
    await answer(send, "stopped")
    loop.call_soon(loop.stop)


async def http_log(scope, receive, send, query):
    log.warning("logged %s", query["text"])
    await answer(send, "logged")


async def http_pid(scope, receive, send, query):
    await answer(send, str(os.getpid()))


# ---- WebSockets


async def websocket_echo(scope, receive, send, query):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": query.get("subprotocol"), "headers": [(b"x-own", b"yes")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    notes.append(f"disconnect {message['code']} {message['reason']!r}")
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError as error:
        notes.append(f"late: {type(error).__name__}")


async def websocket_scope(scope, receive, send, query):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(shown(scope))})
    await send({"type": "websocket.close"})
    notes.append(f"after close: {await receive()}")


async def websocket_close(scope, receive, send, query):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason")})


async def websocket_reject(scope, receive, send, query):
    await receive()
    await send({"type": "websocket.close"})


async def websocket_deny(scope, receive, send, query):
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"payment")]
    await send({"type": "websocket.http.response.start", "status": 402, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"pay ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"first"})


async def websocket_raise(scope, receive, send, query):
    if query.get("after"):
        await receive()
        await send({"type": "websocket.accept"})
    raise ValueError("in a socket")


async def websocket_return(scope, receive, send, query):
    if query.get("after"):
        await receive()
        await send({"type": "websocket.accept"})


async def websocket_wrong(scope, receive, send, query):
    how = query["how"]
    await receive()
    try:
        if how == "send_first":
            await send({"type": "websocket.send", "text": "x"})
        await send({"type": "websocket.accept", "subprotocol": "never offered" if how == "subprotocol" else None})
        if how == "accept_twice":
            await send({"type": "websocket.accept"})
        elif how == "after_close":
            await send({"type": "websocket.close"})
            await send({"type": "websocket.send", "text": "x"})
        elif how == "code":
            await send({"type": "websocket.close", "code": 1005})
        elif how == "nothing":
            await send({"type": "websocket.send"})
    except Exception as error:
        notes.append(f"{how}: {type(error).__name__}: {error}")
        raise


async def websocket_silent(scope, receive, send, query):
    """Receives nothing: pings are answered all the same."""
    await receive()
    await send({"type": "websocket.accept"})
    await release.wait()
    release.clear()


async def websocket_flood(scope, receive, send, query):
    global sent
    await receive()
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            sent += 65536
    except OSError as error:
        notes.append(f"flood: {type(error).__name__}")
