#!/usr/bin/env python3
"""HTTP handlers in Java behind a real nginx, and a real client.

Environment: as t/survive/harness.py has it; NFFI_JAVA, a folder that runtimes/java/build has filled. Java 21 or later, if
JAVA_21_HOME names one, runs the tests of virtual threads. NFFI_BOARD: where examples/http/build has put the example.
"""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "../../../t/survive"))
from harness import Load, Nginx, rss_kb, wait_for  # noqa: E402

JAVA = pathlib.Path(os.environ["NFFI_JAVA"])
CLASSES = tempfile.TemporaryDirectory(prefix="nffi-java-http-")

SERVER = """
        client_max_body_size 300m;
        large_client_header_buffers 4 80k;
        location / {{ nffi_pass {default}; nffi_param REMOTE $remote_addr; }}
        location /app/ {{ nffi_pass {default}; nffi_prefix /app; nffi_request_buffering off; }}
        location /mem/ {{ nffi_pass {default}; nffi_prefix /mem; client_body_buffer_size 20m; }}
        location /messages {{ nffi_pass fixture; }}
        location = /to-http {{
            content_by_lua_block {{ ngx.say(select(2, require("resty.nffi").call("{default}", "x"))) }}
        }}
"""


def setUpModule():
    pathlib.Path(CLASSES.name).chmod(0o755)
    sources = [str(p) for p in (HERE / "handlers").rglob("*.java")]
    command = ["javac", "--release", "17", "-Xlint:all", "-Werror", "-d", CLASSES.name, "-cp", str(JAVA / "nffi.jar")]
    subprocess.run([*command, *sources], check=True)


def tearDownModule():
    CLASSES.cleanup()


def runtime(name, handler, more=""):
    return f"nffi_runtime {name} {JAVA}/libnffi_java.so {{ handler {handler}; class_path {CLASSES.name}; {more} }}\n"


