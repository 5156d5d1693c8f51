"""nffi._wsgi with a request that only takes notes: what is sent when, and what is closed. Needs no nginx."""

from __future__ import annotations

import io
import os
import pathlib
import sys
import tempfile
import threading
import types
import unittest
from unittest import mock
from wsgiref.validate import validator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from nffi import _wsgi
from nffi._context import Error, current_app
from nffi._streams import AGAIN, EOF, FULL, GONE, OK
from nffi._wsgi_io import ClientGone, FileWrapper, _File, body

TEXT = [("Content-Type", "text/plain")]


class Request:
    """Notes what is sent. codes: what _write and _send_file answer, OK where there are no more."""

    task, deadline, body, body_fd = 1, None, b"", -1

    def __init__(self, method="GET", codes=(), pieces=()):
        self.is_head, self.sent, self.codes = method == "HEAD", [], list(codes)
        self.variables = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_NAME": "x",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        }  # fmt: skip
        self.pieces = list(pieces)
        self.has_more = bool(pieces)
        self.head = None

    def environ(self, template):
        return {**template, **self.variables}

    def _note(self, *what):
        if self.head is not None:
            self.sent.append(("head", *self.head))
            self.head = None
        self.sent.append(what)

    def _set_head(self, status, headers):
        self.head = (status, list(headers))
        return next((int(value) for name, value in headers if name.lower() == "content-length"), -1)

    def _write(self, data):
        self._note("write", data)
        return self.codes.pop(0) if self.codes else OK

    def _send_file(self, descriptor, offset, length):
        self._note("file", os.pread(descriptor, length, offset))
        os.close(descriptor)
        return self.codes.pop(0) if self.codes else OK

    def _finish(self, data):
        self._note("finish", data)

    def _fail(self, status, message):
        if not any(what[0] in ("finish", "fail") for what in self.sent):
            self.sent.append(("fail", status, message))

    def _read(self):
        code = self.pieces.pop(0) if self.pieces else EOF
        return (OK, code) if isinstance(code, bytes) else (code, None)


class Native:
    """Room and pieces come as soon as somebody waits. stopping: nothing comes any more."""

    def __init__(self):
        self.waited, self.watched, self.stopping = 0, 0, False

    def watch(self, task, kind):
        self.watched += 1
        return 0

    def unwatch(self, task, kind):
        self.watched -= 1

    def wait(self, task, kind, seen):
        self.waited += 1
        return None if self.stopping else seen + 1

    def log(self, task, level, message):
        self.logged = [*getattr(self, "logged", []), message]
        return True


class Closed:
    def __init__(self, pieces):
        self.pieces, self.taken, self.closed = pieces, 0, 0

    def __iter__(self):
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self):
        self.closed += 1


