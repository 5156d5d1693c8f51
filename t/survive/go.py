"""Go in a worker: children of Lua and of Go, a nil dereference, os.Exit, reload under load, HUP 100 times, QUIT, TERM.

Guards: SIGCHLD made harmless in workers, SA_ONSTACK in every handler, exit code 2 repaired in the master, and the
SDK's own: handlers recovered, no descriptor of nginx's in its children.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from harness import ROOT, Load, alive, run, wait_for

SERVER = """
location = /execute {
    content_by_lua_block {
        local good = 0
        for _ = 1, 200 do
            local code = os.execute("exit 3")
            good = good + ((code == 768 or code == 3) and 1 or 0)
        end
        ngx.say(good)
    }
}
location = /popen {
    content_by_lua_block {
        local good = 0
        for i = 1, 200 do
            local p = io.popen("echo " .. i)
            local text = p:read("*a")
            local ok = p:close()
            good = good + ((text == i .. "\\n" and ok) and 1 or 0)
        end
        ngx.say(good)
    }
}
location = /children {
    content_by_lua_block {
        local nffi, good, last = require "resty.nffi", 0, nil
        for i = 1, 200 do
            last = nffi.call("fixture", ngx.var.args .. " echo x; exit " .. i % 100)
            good = good + (last == i % 100 .. " x\\n" and 1 or 0)
        end
        ngx.say(good, " ", last)
    }
}
"""


def library():
    """Its path, or None where there is no Go."""
    target = ROOT / "target/survive-go"
    built = subprocess.run([ROOT / "runtimes/go/tests/build", target], stdout=sys.stderr, check=False).returncode
    if built == 77:
        return None
    if built:
        raise RuntimeError(f"runtimes/go/tests/build failed with {built}")
    return target / "libtest.so"


def children(checks, nginx):
    for path in ("/execute", "/popen", "/children?os_exec", "/children?command"):
        load = Load(nginx, "/call?sleep%201", clients=3, expect=b"slept")
        status, text = nginx.get(path, timeout=120)
        load.stop()
        checks.check(status == 200 and text.split()[:1] == [b"200"], f"{path}: 200 of 200, under load", text)
        checks.check(load.bad == 0 and load.good > 0, f"{path}: and the load's calls succeed", load.good, load.errors[:1])


def inheritance(checks, nginx):
    """What a child has of nginx's descriptors; clients are connected meanwhile."""
    clients = [nginx.connect() for _ in range(5)]
    for client in clients:
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
    _, out = nginx.call("command ls -l /proc/self/fd")
    held = re.findall(r" (\d+) -> (\S+)", out.decode())
    checks.check([number for number, _ in held] == ["0", "1", "2", "3"], "Command: a child has 0, 1 and 2, and ls its folder", held)
    _, out = nginx.call("os_exec ls -l /proc/self/fd")
    # So that the test above means something, and since the documentation says so.
    checks.check(out.count(b"socket:") >= 6, "os/exec: a child has the sockets of nginx and of its clients", out.count(b"socket:"))
    for client in clients:
        client.close()


def panics(checks, nginx):
    worker = nginx.workers()[0]
    answers = [nginx.call("nil") for _ in range(50)]
    want = (500, b"panic: runtime error: invalid memory address or nil pointer dereference")
    checks.check(answers == [want] * 50, "a nil dereference is an error answer, 50 times", answers[0])
    checks.check(nginx.workers() == [worker], "and the worker lives")
    checks.check(nginx.log_has(r"\*\d+ nffi runtime \"fixture\": .*tests/library/main\.go:\d+", 2), "and its place is logged")


def exits(checks, nginx):
    for code in (2, 0, 1):
        old = nginx.workers()[0]
        try:
            nginx.call(f"exit {code}", timeout=5)
            answered = True
        except OSError:
            answered = False
        checks.check(not answered, f"os.Exit({code}) ends the worker")

        def serves():
            try:
                return old not in nginx.workers() and nginx.call("echo back") == (200, b"back")
            except OSError:
                return False

        checks.check(wait_for(serves, 10, 0.05), f"os.Exit({code}): respawned, and serving")
    checks.check("cannot be respawned" not in nginx.log(), "no exit code was fatal")


