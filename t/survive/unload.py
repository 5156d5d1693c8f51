"""Load and unload under load: answers after unload, dead handles used by the runtime, threads that end.

Guards: generations in handles, queue handles that stay dead, RTLD_NODELETE for code whose threads still run.
"""

import re
import time

from harness import Load, alive, rss_kb, run, wait_for

SERVER = """
location = /cycle {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local n = ngx.shared.counts:incr("cycle", 1, 0)
        local rt, err = nffi.load("@FIXTURES@/libother.so", '{"threads":"2","probe":true,"n":"' .. n .. '"}')
        if not rt then return ngx.say("load: ", err) end
        local threads = {}
        for i = 1, 10 do
            threads[i] = ngx.thread.spawn(rt.call, rt, "sleep " .. i .. " " .. i)
        end
        local late, late_err = rt:call("late 40 x", { timeout = 1 })
        local ok, unload_err = rt:unload()
        if not ok then return ngx.say("unload: ", unload_err) end
        for i = 1, 10 do
            local _, res, err = ngx.thread.wait(threads[i])
            if res ~= tostring(i) then return ngx.say(i, ": ", res, " ", err) end
        end
        local res, err = rt:call("echo x")
        ngx.say(late_err, " ", res, " ", err)
    }
}
"""


def body(checks, scale):
    from harness import FIXTURES

    nginx = checks.nginx(server=SERVER.replace("@FIXTURES@", str(FIXTURES)), http="lua_shared_dict unused 16k;")
    worker = nginx.workers()[0]
    other = Load(nginx, "/call?sleep%202%20x", clients=2, expect=b"x")
    for round_ in range(2):
        load = Load(nginx, "/cycle", clients=4, expect=b"timeout nil unloaded\n")
        time.sleep(max(1.0, 10 * scale))
        load.stop()
        checks.check(load.bad == 0 and load.good > 10, "load, call, unload, call: all as documented", load.good, load.errors[:2])
        if round_ == 0:
            time.sleep(0.3)
            first, start = threads(worker), rss_kb(worker)
    other.stop()
    checks.check(other.bad == 0, "another runtime's calls are untouched", other.good, other.errors[:2])
    wait_for(lambda: threads(worker) <= first, 5)
    checks.check(threads(worker) <= first + 2, "their threads have ended", first, "->", threads(worker))
    more = rss_kb(worker) - start
    checks.check(more < 20000, "no memory to speak of stays", more, "kB more")
    checks.check(alive(worker) and worker in nginx.workers(), "the worker is the same one")
    bad = [x for x in nginx.bad_lines() if not re.search(r"no such task|ended|dead|unknown", x)]
    checks.check(not bad, "the error log has nothing but the misuse", bad[:3])


def threads(pid):
    import os

    return len(os.listdir(f"/proc/{pid}/task"))


if __name__ == "__main__":
    run("unload", body, __doc__)
