"""A poller killed by its own code: others go on, callers get their timeout, the worker leaves in bounded time.

Guards: no lock or wake-up that dies with the thread; the bounded wait for stopped().
"""

import signal

from harness import Load, run


def body(checks, scale):
    nginx = checks.nginx(runtimes="threads 4; stop_timeout 1s;")
    load = Load(nginx, "/call?echo%20x", clients=4, expect=b"x")
    for _ in range(3):
        checks.check(nginx.call("pthread_exit", timeout_ms=100)[1] == b"timeout", "its task times out")
    load.stop()
    checks.check(load.bad == 0 and load.good > 10, "three of four gone: the fourth serves all", load.good, load.errors[:2])
    right = all(nginx.call(f"echo {n}") == (200, str(n).encode()) for n in range(100))
    checks.check(right, "and 100 calls more")
    checks.check(nginx.runtime()["abandoned"] == 3, "three tasks stay open", nginx.runtime()["abandoned"])
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(15)
    checks.check(took is not None, "QUIT ends", took)
    checks.check("exited on signal" not in nginx.log(), "and nobody crashed")

    nginx = checks.nginx(runtimes="threads 1; tasks 20; stop_timeout 1s;")
    checks.check(nginx.call("pthread_exit", timeout_ms=50)[1] == b"timeout", "the only poller: its task times out")
    answers = {nginx.call("echo x", timeout_ms=20)[1] for _ in range(30)}
    checks.check(answers <= {b"timeout", b"queue full"}, "the only poller: calls after it fail in words", answers)
    checks.check(nginx.get("/bare") == (200, b"bare\n"), "the only poller: the site serves")
    nginx.signal(signal.SIGTERM)
    took = nginx.wait_end(10)
    checks.check(took is not None and took < 4, "the only poller: TERM ends", took)
    checks.check("exited on signal" not in nginx.log(), "the only poller: nobody crashed")


if __name__ == "__main__":
    run("poller_killed", body, __doc__)
