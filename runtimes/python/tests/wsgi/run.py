"""WSGI apps in nginx: PEP 3333 by apps without a framework behind wsgiref's validator, then Flask and Django.

Environment: what t/survive/harness.py reads, NFFI_PYTHON_LIBRARY (libnffi_python.so), NFFI_WSGI_VENV (with Flask and
Django).
"""

import concurrent.futures
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "t/survive"))

from harness import Load, fds, rss_kb, run, wait_for  # noqa: E402

LIBRARY = os.environ["NFFI_PYTHON_LIBRARY"]
VENV = os.environ["NFFI_WSGI_VENV"]

COMMON = f"interface wsgi; path {HERE}; venv {VENV}; stop_timeout 10s;"
RUNTIMES = f"""
    nffi_runtime fixture {LIBRARY} {{ app plain:app; {COMMON} }}
    nffi_runtime flask {LIBRARY} {{ app flaskapp:make; factory on; threads 16; {COMMON} }}
    nffi_runtime django {LIBRARY} {{ app djangoapp:application; {COMMON} }}
    nffi_runtime broken {LIBRARY} {{ app plain:nothing; {COMMON} }}
    nffi_runtime message {LIBRARY} {{ handler plain:hello; path {HERE}; venv {VENV}; }}
    client_max_body_size 0;
    client_body_buffer_size 16k;
    nffi_timeout 20s;
"""
SERVER = """
    underscores_in_headers on;
    location / { nffi_pass fixture; nffi_param REMOTE_USER $arg_user; }
    location /mounted/ { nffi_pass fixture; nffi_prefix /mounted; }
    location = /mounted { nffi_pass fixture; nffi_prefix /mounted; }
    location /pieces/ { nffi_pass fixture; nffi_prefix /pieces; nffi_request_buffering off; }
    location /flask/ { nffi_pass flask; nffi_prefix /flask; }
    location /flask-pieces/ { nffi_pass flask; nffi_prefix /flask-pieces; nffi_request_buffering off; }
    location /django/ { nffi_pass django; nffi_prefix /django; }
    location /django-pieces/ { nffi_pass django; nffi_prefix /django-pieces; nffi_request_buffering off; }
    location /broken/ { nffi_pass broken; }
    location /message/ { nffi_pass message; }
"""


class Client:
    """Requests over one connection, that has to survive them unless it is told otherwise."""

    def __init__(self, nginx):
        self.nginx = nginx
        self.connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)

    def ask(self, path, method="GET", body=None, headers=None, chunked=False):
        headers = headers or {}
        self.connection.request(method, path, body, headers, encode_chunked=chunked)
        response = self.connection.getresponse()
        response.data = response.read()
        return response

    def json(self, path, *args, **kwargs):
        response = self.ask(path, *args, **kwargs)
        if response.status != 200:
            raise ConnectionError(f"{path}: {response.status} {response.data[:200]!r}")
        return json.loads(response.data)


def raw(nginx, text, until=b""):
    """Everything that comes for a request on a connection of its own."""
    with nginx.connect() as sock:
        sock.sendall(text)
        got = b""
        while piece := sock.recv(65536):
            got += piece
        return got


def chunks(data, size=10_000):
    for at in range(0, len(data), size):
        yield data[at : at + size]


