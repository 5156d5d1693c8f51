"""WSGI apps without a framework, all but the wrong ones behind wsgiref's validator. The path says which."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import sys
import threading
import time
from urllib.parse import parse_qs
from wsgiref.validate import validator

import nffi

TEXT = [("Content-Type", "text/plain")]
#: What happened, for other requests to ask.
seen: dict[str, object] = {"closed": 0, "gone": 0, "most": 0, "running": 0, "counting": 0}
lock = threading.Lock()


def query(environ, name, otherwise=""):
    return parse_qs(environ["QUERY_STRING"]).get(name, [otherwise])[0]


class Pieces:
    """An iterable that counts its close()."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        with lock:
            seen["closed"] += 1
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()


def environ_(environ, start_response):
    assert type(environ) is dict
    shown = {name: value for name, value in environ.items() if isinstance(value, (str, bool, tuple))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello\n"]


def several(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"a", b"", b"b", b"c"]


def none(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def status(environ, start_response):
    start_response(query(environ, "code") + " So", [] if query(environ, "code") in ("204", "304") else TEXT)
    return [] if query(environ, "code") in ("204", "304") else Pieces([b"body"])


def length(environ, start_response):
    """A Content-Length, and as many bytes as `send` says, in pieces of 4."""
    start_response("200 OK", [*TEXT, ("Content-Length", query(environ, "say"))])
    left = int(query(environ, "send"))
    return Pieces([b"x" * min(4, left - at) for at in range(0, left, 4)])


def body(environ, start_response):
    """The body back, as it is read: how=read, sized, line, lines, iter."""
    source, how = environ["wsgi.input"], query(environ, "how", "sized")

    def pieces():
        if how == "sized":
            while data := source.read(10_000):
                yield data
        elif how == "read":
            yield source.read(-1)
        elif how == "line":
            while data := source.readline(5_000):
                yield data
        elif how == "lines":
            yield from source.readlines(0)
        elif how == "iter":
            yield from source

    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return pieces()


def count(environ, start_response):
    """How many bytes the body has, read slowly where ms says so."""
    n, source = 0, environ["wsgi.input"]
    seen["counting"] += 1
    try:
        while data := source.read(65536):
            n += len(data)
            time.sleep(int(query(environ, "ms", "0")) / 1000)
    except nffi.Gone:
        seen["gone"] += 1
        raise
    kind = "seekable" if source.input.seekable() else "streamed"
    start_response("200 OK", TEXT)
    return [f"{n} {kind}".encode()]


def unread(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"not read"]


def keep_input(environ, start_response):
    """Reads the body of an earlier request, which has ended."""
    before = seen.get("input")
    seen["input"] = environ["wsgi.input"]
    start_response("200 OK", TEXT)
    try:
        return [b"none" if before is None else b"%d" % len(before.read(10_000_000))]
    except OSError as error:
        return [type(error).__name__.encode()]


def stream(environ, start_response):
    """n pieces of size bytes, ms apart."""
    n, size, ms = (int(query(environ, name, "1")) for name in ("n", "size", "ms"))

    def pieces():
        try:
            for i in range(n):
                yield bytes([97 + i % 26]) * size
                seen["sent"] = (i + 1) * size
                time.sleep(ms / 1000)
        except GeneratorExit:
            seen["gone"] += 1
            raise

    seen["sent"] = 0
    start_response("200 OK", TEXT)
    return Pieces(pieces())


def write(environ, start_response):
    n, size = (int(query(environ, name, "1")) for name in ("n", "size"))
    send = start_response("200 OK", TEXT)
    try:
        for i in range(n):
            send(b"w" * size)
            seen["sent"] = (i + 1) * size
    except OSError as error:
        assert isinstance(error, nffi.Gone)
        seen["gone"] += 1
        raise
    return [b"end"]


def file(environ, start_response):
    """how=whole, part, gzip, closed, text"""
    how, path = query(environ, "how", "whole"), pathlib.Path(query(environ, "path"))
    headers = [("Content-Type", "application/octet-stream")]
    opened = gzip.open if how == "gzip" else open
    handle = opened(path, "r" if how == "text" else "rb")
    if how == "part":
        handle.read(10)
        headers.append(("Content-Length", "20"))
    elif how == "length":
        headers.append(("Content-Length", str(path.stat().st_size)))
    start_response("200 OK", headers)
    wrapper = environ["wsgi.file_wrapper"](handle, 8192)
    seen["file"] = handle
    return wrapper


def file_closed(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(seen["file"].closed).encode()]


def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("one line\nand ")
    stream.writelines(["another ", query(environ, "mark") + "\n", "no end"])
    stream.flush()
    # The request is known on a thread that has no context, too.
    thread = threading.Thread(target=lambda: stream.write(f"; from a thread {query(environ, 'mark')}\n"))
    thread.start()
    thread.join()
    stream.write(f"left over {query(environ, 'mark')}")
    print(f"printed {query(environ, 'mark')}", file=sys.stderr)
    start_response("200 OK", TEXT)
    return [b"logged"]


def exc_before(environ, start_response):
    start_response("200 OK", TEXT)
    raise LookupError(f"before the head {query(environ, 'mark')}")


def exc_after(environ, start_response):
    def pieces():
        yield b"x" * 1000
        raise LookupError(f"after the head {query(environ, 'mark')}")

    start_response("200 OK", TEXT)
    return Pieces(pieces())


def exc_info(environ, start_response):
    """The head of an error in place of another one; or, where that is sent, the exception again."""
    send = start_response("200 OK", TEXT)
    if query(environ, "sent"):
        send(b"x" * 1000)
    try:
        raise LookupError(f"handled {query(environ, 'mark')}")
    except LookupError:
        start_response("503 Later", TEXT, sys.exc_info())
    return [b"sorry"]


def slow(environ, start_response):
    with lock:
        seen["running"] += 1
        seen["most"] = max(seen["most"], seen["running"])
    time.sleep(int(query(environ, "ms")) / 1000)
    with lock:
        seen["running"] -= 1
    start_response("200 OK", TEXT)
    return [b"slept"]


def exit_(environ, start_response):
    sys.exit(2)


def request(environ, start_response):
    found = nffi.request()
    start_response("200 OK", TEXT)
    return [f"{found.task > 0} {found.deadline is not None} {nffi.cancelled()}".encode()]


def report(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**{k: v for k, v in seen.items() if isinstance(v, int)}, "pid": os.getpid()}).encode()]


