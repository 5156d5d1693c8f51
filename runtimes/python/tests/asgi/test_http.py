"""ASGI's http scope, by a raw app."""

import os
import socket
import tempfile
import time

from server import Case, runtime


class Http(Case):
    RUNTIMES = runtime("raw", "raw:app") + runtime("other", "raw:app", "lifespan off; uvloop off;")
    LOCATIONS = """
        client_max_body_size 64m; client_body_buffer_size 16k;
        location / { nffi_pass raw; nffi_param WHERE here; }
        location /streamed/ { nffi_pass raw; nffi_prefix /streamed; nffi_request_buffering off; }
        location /mounted/ { nffi_pass other; nffi_prefix /mounted; }
        location = /message { content_by_lua_block { ngx.print(select(2, require("resty.nffi").call("raw", "x"))) } }
    """

    def tearDown(self):
        self.assertEqual(self.json("/problems")["found"], [], "what asgiref's definitions do not allow")

    def test_scope(self):
        scope = self.json("/scope?a=%20b&c", **{"X-Case": "Kept"})
        self.assertEqual(scope["type"], "http")
        self.assertEqual(scope["asgi"], {"version": "3.0", "spec_version": "2.5"})
        self.assertEqual((scope["http_version"], scope["method"], scope["scheme"]), ("1.1", "GET", "http"))
        self.assertEqual((scope["path"], scope["raw_path"], scope["query_string"]), ("/scope", "/scope", "a=%20b&c"))
        self.assertEqual(scope["root_path"], "")
        self.assertIn(["host", f"127.0.0.1:{self.nginx.port}"], scope["headers"])
        self.assertIn(["x-case", "Kept"], scope["headers"])
        self.assertEqual(scope["server"], ["127.0.0.1", self.nginx.port])
        self.assertEqual(scope["client"][0], "127.0.0.1")
        self.assertEqual(scope["state"], {"started": "yes"})
        self.assertEqual(scope["extensions"]["nffi.params"], {"WHERE": "here"})
        # No early hints: these nginxes cannot send them.
        self.assertEqual(
            scope["extensions"].keys(), {"http.response.trailers", "http.response.pathsend", "nffi.params"}
        )
        # What one request writes into its scope is not the next one's.
        again = self.json("/scope")
        self.assertEqual(again["state"], {"started": "yes"})
        self.assertNotIn("mine", again["extensions"])

    def test_paths_are_decoded_and_kept_raw(self):
        for path in ("/scope/../scope", "/%73cope"):
            scope = self.json(path)
            self.assertEqual(scope["path"], "/scope")
        scope = self.json("/%73cope")
        self.assertEqual(scope["raw_path"], "/%73cope")

    def test_mounted(self):
        scope = self.json("/mounted/scope")
        self.assertEqual((scope["root_path"], scope["path"]), ("/mounted", "/mounted/scope"))
        self.assertEqual(scope["state"], {}, "lifespan is off there")

    def test_headers_keep_their_order(self):
        answer = self.raw(b"GET /scope HTTP/1.0\r\nHost: x\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n")
        self.assertIn(b'["a", "1"], ["b", "2"], ["a", "3"]', answer)
        self.assertIn(b'"http_version": "1.0"', answer)

    def test_bodies(self):
        for prefix in ("", "/streamed"):
            for size in (0, 1, 1000, 100_000, 5_000_000):
                body = os.urandom(size)
                response, got = self.ask(f"{prefix}/body", "POST", body)
                self.assertEqual(response.status, 200)
                self.assertTrue(got == body, f"{prefix}: {size} bytes")
        count = self.json("/count", method="POST", body=b"x" * 3_000_000)
        self.assertEqual(count["size"], 3_000_000)
        self.assertLessEqual(count["most"], 65536, "a file comes in pieces")

    def test_chunked_request(self):
        connection = self.connect()
        connection.request(
            "POST",
            "/streamed/body",
            body=iter([b"one ", b"two ", b"three"]),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        self.assertEqual(connection.getresponse().read(), b"one two three")

    def test_pieces_of_an_upload_come_as_they_are_sent(self):
        with self.nginx.connect() as client:
            client.sendall(
                b"POST /streamed/count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345"
            )
            time.sleep(0.1)
            client.sendall(b"67890")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        self.assertIn(b'"size": 10', answer)

    def test_streamed_answer(self):
        response, body = self.ask("/stream?n=200&size=65536")
        self.assertEqual((len(body), response.getheader("transfer-encoding")), (200 * 65536, "chunked"))

    def test_send_waits_for_the_client(self):
        before = int(self.text("/sent"))
        client = socket.create_connection(("127.0.0.1", self.nginx.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        self.until(lambda: int(self.text("/sent")) > before)
        # It stands still.
        last = -1
        while (now := int(self.text("/sent"))) != last:
            last = now
            time.sleep(0.3)
        self.assertLess(now - before, 16 << 20)
        client.close()
        self.notes("flood: ClientDisconnected")
        # The app did not catch it: no more than that is in the log.
        self.assertNotIn("Exception in ASGI application\n", self.nginx.log())

    def test_a_head_goes_before_its_body(self):
        with self.nginx.connect() as client:
            client.settimeout(20)
            client.sendall(b"GET /head/first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            head = client.recv(65536)
            self.assertIn(b"200 OK", head)
            self.assertNotIn(b"later", head)
            self.text("/release")
            self.assertIn(b"later", b"".join(iter(lambda: client.recv(65536), b"")))

    def test_trailers(self):
        ask = b"GET /trailers%s HTTP/1.1\r\nHost: x\r\n%sConnection: close, TE\r\n\r\n"
        for te in (b"TE: trailers\r\n", b"TE: gzip;q=0.5\r\nte: deflate , Trailers\r\n"):
            answer = self.raw(ask % (b"", te))
            self.assertIn(b"4\r\nbody\r\n", answer)
            self.assertRegex(answer.lower(), b"\r\n0\r\nx-sum: 42\r\n\r\n$")
        answer = self.raw(ask % (b"?more=3", b"TE: trailers\r\n"))
        self.assertRegex(answer, b"\r\n0\r\nx-more: 0\r\nx-more: 1\r\nx-more: 2\r\nx-sum: 42\r\n\r\n$")
        # A client that has not asked for them gets none, and the app need not know.
        for te in (b"", b"TE: gzip\r\n"):
            answer = self.raw(ask % (b"?more=1", te))
            self.assertRegex(answer, b"\r\n(4\r\nbody\r\n0\r\n\r\n|\r\nbody)$")

    def test_trailers_that_do_not_come(self):
        for how, note in [("none", ""), ("more", ""), ("bad", "trailers: RuntimeError: Invalid HTTP header value")]:
            answer = self.raw(
                f"GET /trailers?how={how} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n".encode()
            )
            self.assertFalse(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n"), (how, answer))
            if note:
                self.notes(note)

    def test_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            os.chmod(file.name, 0o644)
            file.write(b"0123456789" * 10_000)
            file.flush()
            response, body = self.ask(f"/file?path={file.name}")
            self.assertEqual((response.status, body), (200, b"0123456789" * 10_000))
        self.assertFalse(
            self.raw(b"GET /file?path=/nonexistent HTTP/1.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
        )
        self.logged("FileNotFoundError")

    def test_head_and_statuses_without_a_body(self):
        response, body = self.ask("/hello", "HEAD")
        self.assertEqual((response.status, response.getheader("content-length"), body), (200, "5", b""))
        for code in (204, 304):
            response, body = self.ask(f"/status?code={code}&body=dropped")
            self.assertEqual((response.status, body), (code, b""))
        for code in (200, 404, 418, 503):
            response, body = self.ask(f"/status?code={code}&body=kept")
            self.assertEqual((response.status, body), (code, b"kept"))

    def test_disconnect(self):
        with self.nginx.connect() as client:
            client.sendall(b"GET /disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
            self.notes("waits")
        self.notes("http.disconnect")
        self.notes("ClientDisconnected")

    def test_receive_is_a_coroutine(self):
        self.assertEqual(self.text("/task"), "http.request")

    def test_work_after_the_answer(self):
        self.assertEqual(self.text("/background"), "answered")
        self.text("/release")
        self.notes("background after http.disconnect")

    def test_what_an_app_must_not_do(self):
        for how, status, error in [
            (
                "body_first",
                500,
                "RuntimeError: Expected ASGI message 'http.response.start', but got 'http.response.body'.",
            ),
            (
                "two_heads",
                None,
                "RuntimeError: Expected ASGI message 'http.response.body', but got 'http.response.start'.",
            ),
            (
                "after_end",
                200,
                "RuntimeError: Unexpected ASGI message 'http.response.body' sent, after response already completed.",
            ),
            ("long", None, "RuntimeError: Response content longer than Content-Length"),
            ("short", None, "RuntimeError: Response content shorter than Content-Length"),
            ("header_name", 500, "RuntimeError: Invalid HTTP header name"),
            ("header_value", 500, "RuntimeError: Invalid HTTP header value"),
            ("no_dict", 500, "TypeError: ASGI messages are dicts, not str"),
            ("status", 500, "RuntimeError: Invalid HTTP status 42"),
            ("hint", 500, "hint: RuntimeError: Expected ASGI message 'http.response.start'"),
            ("text", None, "TypeError: body: bytes expected, not str"),
        ]:
            answer = self.raw(f"GET /wrong?how={how} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            if status:
                self.assertIn(f"HTTP/1.1 {status} ".encode(), answer, how)
            else:
                # Nothing was sent yet, or the connection was cut: never a whole answer.
                self.assertFalse(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"0\r\n\r\n"), (how, answer))
            self.notes(error)

    def test_failures(self):
        for path in ("/raise", "/nothing", "/result", "/exit"):
            response, body = self.ask(path)
            self.assertEqual((response.status, body), (500, b"Internal Server Error"), path)
            self.assertEqual(response.getheader("content-type"), "text/plain; charset=utf-8")
        lines = self.logged("ValueError: kaboom")
        self.assertRegex(lines[0], r"\[error\] .*\*\d+ ")
        self.logged(r"\*\d+ .*raise ValueError")
        self.logged("ASGI callable returned without starting response")
        self.logged("ASGI callable should return None")
        for path in ("/half", "/half?raise=1"):
            answer = self.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            # Where nginx has not seen the head yet, that is a 502.
            whole = answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"0\r\n\r\n")
            self.assertFalse(whole, "it must not look whole")
        self.logged("ASGI callable returned without completing response")

    def test_a_failure_behind_the_head(self):
        response, _ = self.ask("/started")
        self.assertEqual(response.status, 502)
        self.logged("ValueError: behind the head")
        answer = self.raw(b"GET /started?later=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200") and not answer.endswith(b"0\r\n\r\n"), answer)

    def test_a_loop_that_the_app_stops_goes_on(self):
        for path in ("/stop", "/mounted/stop"):
            self.assertEqual(self.text(path), "stopped")
            self.assertEqual(self.text("/hello"), "hello")
        warning = r"the application called loop\.stop\(\); the loop goes on"
        for name in ("raw", "other"):
            self.logged(rf'\[warn\] .*"{name}": {warning}')

    def test_log_lines_have_the_request(self):
        self.text("/log?text=mine")
        self.assertRegex(self.logged("logged mine")[0], r"\[warn\] .*\*\d+ ")

    def test_messages_are_refused(self):
        self.assertIn("takes HTTP requests (nffi_pass), not messages (nffi.call)", self.text("/message"))

    def test_pipelining(self):
        one = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.raw(one * 20 + last).count(b"\r\n\r\nhello"), 21)
