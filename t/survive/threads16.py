"""16 threads answer at once: every answer reaches its own caller, once.

Guards: the slot's one atomic word, claimed by compare-and-swap; the done queue of many producers; the wake that is
written only when empty becomes non-empty, and must not be lost.
"""

import time

from harness import Load, run

SERVER = """
location = /many {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local threads, good, other = {}, 0, nil
        for i = 1, 100 do
            threads[i] = ngx.thread.spawn(function()
                for k = 1, 10 do
                    local req = (k % 4 == 0 and "sleep 1 " or "echo ") .. i .. "." .. k
                    local res, err = nffi.call("fixture", req)
                    if res == i .. "." .. k then
                        good = good + 1
                    else
                        other = tostring(res) .. " " .. tostring(err)
                    end
                end
            end)
        end
        for i = 1, 100 do ngx.thread.wait(threads[i]) end
        ngx.say(good, " ", other)
    }
}
"""


def body(checks, scale):
    for options in ("threads 16;", "threads 16; batch 16; many;", "threads 16; edge; batch 8;"):
        nginx = checks.nginx(runtimes=f"{options} stop_timeout 2s;", server=SERVER)
        load = Load(nginx, "/many", clients=4, expect=b"1000 nil\n")
        time.sleep(max(1.0, 20 * scale))
        load.stop()
        checks.check(load.bad == 0 and load.good > 3, f"{options} every answer is its caller's", load.good, load.errors[:2])
        report = nginx.report()
        checks.check(report["bad"] == 0 and report["violations"] == 0, f"{options} no answer was refused", report)
        checks.check(nginx.idle(), f"{options} idle after it", nginx.runtime())
        checks.check(not nginx.bad_lines(), f"{options} the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("threads16", body, __doc__)
