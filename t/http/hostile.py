"""A hostile client of HTTP/1: slow, torn, half-closed, reset, deaf, early. Others are served, and nothing is left behind.

Guards: the answer to each of these is nginx's usual one, or a connection that ends; no answer is taken for another's.
"""

import time

from client import Raw, each, fds, idle, report, serve, wait_for

from harness import run

SERVER = """
client_max_body_size 100m;
location /rate/ { nffi_pass http; limit_rate 50; }
location /short/ { nffi_pass http; send_timeout 1s; nffi_timeout 30s; }
location /patient/ { nffi_pass http; nffi_timeout 1s; nffi_request_buffering off; client_body_timeout 10s; }
location /impatient/ { nffi_pass http; nffi_timeout 1s; nffi_request_buffering off; client_body_timeout 10s; }
location /body1s/ { nffi_pass http; nffi_request_buffering off; client_body_timeout 1s; }
"""


def alive(nginx):
    return nginx.get("/hello") == (200, b"hello\n")


def bodies(checks, nginx):
    for where in ("", "/off"):
        name = where[1:] or "buffered"
        with Raw(nginx.port) as c:
            c.ask(f"{where}/body", "POST", "Content-Length: 40\r\n")
            for i in range(40):
                c.send(bytes([97 + i % 26]))
                time.sleep(0.01)
            checks.check(c.answer()[2] == bytes(97 + i % 26 for i in range(40)), f"{name}: a body byte by byte")
            c.ask(f"{where}/body", "POST", "Transfer-Encoding: chunked\r\n")
            for _ in range(20):
                for byte in b"1;x=y\r\nz\r\n":
                    c.send(bytes([byte]))
                time.sleep(0.005)
            c.send("0\r\nA: trailer\r\n\r\n")
            checks.check(c.answer()[2] == b"z" * 20, f"{name}: chunks byte by byte, on the same connection")
            c.ask("/hello")
            checks.check(c.answer()[0] == 200, f"{name}: and it is used again")
        for what, bad in [("a size that is none", "xyz\r\nabc\r\n"), ("a size beyond all", "fffffffffffffffff\r\n"),
                          ("a chunk longer than it says", "3\r\nabcdef\r\n0\r\n\r\n")]:
            with Raw(nginx.port) as c:
                c.ask(f"{where}/count", "POST", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n" + bad.encode())
                status = c.head()[0]
                checks.check(status == 400 and c.rest() is not None, f"{name}: chunked, {what}: 400", status)
        with Raw(nginx.port) as c:
            c.ask(f"{where}/count", "POST", "Content-Length: 10\r\n", b"12345")
            c.end()
            checks.check(c.rest()[:12] in (b"", b"HTTP/1.1 400"), f"{name}: less than its Content-Length, half-closed")
        with Raw(nginx.port) as c:
            c.ask(f"{where}/count", "POST", "Content-Length: 5\r\n", b"12345GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            checks.check(c.answer()[2] == b"5 bytes in one\n" and c.answer()[2] == b"hello\n",
                         f"{name}: what is beyond Content-Length is the next request")
        with Raw(nginx.port) as c:
            c.ask(f"{where}/count", "POST", "Content-Length: 5\r\nContent-Length: 6\r\n", b"12345")
            checks.check(c.head()[0] == 400, f"{name}: two Content-Lengths: 400")
        with Raw(nginx.port) as c:
            c.ask(f"{where}/count", "POST", "Content-Length: 5\r\nExpect: 100-continue\r\n")
            checks.check(c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 "), f"{name}: 100 Continue")
            c.send("12345")
            checks.check(c.answer()[2] == b"5 bytes in one\n", f"{name}: and the answer")
        with Raw(nginx.port) as c:
            c.ask(f"{where}/body", "POST", "", b"x" * 100, version="1.0")
            checks.check(c.answer()[2] == b"x" * 100 and c.ended(), f"{name}: HTTP/1.0")
        with Raw(nginx.port) as c:
            c.ask(f"{where}/body", "POST", "Content-Length: 100000\r\n", b"x" * 50000)
            time.sleep(0.05)
            c.reset()
    with Raw(nginx.port) as c:
        c.ask("/show", headers="X: " + "y" * 40000 + "\r\n")
        checks.check(c.head()[0] == 400, "oversize headers: 400")
    with Raw(nginx.port) as c:
        c.ask("/show", headers="".join(f"X-{i}: {i}\r\n" for i in range(900)))
        status, _, body = c.answer()
        checks.check(status == 200 and body.count(b"\n> X-") == 900, "900 headers of some bytes", status, len(body))
    checks.check(alive(nginx) and idle(nginx), "others are served, and no task is left", nginx.runtime("http"))


def patience(checks, nginx):
    """nffi_timeout is the runtime's: it does not run while the client's bytes are waited for."""
    with Raw(nginx.port) as c:
        c.ask("/patient/count", "POST", "Content-Length: 10\r\n", b"12345")
        time.sleep(2)
        c.send("67890")
        status, _, body = c.answer()
        checks.check((status, body) == (200, b"10 bytes in pieces\n"), "a pause in the body longer than nffi_timeout", status, body)
    with Raw(nginx.port) as c:
        c.ask("/patient/body", "POST", "Content-Length: 10\r\n", b"12345")
        c.head()
        time.sleep(2)
        c.send("67890")
        checks.check(c.chunks() == b"1234567890", "the same after the answer has begun")
    with Raw(nginx.port) as c:
        c.ask("/impatient/sleep", "POST", "Content-Length: 10\r\n", b"1234567890")
        checks.check(c.head()[0] == 504, "a runtime that hangs with the whole body: 504")
    with Raw(nginx.port) as c:
        c.ask("/impatient/sleep", "POST", "Content-Length: 1000000\r\n", b"1" * 500000)
        checks.check(c.head()[0] == 504, "one that hangs and does not read: 504")
    with Raw(nginx.port) as c:
        c.ask("/body1s/count", "POST", "Content-Length: 10\r\n", b"12345")
        checks.check(c.rest() == b"", "a client that sends nothing more: client_body_timeout ends it")


def pipelining(checks, nginx):
    get = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    wanted = [
        (get % b"/hello", 200, b"hello\n"), (post % b"/body", 200, b"hello"), (post % b"/off/body", 200, b"hello"),
        (get % b"/stream?n=3&size=2", 200, b"aabbcc"), (get % b"/status?code=204", 204, b""),
        (get % b"/status?code=304", 304, b""), (get % b"/length?say=7&send=7", 200, b"x" * 7),
        (get % b"/trailers", 200, b"ttttt"), (get % b"/hints", 200, b"hello\n"), (get % b"/flush?ms=5", 200, b"later\n"),
        (get % b"/fail", 502, None), (post % b"/count", 200, b"5 bytes in one\n"), (get % b"/control", 200, b"control\n"),
        (post % b"/fail", 502, None), (post % b"/hello", 200, b"hello\n"), (post % b"/off/hello", 200, b"hello\n"),
    ]
    for what, sent in [("at once", lambda c, all: c.send(all)),
                       ("in small parts", lambda c, all: [c.send(all[i:i + 37]) for i in range(0, len(all), 37)])]:
        with Raw(nginx.port) as c:
            sent(c, b"".join(w[0] for w in wanted) * 3)
            bad = []
            for _, status, body in wanted * 3:
                got = c.answer()
                if got[0] != status or (body is not None and got[2] != body):
                    bad.append((got, status, body))
            checks.check(not bad, f"{len(wanted) * 3} requests pipelined, {what}", bad[:2])
    for what, request, status, body in [("HEAD", b"HEAD /stream?n=9&size=99999 HTTP/1.1\r\nHost: x\r\n\r\n", 200, b""),
                                        *((w[0].split(b" ")[1].decode(), *w) for w in wanted)]:
        with Raw(nginx.port) as c:
            good = True
            for _ in range(3):
                c.send(request)
                got = c.answer(head_only=what == "HEAD")
                good &= got[0] == status and (body is None or got[2] == body)
            c.send(get % b"/hello")
            checks.check(good and c.answer()[2] == b"hello\n", f"kept alive after {what}")
    with Raw(nginx.port) as c:
        c.ask("/status?code=304")
        checks.check("content-length" not in c.answer()[1], "a 304 says no length that is not the page's")
    # never reads: what is answered waits in nginx, as far as the windows go, and everybody else is served
    deaf = [Raw(nginx.port, receive=4096) for _ in range(10)]
    for c in deaf:
        c.send((get % b"/stream?n=100&size=100000") * 20)
    checks.check(wait_for(lambda: report(nginx)["full"] > 0, 5), "pipelined by clients that never read: the runtime is told FULL")
    checks.check(alive(nginx), "others are served meanwhile")
    for c in deaf:
        c.reset()
    checks.check(idle(nginx), "and nothing is left of them")


def torn(checks, nginx):
    worker = nginx.workers()[0]
    before = report(nginx)
    checks.check(idle(nginx), "idle")
    c = Raw(nginx.port, receive=4096)
    c.ask("/short/stream?n=1000&size=100000")
    began = time.monotonic()
    checks.check(wait_for(lambda: report(nginx)["full"] > before["full"], 5), "a client that stops reading: FULL stops the runtime")
    checks.check(wait_for(lambda: report(nginx)["cancels"] > before["cancels"], 15) and time.monotonic() - began > 0.8,
                 "send_timeout ends it: CANCEL")
    c.close()
    for how in ("close", "reset", "half-close"):
        before = nginx.runtime("http")["cancelled"]
        open_fds = fds(worker)
        clients = []
        for path, body in [("/sleep", b""), ("/sleep", b"x" * 100), ("/sleep", b"x" * 200000), ("/off/sleep", b"x" * 100),
                           ("/flush?ms=3000", b""), ("/stream?n=1000000&size=1000&ms=1", b""), ("/stream?n=1000&size=100000", b"")]:
            c = Raw(nginx.port, receive=4096)
            c.ask(path, "POST" if body else "GET", body=body)
            clients.append(c)
        # begun, each of them
        wait_for(lambda: nginx.runtime("http")["in_flight"] >= len(clients), 5)
        wait_for(lambda: report(nginx)["full"] > 0, 5)
        time.sleep(0.2)
        for c in clients:
            {"close": c.close, "reset": c.reset, "half-close": c.end}[how]()
        # /flush naps deaf to CANCEL, as apps may; it is told all the same
        checks.check(wait_for(lambda: nginx.runtime("http")["cancelled"] >= before + len(clients), 10),
                     f"{how}: CANCEL in every stage", nginx.runtime("http")["cancelled"] - before, "of", len(clients))
        for c in clients:
            c.close()
        checks.check(wait_for(lambda: fds(worker) <= open_fds, 5), f"{how}: no descriptor is left", open_fds, fds(worker))


def early(checks, nginx):
    """Answers that are there before the body is."""
    for where in ("/off/hello", "/off/fail", "/off/stream?n=3&size=100000", "/off/length?say=5&send=5"):
        with Raw(nginx.port) as c:
            c.ask(where, "POST", "Content-Length: 3000000\r\n", b"x" * 1000)
            status, headers, _ = c.answer()
            sent = 0
            try:
                for _ in range(30):
                    c.send(b"x" * 100000)
                    sent += 1
                c.ask("/hello")
                rest = c.rest()
            except ConnectionError:
                rest = b""
            # closed, or the rest was discarded and the next request answered: never the body as a request
            good = rest == b"" or (rest.startswith(b"HTTP/1.1 200") and rest.endswith(b"hello\n"))
            checks.check(status in (200, 502) and good, f"{where}: early, the rest of the body is no request", status, rest[:80])
            if where != "/off/stream?n=3&size=100000":
                checks.check(rest or headers["connection"] == "close", f"{where}: and it does not promise to be kept", headers)
    checks.check(idle(nginx) and alive(nginx), "no task is left")


def upgrades(checks, nginx):
    upgrade = "Connection: Upgrade\r\nUpgrade: echo\r\n"
    with Raw(nginx.port) as c:
        c.send(f"GET /upgrade HTTP/1.1\r\nHost: x\r\n{upgrade}\r\nearly".encode() + b"x" * 20000)
        checks.check(c.head()[0] == 101 and c.exactly(20005) == b"early" + b"x" * 20000, "early data")
        c.send("late")
        c.end()
        checks.check(c.rest() == b"latebye\n", "half-closed: the runtime sees the end, and has the last word")
    with Raw(nginx.port) as c:
        c.ask("/rate/upgrade?greet=100000", headers=upgrade)
        checks.check(c.head()[0] == 101 and c.exactly(100000) == b"g" * 100000, "limit_rate: the head is before the rest")
    with Raw(nginx.port) as c:
        c.ask("/upgrade", "POST", upgrade, b"body")
        c.head()
        c.send("+raw")
        got = c.exactly(4)
        checks.check(got in (b"body", b"+raw"), "an upgrade with a body", got)
    for n in (1, 3):
        # the head of the 101 waits behind what the client does not read
        with Raw(nginx.port, receive=4096) as c:
            c.send(b"GET /stream?n=1&size=3000000 HTTP/1.1\r\nHost: x\r\n\r\n" * n
                   + f"GET /upgrade?greet=200000 HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n".encode())
            time.sleep(0.3)
            sizes = []
            for _ in range(n):
                sizes.append(len(c.answer()[2]))
            status, _ = c.head()
            checks.check(sizes == [3000000] * n and status == 101 and c.exactly(200000) == b"g" * 200000,
                         f"an upgrade pipelined behind {n} large answers", sizes, status)
    before = report(nginx)["cancels"]
    clients = []
    for _ in range(20):
        c = Raw(nginx.port)
        c.ask("/upgrade", headers=upgrade)
        c.head()
        c.send("x")
        c.exactly(1)
        clients.append(c)
    for c in clients:
        c.reset()
    checks.check(idle(nginx) and report(nginx)["cancels"] >= before + 20, "reset: CANCEL", report(nginx)["cancels"] - before)
    # it has ended its side while the runtime works, and resets then
    before = report(nginx)["cancels"]
    c = Raw(nginx.port)
    c.ask("/upgrade?ms=3000", headers=upgrade)
    c.head()
    c.send("x")
    c.end()
    time.sleep(0.2)
    checks.check(report(nginx)["cancels"] == before, "half-closed: no CANCEL yet")
    c.reset()
    checks.check(wait_for(lambda: report(nginx)["cancels"] > before, 5), "half-closed, then reset: CANCEL")
    # deaf
    before = report(nginx)["full"]
    c = Raw(nginx.port, receive=4096)
    c.ask("/short/upgrade?greet=10000000", headers=upgrade)
    checks.check(wait_for(lambda: report(nginx)["full"] > before, 5), "a client that never reads: FULL")
    checks.check(wait_for(lambda: nginx.runtime("http")["in_flight"] <= 2, 20), "send_timeout ends it",
                 nginx.runtime("http"))
    c.close()


def deferred(checks):
    """A listening socket that hands out connections with their first bytes: a client that goes is noticed there too."""
    nginx = serve(checks, listen="deferred")
    before = report(nginx)["cancels"]
    c = Raw(nginx.port)
    c.ask("/sleep")
    wait_for(lambda: nginx.runtime("http")["in_flight"] == 1, 5)
    c.close()
    checks.check(wait_for(lambda: report(nginx)["cancels"] > before, 5), "listen ... deferred: CANCEL")


def gone_at_once(checks, nginx):
    """Clients that leave in the moment in which they ask: no event follows."""
    asks = [("/sleep", b""), ("/off/sleep", b"x" * 100), ("/off/sleep", b"x" * 90000)]  # the last: more than a window
    for path, body in asks:
        before, calls = report(nginx)["cancels"], nginx.runtime("http")["calls"]
        for _ in range(20):
            c = Raw(nginx.port)
            c.ask(path, "POST" if body else "GET", body=body)
            c.close()
        wait_for(lambda: nginx.runtime("http")["calls"] >= calls + 20, 5)  # and those that were told so at once
        checks.check(idle(nginx), f"{path} and {len(body)} bytes: each is over", report(nginx)["cancels"] - before)


def long_heads(checks):
    """A head that the connection does not hold, and nothing after it for a while."""
    heads = "".join(f"add_header X-{i} {'x' * 4000};" for i in range(100))
    long = f"location /long/ {{ nffi_pass http; {heads} }} location /longshort/ {{ nffi_pass http; send_timeout 1s; {heads} }}"
    nginx = serve(checks, long, listen="sndbuf=8k")
    for method, path in (("HEAD", "/flush?ms=8000"), ("GET", "/flush?ms=8000&code=204")):
        with Raw(nginx.port, receive=4096, timeout=5) as c:
            c.ask("/long" + path, method)
            time.sleep(0.2)
            try:
                head = c.until(b"\r\n\r\n")
            except OSError as error:
                head = str(error).encode()
            checks.check(len(head) > 400000, f"{method} {path}: the head is whole before the runtime is done", len(head), head[-80:])
    before = report(nginx)["cancels"]
    with Raw(nginx.port, receive=4096, timeout=20) as c:
        c.ask("/longshort/pause?n=1&size=1&ms=15000", "HEAD")
        checks.check(wait_for(lambda: report(nginx)["cancels"] > before, 5), "a client that takes none of it: send_timeout")
    checks.check(idle(nginx, 20), "idle")


def body(checks, scale):
    nginx = serve(checks, SERVER)
    each(checks, (bodies, nginx), (patience, nginx), (pipelining, nginx), (torn, nginx), (early, nginx), (upgrades, nginx),
         (gone_at_once, nginx), (long_heads,), (deferred,))
    expected = (r'nffi runtime "http" (failed|timed out)', "client sent invalid chunked body")
    checks.check(not nginx.bad_lines(*expected), "the error log is silent",
                 nginx.bad_lines(*expected)[:3])


if __name__ == "__main__":
    run("hostile", body, __doc__)