class Served(unittest.TestCase):
    """One nginx for the tests of a class."""

    default = "web"
    more = ""
    jvm = ""

    @classmethod
    def setUpClass(cls):
        handlers = runtime("web", "testing.Web", cls.jvm + cls.more) + runtime("async", "testing.AsyncWeb", cls.jvm)
        cls.nginx = Nginx(runtimes=runtime("fixture", "testing.Odd", cls.jvm) + handlers,
                          server=SERVER.format(default=cls.default))
        cls.nginx.start()

    @classmethod
    def tearDownClass(cls):
        cls.nginx.destroy()

    def ask(self, path, method="GET", body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def echo(self, path, body):
        """Sends and receives at the same time: nobody else would take what comes back meanwhile."""
        with self.nginx.connect() as sock:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            sender = threading.Thread(target=lambda: sock.sendall(head.encode() + body))
            sender.start()
            response = http.client.HTTPResponse(sock)
            response.begin()
            answer = response.read()
            sender.join()
            return response.status, answer

    def raw(self, request):
        """All that comes until the connection is closed."""
        with self.nginx.connect() as sock:
            sock.sendall(request.encode("latin-1"))
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode("latin-1")

    def get_raw(self, path, method="GET"):
        return self.raw(f"{method} {path} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n")

    def gone(self):
        return int(self.ask("/gone")[2])


class Answers(Served):
    def test_echo(self):
        for size in (0, 1, 16384, 16385, 100_000, 16 << 20):
            body = os.urandom(size)
            # As a file, in memory, streamed; by the stream and whole.
            for path in ("/echo", "/mem/echo", "/app/echo", "/bytes", "/mem/bytes", "/app/bytes"):
                with self.subTest(path, size=size):
                    status, answer = self.echo(path, body)
                    self.assertEqual(status, 200)
                    self.assertTrue(answer == body, f"{len(answer)} of {size} bytes")

    def test_a_body_of_unknown_length(self):
        for path in ("/echo", "/app/echo"):
            parts = [os.urandom(30_000) for _ in range(20)]
            self.assertEqual(self.ask(path, "POST", iter(parts))[2], b"".join(parts))

    def test_the_request(self):
        text = self.raw("GET /app/show%C3%A4/../show?a=%20b HTTP/1.1\r\nHost: some\r\nX-Twice: 1\r\nx-twice: 2\r\n"
                        "X-Latin: \xe4\r\nConnection: close\r\n\r\n")
        self.assertIn("GET /app/show%C3%A4/../show /app/show a=%20b /app HTTP/1.1\n", text)
        self.assertRegex(text, r"http 127.0.0.1 true 127.0.0.1 true some\n0 false \{\}\n")
        self.assertIn("> Host: some\n> X-Twice: 1\n> x-twice: 2\n", text)
        self.assertTrue(text.endswith("1 [1, 2]\n"), text)
        self.assertIn(b"{REMOTE=127.0.0.1}", self.ask("/show")[2])

    def test_a_head_that_fills_many_buffers(self):
        # The second does not fit the buffer of an exchange either.
        for size in (7000, 70_000):
            headers = {f"X-{i}": "v" * size for i in range(3)}
            _, _, text = self.ask("/show", "POST", b"body", headers=headers)
            self.assertEqual(text.count(b"v" * size), 3)
            self.assertEqual(self.ask("/echo", "POST", b"body", headers=headers)[2], b"body")

    def test_lengths_and_statuses(self):
        status, headers, _ = self.ask("/hello")
        self.assertEqual((status, headers["Content-Length"], headers["Content-Type"]), (200, "6", "text/plain; charset=utf-8"))
        self.assertEqual(self.ask("/stream?n=5&size=3")[2], b"aaabbbcccdddeee")
        for code in (204, 304, 418, 999):
            status, _, body = self.ask(f"/status?code={code}")
            self.assertEqual((status, body), (code, b""))
        for path in ("/hello", "/stream?n=100&size=10000", "/file?path=/etc/passwd"):
            status, headers, body = self.ask(path, "HEAD")
            self.assertEqual((status, body), (200, b""))
        self.assertEqual(headers["Content-Length"], str(os.path.getsize("/etc/passwd")))

    def test_headers(self):
        text = self.get_raw("/headers")
        self.assertIn("Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-Latin: \xe4\r\n", text)

    def test_a_flush_sends_the_head(self):
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /flush?ms=2000 HTTP/1.1\r\nHost: x\r\n\r\n")
            first = sock.recv(65536)
            self.assertTrue(first.startswith(b"HTTP/1.1 200"))
            self.assertNotIn(b"later", first)
            self.assertIn(b"later", sock.recv(65536))

    def test_trailers(self):
        self.assertTrue(self.get_raw("/trailers").endswith("\r\n0\r\nX-Sum: 42\r\n\r\n"))

    def test_hints(self):
        # Debian 12's nginx has none; the answer is the same.
        self.assertEqual(self.ask("/hints")[2], b"hello\n")

    def test_files(self):
        with tempfile.NamedTemporaryFile() as file:
            content = os.urandom(3 << 20)
            file.write(content)
            file.flush()
            os.chmod(file.name, 0o644)
            path = f"/file?path={file.name}"
            status, headers, body = self.ask(path)
            self.assertEqual((status, headers["Content-Length"]), (200, str(len(content))))
            self.assertTrue(body == content)
            self.assertTrue(self.ask(f"{path}&offset=1000&length=500000")[2] == content[1000:501000])
            self.assertEqual(self.ask(f"{path}&offset={len(content)}")[2], b"")
            status, _, body = self.ask(path, headers={"Range": "bytes=10-19"})
            self.assertEqual((status, body), (206, content[10:20]))
            self.assertEqual(self.ask(f"/parts?path={file.name}")[2], b"<" + content[1:4] + b">")
            for more in ("&offset=-1", f"&offset={len(content) + 1}", f"&length={len(content) + 1}", "&length=-2"):
                self.assertEqual(self.ask(path + more)[0], 500, more)
        for path in ("/no/such", "/etc", "/dev/zero"):
            self.assertEqual(self.ask(f"/file?path={path}")[0], 500, path)
        self.assertIn("(no regular file)", self.nginx.log())

    def test_failures(self):
        for path, said in (
            ("/throw", "java.lang.IllegalStateException: thrown on purpose"),
            ("/late", "java.lang.IllegalStateException: thrown too late"),
            ("/nothing", "the handler returned without an answer"),
            ("/malformed", r"java.lang.IllegalArgumentException: X-A: a header's value cannot have U\+000D in it"),
        ):
            with self.subTest(path):
                status, _, body = self.ask(path)
                self.assertEqual((status, body), (500, b"Internal Server Error"))
                self.assertTrue(self.nginx.log_has(rf'\[error\].* nffi runtime "{self.default}": {said}', 5), said)
        with self.nginx.connect() as sock:
            sock.sendall(b"POST /app/late?flush HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 200"))
            # It throws when it has got this.
            sock.sendall(b"x")
            rest = b"".join(iter(lambda: sock.recv(65536), b""))
            self.assertFalse(rest.endswith(b"0\r\n\r\n"), "the connection was cut")
        self.assertTrue(self.nginx.log_has("failed with status 1: java.lang.IllegalStateException: thrown too late; the connection is cut", 5))

    def test_a_kind_that_it_does_not_take(self):
        self.assertEqual(self.ask("/messages")[0], 502)
        self.assertTrue(self.nginx.log_has(r"this runtime takes messages \(nffi.call\), not HTTP requests \(nffi_pass\)", 5))
        self.assertIn(b"this runtime takes HTTP requests (nffi_pass), not messages (nffi.call)", self.ask("/to-http")[2])

    def test_upgrade(self):
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ")
            got = b""
            while not got.endswith(b"early "):
                got += sock.recv(65536)
            self.assertTrue(got.startswith(b"HTTP/1.1 101"), got)
            self.assertRegex(got, rb"(?i)upgrade: echo\r\n")
            for size in (1, 100, 100_000, 3_000_000):
                data = os.urandom(size)
                got, sent = b"", 0
                while len(got) < size:
                    if sent < size:
                        # Less than both windows and the sockets hold, or nobody would read.
                        sock.sendall(data[sent : sent + 50_000])
                        sent += 50_000
                    want = min(sent, size)
                    while len(got) < want:
                        got += sock.recv(65536)
                self.assertTrue(got == data, size)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(b"".join(iter(lambda: sock.recv(65536), b"")), b"bye")
        self.assertEqual(self.ask("/upgrade")[0], 500)
        self.assertTrue(self.nginx.log_has("the client has not asked for an upgrade", 5))

    def test_a_client_that_goes(self):
        before = self.gone()
        for path in ("/sleep", "/stream?n=1000000&size=65536"):
            with self.nginx.connect() as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                if "stream" in path:
                    sock.recv(1000)
                else:
                    self.assertTrue(wait_for(lambda: self.nginx.runtime(self.default)["in_flight"] > 0))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.assertTrue(wait_for(lambda: self.gone() == before + 2, 10), "both heard of it")
        self.assertTrue(wait_for(lambda: self.nginx.runtime(self.default)["in_flight"] == 0, 10))


