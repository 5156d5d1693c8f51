"""QUIT, TERM and HUP with calls in flight; a runtime that is slow to stop, or never says that it has.

Guards: a gracefully leaving worker stays while tasks are unended, then STOP, then a bounded wait for stopped().
"""

import signal
import threading
import time

from harness import FIXTURES, alive, run, send, wait_for


def in_flight(nginx, request, n, answers):
    def one(i):
        try:
            answers.append(nginx.call(f"{request} {i}") == (200, str(i).encode()))
        except OSError:
            answers.append(False)

    before = nginx.runtime()["calls"]
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    wait_for(lambda: nginx.runtime()["calls"] >= before + n, 5)
    return threads


def quit_(checks):
    nginx, answers = checks.nginx(runtimes="stop_timeout 2s; report_file @PREFIX@/report;"), []
    for i in range(30):
        nginx.get(f"/cast?append%2010%20{nginx.prefix}/casts%20{i}")
    threads = in_flight(nginx, "sleep 700", 20, answers)
    nginx.signal(signal.SIGQUIT)
    for t in threads:
        t.join(10)
    took = nginx.wait_end(10)
    checks.check(sum(answers) == 20, "QUIT: 20 calls in flight are answered", sum(answers))
    checks.check(took is not None and took < 3, "QUIT: nginx ends soon after", took)
    checks.check(len((nginx.prefix / "casts").read_text().split()) == 30, "QUIT: accepted casts are done")
    report = (nginx.prefix / "report").read_text() if (nginx.prefix / "report").exists() else ""
    checks.check('"held_at_stop":0' in report and '"stops":1' in report, "QUIT: STOP came after all work", report)
    checks.check(not nginx.bad_lines(), "QUIT: the error log is silent", nginx.bad_lines()[:3])


def quit_with_waiting_casts(checks):
    """No client at all, casts only: they hold the worker too, beyond stop_timeout."""
    nginx = checks.nginx(runtimes="stop_timeout 200ms;")
    for i in range(20):
        nginx.get(f"/cast?append%2050%20{nginx.prefix}/casts%20{i}")
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(10)
    done = len((nginx.prefix / "casts").read_text().split())
    checks.check(took is not None and done == 20, "QUIT: casts alone hold the worker until done", took, done)


def term(checks):
    nginx, answers = checks.nginx(), []
    threads = in_flight(nginx, "sleep 30000", 20, answers)
    nginx.signal(signal.SIGTERM)
    took = nginx.wait_end(10)
    for t in threads:
        t.join(10)
    checks.check(took is not None and took < 4, "TERM: ends without waiting for calls", took)
    checks.check("exited on signal" not in nginx.log(), "TERM: nobody crashed")
    checks.check(not nginx.bad_lines(r"lost|unended|not ended|did not stop"), "TERM: what is lost is all that is logged",
                 nginx.bad_lines(r"lost|unended|not ended|did not stop")[:3])
    checks.check(nginx.log_has(r"fixture.*\b20 accepted tasks lost"), "TERM: what was lost is counted in the log",
                 [x for x in nginx.log().splitlines() if "fixture" in x or "nffi" in x][-3:])


def hup(checks):
    nginx, answers = checks.nginx(), []
    old = nginx.workers()[0]
    threads = in_flight(nginx, "sleep 900", 20, answers)
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: nginx.workers() and old not in nginx.workers(), 5)
    checks.check(nginx.call("echo new") == (200, b"new"), "HUP: the new worker serves while the old one works")
    checks.check(alive(old), "HUP: the old one is still there")
    for t in threads:
        t.join(10)
    checks.check(sum(answers) == 20, "HUP: the calls in flight are answered", sum(answers))
    wait_for(lambda: not alive(old), 5)
    checks.check(not alive(old), "HUP: then the old one goes")
    checks.check(not nginx.bad_lines(), "HUP: the error log is silent", nginx.bad_lines()[:3])


def slow_stop(checks):
    nginx = checks.nginx(runtimes="slow_stop 500; stop_timeout 5s; report_file @PREFIX@/report;")
    nginx.call("echo x")
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(10)
    checks.check(took is not None and took >= 0.4, "slow to stop: it is waited for", took)
    checks.check((nginx.prefix / "report").exists(), "slow to stop: and came to its end")
    checks.check(not nginx.bad_lines(), "slow to stop: the error log is silent", nginx.bad_lines()[:3])


