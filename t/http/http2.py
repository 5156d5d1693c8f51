"""HTTP/2, over TLS and without: windows both ways, trailers, resets in every stage, failures that end a stream and not the connection.

Guards: what ends a stream ends its task, and nothing else; the client's window is the runtime's.
"""

import pathlib
import tempfile
import time

from client import H2, certificate, context, fds, free_port, idle, report, serve, wait_for

from harness import run

SERVER = """
client_max_body_size 100m;
listen 127.0.0.1:{tls} ssl http2;
listen 127.0.0.1:{clear} http2;
ssl_certificate {cert};
ssl_certificate_key {key};
http2_max_concurrent_streams 512;
location /short/ {{ nffi_pass http; send_timeout 1s; nffi_timeout 30s; }}
location /off1s/ {{ nffi_pass http; nffi_request_buffering off; nffi_timeout 1s; client_body_timeout 2s; }}
"""
CANCELLED = 8


def plain(checks, name, connect):
    with connect() as c:
        s = c.get("/hello")
        checks.check((s["status"], s["body"]) == (200, b"hello\n"), f"{name}: GET")
        s = c.get("/stream?n=5&size=3", method="HEAD")
        checks.check((s["status"], s["body"], s["ended"]) == (200, b"", True), f"{name}: HEAD")
        for where in ("", "/off"):
            for size in (5, 50000):
                s = c.get(f"{where}/body", method="POST", body=b"x" * size) if size < 16000 else None
                if s is None:
                    stream = c.ask(f"{where}/body", method="POST", end=False)
                    c.upload(stream, b"x" * size)
                    s = c.answer(stream)
                checks.check(s["body"] == b"x" * size, f"{name}: POST {where}/body of {size}", s["status"], len(s["body"]))
        s = c.get("/show")
        checks.check(b"version: 2000" in s["body"] and b"> host: localhost" in s["body"], f"{name}: the version, and a host")
        s = c.get("/trailers")
        checks.check(s["trailers"] == {"x-sum": "42", "x-done": "yes"} and s["body"] == b"ttttt", f"{name}: trailers", s)
        s = c.get("/stream?n=20&size=70001")
        checks.check(len(s["body"]) == 20 * 70001, f"{name}: much more than the window", len(s["body"]))
        stream = c.ask("/off/body", method="POST", end=False)
        data = bytes(range(256)) * 4096
        checks.check(c.upload(stream, data) and c.answer(stream)["body"] == data, f"{name}: 1 MiB up and down at once")
        for code in (204, 304):
            s = c.get(f"/status?code={code}")
            checks.check(s["status"] == code and "content-length" not in s["headers"], f"{name}: {code}", s["headers"])


def failures(checks, name, connect):
    with connect() as c:
        s = c.get("/fail")
        checks.check(s["status"] == 502, f"{name}: a failure before the head: 502", s["status"])
        for path in ("/fail?after=5", "/length?say=10&send=5&pieces=1&ms=50"):
            s = c.get(path)
            checks.check(s["reset"] is not None and not s["ended"], f"{name}: {path}: the stream is reset", s["status"], s["reset"])
        checks.check(c.get("/hello")["body"] == b"hello\n", f"{name}: and the connection goes on")
        streams = [c.ask("/stream?n=3&size=100&ms=1") if i % 2 else c.ask("/fail?after=9") for i in range(200)]
        answers = [c.answer(s) for s in streams]
        checks.check(all(a["reset"] is not None for a in answers[::2]) and all(len(a["body"]) == 300 for a in answers[1::2]),
                     f"{name}: 200 streams at once, every other one fails")


def windows(checks, name, connect, nginx):
    with connect(window=0, auto=False) as c:
        full = report(nginx)["full"]
        stream = c.ask("/stream?n=1000&size=10000")
        if name == "h2c":  # over TLS nginx keeps it in the record with the bytes that it may not send yet
            checks.check(c.wait(lambda: c.streams[stream]["status"] == 200, 5), f"{name}: window 0: the head comes")
        checks.check(wait_for(lambda: report(nginx)["full"] > full, 5), f"{name}: window 0 stops the runtime")
        checks.check(c.streams[stream]["body"] == b"", f"{name}: and no byte comes")
        other = c.ask("/status?code=204")
        checks.check(c.answer(other)["status"] == 204, f"{name}: other streams go on")
        c.open(stream, 12345)
        c.wait(lambda: len(c.streams[stream]["body"]) >= 12345, 5)
        c.step(0.1)
        checks.check(len(c.streams[stream]["body"]) == 12345, f"{name}: as many bytes as the window has", len(c.streams[stream]["body"]))
        c.open(stream, 1 << 30)
        checks.check(len(c.answer(stream)["body"]) == 10000000, f"{name}: and then the rest")
        cancelled = nginx.runtime("http")["cancelled"]
        stream = c.ask("/short/stream?n=1000&size=10000")
        began = time.monotonic()
        checks.check(c.answer(stream, 15)["reset"] is not None and time.monotonic() - began > 0.8,
                     f"{name}: window 0 for ever: send_timeout ends the stream")
        checks.check(wait_for(lambda: nginx.runtime("http")["cancelled"] > cancelled, 5), f"{name}: CANCEL")
    # an app that reads slowly
    with connect() as c:
        stream = c.ask("/off/count?ms=100", method="POST", end=False)
        began, sent = time.monotonic(), 0
        while sent < 2000000 and time.monotonic() - began < 1.0:
            n = min(c.h2.local_flow_control_window(stream), 16384)
            if n > 0:
                c.h2.send_data(stream, b"x" * n)
                c.flush()
                sent += n
            else:
                c.step(0.05)
        checks.check(sent < 1500000, f"{name}: an app that reads slowly stops the client", sent)
        c.h2.end_stream(stream)
        c.flush()
        s = c.answer(stream, 40)
        checks.check(s["body"].startswith(b"%d bytes" % sent), f"{name}: and gets it all", s["body"], sent)
        stream = c.ask("/off1s/count", method="POST", end=False, headers=[("content-length", "10")])
        c.h2.send_data(stream, b"12345")
        c.flush()
        time.sleep(1.4)
        c.h2.send_data(stream, b"67890", end_stream=True)
        c.flush()
        checks.check(c.answer(stream)["body"].startswith(b"10 bytes"), f"{name}: a pause in the body longer than nffi_timeout")
        stream = c.ask("/off1s/count", method="POST", end=False)
        c.h2.send_data(stream, b"12345")
        c.flush()
        s = c.answer(stream, 15)
        checks.check(s["reset"] is not None or s["status"] in (408, 504), f"{name}: a body that never ends is given up", s)


