"""A reload with a wrong configuration: the workers that serve go on serving; then a right one takes over.

Guards: everything that can be known is known before the fork, in the master; a check has a process of its own and a
time limit, so that neither its crash nor its patience harms the master.
"""

import signal
import time

from harness import FIXTURES, Load, run, wait_for


def reload_with(nginx, conf, text):
    before = len(nginx.log())
    nginx.conf.write_text(conf.replace("# HERE", text))
    nginx.signal(signal.SIGHUP)
    return before


def refused(checks, nginx, conf, text, reason, what, seconds=5):
    workers, before = nginx.workers(), reload_with(nginx, conf, text)
    said = wait_for(lambda: reason in nginx.log()[before:], seconds)
    checks.check(bool(said), f"{what}: refused, and the log says why", reason)
    checks.check(nginx.workers() == workers and nginx.call("echo x") == (200, b"x"), f"{what}: the same workers serve")


def body(checks, scale):
    nginx = checks.nginx(http="# HERE", runtimes="colour red; stop_timeout 1s;")
    conf = nginx.conf.read_text()
    load = Load(nginx, "/call?echo%20x", clients=2, expect=b"x", pause=0.002)
    refused(checks, nginx, conf, f"nffi_runtime b {FIXTURES}/libmissing.so {{}}", "libmissing.so", "a missing library")
    refused(checks, nginx, conf, f"nffi_runtime b {FIXTURES}/libother.so {{ queue 0; }}", '"queue"', "a bad number")
    refused(checks, nginx, conf, f"nffi_runtime fixture {FIXTURES}/libother.so {{}}", "duplicate", "a duplicate")
    refused(checks, nginx, conf, f"nffi_runtime b {FIXTURES}/libcheck.so {{ check refuse; }}", "red or green", "a check that refuses")
    refused(checks, nginx, conf, f"nffi_runtime b {FIXTURES}/libcheck.so {{ check crash; }}", "signal 11", "a check that crashes")
    refused(checks, nginx, conf, f"nffi_runtime b {FIXTURES}/libcheck.so {{ check hang; }}", "took longer", "a check that hangs", 60)
    old = nginx.workers()[0]
    reload_with(nginx, conf.replace("colour red;", "colour green;"), f"nffi_runtime b {FIXTURES}/libcheck.so {{ check fine; }}")
    wait_for(lambda: nginx.workers() and old not in nginx.workers(), 5)
    time.sleep(0.3)
    checks.check(b'"green"' in nginx.call("cfg")[1], "a right one after all these takes over", nginx.call("cfg")[1])
    load.stop()
    checks.check(load.bad == 0 and load.good > 100, "no request failed meanwhile", load.good, load.errors[:2])
    checks.check(nginx.children() == nginx.workers(), "no child is left behind", nginx.children())


if __name__ == "__main__":
    run("bad_reload", body, __doc__)