def killed(checks, nginx):
    old = nginx.workers()[0]
    nginx.signal(signal.SIGKILL, old)
    wait_for(lambda: nginx.workers() and old not in nginx.workers(), 5)
    checks.check(wait_for(lambda: nginx.call("echo x") == (200, b"x"), 5), "kill -9 of the worker: another serves")


def reloads(checks, nginx, count):
    """HUP again and again, under load: nothing fails, and nothing is left behind."""
    load = Load(nginx, "/call?sleep%205", clients=3, expect=b"slept", pause=0.002)
    bare = Load(nginx, "/bare", clients=2, expect=b"bare\n", pause=0.002)
    for _ in range(count):
        old = nginx.workers()
        nginx.signal(signal.SIGHUP)
        wait_for(lambda: set(nginx.workers()) - set(old), 5, 0.01)
        time.sleep(0.02)
    load.stop()
    bare.stop()
    checks.check(load.good > count and load.bad <= bare.bad, f"HUP {count} times: no call failed that a bare location keeps",
                 load.good, load.bad, "against", bare.good, bare.bad, load.errors[:2])
    wait_for(lambda: len(nginx.children()) == 1, 20)
    checks.check(len(nginx.children()) == 1, "and one worker is left", nginx.children())
    left = [p for p in descendants_of(os.getpid()) if alive(p) and p not in (nginx.master(), *nginx.children())]
    checks.check(not left, "and no other process", left)


def descendants_of(pid):
    found, todo = [], [pid]
    while todo:
        for task in pathlib.Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            some = [int(p) for p in task.read_text().split()]
            found += some
            todo += some
    return found


def leaves(checks, nginx, number, name, path, seconds):
    """The signal while a call of 300 ms runs."""
    load = Load(nginx, path, clients=2, pause=0.001)
    time.sleep(0.3)
    nginx.signal(number)
    took = nginx.wait_end(seconds)
    load.leave.set()
    checks.check(took is not None, f"{name} ends nginx", took)
    load.stop()
    checks.check('did not say that it stopped' not in nginx.log(), f"{name}: the runtime has stopped in time")


def directories(checks, built):
    """Two runtimes of one library share Go's threads, which have one directory."""
    declared = " ".join(f"nffi_runtime {name} {built} {{ working_directory {where}; }}" for name, where in (("fixture", "/usr"), ("other", "/")))
    try:
        checks.nginx(runtimes=declared)
        said = "nothing"
    except RuntimeError as error:
        said = str(error)
    checks.check("one Go library has one working directory" in said, "a second working directory is refused", said)
    nginx = checks.nginx(runtimes=declared.replace("/usr;", "/;"))
    checks.check(nginx.call("os_exec pwd")[1] == b"0 /\n", "the same one twice is not", nginx.call("os_exec pwd"))


def body(checks, scale):
    built = library()
    if built is None:
        checks.check(True, "left out: there is no Go on this machine")
        return
    declared = f"nffi_runtime fixture {built} {{ stop_timeout 4s; }}"
    nginx = checks.nginx(runtimes=declared, server=SERVER)
    nginx.call("echo x")
    children(checks, nginx)
    inheritance(checks, nginx)
    panics(checks, nginx)
    reloads(checks, nginx, max(100, int(100 * scale)))
    checks.check(not nginx.bad_lines("nffi runtime \"fixture\""), "the error log has nothing but the panics", nginx.bad_lines("nffi runtime \"fixture\"")[:3])
    exits(checks, nginx)
    killed(checks, nginx)
    leaves(checks, nginx, signal.SIGQUIT, "QUIT", "/call?sleep%20300", 10)
    directories(checks, built)
    nginx = checks.nginx(runtimes=declared)
    # On TERM nothing waits for a call that runs, and its context ends it.
    leaves(checks, nginx, signal.SIGTERM, "TERM", "/call?sleep%2060000", 10)


if __name__ == "__main__":
    run("go", body, __doc__)