def resets(checks, name, connect, nginx):
    worker = nginx.workers()[0]
    idle(nginx)
    with connect(window=10000, auto=False) as c:
        c.get("/hello")
        open_fds, before = fds(worker), nginx.runtime("http")["cancelled"]
        streams = []
        for path, up in [("/sleep", 0), ("/sleep", 5), ("/off/sleep", 5), ("/off/sleep", 60000), ("/off/body", 60000), ("/flush?ms=1500", 0),
                         ("/stream?n=1000&size=1000", 0), ("/stream?n=100000&size=10&ms=1", 0)] * 5:
            stream = c.ask(path, method="POST" if up else "GET", end=not up)
            if up:
                c.upload(stream, b"x" * up, end=up == 5 and path == "/sleep")
            streams.append(stream)
        checks.check(wait_for(lambda: nginx.runtime("http")["in_flight"] >= len(streams), 10), f"{name}: streams in every stage",
                     nginx.runtime("http")["in_flight"], "of", len(streams))
        for stream in streams:
            c.cancel(stream, CANCELLED)
        checks.check(wait_for(lambda: nginx.runtime("http")["cancelled"] >= before + len(streams), 10),
                     f"{name}: each reset brings CANCEL", nginx.runtime("http")["cancelled"] - before)
        checks.check(c.get("/hello")["body"] == b"hello\n", f"{name}: the connection goes on")
        checks.check(idle(nginx) and wait_for(lambda: fds(worker) <= open_fds, 5), f"{name}: nothing is left", fds(worker) - open_fds)
        # reset at once, before the runtime has seen anything of it
        for i in range(300):
            c.cancel(c.ask("/body", method="POST", body=b"x" * 10) if i % 2 else c.ask("/stream?n=10&size=1000"))
        checks.check(c.get("/hello")["body"] == b"hello\n" and idle(nginx), f"{name}: 300 streams reset at once")
    # the whole connection goes
    before = nginx.runtime("http")["cancelled"]
    c = connect(window=1000, auto=False)
    for path in ["/sleep", "/stream?n=1000&size=1000", "/stream?n=100000&size=10&ms=1"] * 20:
        c.ask(path)
    wait_for(lambda: nginx.runtime("http")["in_flight"] >= 60, 10)
    c.raw.reset()
    checks.check(wait_for(lambda: nginx.runtime("http")["cancelled"] >= before + 60, 10) and idle(nginx),
                 f"{name}: a connection reset with 60 streams")


def early(checks, name, connect):
    with connect() as c:
        for path in ("/off/hello", "/off/fail", "/off/stream?n=3&size=10000"):
            stream = c.ask(path, method="POST", end=False)
            c.h2.send_data(stream, b"x" * 1000)
            c.flush()
            s = c.answer(stream)
            checks.check(s["status"] in (200, 502) and s["ended"], f"{name}: {path}: an answer before the body", s["status"], s["reset"])
        checks.check(c.get("/hello")["body"] == b"hello\n", f"{name}: and the connection goes on")


def body(checks, scale):
    tls_port, clear = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        cert, key = certificate(pathlib.Path(folder))
        nginx = serve(checks, SERVER.format(tls=tls_port, clear=clear, cert=cert, key=key))
        ctx = context(cert, "h2")
        for name, connect in (("h2", lambda **k: H2(tls_port, ctx, **k)), ("h2c", lambda **k: H2(clear, **k))):
            plain(checks, name, connect)
            failures(checks, name, connect)
            windows(checks, name, connect, nginx)
            resets(checks, name, connect, nginx)
            early(checks, name, connect)
        expected = (r'nffi runtime "http" (failed|timed out|broke)',)
        checks.check(not nginx.bad_lines(*expected), "the error log is silent", nginx.bad_lines(*expected)[:3])


if __name__ == "__main__":
    run("http2", body, __doc__)
