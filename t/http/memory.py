"""Bounded memory: a long answer to a client that reads slowly, a long upload to an app that does, and clients that read nothing.

Guards: the window both ways: nginx holds no more of a body than that. At scale 1 a GiB each, at 1 MiB/s.
"""

import threading
import time

from client import Raw, each, idle, report, rss_kb, serve

from harness import run

MIB = 1 << 20
MOST = 16 * 1024  # KiB that the worker may grow


class Watch:
    """The most resident memory of a process, in KiB, while this is."""

    def __init__(self, pid):
        self.pid, self.least, self.most, self.leave = pid, rss_kb(pid), 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.leave.set()
        self.thread.join()

    def look(self):
        while not self.leave.wait(0.05):
            self.most = max(self.most, rss_kb(self.pid))

    def grown(self):
        return self.most - self.least


def slow_client(checks, nginx, where, total, rate):
    with Watch(nginx.workers()[0]) as watch, Raw(nginx.port, receive=65536, timeout=60) as c:
        c.ask(f"{where}?n={total // 65536}&size=65536")
        c.head()
        began, got = time.monotonic(), 0
        while True:
            got += len(c.buffer)
            c.buffer = b""
            if got >= total or not c.more():
                break
            time.sleep(max(0.0, began + got / rate - time.monotonic()))
        took = time.monotonic() - began
    checks.check(got >= total, f"{where}: {total // MIB} MiB to a client that reads {rate // MIB} MiB/s", f"{took:.1f} s")
    checks.check(watch.grown() < MOST, f"{where}: the worker grows by less than 16 MiB", watch.grown(), "KiB")


def slow_app(checks, nginx, total, rate):
    # a piece of at most 16 KiB, and a pause: about the rate
    pause = max(1, 16384 * 1000 // rate)
    with Watch(nginx.workers()[0]) as watch, Raw(nginx.port, timeout=600) as c:
        c.ask(f"/off/count?ms={pause}", "POST", f"Content-Length: {total}\r\n")
        block, sent, began = b"x" * 65536, 0, time.monotonic()
        while sent < total:
            c.send(block)
            sent += len(block)
        status, _, body = c.answer()
        took = time.monotonic() - began
    checks.check(status == 200 and body.startswith(b"%d bytes" % total), f"{total // MIB} MiB to an app that reads slowly", f"{took:.1f} s")
    checks.check(watch.grown() < MOST, "the worker grows by less than 16 MiB", watch.grown(), "KiB")


def deaf_clients(checks, nginx):
    """100 of them hold a window each, and what nginx's filters hold."""
    before = report(nginx)["full"]
    with Watch(nginx.workers()[0]) as watch:
        clients = []
        for _ in range(100):
            c = Raw(nginx.port, receive=4096)
            c.ask("/stream?n=10000&size=10000")
            clients.append(c)
        deadline = time.monotonic() + 10
        while report(nginx)["full"] < before + 100 and time.monotonic() < deadline:
            time.sleep(0.05)
        for c in clients:
            c.reset()
    checks.check(idle(nginx), "100 clients that read nothing")
    # 64 KiB of window, the thread's stack, malloc's arenas
    checks.check(watch.grown() < 64 * 1024, "they hold a window each", watch.grown(), "KiB")


def body(checks, scale):
    total, rate = max(64, int(1024 * scale**2)) * MIB, (1 if scale >= 1 else 8) * MIB
    nginx = serve(checks, "client_max_body_size 0; location /tiny/ { nffi_pass http; nffi_window 4k; }")
    for _ in range(3):  # pools and arenas find their size
        nginx.get("/stream?n=100&size=65536")
    each(checks, (slow_client, nginx, "/stream", total, rate), (slow_client, nginx, "/tiny/stream", 64 * MIB, 64 * MIB),
         (slow_app, nginx, total, 2 * rate), (deaf_clients, nginx))
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("memory", body, __doc__)
