"""A language under reloads: calls fail no more than a bare location, and no process stays behind.

Guards: STOP after accepted work, stopped() when no thread uses the host any more.
"""

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "survive"))
from harness import Load, run, wait_for  # noqa: E402

LIBRARY, OPTIONS = os.environ["NFFI_LIBRARY"], os.environ["NFFI_OPTIONS"]


def body(checks, scale):
    runtime = f"nffi_runtime fixture {LIBRARY} {{ include {OPTIONS}; stop_timeout 10s; }}"
    nginx = checks.nginx(workers=2, runtimes=runtime)
    checks.check(nginx.call("hello") == (200, b"hello"), "it answers")
    quick = Load(nginx, "/call?hello", clients=3, expect=b"hello", pause=0.002)
    slow = Load(nginx, "/call?!sleep%20200", clients=3, expect=b"slept")
    bare = Load(nginx, "/bare", clients=3, expect=b"bare\n", pause=0.002)
    first = set(nginx.workers())
    for _ in range(max(3, int(30 * scale))):
        time.sleep(1)
        nginx.signal(signal.SIGHUP)
    time.sleep(2)
    for load in (quick, slow, bare):
        load.stop()
    checks.check(bare.good > 50 and quick.good > 50 and slow.good > 5, "there was load", bare.good, quick.good, slow.good)
    checks.check(quick.bad + slow.bad <= bare.bad, "no call failed that a bare location keeps", quick.bad, slow.bad,
                 "against", bare.bad, quick.errors[:2], slow.errors[:2])
    checks.check(not first & set(nginx.workers()), "the workers are new ones")
    wait_for(lambda: len(nginx.children()) == 2, 20)
    checks.check(len(nginx.children()) == 2, "the old workers are gone", nginx.children())
    nginx.call("hello")
    nginx.signal(signal.SIGQUIT)
    checks.check(nginx.wait_end(20) is not None, "QUIT ends")
    checks.check("did not say that it stopped" not in nginx.log(), "the runtime says when it has stopped")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])

    nginx = checks.nginx(runtimes=runtime)
    nginx.call("hello")
    nginx.signal(signal.SIGTERM)
    checks.check(nginx.wait_end(10) is not None, "TERM ends")
    checks.check(not nginx.bad_lines(), "the error log is silent after TERM", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run(f"reload {os.environ.get('NFFI_LANGUAGE', '')}", body, __doc__)
