"""Tens of thousands of calls asleep at once, then answered, killed or timed out in one burst; and again.

Guards: the caps of the pools of slots and semaphores (what is beyond them is given back to ngx_lua, at a time when
none of it is in use), and the sweep, bounded in each tick, that finds the callers who were killed.
"""

import threading

from harness import rss_kb, run, wait_for

SERVER = """
location = /park {
    content_by_lua_block {
        local rt = require("resty.nffi").get("fixture")
        local n, timeout = tonumber(ngx.var.arg_n), tonumber(ngx.var.arg_timeout)
        local spawn, threads = ngx.thread.spawn, {}
        for i = 1, n do
            threads[i] = spawn(rt.call, rt, "never", { timeout = timeout })
        end
        if ngx.var.arg_kill then
            ngx.sleep(0.5)
            local killed = 0
            for i = 1, n do
                killed = killed + (ngx.thread.kill(threads[i]) and 1 or 0)
            end
            return ngx.say(killed)
        end
        local answered, timed_out, other = 0, 0, nil
        for i = 1, n do
            local ok, res, err = ngx.thread.wait(threads[i])
            if res == "" then
                answered = answered + 1
            elseif err == "timeout" then
                timed_out = timed_out + 1
            else
                other = tostring(ok) .. " " .. tostring(res) .. " " .. tostring(err)
            end
        end
        ngx.say(answered, " ", timed_out, " ", other)
    }
}
"""


def park(nginx, n, more):
    said = []
    thread = threading.Thread(target=lambda: said.append(nginx.get(f"/park?n={n}&{more}", timeout=120)[1].decode().strip()))
    thread.start()
    return thread, said


def body(checks, scale):
    n = max(10000, int(100000 * scale))
    nginx = checks.nginx(runtimes="queue 1000000; stop_timeout 2s;", server=SERVER)
    worker, sizes = nginx.workers()[0], []
    for round_ in range(4):
        thread, said = park(nginx, n, "timeout=100000")
        held = wait_for(lambda: nginx.report()["held"] == n, 60)
        checks.check(bool(held), f"{n} calls are asleep", nginx.runtime()["in_flight"])
        checks.check(nginx.call("echo awake") == (200, b"awake"), "a call beside them is answered")
        nginx.call("release_all")
        thread.join(60)
        checks.check(said == [f"{n} 0 nil"], "all answered in one burst", said)

        thread, said = park(nginx, n, "timeout=100000&kill=1")
        thread.join(60)
        checks.check(said == [str(n)], "all killed at once", said)
        seen = wait_for(lambda: nginx.runtime()["abandoned"] == n, 20)
        checks.check(bool(seen), "every killed call is found", nginx.runtime()["abandoned"])
        nginx.call("release_all")
        checks.check(bool(nginx.idle(20)), "and let go")

        thread, said = park(nginx, n, "timeout=1500")
        thread.join(60)
        checks.check(said == [f"0 {n} nil"], "all timed out at once", said)
        nginx.call("release_all")
        checks.check(bool(nginx.idle(20)), "and let go", nginx.runtime())
        sizes.append(rss_kb(worker))
    # malloc's arenas come and go; what leaks would stay, three times n tasks a round
    more = min(sizes[2:]) - max(sizes[:2])
    checks.check(more < 8000 + n / 10, "later rounds take no more memory than earlier ones", sizes)
    report = nginx.report()
    checks.check(report["violations"] == 0 and report["bad"] == 0 and report["data_changed"] == 0, "all in order")
    checks.check(nginx.workers() == [worker], "the worker is the same one")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("parked", body, __doc__)
