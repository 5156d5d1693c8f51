"""A queue of 1 under load: an answer or "queue full", each its own, and nothing is stuck after it.

Guards: the look for room before the wait (a wait made and not yielded corrupts ngx_lua's semaphore queue).
"""

import time

from harness import Load, run

SERVER = """
location = /many {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local threads, good, full, other = {}, 0, 0, nil
        for i = 1, 20 do
            threads[i] = ngx.thread.spawn(function()
                for k = 1, 10 do
                    local res, err = nffi.call("fixture", "echo " .. i .. "." .. k)
                    if res == i .. "." .. k then
                        good = good + 1
                    elseif err == "queue full" then
                        full = full + 1
                    else
                        other = tostring(res) .. " " .. tostring(err)
                    end
                end
            end)
        end
        for i = 1, 20 do ngx.thread.wait(threads[i]) end
        ngx.shared.counts:incr("good", good, 0)
        ngx.shared.counts:incr("full", full, 0)
        ngx.say(good + full, " ", other)
    }
}
"""


def body(checks, scale):
    nginx = checks.nginx(runtimes="queue 1; stop_timeout 1s;", server=SERVER)
    load = Load(nginx, "/many", clients=8, expect=b"200 nil\n")
    time.sleep(max(1.0, 10 * scale))
    load.stop()
    counts = nginx.counts()
    checks.check(load.bad == 0 and load.good > 5, "each is an answer of its own or queue full", load.good, load.errors[:2])
    checks.check(counts.get("good", 0) > 0 and counts.get("full", 0) > 0, "there were both", counts)
    checks.check(nginx.idle(), "idle after it", nginx.runtime())
    right = all(nginx.call(f"echo {n}") == (200, str(n).encode()) for n in range(50))
    checks.check(right, "50 calls after it are answered")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("queue_of_one", body, __doc__)
