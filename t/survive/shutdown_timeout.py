"""worker_shutdown_timeout ends a worker whose calls go on; so does the timeout of a runtime that never answers.

Guards: the bound on how long unended tasks may hold a leaving worker: those whose callers have gone, for
stop_timeout; all others (casts too), until worker_shutdown_timeout.
"""

import signal
import threading

from harness import alive, run, wait_for


def long_call(nginx, request="sleep 30000 x", at_least=1):
    def one():
        try:
            nginx.call(request, timeout=30)
        except OSError:
            pass

    thread = threading.Thread(target=one, daemon=True)
    thread.start()
    wait_for(lambda: nginx.runtime()["in_flight"] >= at_least, 5)
    return thread


def shutdown_timeout(checks):
    nginx = checks.nginx(main="worker_shutdown_timeout 1s;", runtimes="stop_timeout 1s;")
    old = nginx.workers()[0]
    long_call(nginx)
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: not alive(old), 12)
    checks.check(not alive(old), "worker_shutdown_timeout: the old worker went")
    checks.check(nginx.call("echo x") == (200, b"x"), "worker_shutdown_timeout: the new one serves")
    long_call(nginx)
    nginx.get("/cast?sleep%2030000%20x")
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(12)
    checks.check(took is not None, "worker_shutdown_timeout: QUIT ends, casts unended too", took)
    checks.check("exited on signal" not in nginx.log(), "worker_shutdown_timeout: nobody crashed")


def never_answers(checks):
    for number, name, limit in ((signal.SIGQUIT, "QUIT", 8), (signal.SIGTERM, "TERM", 4)):
        nginx = checks.nginx(runtimes="timeout 1s; stop_timeout 1s;")
        for n in range(5):
            long_call(nginx, "never", n + 1)
        nginx.signal(number)
        took = nginx.wait_end(limit + 8)
        checks.check(took is not None and took <= limit, f"never answers, {name}: ends within {limit} s", took)
        checks.check("exited on signal" not in nginx.log(), f"never answers, {name}: nobody crashed")
        checks.check(nginx.log_has(r"fixture.*\b5 accepted tasks lost"), f"never answers, {name}: the lost are counted",
                     [x for x in nginx.log().splitlines() if "fixture" in x][-2:])


def never_answers_hup(checks):
    nginx = checks.nginx(runtimes="timeout 1s; stop_timeout 1s;")
    old = nginx.workers()[0]
    long_call(nginx, "never")
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: not alive(old), 10)
    checks.check(not alive(old), "never answers, HUP: the old worker goes")
    checks.check(nginx.call("echo x") == (200, b"x"), "never answers, HUP: the new one serves")


def body(checks, scale):
    shutdown_timeout(checks)
    never_answers(checks)
    never_answers_hup(checks)


if __name__ == "__main__":
    run("shutdown_timeout", body, __doc__)