def environs(checks, nginx, client):
    response = client.json(
        "/environ/caf%C3%A9%2Fx?a=%20b&user=me",
        headers={"X-Two": "1", "X_Two": "spoofed", "Cookie": "a=b", "Content-Type": "text/x", "User-Agent": "me"},
    )
    wanted = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/caf\xc3\xa9/x",
        "QUERY_STRING": "a=%20b&user=me",
        "REQUEST_URI": "/environ/caf%C3%A9%2Fx?a=%20b&user=me",
        "RAW_URI": "/environ/caf%C3%A9%2Fx?a=%20b&user=me",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(nginx.port),
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "text/x",
        "HTTP_HOST": f"127.0.0.1:{nginx.port}",
        "HTTP_USER_AGENT": "me",
        "HTTP_X_TWO": "1",
        "HTTP_COOKIE": "a=b",
        "REMOTE_USER": "me",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    wrong = {name: response.get(name) for name, value in wanted.items() if response.get(name) != value}
    checks.check(not wrong, "environ has what PEP 3333 wants", wrong)
    checks.check(
        response["REMOTE_PORT"].isdigit() and "CONTENT_LENGTH" not in response, "ports, and no length", response
    )
    found = client.json("/environ", headers={"Proxy": "http://evil.example", "X-Proxy": "kept"})
    checks.check(
        "HTTP_PROXY" not in found and found["HTTP_X_PROXY"] == "kept", "a client sets no HTTP_PROXY (httpoxy)", found
    )
    found = client.json("/environ", "POST", b"12345")
    checks.check(found["CONTENT_LENGTH"] == "5" and found["REQUEST_METHOD"] == "POST", "CONTENT_LENGTH", found)
    found = client.json("/environ", "POST", b"", headers={"Content-Length": "0"})
    checks.check(found["CONTENT_LENGTH"] == "0", "CONTENT_LENGTH of no bytes", found)
    found = client.json(
        "/environ", "POST", chunks(b"x" * 50_000), headers={"Transfer-Encoding": "chunked"}, chunked=True
    )
    checks.check(
        found.get("CONTENT_LENGTH") == "50000" and "HTTP_TRANSFER_ENCODING" not in found,
        "of a chunked body that nginx has read the length is known", found,
    )  # fmt: skip
    found = client.json(
        "/pieces/environ", "POST", chunks(b"x" * 50_000), headers={"Transfer-Encoding": "chunked"}, chunked=True
    )
    checks.check(
        "CONTENT_LENGTH" not in found and found["HTTP_TRANSFER_ENCODING"] == "chunked",
        "of one that comes it is not",
        found,
    )
    for path, script, info in [
        ("/mounted/environ/x", "/mounted", "/environ/x"),
        ("/mounted/", "/mounted", "/"),
        ("/mounted", "/mounted", ""),
    ]:
        found = client.json(path)
        checks.check((found["SCRIPT_NAME"], found["PATH_INFO"]) == (script, info), f"nffi_prefix: {path}", found)
    answer = raw(
        nginx,
        b"GET /environ HTTP/1.0\r\nX-A: 1\r\nCookie: a=b\r\nX-A: 2\r\ncookie: c=d\r\nx-a: \xe9\r\n\r\n",
    )
    found = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    checks.check(
        found["HTTP_X_A"] == "1, 2, \xe9" and found["HTTP_COOKIE"] == "a=b; c=d", "duplicates are joined", found
    )
    checks.check(
        found["SERVER_PROTOCOL"] == "HTTP/1.0" and found["SERVER_NAME"], "HTTP/1.0 without a Host has a name", found
    )
    checks.check(client.ask("/latin/%C3%A9").data == "/latin/é".encode(), "bytes of a path are its characters")
    checks.check(client.ask("/latin").getheader("X-Name") == "caf\xe9", "characters of a header are its bytes")
    checks.check(client.ask("/request").data == b"True False False", "nffi.request() and nffi.cancelled()")


