"""Children of a worker with foreign threads: os.execute and io.popen 200 of 200, and a runtime's own waitpid.

Guards: SIGCHLD made harmless in workers; nginx's handler would waitpid(-1) and steal them.
"""

from harness import Load, run

SERVER = """
location = /execute {
    content_by_lua_block {
        local good, last = 0, nil
        for _ = 1, 200 do
            last = os.execute("true")
            good = good + ((last == 0 or last == true) and 1 or 0)
        end
        ngx.say(good, " ", tostring(last))
    }
}
location = /status {
    content_by_lua_block {
        local good, last = 0, nil
        for _ = 1, 50 do
            last = { os.execute("exit 3") }
            good = good + ((last[1] == 768 or last[3] == 3) and 1 or 0)
        end
        ngx.say(good, " ", tostring(last[1]))
    }
}
location = /popen {
    content_by_lua_block {
        local good, said = 0, nil
        for i = 1, 200 do
            local p = io.popen("echo " .. i)
            local text = p:read("*a")
            local ok, why = p:close()
            said = tostring(ok) .. " " .. tostring(why)
            good = good + ((text == i .. "\\n" and (ok == true or ok == 0)) and 1 or 0)
        end
        ngx.say(good, " ", said)
    }
}
location = /system {
    content_by_lua_block {
        local good, last = 0, nil
        for i = 1, 200 do
            last = require("resty.nffi").call("fixture", "system exit " .. i % 100)
            good = good + (last == tostring(i % 100) and 1 or 0)
        end
        ngx.say(good, " ", last)
    }
}
"""


def body(checks, scale):
    alone = checks.nginx(runtimes="threads 8;", server=SERVER, main="master_process off;")
    status, text = alone.get("/system", timeout=60)
    checks.check(text.split()[0] == b"200", "/system without a master: 200 of 200", text)

    nginx = checks.nginx(runtimes="threads 8; stop_timeout 2s;", server=SERVER)
    nginx.call("echo x")
    for path, want in (("/execute", 200), ("/status", 50), ("/popen", 200), ("/system", 200)):
        for round_ in range(max(1, int(3 * scale))):
            status, text = nginx.get(path, timeout=60)
            checks.check(status == 200 and text.split()[0] == str(want).encode(), f"{path}: {want} of {want}", text)
    # the same under load from clients
    load = Load(nginx, "/call?sleep%201%20x", clients=4, expect=b"x")
    status, text = nginx.get("/popen", timeout=60)
    load.stop()
    checks.check(text.split()[0] == b"200", "/popen under load", text)
    checks.check(load.bad == 0 and load.good > 0, "and the load's calls succeed", load.good, load.bad)
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("sigchld", body, __doc__)
