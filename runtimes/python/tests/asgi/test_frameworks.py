"""FastAPI, Starlette and Django, as they come from PyPI."""

import json

from server import Case, runtime
from websockets.sync.client import connect


def multipart(**parts):
    """A form's body and its Content-Type; a tuple is a file."""
    lines = []
    for name, value in parts.items():
        file, content = value if isinstance(value, tuple) else (None, value.encode())
        named = f'; filename="{file}"' if file else ""
        lines += [b"--limit", f'Content-Disposition: form-data; name="{name}"{named}'.encode(), b"", content]
    return b"\r\n".join([*lines, b"--limit--", b""]), "multipart/form-data; boundary=limit"


LOCATIONS = """
    client_max_body_size 64m; client_body_buffer_size 16k;
    location / { nffi_pass app; }
    location /shop/ { nffi_pass app; nffi_prefix /shop; nffi_request_buffering off; }
"""


class FastAPI(Case):
    RUNTIMES = runtime("app", "fastapi_app:app")
    LOCATIONS = LOCATIONS

    def test_json(self):
        response, body = self.ask("/item/7?q=x")
        self.assertEqual(json.loads(body), {"number": 7, "q": "x"})
        self.assertEqual(response.getheader("x-middleware"), "seen")
        self.assertEqual(self.ask("/item/seven")[0].status, 422)
        self.assertEqual(self.ask("/nowhere")[0].status, 404)
        body = json.dumps({"name": "tea", "price": 2.5})
        got = self.json("/item", method="POST", body=body, **{"Content-Type": "application/json"})
        self.assertEqual(got, {"name": "TEA", "price": 5.0, "greeting": "hello from the lifespan"})

    def test_upload(self):
        for prefix in ("", "/shop"):
            for size in (10, 5_000_000):
                body, kind = multipart(file=("big.bin", b"\0" * size))
                got = self.json(f"{prefix}/upload", method="POST", body=body, **{"Content-Type": kind})
                self.assertEqual(got, {"name": "big.bin", "size": size})

    def test_background_task(self):
        self.json("/later", method="POST")
        self.until(lambda: "in the background" in self.json("/notes"))

    def test_events(self):
        response, body = self.ask("/events")
        self.assertEqual(
            (response.getheader("content-type"), body.count(b"data: ")), ("text/event-stream; charset=utf-8", 3)
        )

    def test_events_of_a_client_that_leaves(self):
        before = self.json("/notes").count("events over")
        with self.nginx.connect() as client:
            client.sendall(b"GET /events?n=1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(100)
        self.until(lambda: self.json("/notes").count("events over") > before)

    def test_dependency(self):
        self.assertEqual(self.ask("/me")[0].status, 401)
        self.assertEqual(self.json("/me", Authorization="Bearer me"), {"who": "me"})

    def test_exception(self):
        response, body = self.ask("/kaboom")
        self.assertEqual((response.status, body), (500, b"Internal Server Error"))
        self.logged("ValueError: kaboom in FastAPI")

    def test_mounted(self):
        got = self.json("/shop/url")
        self.assertTrue(got["url"].endswith("/shop/url"), got)
        self.assertTrue(got["item"].endswith("/shop/item/7"), got)

    def test_docs_and_gzip(self):
        self.assertIn("swagger", self.text("/docs"))
        _response, body = self.ask("/openapi.json")
        self.assertEqual(json.loads(body)["info"]["title"], "FastAPI")

    def test_chat(self):
        def join(name):
            socket = connect(f"ws://127.0.0.1:{self.nginx.port}/chat/{name}")
            self.addCleanup(socket.close)
            return socket

        ann, bob = join("ann"), join("bob")
        ann.send("hello")
        self.assertEqual(ann.recv(20), "ann: hello")
        self.assertEqual(bob.recv(20), "ann: hello")
        bob.close()
        self.assertEqual(ann.recv(20), "bob has left")


class Starlette(Case):
    RUNTIMES = runtime("app", "starlette_app:app")
    LOCATIONS = LOCATIONS

    def test_bodies(self):
        for prefix in ("", "/shop"):
            self.assertEqual(self.json(f"{prefix}/size", method="POST", body=b"x" * 3_000_000), {"size": 3_000_000})

    def test_form(self):
        got = self.json(
            "/form", method="POST", body=b"a=1&b=%20", **{"Content-Type": "application/x-www-form-urlencoded"}
        )
        self.assertEqual(got, {"a": "1", "b": " "})

    def test_stream_and_files(self):
        self.assertEqual(len(self.text("/stream")), 1_000_000)
        for path in ("/file", "/static/file.txt", "/shop/file"):
            response, body = self.ask(path)
            self.assertEqual((response.status, len(body)), (200, 200_000), path)
        response, body = self.ask("/file", Range="bytes=5-9")
        self.assertEqual((response.status, body), (206, b"56789"))
        response, body = self.ask("/file", "HEAD")
        self.assertEqual((response.getheader("content-length"), body), ("200000", b""))
        self.assertEqual(self.ask("/static/file.txt", **{"If-None-Match": response.getheader("etag")})[0].status, 304)

    def test_a_client_that_leaves_is_no_error(self):
        with self.nginx.connect() as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(100)
        # Starlette makes an exception of its own of ours.
        self.logged(r"\[info\] .*the client has gone, and the application has ended with ClientDisconnect")
        self.assertNotIn("Exception in ASGI application", self.nginx.log())


class Django(Case):
    RUNTIMES = runtime("app", "django_app:app")
    LOCATIONS = LOCATIONS

    def test_views(self):
        self.assertEqual(self.text("/plain"), "a def")
        self.assertEqual(self.json("/async?q=1"), {"path": "/async", "reversed": "/async", "query": "1"})
        self.assertEqual(self.ask("/nowhere")[0].status, 404)

    def test_mounted(self):
        self.assertEqual(self.json("/shop/async")["reversed"], "/shop/async")

    def test_upload(self):
        body, kind = multipart(field="value", file=("f.bin", b"y" * 1_000_000))
        got = self.json("/upload", method="POST", body=body, **{"Content-Type": kind})
        self.assertEqual(got, {"name": "f.bin", "size": 1_000_000, "field": "value"})

    def test_stream(self):
        self.assertEqual(self.text("/stream").splitlines(), [str(i) for i in range(50)])

    def test_exception(self):
        self.assertEqual(self.ask("/kaboom")[0].status, 500)
        self.logged("kaboom in Django")
