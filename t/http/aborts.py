"""Requests that clients give up in every stage: each one is cancelled, and then everything is as before.

Guards: the cleanups that part a request from its task, with its descriptors, temp files, buffers and numbers. 100 000 at scale 1.
"""

import os

from client import Raw, fds, idle, report, rss_kb, serve, wait_for

from harness import run

UPGRADE = "Connection: Upgrade\r\nUpgrade: echo\r\n"
# path, headers, body; the last: bytes of the body that are not sent
STAGES = [
    ("/sleep", "", b"", 0),
    ("/sleep", "", b"x" * 100, 0),
    ("/sleep", "", b"x" * 50000, 0),  # in a temp file
    ("/sleep", "", b"x" * 100, 1000),  # nginx still reads
    ("/off/sleep", "", b"x" * 100, 1000),
    ("/off/sleep", "", b"x" * 90000, 0),  # nobody reads; a FIN behind more than a window would be seen by nobody
    ("/off/body", "", b"x" * 1000, 1000),  # answered meanwhile
    ("/flush?ms=20", "", b"", 0),
    ("/stream?n=100000&size=100&ms=1", "", b"", 0),
    ("/stream?n=1000&size=100000", "", b"", 0),  # FULL
    ("/pause?n=3&size=10", "", b"", 0),
    ("/file?path=@FILE@", "", b"", 0),
    ("/upgrade", UPGRADE, b"", 0),
    ("/upgrade?greet=1000000", UPGRADE, b"", 0),
    ("/hello", "", b"", 0),  # perhaps it is done already
]


def wave(nginx, clients, how):
    before = nginx.runtime("http")["calls"]
    sockets = []
    for i in range(clients):
        path, headers, body, missing = STAGES[i % len(STAGES)]
        if body:
            headers += f"Content-Length: {len(body) + missing}\r\n"
        c = Raw(nginx.port, receive=8192)
        c.ask(path.replace("@FILE@", str(nginx.prefix / "file")), "POST" if body else "GET", headers, body)
        sockets.append(c)
    # those that nginx still reads are no calls
    expected = clients - sum(1 for i in range(clients) if STAGES[i % len(STAGES)][0] == "/sleep" and STAGES[i % len(STAGES)][3])
    begun = wait_for(lambda: nginx.runtime("http")["calls"] - before >= expected, 20)
    for i, c in enumerate(sockets):
        (c.reset if (i // len(STAGES) + how) % 2 else c.close)()
    return begun


def temp_files(pid):
    count = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += "(deleted)" in os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            pass
    return count


def body(checks, scale):
    nginx = serve(checks)
    (nginx.prefix / "file").write_bytes(b"f" * 3000000)
    worker = nginx.workers()[0]
    total, clients, done, ready = max(1200, int(100000 * scale)), 300, 0, True
    for how in range(4):
        ready &= wave(nginx, clients, how)
        idle(nginx, 30)
    open_fds, memory, numbers = fds(worker), rss_kb(worker), []
    while done < total:
        ready &= wave(nginx, clients, done // clients)
        ready &= bool(idle(nginx, 30))
        done += clients
        numbers.append(rss_kb(worker))
    checks.check(ready, "each was begun, and is over", nginx.runtime("http"))
    checks.check(report(nginx)["cancels"] > done // 3, "CANCEL reached the runtime", report(nginx)["cancels"], "of", done)
    checks.check(wait_for(lambda: fds(worker) <= open_fds, 5), f"{done} aborted: descriptors are as before", open_fds, "->", fds(worker))
    checks.check(temp_files(worker) == 0, "no temp file is left", temp_files(worker))
    # threads come and go in the fixture: malloc's arenas take some waves to find their size
    checks.check(rss_kb(worker) - memory < 24000, "memory is as before", memory, "->", rss_kb(worker), numbers[:: max(1, len(numbers) // 8)])
    checks.check(nginx.get("/hello") == (200, b"hello\n") and not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("aborts", body, __doc__)
