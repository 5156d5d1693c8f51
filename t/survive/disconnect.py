"""10 000 clients that go away in the middle of a call, with lua_check_client_abort on and off.

Guards: the request's cleanup that cancels its calls, the drain that frees an abandoned slot, CANCEL within 200 ms.
"""

import time

from harness import fds, rss_kb, run, send, wait_for

SERVER = """
location = /on {
    lua_check_client_abort on;
    content_by_lua_block { require("resty.nffi").call("fixture", "cancel_seen", { timeout = 60000 }) }
}
location = /off {
    lua_check_client_abort off;
    content_by_lua_block {
        local res = require("resty.nffi").call("fixture", "sleep 60 x", { timeout = 60000 })
        ngx.shared.counts:incr(res == "x" and "completed" or "failed", 1, 0)
    }
}
"""


def wave(nginx, path, clients, ready):
    """Connects, asks, waits until all are in flight, goes; the time of the last goodbye."""
    sockets = [nginx.connect() for _ in range(clients)]
    for s in sockets:
        send(s, path)
    ready()
    for s in sockets:
        s.close()
    return time.monotonic_ns()


def seen(checks, nginx, total):
    clients, late, before = min(500, total), [], nginx.report()["cancels"]
    done = 0
    while done < total:
        gone = wave(nginx, "/on", clients, lambda: wait_for(lambda: nginx.report()["held"] == clients, 10))
        done += clients
        wait_for(lambda: nginx.report()["cancels"] == before + done, 5)
        late.append((nginx.report()["last_cancel_ns"] - gone) / 1e6)
        if done == clients:
            start_rss, start_fds = rss_kb(nginx.workers()[0]), fds(nginx.workers()[0])
    report, late = nginx.report(), sorted(late)
    checks.check(report["cancels"] == before + done, "every client that went brought one CANCEL", report["cancels"])
    checks.check(late[len(late) // 2] < 200, "CANCEL within 200 ms of the last goodbye", f"{late[len(late) // 2]:.0f} ms")
    checks.check(late[-1] < 400, "and never late by much", f"{late[-1]:.0f} ms")
    checks.check(report["cancel_twice"] == 0 and report["data_changed"] == 0 and report["violations"] == 0, "all in order")
    return start_rss, start_fds


def unseen(checks, nginx, total):
    clients, before, done = min(500, total), nginx.counts().get("completed", 0), 0
    cancels = nginx.report()["cancels"]
    while done < total:
        wave(nginx, "/off", clients, lambda: time.sleep(0.02))
        done += clients
        wait_for(lambda: nginx.counts().get("completed", 0) >= before + done - clients // 10, 5)
    # a connection that was closed before nginx read its request never became a call
    wait_for(lambda: nginx.counts().get("completed", 0) == before + done, 3)
    counts = nginx.counts()
    completed = counts.get("completed", 0) - before
    checks.check(completed >= done * 0.95 and "failed" not in counts, "unseen: the calls complete", completed, "of", done)
    checks.check(nginx.report()["cancels"] == cancels, "unseen: no CANCEL")


def body(checks, scale):
    total = max(500, int(10000 * scale))
    nginx = checks.nginx(server=SERVER)
    start_rss, start_fds = seen(checks, nginx, total)
    unseen(checks, nginx, total)
    worker = nginx.workers()[0]
    checks.check(nginx.idle(), "nothing stays queued, in flight or abandoned", nginx.runtime())
    checks.check(nginx.report()["held"] == 0, "the runtime holds nothing")
    wait_for(lambda: fds(worker) <= start_fds, 3)
    checks.check(fds(worker) <= start_fds, "no descriptor leaks", start_fds, "->", fds(worker))
    more = rss_kb(worker) - start_rss
    checks.check(more < 12000, "no memory leaks", more, "kB more")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("disconnect", body, __doc__)