class Case(unittest.TestCase):
    def serve(self, app, request=None, valid=False):
        self.native, self.request = Native(), request or Request()
        options = types.SimpleNamespace(
            native=self.native, handler=validator(app) if valid else app, threads=1, module="m", interface="wsgi"
        )
        current_app.set(options)
        server = _wsgi.Server(options)
        server._run(self.request)
        self.assertEqual(self.native.watched, 0)
        return self.request.sent

    def answer(self, pieces, headers=TEXT, status="200 OK", **kwargs):
        def app(environ, start_response):
            start_response(status, headers)
            return pieces

        return self.serve(app, Request(**kwargs))

    def test_the_head_waits_for_bytes(self):
        at_start = []

        def app(environ, start_response):
            start_response("200 OK", TEXT)
            at_start.extend(self.request.sent)
            yield b""
            at_start.extend(self.request.sent)
            yield b"a"
            self.assertEqual(self.request.sent[-1], ("write", b"a"))
            yield b"b"

        sent = self.serve(app, valid=True)
        self.assertEqual(at_start, [])
        self.assertEqual(sent, [("head", 200, TEXT), ("write", b"a"), ("write", b"b"), ("finish", b"")])

    def test_what_is_all_there_is_one_piece(self):
        for pieces, data in [([b"ab"], b"ab"), ((b"a", b"", b"b"), b"ab"), ([], b"")]:
            self.assertEqual(self.answer(pieces), [("head", 200, TEXT), ("finish", data)])
        sent = self.answer([b"x" * 60_000, b"y" * 60_000])
        self.assertEqual([what[0] for what in sent], ["head", "write", "write", "finish"])

    def test_the_last_byte_of_a_length_ends_it(self):
        headers = [("Content-Length", "3")]
        pieces = Closed([b"ab", b"c", b""])
        sent = self.answer(pieces, headers)
        self.assertEqual(sent, [("head", 200, headers), ("write", b"ab"), ("finish", b"c")])
        self.assertEqual((pieces.taken, pieces.closed), (3, 1), "taken to the end")
        pieces = Closed([b"abcd", b"e", b"f"])
        self.assertEqual(self.answer(pieces, headers)[1:], [("finish", b"abc")])
        self.assertEqual((pieces.taken, pieces.closed), (2, 1))
        self.assertEqual(len(self.native.logged), 2)

    def test_no_body_where_none_belongs(self):
        for kwargs in ({"method": "HEAD"}, {"status": "204 None"}, {"status": "304 Same"}):
            pieces = Closed([b"", b"a", b"b"])
            sent = self.answer(pieces, **kwargs)
            self.assertEqual(([what[0] for what in sent], sent[1][1]), (["head", "finish"], b""))
            self.assertEqual((pieces.taken, pieces.closed), (2, 1))
        self.assertEqual(self.answer([b"ab"], method="HEAD")[0], ("head", 200, [*TEXT, ("Content-Length", "2")]))

    def test_start_response_again(self):
        def app(environ, start_response):
            start_response("200 OK", TEXT)
            if environ["REQUEST_METHOD"] == "PUT":
                start_response("201 OK", TEXT)
            send = None
            if environ["REQUEST_METHOD"] == "POST":
                send = start_response
            try:
                raise LookupError("why")
            except LookupError:
                write = start_response("500 Oh", TEXT, sys.exc_info())
            write(b"x")
            if send:
                try:
                    raise LookupError("again")
                except LookupError:
                    start_response("500 Oh", TEXT, sys.exc_info())
            return [b"y"]

        self.assertEqual(self.serve(app)[0], ("head", 500, TEXT))
        sent = self.serve(app, Request("POST"))
        self.assertEqual(sent[-1], ("fail", 1, "LookupError: again"))
        sent = self.serve(app, Request("PUT"))
        self.assertEqual(sent[-1], ("finish", b"Internal Server Error"))
        self.assertIn("AssertionError: start_response()", self.native.logged[-1])

    def test_a_full_window_is_waited_for(self):
        self.answer(Closed([b"a", b"b"]), codes=[FULL, OK])
        self.assertEqual(self.native.waited, 1)

    def test_a_client_that_goes(self):
        pieces = Closed([b"a", b"b", b"c"])
        sent = self.answer(pieces, codes=[OK, GONE])
        self.assertEqual((pieces.taken, pieces.closed, sent[-1]), (2, 1, ("fail", 1, "the client has gone")))
        self.assertFalse(hasattr(self.native, "logged"), "that is no error")

        def app(environ, start_response):
            write = start_response("200 OK", TEXT)
            with self.assertRaises(OSError):
                write(b"x")
            raise ClientGone

        self.serve(app, Request(codes=[GONE]))

    def test_a_stop_while_waiting(self):
        request, pieces = Request(codes=[FULL]), Closed([b"a", b"b"])

        def app(environ, start_response):
            start_response("200 OK", TEXT)
            self.native.stopping = True
            return pieces

        self.assertEqual(self.serve(app, request)[-1][0], "fail")
        self.assertEqual(pieces.closed, 1)

    def test_close_whatever_happens(self):
        for pieces in ([b"a", LookupError("x")], [LookupError("x")], ["text"], [b"a"]):
            pieces = Closed(pieces)
            self.answer(pieces)
            self.assertEqual(pieces.closed, 1)
        # One whose close() fails is answered all the same.
        pieces = Closed([b"a"])
        with mock.patch.object(Closed, "close", side_effect=SystemExit):
            self.assertEqual(self.answer(pieces)[-1], ("finish", b""))
        self.assertIn("close()", self.native.logged[-1])

    def test_bodies(self):
        native = Native()
        source = body(native, Request(pieces=[AGAIN, b"abc\nd", b"", AGAIN, b"ef\n", b"g"]))
        self.assertEqual(
            (source.readline(), source.read(1), source.readline(2), source.read()), (b"abc\n", b"d", b"ef", b"\ng")
        )
        source = body(native, Request(pieces=[b"ab", GONE]))
        self.assertEqual(source.read(1), b"a")
        with self.assertRaises(ClientGone):
            source.read()
        self.assertEqual(native.watched, 0)
        with tempfile.TemporaryFile() as file:
            file.write(b"0123456789" * 20_000)
            file.flush()
            request = Request()
            request.body_fd = file.fileno()
            source = body(native, request)
            self.assertEqual(len(source.read()), 200_000)
            self.assertEqual((source.seek(199_999), source.read(), source.seek(-1, 2)), (199_999, b"9", 199_999))
            self.assertEqual(file.tell(), 200_000, "the host's position is its own")
            raw = _File(file.fileno())
            raw.close()
            raw.close()
            file.seek(0)
            source.close()

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "file")
            path.write_bytes(b"0123456789")
            for opened in (path.open("rb"), path.open("rb", buffering=0), path.open("r+b")):
                opened.read(2)
                sent = self.answer(FileWrapper(opened))
                self.assertEqual(sent[0], ("head", 200, [*TEXT, ("Content-Length", "8")]))
                self.assertEqual(sent[1:], [("file", b"23456789"), ("finish", b"")])
                self.assertTrue(opened.closed)
            with tempfile.NamedTemporaryFile() as named:
                named.write(b"abc")
                named.seek(1)
                self.assertEqual(self.answer(FileWrapper(named))[1], ("file", b"bc"))
            sent = self.answer(FileWrapper(path.open("rb")), [("Content-Length", "4")])
            self.assertEqual(sent[1:], [("file", b"0123"), ("finish", b"")])
            sent = self.answer(FileWrapper(path.open("rb")), method="HEAD")
            self.assertEqual(sent[1:], [("finish", b"")])
            # Not the system's file: the bytes are what read() gives.
            self.assertEqual(self.answer(FileWrapper(io.BytesIO(b"abc"), 2))[1:3], [("write", b"ab"), ("write", b"c")])

            class Upper(io.FileIO):
                def read(self, n=-1):
                    return super().read(n).upper()

            path.write_bytes(b"abc")
            self.assertEqual(self.answer(FileWrapper(Upper(path)))[1], ("write", b"ABC"))
            reader, writer = os.pipe()
            os.write(writer, b"piped")
            os.close(writer)
            self.assertEqual(self.answer(FileWrapper(os.fdopen(reader, "rb")))[1], ("write", b"piped"))

    def test_an_asgi_app_is_told(self):
        class App:
            async def __call__(self, scope, receive, send): ...

        for app in (App(), App().__call__):
            options = types.SimpleNamespace(native=Native(), handler=app, threads=1, module="m", function="app")
            with self.assertRaisesRegex(Error, "m.app is an ASGI app"):
                _wsgi.Server(options)

    def test_errors_are_lines(self):
        def app(environ, start_response):
            stream = environ["wsgi.errors"]
            stream.write("a\nb")
            thread = threading.Thread(target=stream.writelines, args=(["c\n", "d"],))
            thread.start()
            thread.join()
            start_response("200 OK", TEXT)
            return [b""]

        self.serve(app)
        self.assertEqual(self.native.logged, ["a", "bc", "d"])
        with self.assertRaises(TypeError):
            _wsgi.Errors(self.request, None).write(b"x")


if __name__ == "__main__":
    unittest.main()
