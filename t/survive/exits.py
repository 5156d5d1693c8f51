"""A runtime that ends the process: exit(0), exit(2), raw exit_group(2), a crash, in a call, in init, at STOP.

Guards: the atexit hook and the seccomp rule that make every such exit a death that the master respawns. A worker
that ends with code 2 "cannot be respawned", and the site would stay down.
"""

import signal
import time

from harness import alive, run, wait_for

FATAL = r"cannot be respawned"


def die(nginx, request):
    try:
        nginx.call(request, timeout=5)
        return "it answered"
    except OSError:
        return None


def serves(nginx, old):
    """Is there a worker that is not the old one, and does it call?"""

    def look():
        try:
            return nginx.workers() and old not in nginx.workers() and nginx.call("echo back") == (200, b"back")
        except OSError:
            return False

    return wait_for(look, 8, 0.05)


def body(checks, scale):
    nginx = checks.nginx()
    # request, what the log must say: a raw exit_group has no hook that could name the runtime
    cases = [
        ("exit 0", r'runtime "fixture" called exit\(0\)'),
        ("exit 1", r'runtime "fixture" called exit\(1\)'),
        ("exit 2", r'runtime "fixture" called exit\(2\)'),
        ("exit_group 0", r"worker process \d+ was ended.*fixture"),
        ("exit_group 2", r"worker process \d+ was ended.*fixture"),
        ("crash", r"worker process \d+ exited on signal 11"),
        ("abort", r"worker process \d+ exited on signal 6"),
    ]
    for _ in range(max(1, int(3 * scale))):
        for request, said in cases:
            worker, before = nginx.workers()[0], len(nginx.log())
            answered = die(nginx, request)
            checks.check(answered is None, f"{request}: ends the worker")
            checks.check(serves(nginx, worker), f"{request}: respawned and serving again")
            news = nginx.log()[before:]
            checks.check(FATAL not in news, f"{request}: not taken as fatal")
            import re

            lines = [x for x in news.splitlines() if re.search(r"\[(alert|crit|emerg|error)\]", x)]
            checks.check(any(re.search(said, x) for x in lines), f"{request}: logged", *lines[:2])
    in_flight(checks, nginx)
    reopened(checks, nginx)
    in_init(checks)
    at_stop(checks)


def in_flight(checks, nginx):
    """Others of the same worker lose their connection, not the site."""
    worker = nginx.workers()[0]
    sockets = [nginx.connect() for _ in range(20)]
    from harness import send

    for s in sockets:
        send(s, "/call?sleep 2000 x")
    time.sleep(0.1)
    die(nginx, "exit 2")
    checks.check(serves(nginx, worker), "exit with 20 calls in flight: serving again")
    for s in sockets:
        s.close()


def reopened(checks, nginx):
    """After logs were rotated, the line about the exit is in the new log, not in whoever has the old descriptor."""
    log = nginx.prefix / "error.log"
    log.rename(nginx.prefix / "error.log.1")
    nginx.signal(signal.SIGUSR1)
    wait_for(lambda: log.exists(), 3)
    time.sleep(0.3)
    worker = nginx.workers()[0]
    die(nginx, "exit 2")
    checks.check(serves(nginx, worker), "exit after USR1: serving again")
    checks.check(nginx.log_has(r'runtime "fixture" called exit\(2\)', 2), "exit after USR1: logged in the new log")


def in_init(checks):
    """Once in init, then a healthy one: the site comes up."""
    for code in (0, 2):
        nginx = checks.nginx(runtimes=f"init_sleep 100; init_exit_once @PREFIX@/once; init_exit_code {code};")
        up = wait_for(lambda: (nginx.prefix / "once").exists(), 5)
        checks.check(up and serves(nginx, None), f"exit({code}) in init: respawned and serving")
        checks.check(FATAL not in nginx.log(), f"exit({code}) in init: not taken as fatal")


def at_stop(checks):
    """A runtime that exits when it is told to stop: a reload goes through, and QUIT ends."""
    nginx = checks.nginx(runtimes="stop_exit 2; stop_timeout 1s;")
    checks.check(nginx.call("echo x") == (200, b"x"), "stop_exit: serves")
    old = nginx.workers()[0]
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: not alive(old), 8)
    checks.check(not alive(old) and serves(nginx, old), "exit(2) at STOP of a reload: the site serves on")
    checks.check("another is started" not in nginx.log(), "exit(2) at STOP of a reload: no other is announced")
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(10)
    checks.check(took is not None, "exit(2) at STOP of QUIT: nginx ends", took)


if __name__ == "__main__":
    run("exits", body, __doc__)