def close_fails(environ, start_response):
    class Fails(Pieces):
        def close(self):
            raise LookupError(f"in close {query(environ, 'mark')}")

    start_response("200 OK", TEXT)
    return Fails([b"all ", b"there"])


# What an app must not do; not for the validator.


def no_start(environ, start_response):
    return [b"body"]


def no_return(environ, start_response):
    start_response("200 OK", TEXT)


def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b""]


WRONG = {
    "text_body": lambda start: (start("200 OK", TEXT), ["text"])[1],
    "text_piece": lambda start: (start("200 OK", TEXT), (piece for piece in [1]))[1],
    "text_write": lambda start: (start("200 OK", TEXT)("text"), [])[1],
    "status_int": lambda start: (start(200, TEXT), [])[1],
    "status_word": lambda start: (start("OK", TEXT), [])[1],
    "status_1xx": lambda start: (start("101 Up", TEXT), [])[1],
    "headers_dict": lambda start: (start("200 OK", {"a": "b"}), [])[1],
    "headers_list": lambda start: (start("200 OK", [["a", "b"]]), [])[1],
    "header_int": lambda start: (start("200 OK", [("A", 1)]), [])[1],
    "header_bytes": lambda start: (start("200 OK", [(b"A", "b")]), [])[1],
    "header_crlf": lambda start: (start("200 OK", [("A", "b\r\nC: d")]), [])[1],
    "header_name": lambda start: (start("200 OK", [("A b", "c")]), [])[1],
    "header_wide": lambda start: (start("200 OK", [("A", "\u20ac")]), [])[1],
    "length_word": lambda start: (start("200 OK", [("Content-Length", "many")]), [])[1],
    "past_length": lambda start: (start("200 OK", [("Content-Length", "2")])(b"ab"), [])[1],
}


def wrong(environ, start_response):
    return WRONG[query(environ, "how")](start_response)


def surplus_write(environ, start_response):
    send = start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    send(b"four")
    try:
        send(b"more")
    except ValueError:
        seen["surplus"] = seen.get("surplus", 0) + 1
    return []


def latin(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-Name", "caf\xe9")])
    return [environ["PATH_INFO"].encode("latin-1")]


VALID = {
    function.__name__.rstrip("_"): validator(function)
    for function in (
        environ_, hello, several, none, status, length, body, count, unread, keep_input, stream, write, file,
        errors, exc_before, exc_after, exc_info, slow, exit_, request, report, close_fails, latin, file_closed,
    )
}  # fmt: skip
# The validator hides from the server what a list or a file wrapper is.
BARE = {
    "bare_" + function.__name__.rstrip("_"): function
    for function in (hello, several, none, file, no_start, no_return, twice, wrong, surplus_write)
}


def app(environ, start_response):
    # The last segment: whatever the app is mounted at.
    path = environ["PATH_INFO"].split("/")
    name = path[1] if len(path) > 1 else ""
    return (VALID.get(name) or BARE.get(name) or VALID["environ"])(environ, start_response)


def make():
    return app
