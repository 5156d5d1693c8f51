"""64 MiB both ways, to the byte; one byte more is refused; the memory comes back.

Guards: lengths that are size_t all the way, answers freed once taken, the two size limits.
"""

from harness import rss_kb, run, wait_for

SERVER = """
location = /both {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local mib = 64 * 1048576
        local data = ("0123456789abcde\\n"):rep((mib - 5) / 16 + 1):sub(1, mib - 5)
        local res, err = nffi.call("fixture", "echo " .. data, { timeout = 60000 })
        ngx.say(res == data, " ", res and #res, " ", err)
        res, data = nil, nil
        collectgarbage()
    }
}
location = /size {
    content_by_lua_block {
        local res, err = require("resty.nffi").call("fixture", "size " .. ngx.var.arg_n, { timeout = 60000 })
        local wrong = 0
        if res then
            for i = 1, #res, 9973 do
                wrong = wrong + (res:byte(i) == (i - 1) % 251 and 0 or 1)
            end
        end
        ngx.say(res and #res, " ", err, " ", wrong)
        res = nil
        collectgarbage()
    }
}
location = /more {
    content_by_lua_block {
        local res, err = require("resty.nffi").call("fixture", ("x"):rep(64 * 1048576 + 1))
        ngx.say(res, " ", err)
        collectgarbage()
    }
}
location = /streamed {
    content_by_lua_block {
        local rt = require("resty.nffi").get("fixture")
        local bytes, wrong, n = 0, 0, 0
        for part, err in rt:stream("write 1024 65536", { timeout = 60000 }) do
            if not part then ngx.say(err) break end
            wrong = wrong + (part:byte(1) == 97 + n % 26 and part:byte(-1) == 97 + n % 26 and 0 or 1)
            n, bytes = n + 1, bytes + #part
        end
        ngx.say(bytes, " ", wrong)
        collectgarbage()
    }
}
"""

MIB64 = 64 * 1048576


def body(checks, scale):
    nginx = checks.nginx(server=SERVER)
    for round_ in range(max(2, int(10 * scale))):
        text = nginx.get("/both", timeout=120)[1].decode().strip()
        checks.check(text == f"true {MIB64 - 5} nil", "a request of 64 MiB and its echo", text)
        text = nginx.get(f"/size?n={MIB64}", timeout=120)[1].decode().strip()
        checks.check(text == f"{MIB64} nil 0", "an answer of 64 MiB", text)
        if round_ == 0:
            start = rss_kb(nginx.workers()[0])
    text = nginx.get(f"/size?n={MIB64 + 1}", timeout=120)[1].decode().strip()
    checks.check(text == "nil answer too large 0", "one byte more in an answer", text)
    text = nginx.get("/more", timeout=120)[1].decode().strip()
    checks.check(text == "nil request too large", "one byte more in a request", text)
    text = nginx.get("/streamed", timeout=120)[1].decode().strip()
    checks.check(text == f"{MIB64} 0", "64 MiB in pieces", text)
    wait_for(nginx.idle, 2)
    more = rss_kb(nginx.workers()[0]) - start
    checks.check(more < 70000, "the memory does not grow from round to round", more, "kB more")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("payload", body, __doc__)
