"""Reloads under load, and the ways in which a worker ends: no request fails that a bare location keeps.

Guards: timers that hold a leaving worker while requests, streams and upgraded connections are under way. 1 000 reloads at scale 1.
"""

import signal
import time

from client import Raw, each, report, serve, wait_for

from harness import Load, alive, run

UPGRADE = "Connection: Upgrade\r\nUpgrade: echo\r\n"


class Posts(Load):
    """Uploads, each over a connection of its own, that come back."""

    def client(self):
        data = b"abc" * 20000
        while not self.leave.is_set():
            try:
                with Raw(self.nginx.port) as c:
                    c.ask(self.path, "POST", "Connection: close\r\n", data)
                    got = c.answer()
                good, error = (got[0], got[2]) == (200, data), str(got[0])
            except OSError as failure:
                good, error = False, repr(failure)
            with self.lock:
                self.good += good
                self.bad += not good
                if not good:
                    self.errors.append((time.monotonic(), error))
            time.sleep(self.pause)


def reloads(checks, scale):
    times = max(10, int(1000 * scale))
    nginx = serve(checks, workers=2)
    # one upgraded connection through all of it
    held = Raw(nginx.port)
    held.ask("/upgrade", headers=UPGRADE)
    held.head()
    first = set(nginx.workers())
    loads = [
        Load(nginx, "/hello", clients=2, expect=b"hello\n", pause=0.002),
        Load(nginx, "/stream?n=5&size=20000&ms=3", clients=2, pause=0.002),
        Load(nginx, "/sleep?ms=200", clients=2, expect=b"slept\n"),
        Posts(nginx, "/off/body", clients=1, pause=0.005),
        Posts(nginx, "/body", clients=1, pause=0.005),
    ]
    control = Load(nginx, "/control", clients=2, expect=b"control\n", pause=0.002)
    for i in range(times):
        before = nginx.log().count("start worker process") if i < 50 else None
        nginx.signal(signal.SIGHUP)
        if before is not None:
            wait_for(lambda: nginx.log().count("start worker process") >= before + 2, 10)
        time.sleep(0.1)
        if i % 50 == 0:
            # nffi_timeout is for one that is silent, and a thousand reloads take minutes.
            held.send("!")
            checks.check(held.exactly(1) == b"!", f"after {i + 1} reloads the upgraded connection is there")
    for load in (*loads, control):
        load.stop()
    bad, good = sum(load.bad for load in loads), sum(load.good for load in loads)
    checks.check(min(load.good for load in loads) > 5 and control.good > 50, f"{times} reloads: there was load", good, control.good)
    checks.check(bad <= control.bad, "no request failed that a bare location keeps", bad, "against", control.bad,
                 [load.errors[:2] for load in loads if load.errors])
    held.send("still here")
    checks.check(held.exactly(10) == b"still here", "a connection that was upgraded before the first is there")
    checks.check(wait_for(lambda: len(nginx.children()) <= 2 + len(first), 20), "other workers are gone", nginx.children())
    held.end()
    held.rest()
    checks.check(wait_for(lambda: len(nginx.children()) == 2, 20), "and those that held it, with it", nginx.children())
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


def under_way(nginx):
    """A request, a stream, an upload, an upgraded connection, and one whose client is slow."""
    cs = {}
    for name, path, headers, body in [("request", "/sleep?ms=1500", "", b""), ("stream", "/stream?n=30&size=10000&ms=50", "", b""),
                                      ("upload", "/off/body", "Content-Length: 20\r\n", b"1234567890"),
                                      ("upgraded", "/upgrade", UPGRADE, b""), ("slow", "/stream?n=100&size=100000", "", b"")]:
        c = cs[name] = Raw(nginx.port, receive=16384)
        c.ask(path, "POST" if body else "GET", headers, body)
    cs["upgraded"].head()
    wait_for(lambda: nginx.runtime("http")["in_flight"] >= len(cs), 5)
    return cs


def quit_(checks):
    nginx = serve(checks)
    cs = under_way(nginx)
    worker = nginx.workers()[0]
    nginx.signal(signal.SIGQUIT)
    time.sleep(0.5)
    checks.check(alive(worker), "QUIT: the worker waits")
    cs["upload"].send("abcdefghij")
    checks.check(cs["upload"].answer()[2] == b"1234567890abcdefghij", "QUIT: an upload goes on")
    checks.check(cs["request"].answer()[2] == b"slept\n", "QUIT: a request is answered")
    checks.check(len(cs["stream"].answer()[2]) == 300000, "QUIT: a stream comes to its end")
    checks.check(len(cs["slow"].answer()[2]) == 10000000, "QUIT: a slow client gets it all")
    cs["upgraded"].send("x")
    checks.check(cs["upgraded"].exactly(1) == b"x" and alive(worker), "QUIT: an upgraded connection goes on")
    cs["upgraded"].end()
    checks.check(cs["upgraded"].rest() == b"bye\n", "QUIT: and ends when it wants to")
    checks.check(nginx.wait_end(10) is not None, "QUIT: then nginx ends")
    checks.check(not nginx.bad_lines(), "QUIT: the error log is silent", nginx.bad_lines()[:3])


def term(checks):
    nginx = serve(checks)
    cs = under_way(nginx)
    nginx.signal(signal.SIGTERM)
    took = nginx.wait_end(10)
    checks.check(took is not None and took < 5, "TERM: nginx ends soon", took)
    checks.check(all(c.rest() is not None for c in cs.values()), "TERM: connections are closed")
    checks.check(not nginx.bad_lines(), "TERM: the error log is silent", nginx.bad_lines()[:3])


def kill(checks):
    nginx = serve(checks)
    cs = under_way(nginx)
    worker = nginx.workers()[0]
    nginx.signal(signal.SIGKILL, worker)
    checks.check(all(c.rest() is not None for c in cs.values()), "kill -9: connections are closed")
    checks.check(wait_for(lambda: nginx.workers() and worker not in nginx.workers() and nginx.get("/hello")[0] == 200, 10),
                 "kill -9: another one serves")


def shutdown_timeout(checks):
    nginx = serve(checks, main="worker_shutdown_timeout 1s;")
    cs = under_way(nginx)
    worker = nginx.workers()[0]
    nginx.signal(signal.SIGHUP)
    began = time.monotonic()
    checks.check(wait_for(lambda: not alive(worker), 15) and time.monotonic() - began > 0.8,
                 "worker_shutdown_timeout: the worker goes", f"{time.monotonic() - began:.1f} s")
    checks.check(all(c.rest() is not None for c in cs.values()), "worker_shutdown_timeout: connections are closed")
    checks.check(nginx.get("/hello")[0] == 200 and report(nginx)["bad"] == 0, "worker_shutdown_timeout: the new one serves")
    checks.check(not nginx.bad_lines(), "worker_shutdown_timeout: the error log is silent", nginx.bad_lines()[:3])


def body(checks, scale):
    each(checks, (quit_,), (term,), (kill,), (shutdown_timeout,), (reloads, scale))


if __name__ == "__main__":
    run("reload", body, __doc__)