class Async(Answers):
    default = "async"

    def test_no_future(self):
        status, _, body = self.ask("/here/null")
        self.assertEqual((status, body), (500, b"Internal Server Error"))

    def test_the_loops_thread_does_not_wait(self):
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /here/full HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            # Nobody reads meanwhile, so that the window is full at some time.
            self.assertTrue(self.nginx.log_has("would wait on the thread that takes requests in", 10))
            end = b"".join(iter(lambda: sock.recv(1 << 20), b""))[-10:]
            self.assertFalse(end.endswith(b"0\r\n\r\n"), "the connection was cut")

    def test_pieces_without_waiting(self):
        for size in (0, 1, 100_000, 16 << 20):
            body = os.urandom(size)
            for path in ("/here/echo", "/mem/here/echo", "/app/here/echo"):
                status, answer = self.echo(path, body)
                self.assertTrue((status, answer) == (200, body), f"{path}: {status}, {len(answer)} of {size} bytes")
        self.assertEqual(self.ask("/here/stream?n=300&size=70000")[2], bytes(300 * 70000))
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /here/upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 101"))
            for word in (b"one", b"two"):
                sock.sendall(word)
                self.assertEqual(sock.recv(65536), word)
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /here/stream?n=1000000&size=65536 HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(1000)
        self.assertTrue(wait_for(lambda: self.nginx.runtime(self.default)["in_flight"] == 0, 10))

    # A future does not interrupt who computes it.
    def test_a_client_that_goes(self):
        before = self.gone()
        with self.nginx.connect() as sock:
            sock.sendall(b"GET /stream?n=1000000&size=65536 HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(1000)
        self.assertTrue(wait_for(lambda: self.gone() == before + 1, 10))
        self.assertTrue(wait_for(lambda: self.nginx.runtime(self.default)["in_flight"] == 0, 10))
        self.assertNotIn("has gone", self.nginx.log())


@unittest.skipUnless(os.environ.get("JAVA_21_HOME"), "no Java 21 or later: JAVA_21_HOME is not set")
class Virtual(Answers):
    jvm = f"java_home {os.environ.get('JAVA_21_HOME')};"
    more = "threads virtual;"

    def test_more_at_once_than_any_pool_has(self):
        socks = [self.nginx.connect() for _ in range(500)]
        for sock in socks:
            sock.sendall(b"GET /sleep?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(wait_for(lambda: self.nginx.runtime("web")["in_flight"] == 500, 20))
        self.assertEqual(self.ask("/hello")[2], b"hello\n")
        for sock in socks:
            sock.close()
        self.assertTrue(wait_for(lambda: self.nginx.runtime("web")["in_flight"] == 0, 20))


class Bounded(Served):
    jvm = "jvm_option -Xmx32m;"
    SIZE = 256 << 20

    def grown(self, act):
        """KiB, at its most while act runs."""
        for _ in range(20):
            self.ask("/echo", "POST", b"x" * 300_000)
        worker = self.nginx.workers()[0]
        before = rss_kb(worker)
        most = before
        for _ in act():
            most = max(most, rss_kb(worker))
        return most - before

    def test_a_slow_reader(self):
        def act():
            with self.nginx.connect() as sock:
                sock.sendall(f"GET /stream?n={self.SIZE >> 16}&size=65536 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                got = 0
                while part := sock.recv(1 << 20):
                    if got >> 23 != (got + len(part)) >> 23:
                        wait_for(lambda: False, 0.02)
                        yield
                    got += len(part)
                self.assertGreater(got, self.SIZE)

        self.assertLess(self.grown(act), 32 << 10)

    def test_a_slow_handler(self):
        def act():
            with self.nginx.connect() as sock:
                sock.sendall(f"POST /app/count HTTP/1.1\r\nHost: x\r\nContent-Length: {self.SIZE}\r\nConnection: close\r\n\r\n".encode())
                for _ in range(self.SIZE >> 20):
                    sock.sendall(bytes(1 << 20))
                    yield
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
                self.assertIn(f"{self.SIZE} bytes".encode(), answer)

        self.assertLess(self.grown(act), 48 << 10)


@unittest.skipUnless(os.environ.get("NFFI_BOARD"), "NFFI_BOARD does not say where examples/http is built")
class Board(unittest.TestCase):
    """The example."""

    def test_the_board(self):
        board = f"handler io.github.nffi.examples.Board; class_path {os.environ.get('NFFI_BOARD')}/*; keep 3;"
        server = "location /board/ { nffi_pass board; nffi_prefix /board; nffi_request_buffering off; }"
        nginx = Nginx(runtimes=f"nffi_runtime board {JAVA}/libnffi_java.so {{ {board} }}", server=server)
        try:
            nginx.start()
            self.assertTrue(wait_for(lambda: nginx.get("/board/")[0] == 200, 20))
            self.assertIn(b"<title>Board</title>", nginx.get("/board/")[1])
            self.assertEqual(nginx.get("/board/no"), (404, b"no /no\n"))
            readers = [nginx.connect() for _ in range(200)]
            for reader in readers:
                reader.sendall(b"GET /board/news HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"text/event-stream", reader.recv(65536))
            for text in ("one", "zw\u00f6lf", "3", "4"):
                self.assertEqual(self.post(nginx, json.dumps({"text": text}))[0], 201)
            for wrong in ("", "x", "[]", "{}", '{"text": ""}', json.dumps({"text": "x" * 10_001}), "x" * 1_000_000):
                self.assertEqual(self.post(nginx, wrong)[0], 400, wrong[:80])
            notes = [{"number": n, "text": text} for n, text in ((2, "zw\u00f6lf"), (3, "3"), (4, "4"))]
            self.assertEqual(json.loads(nginx.get("/board/notes")[1]), notes)
            for reader in readers:
                got = b""
                while b'"number":4' not in got:
                    got += reader.recv(65536)
                events = re.findall(rb"data: (.*)", got)
                self.assertEqual([json.loads(event)["number"] for event in events], [1, 2, 3, 4])
                reader.close()
            self.assertTrue(wait_for(lambda: nginx.runtime("board")["in_flight"] == 0, 10), "readers that went are let go")
        finally:
            nginx.destroy()

    @staticmethod
    def post(nginx, body):
        connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
        connection.request("POST", "/board/notes", body)
        response = connection.getresponse()
        return response.status, response.read()


class Reload(unittest.TestCase):
    def test_under_load(self):
        handlers = runtime("web", "testing.Web?") + runtime("async", "testing.AsyncWeb")
        nginx = Nginx(runtimes=handlers, server="location / { nffi_pass web; } location = /hello { nffi_pass async; }")
        try:
            nginx.start()
            wait_for(lambda: nginx.get("/loaded")[0] == 200, 20)
            loads = [Load(nginx, "/hello", 2, expect=b"hello\n"), Load(nginx, "/stream?n=20&size=10000", 2, keepalive=False)]
            with nginx.connect() as echo:
                echo.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                self.assertTrue(echo.recv(65536).startswith(b"HTTP/1.1 101"))
                for _ in range(5):
                    old = set(nginx.workers())
                    nginx.signal(signal.SIGHUP)
                    self.assertTrue(wait_for(lambda: set(nginx.workers()) - old, 20), "a new worker")
                    self.assertEqual(nginx.get("/loaded"), (200, b"1\n"))
                    # Each new worker starts a JVM; its requests wait for that.
                    before = [load.good for load in loads]
                    enough = lambda: all(load.good > good + 2 for load, good in zip(loads, before))  # noqa: B023, E731
                    self.assertTrue(wait_for(enough, 20), "requests while it reloads")
                # What was upgraded before goes on.
                echo.sendall(b"still there")
                self.assertEqual(echo.recv(65536), b"still there")
            loads = [load.stop() for load in loads]
            for load in loads:
                self.assertEqual(load.bad, 0, load.errors[:3])
            self.assertEqual(nginx.bad_lines("open file resource"), [])
            self.assertTrue(wait_for(lambda: len(nginx.children()) == 1, 20), "old workers have ended")
        finally:
            nginx.destroy()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