def never_stopped(checks, number, name, low, high):
    nginx = checks.nginx(runtimes="no_stopped; stop_timeout 2s;")
    nginx.call("echo x")
    nginx.signal(number)
    took = nginx.wait_end(15)
    checks.check(took is not None and low <= took <= high, f"never says stopped, {name}: waited for, not longer than it must", took)
    checks.check("exited on signal" not in nginx.log(), f"never says stopped, {name}: nobody crashed")
    checks.check(nginx.log_has(r"fixture"), f"never says stopped, {name}: the log names it",
                 [x for x in nginx.log().splitlines() if "fixture" in x][-1:])


def idle_leave(checks):
    """Nothing going on: an idle runtime does not delay a leaving worker."""
    for number, name in ((signal.SIGQUIT, "QUIT"), (signal.SIGTERM, "TERM")):
        nginx = checks.nginx(runtimes="threads 4;")
        nginx.call("echo x")
        nginx.signal(number)
        took = nginx.wait_end(10)
        checks.check(took is not None and took < 1, f"{name}, idle: ends at once", took)
        checks.check(not nginx.bad_lines(), f"{name}, idle: the error log is silent", nginx.bad_lines()[:3])


def loads(checks):
    """nffi.load that had to wait, was killed while it waited, or whose request went: nothing of it holds a leaving worker."""
    server = """
    location = /load { content_by_lua_block {
        local cfg = '{"init_sleep":"' .. ngx.var.arg_ms .. '","n":"' .. ngx.now() .. '"}'
        local rt, err = require("resty.nffi").load("@FIXTURES@/libother.so", cfg, { stop_timeout = 300 })
        ngx.say(rt and rt:call("echo loaded") or err)
    } }
    location = /kill { content_by_lua_block {
        local th = ngx.thread.spawn(require("resty.nffi").load, "@FIXTURES@/libother.so", '{"init_sleep":"300"}')
        ngx.sleep(0.05)
        ngx.say(ngx.thread.kill(th))
    } }""".replace("@FIXTURES@", str(FIXTURES))
    nginx = checks.nginx(server=server)
    checks.check(nginx.get("/load?ms=200") == (200, b"loaded\n"), "load: waits, then calls")
    checks.check(nginx.get("/kill")[1] == b"1\n", "load: killed while it waits")
    s = nginx.connect()
    send(s, "/load?ms=400")
    time.sleep(0.1)
    s.close()
    time.sleep(0.6)
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(8)
    checks.check(took is not None and took < 2, "load: QUIT after it ends soon", took)
    checks.check(not nginx.bad_lines(), "load: the error log is silent", nginx.bad_lines()[:3])


def exit_worker_casts(checks):
    """A cast of exit_worker_by_lua is either done or refused, never lost in silence."""
    http = """exit_worker_by_lua_block {
        local ok, err = require("resty.nffi").get("fixture"):cast("append 0 @PREFIX@/casts last")
        ngx.log(ngx.NOTICE, "cast at exit: ", tostring(ok), " ", tostring(err))
    }"""
    nginx = checks.nginx(http=http)
    nginx.call("echo x")
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(10)
    done = (nginx.prefix / "casts").exists()
    refused = nginx.log_has(r"cast at exit: nil (shutting down|unloaded)")
    accepted = nginx.log_has(r"cast at exit: true")
    checks.check(took is not None and (refused or accepted) and done == accepted, "a cast of exit_worker: done or refused", done, refused)


def body(checks, scale):
    quit_(checks)
    quit_with_waiting_casts(checks)
    term(checks)
    hup(checks)
    slow_stop(checks)
    never_stopped(checks, signal.SIGQUIT, "QUIT", 1.5, 5)
    never_stopped(checks, signal.SIGTERM, "TERM", 0.5, 3)
    idle_leave(checks)
    loads(checks)
    exit_worker_casts(checks)


if __name__ == "__main__":
    run("leave", body, __doc__)