def bodies(checks, nginx, client):
    small = random.Random(1).randbytes(9_000)
    large = b"\n".join(random.Random(i).randbytes(3_000) for i in range(1_000))
    for name, data in [("none", b""), ("memory", small), ("file", large)]:
        for how in ("sized", "read", "line", "lines", "iter"):
            for where in ("", "/pieces"):
                answer = client.ask(f"{where}/body?how={how}", "POST", data)
                checks.check(
                    answer.data == data, f"{where}/body, {name}, {how}", answer.status, len(answer.data), len(data)
                )
        answer = client.ask(
            "/pieces/body", "POST", chunks(data), headers={"Transfer-Encoding": "chunked"}, chunked=True
        )
        checks.check(answer.data == data, f"chunked, {name}")
    checks.check(client.ask("/count", "POST", large).data.endswith(b" seekable"), "a body in a file is a file")
    checks.check(client.ask("/pieces/count", "POST", large).data.endswith(b" streamed"), "one that comes is not")
    checks.check(client.ask("/unread", "POST", large).data == b"not read", "a body may be left alone")
    with_own = Client(nginx)
    checks.check(with_own.ask("/pieces/unread", "POST", small).data == b"not read", "one that comes, too")

    # What is read after the end of its request: neither a crash, nor another's bytes.
    client.ask("/keep_input", "POST", small)
    checks.check(client.ask("/keep_input", "POST", large).data == b"9000", "an input outlives its request: memory")
    checks.check(client.ask("/keep_input").data == str(len(large)).encode(), "a file, too")
    Client(nginx).ask("/pieces/keep_input", "POST", b"x" * 1_000_000)
    checks.check(client.ask("/keep_input").data == b"ClientGone", "one that comes has ended")

    # A large body, slowly read: the client waits, not the memory.
    worker, before = nginx.workers()[0], rss_kb(nginx.workers()[0])
    most = 0

    def slow_upload():
        nonlocal most
        for _ in range(64):
            most = max(most, rss_kb(worker))
            yield b"u" * 1_048_576

    answer = Client(nginx).ask("/pieces/count?ms=1", "POST", slow_upload(), headers={"Content-Length": str(64 << 20)})
    checks.check(answer.data == b"67108864 streamed", "64 MiB in pieces", answer.data)
    checks.check(most - before < 16_384, "and memory stays", before, most)
    # One that leaves in the middle of it.
    before, logged = client.json("/report"), len(nginx.log())
    gone = nginx.connect()
    gone.sendall(b"POST /pieces/count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
    wait_for(lambda: client.json("/report")["counting"] == before["counting"] + 1)
    gone.close()
    ended = wait_for(lambda: client.json("/report")["gone"] == before["gone"] + 1)
    checks.check(ended, "a client that leaves while it sends ends the reading")
    checks.check("Traceback" not in nginx.log()[logged:], "which is no error")


def answers(checks, nginx, client):
    for path, body in [
        ("/hello", b"hello\n"),
        ("/several", b"abc"),
        ("/none", b""),
        ("/bare_hello", b"hello\n"),
        ("/bare_several", b"abc"),
        ("/bare_none", b""),
        ("/write?n=3&size=2", b"wwwwwwend"),
        ("/length?say=10&send=10", b"x" * 10),
        ("/stream?n=26&size=1", bytes(range(97, 123))),
        ("/stream?n=5&size=100000&ms=1", b"".join(bytes([97 + i]) * 100_000 for i in range(5))),
    ]:
        found = client.ask(path)
        checks.check((found.status, found.data) == (200, body), path, found.status, found.data[:80])
        found = client.ask(path, "HEAD")
        checks.check((found.status, found.data) == (200, b""), f"HEAD {path}", found.status, found.data[:80])
    for path in ("/bare_hello", "/bare_several"):
        length = str(len(client.ask(path).data))
        checks.check(client.ask(path).getheader("Content-Length") == length, f"{path} has a Content-Length")
    checks.check(client.ask("/bare_hello", "HEAD").getheader("Content-Length") == "6", "HEAD has it, too")
    checks.check(client.ask("/length?say=10&send=10", "HEAD").getheader("Content-Length") == "10", "and the app's own")
    for code in (200, 201, 204, 304, 404, 418, 599):
        found = client.ask(f"/status?code={code}")
        body = b"" if code in (204, 304) else b"body"
        checks.check((found.status, found.data) == (code, body), f"status {code}", found.status, found.data)

    before = client.json("/report")["closed"]
    checks.check(
        client.ask("/length?say=8&send=20").data == b"x" * 8, "what goes beyond the Content-Length is left out"
    )
    checks.check(nginx.log_has("gives more bytes than its Content-Length says", 5), "and error.log says so")
    checks.check(client.ask("/bare_surplus_write").data == b"four", "write() beyond it")
    checks.check(wait_for(lambda: client.json("/report").get("surplus") == 1), "is an error")
    cut = raw(nginx, b"GET /length?say=200000&send=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    checks.check(
        b" 502 " in cut[:20] or len(cut.split(b"\r\n\r\n", 1)[1]) < 200_000, "less is no whole answer", len(cut)
    )
    checks.check(nginx.log_has("bytes less than its Content-Length says", 5), "and error.log says so")
    checks.check(wait_for(lambda: client.json("/report")["closed"] == before + 2), "close() was called each time")

    mark = uuid.uuid4().hex
    found = client.ask(f"/exc_before?mark={mark}a")
    checks.check(
        (found.status, found.data) == (500, b"Internal Server Error"), "an exception before the head", found.status
    )
    checks.check(nginx.log_has(f"LookupError: before the head {mark}a", 5), "its traceback is in error.log")
    before = client.json("/report")["closed"]
    found = raw(nginx, f"GET /exc_after?mark={mark}b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    checks.check(
        not found.endswith(b"0\r\n\r\n") or b" 502 " in found[:20], "after the head: no whole answer", found[-50:]
    )
    checks.check(nginx.log_has(f"LookupError: after the head {mark}b", 5), "its traceback is in error.log")
    checks.check(wait_for(lambda: client.json("/report")["closed"] == before + 1), "close() was called")
    found = client.ask(f"/exc_info?mark={mark}c")
    checks.check((found.status, found.data) == (503, b"sorry"), "exc_info replaces the head", found.status, found.data)
    found = raw(nginx, f"GET /exc_info?sent=1&mark={mark}d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    checks.check(not found.endswith(b"0\r\n\r\n") or b" 502 " in found[:20], "or is raised again", found[-50:])
    checks.check(nginx.log_has(f"LookupError: handled {mark}d", 5), "and logged")
    found = client.ask(f"/close_fails?mark={mark}e")
    checks.check((found.status, found.data) == (200, b"all there"), "an exception in close() harms no answer")
    checks.check(nginx.log_has(f"LookupError: in close {mark}e", 5), "and is logged")
    found = client.ask("/exit")
    checks.check(found.status == 500 and client.ask("/hello").status == 200, "sys.exit() ends no worker")

    connection = re.search(rf"\*(\d+) nffi runtime \"fixture\": LookupError: handled {mark}c", nginx.log())
    checks.check(connection is None, "what the app has handled is not logged")
    client.ask(f"/errors?mark={mark}f")
    for line in (
        "one line",
        f"and another {mark}f",
        f"no end; from a thread {mark}f",
        f"left over {mark}f",
        f"printed {mark}f",
    ):
        checks.check(
            nginx.log_has(rf"\[error\] [^\n]*\*\d+ nffi runtime \"fixture\": {line}", 5), f"wsgi.errors: {line[:12]}"
        )


def refusals(checks, client, nginx):
    for path, says in [
        ("no_start", "AssertionError: the app has given a part of its answer without calling start_response"),
        ("no_return", "TypeError: 'NoneType' object is not iterable"),
        ("twice", "AssertionError: start_response.. was called already"),
        ("wrong?how=text_body", "TypeError: a WSGI app's answer is made of bytes, not str"),
        ("wrong?how=text_piece", "TypeError: a WSGI app's answer is made of bytes, not int"),
        ("wrong?how=text_write", "TypeError: write.. takes bytes, not str"),
        ("wrong?how=status_int", 'TypeError: a status is a str such as "200 OK", not int'),
        ("wrong?how=status_word", "ValueError: a status is of the kind \"200 OK\", not 'OK'"),
        ("wrong?how=status_1xx", "ValueError: '101 Up' is no status to end a request with"),
        ("wrong?how=headers_dict", "TypeError: headers are a list of .name, value., not dict"),
        ("wrong?how=headers_list", "TypeError: a header is a tuple .name, value., not .'a', 'b'."),
        ("wrong?how=header_int", "TypeError: a header's value is a str, not int: 1"),
        ("wrong?how=header_bytes", "TypeError: a header's name is a str, not bytes: b'A'"),
        ("wrong?how=header_crlf", "ValueError: a header's value is one line"),
        ("wrong?how=header_name", "ValueError: no name for a header"),
        ("wrong?how=header_wide", "ValueError: a header's value has a character beyond latin-1"),
        ("wrong?how=length_word", "ValueError: no length of an answer"),
    ]:
        found = client.ask("/bare_" + path)
        checks.check(found.status == 500 and nginx.log_has(says, 5), f"refused: {path}", found.status, says)
    found = client.ask("/bare_wrong?how=past_length")
    checks.check((found.status, found.data) == (200, b"ab"), "write() up to the Content-Length", found.status)
    checks.check(nginx.call("x")[1].endswith(b"takes HTTP requests (nffi_pass), not messages (nffi.call)"), "nffi.call")
    checks.check(client.ask("/message/x").status == 502, "nffi_pass to a handler of messages")
    checks.check(nginx.log_has(r"takes messages \(nffi.call\), not HTTP requests", 5), "says so")
    checks.check(client.ask("/broken/x").status == 503, "an app that is not there")
    checks.check(nginx.log_has("plain has no nothing", 5), "says so")


def files(checks, nginx, client):
    path = nginx.prefix / "file"
    data = random.Random(7).randbytes(3_000_000)
    path.write_bytes(data)
    (nginx.prefix / "file.gz").write_bytes(gzip.compress(data))
    for way in ("", "bare_"):
        for query, body in [
            (f"path={path}", data),
            (f"path={path}&how=length", data),
            (f"path={path}&how=part", data[10:30]),
            (f"path={path}.gz&how=gzip", data),
        ]:
            found = client.ask(f"/{way}file?{query}")
            checks.check(
                (found.status, found.data) == (200, body), f"{way}file {query[-12:]}", found.status, len(found.data)
            )
            by_nginx = way == "bare_" and "gzip" not in query
            # nginx gives ranges of what it sends by itself.
            ranges = client.ask(f"/{way}file?{query}", headers={"Range": "bytes=5-9"})
            expected = (206, body[5:10]) if by_nginx else (200, body)
            checks.check((ranges.status, ranges.data) == expected, f"{way}file {query[-12:]}: sendfile {by_nginx}")
            # After the answer.
            closed = wait_for(lambda: client.ask("/file_closed").data == b"True")
            checks.check(closed, "the file is closed")
            found = client.ask(f"/{way}file?{query}", "HEAD")
            checks.check((found.status, found.data) == (200, b""), f"HEAD {way}file {query[-12:]}")
    checks.check(client.ask(f"/bare_file?path={path}&how=text").status == 500, "a file of text is refused")
    checks.check(nginx.log_has("made of bytes, not str", 5), "with a reason")
    worker = nginx.workers()[0]
    open_before = fds(worker)
    for _ in range(50):
        client.ask(f"/bare_file?path={path}")
    checks.check(fds(worker) <= open_before + 2, "no descriptor is left behind", open_before, fds(worker))


def slow_clients(checks, nginx, client):
    logged = len(nginx.log())
    for path in ("/stream?n=1000&size=65536&ms=0", "/write?n=1000&size=65536"):
        worker, before = nginx.workers()[0], rss_kb(nginx.workers()[0])
        with nginx.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            last = -1

            def at_rest():
                nonlocal last
                now = client.json("/report").get("sent", 0)
                settled, last = 0 < now == last, now
                return settled

            checks.check(
                wait_for(at_rest, 10, 0.3) and last < 32 << 20,
                f"{path[:7]}: a client that does not read stops the app",
                last,
            )
            checks.check(rss_kb(worker) - before < 16_384, "memory stays", before, rss_kb(worker))
            got = 0
            while piece := sock.recv(1 << 20):
                got += len(piece)
            checks.check(got > 1000 * 65536, "it gets all of it in the end", got)
        before = client.json("/report")
        with nginx.connect() as sock:
            sock.sendall(f"GET {path.replace('n=1000', 'n=1000000')} HTTP/1.0\r\n\r\n".encode())
            sock.recv(1000)
        gone = wait_for(lambda b=before: client.json("/report")["gone"] == b["gone"] + 1, 10)
        checks.check(gone, f"{path[:7]}: a client that leaves ends it")
        if path.startswith("/stream"):
            checks.check(
                wait_for(lambda b=before: client.json("/report")["closed"] >= b["closed"] + 1), "close() was called"
            )
    # One that waits for room is told, too.
    before = client.json("/report")["gone"]
    with nginx.connect() as sock:
        sock.sendall(b"GET /stream?n=1000&size=65536&ms=0 HTTP/1.0\r\n\r\n")
        time.sleep(0.5)
    checks.check(
        wait_for(lambda: client.json("/report")["gone"] == before + 1, 10), "one that waits for room is told, too"
    )
    checks.check("Traceback" not in nginx.log()[logged:], "a client that leaves is no error")


def many(checks, nginx, client):
    good = sum(client.ask("/hello").data == b"hello\n" for _ in range(1000))
    checks.check(good == 1000, "1000 requests, one after the other", good)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        began = time.monotonic()
        good = sum(pool.map(lambda _: Client(nginx).ask("/slow?ms=100").data == b"slept", range(64)))
        took = time.monotonic() - began
    most = client.json("/report")["most"]
    checks.check(good == 64 and most == 8, "64 at once, on 8 threads", good, most, f"{took:.2f} s")
    with concurrent.futures.ThreadPoolExecutor(64) as pool:

        def work(_):
            own = Client(nginx)
            return sum(own.ask("/several").data == b"abc" for _ in range(50))

        good = sum(pool.map(work, range(64)))
    checks.check(good == 3200, "3200 over 64 connections", good)


def frameworks(checks, nginx, client):
    small, large = b"s" * 5_000, random.Random(3).randbytes(2_000_000)
    path = nginx.prefix / "file"
    for name in ("flask", "django"):
        found = client.json(f"/{name}/json?name=me")
        checks.check(found == {"hello": "me", "root": f"/{name}"}, f"{name}: JSON, and where it is mounted", found)
        answer = client.json(f"/{name}/json", "POST", b'{"a": [1, "\xc3\xa9"]}', {"Content-Type": "application/json"})
        checks.check(answer == {"a": [1, "é"]}, f"{name}: JSON back", answer)
        form = client.json(
            f"/{name}/form", "POST", b"a=1&b=%C3%A9&a=2", {"Content-Type": "application/x-www-form-urlencoded"}
        )
        checks.check(form == {"a": ["1", "2"], "b": ["é"]}, f"{name}: a form", form)
        for where in ("", "-pieces"):
            for kind, data in (("small", small), ("large", large)):
                body, headers = multipart(data)
                answer = client.json(f"/{name}{where}/upload", "POST", body, headers)
                sha = hashlib.sha256(data).hexdigest()
                checks.check(
                    (answer["name"], answer["size"], answer["sha"]) == ("päck.bin", len(data), sha),
                    f"{name}{where}: a {kind} file uploaded", answer,
                )  # fmt: skip
            body, headers = multipart(large)
            headers["Transfer-Encoding"] = "chunked"
            if name == "flask" or where == "":
                answer = client.json(f"/{name}{where}/upload", "POST", chunks(body), headers, chunked=True)
                checks.check(answer["size"] == len(large), f"{name}{where}: chunked", answer)
        found = client.ask(f"/{name}/stream?n=100")
        wanted = "".join(
            f"piece {i} of /{name if name == 'django' else ''}{'/' * (name == 'django')}stream\n" for i in range(100)
        )
        checks.check(found.data.decode() == wanted, f"{name}: a stream", found.data[:50])
        found = client.ask(f"/{name}/file?path={path}")
        checks.check(
            (found.status, found.data) == (200, path.read_bytes()), f"{name}: a file", found.status, len(found.data)
        )
        checks.check(found.getheader("Accept-Ranges") == "bytes", f"{name}: sent by nginx", found.getheaders())
        found = client.ask(f"/{name}/url", headers={"Host": "example.org"})
        checks.check(found.data == f"http://example.org/{name}/url".encode(), f"{name}: its own URL", found.data)
        mark = uuid.uuid4().hex
        found = client.ask(f"/{name}/fails?mark={mark}")
        checks.check(
            found.status == 500 and nginx.log_has(f"LookupError: in a view {mark}", 5), f"{name}: an exception"
        )
    found = client.ask("/flask/cookies", headers={"Cookie": "a=1; b=2"})
    checks.check(json.loads(found.data) == {"a": "1", "b": "2"}, "flask: cookies", found.data)
    checks.check(len(found.msg.get_all("Set-Cookie")) == 2, "flask: two Set-Cookie")
    mark = uuid.uuid4().hex
    client.ask(f"/flask/log?mark={mark}")
    pattern = rf"\[warn\] [^\n]*\*\d+ nffi runtime \"flask\": flaskapp: watch out {mark}"
    checks.check(nginx.log_has(pattern, 5), "flask: its logger's line has its level and its request")
    first = int(client.ask("/flask/after").data)
    checks.check(wait_for(lambda: int(client.ask("/flask/after").data) > first), "flask: call_on_close")
    first = client.json("/django/report")["finished"]
    checks.check(wait_for(lambda: client.json("/django/report")["finished"] > first), "django: request_finished")
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        asked = [(Client(nginx), f"/{name}/json?name={i}") for i in range(32) for name in ("flask", "django")]
        good = sum(pool.map(lambda one: sum(one[0].ask(one[1]).status == 200 for _ in range(20)), asked))
    checks.check(good == 64 * 20, "64 connections to both", good)


def multipart(data):
    boundary = "b0undary"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="päck.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


#: Of the tests' own making.
KNOWN = (
    r'nffi runtime "\w+"(:| failed with status 1:)',
    "plain has no nothing",
    "Content-Length says",
    "takes messages",
)


def reloads(checks, nginx, scale):
    loads = [
        Load(nginx, "/flask/json", clients=4, pause=0.002),
        Load(nginx, "/flask/slow?s=0.1", clients=4, expect=b"slept"),
        Load(nginx, "/stream?n=20&size=5000&ms=10", clients=2),
        Load(nginx, "/django/json", clients=2, pause=0.002),
    ]
    bare = Load(nginx, "/bare", clients=2, expect=b"bare\n", pause=0.002)
    first, rounds = nginx.workers(), max(5, int(100 * scale))
    for _ in range(rounds):
        before = set(nginx.workers())
        nginx.signal(signal.SIGHUP)
        # Until a new one has all of its apps.
        wait_for(lambda b=before: Client(nginx).json("/django/report")["pid"] not in b, 20, 0.05)
    for load in [*loads, bare]:
        load.stop()
    bad = sum(load.bad for load in loads)
    checks.check(all(load.good > 10 for load in loads), "there was load", [load.good for load in loads])
    checks.check(bad <= bare.bad, f"{rounds} reloads fail no request that a bare location keeps", bad, bare.bad,
                 [load.errors[:2] for load in loads])  # fmt: skip
    checks.check(not set(first) & set(nginx.workers()), "the workers are new ones")
    checks.check(wait_for(lambda: len(nginx.children()) == 1, 20), "and no process is left behind", nginx.children())


def body(checks, scale):
    nginx = checks.nginx(runtimes=RUNTIMES, server=SERVER)
    wait_for(lambda: Client(nginx).ask("/hello").status == 200, 20)
    client = Client(nginx)
    environs(checks, nginx, client)
    bodies(checks, nginx, client)
    answers(checks, nginx, client)
    refusals(checks, client, nginx)
    files(checks, nginx, client)
    slow_clients(checks, nginx, client)
    many(checks, nginx, client)
    frameworks(checks, nginx, client)
    reloads(checks, nginx, scale)

    # QUIT with requests under way, and a client that does not read.
    slow = Load(nginx, "/slow?ms=300", clients=4, expect=b"slept")
    lazy = nginx.connect()
    lazy.sendall(b"GET /stream?n=1000&size=65536&ms=0 HTTP/1.0\r\n\r\n")
    time.sleep(0.3)
    lazy.close()
    logged = len(nginx.log())
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(20)
    slow.leave.set()
    checks.check(took is not None, "QUIT ends", took)
    lines = nginx.log()[logged:].splitlines()
    late = [line for line in lines if "did not say that it stopped" in line]
    checks.check(not late, "the runtimes say when they have stopped", *late)
    checks.check(not nginx.bad_lines(*KNOWN), "the error log is silent otherwise", nginx.bad_lines(*KNOWN)[:5])
    # Of wsgiref's validator.
    checks.check("garbage collected without being closed" not in nginx.log(), "every iterable was closed")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    run("wsgi", body, __doc__)
