"""A reload every second under load: calls fail no more than a bare location; accepted casts are done.

Guards: the timer that holds a leaving worker while tasks are unended, and STOP only after them.
"""

import threading
import time
import signal

from harness import Load, run, wait_for


def casts(nginx, file, leave, accepted):
    n = 0
    while not leave.is_set():
        n += 1
        try:
            status, body = nginx.get(f"/cast?append%202%20{file}%20{n}")
        except OSError:
            continue
        if status == 200 and body == b"true\n":
            accepted.append(n)
        time.sleep(0.01)


def body(checks, scale):
    seconds = max(4, int(40 * scale))
    nginx = checks.nginx(workers=2)
    file, accepted, leave = nginx.prefix / "casts", [], threading.Event()
    caster = threading.Thread(target=casts, args=(nginx, file, leave, accepted), daemon=True)
    caster.start()
    quick = Load(nginx, "/call?echo%20hello", clients=3, expect=b"hello", pause=0.001)
    slow = Load(nginx, "/call?sleep%20300%20slow", clients=3, expect=b"slow")
    bare = Load(nginx, "/bare", clients=3, expect=b"bare\n", pause=0.001)
    first = set(nginx.workers())
    for _ in range(seconds):
        time.sleep(1)
        nginx.signal(signal.SIGHUP)
    time.sleep(1)
    leave.set()
    caster.join(25)
    for load in (quick, slow, bare):
        load.stop()
    checks.check(bare.good > 100 and quick.good > 100 and slow.good > 5, "there was load", bare.good, quick.good, slow.good)
    checks.check(quick.bad + slow.bad <= bare.bad, "no call failed that a bare location keeps", quick.bad, slow.bad, "against",
                 bare.bad, quick.errors[:2], slow.errors[:2])
    checks.check(not first & set(nginx.workers()), "the workers are new ones")
    wait_for(lambda: len(nginx.children()) == 2, 10)
    checks.check(len(nginx.children()) == 2, "the old workers are gone", nginx.children())
    wait_for(lambda: len(file.read_text().split()) >= len(accepted), 5)
    done = sorted(int(line) for line in file.read_text().split())
    checks.check(len(accepted) > 20 and done == accepted, "every accepted cast was done, once", len(accepted),
                 "accepted", len(done), "done", sorted(set(accepted) - set(done))[:5])
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("reload", body, __doc__)
