"""Anything at any time: calls, casts and streams in several threads of a request, killed, timed out, closed by each
other, left by their clients, with and without the code cache.

Guards: that a wait which was made is always followed by its yield (ngx_lua logs "wait queue is not empty" where a
semaphore dies with a waiter), and that every slot, semaphore and stream has one owner at a time.
"""

import os
import random
import threading
import time

from harness import rss_kb, run

SERVER = """
location = /fuzz {
    lua_check_client_abort @ABORT@;
    content_by_lua_block {
        local rt = require("resty.nffi").get("fixture")
        local R = math.random
        math.randomseed(tonumber(ngx.var.arg_seed))
        local shared, wrong = {}, nil
        local function expect(right, what, ...)
            if not right then
                wrong = what .. " " .. tostring((...)) .. " " .. tostring((select(2, ...)))
            end
        end
        local acts = {
            function() -- a call that may time out in the very moment of its answer
                local ms = R(0, 5)
                local res, err = rt:call("sleep " .. ms .. " x" .. ms, { timeout = R(1, 6) })
                expect(res == "x" .. ms or err == "timeout", "sleep", res, err)
            end,
            function()
                local data = ("z"):rep(R(0, 3000))
                local res, err = rt:call("echo " .. data)
                expect(res == data, "echo", res, err)
            end,
            function()
                local res, err, status = rt:call("fail 9 no")
                expect(res == nil and err == "no" and status == 9, "fail", res, err)
            end,
            function() -- where no yield is possible
                string.gsub("a", ".", function()
                    local res, err = rt:call("echo x")
                    expect(res == nil and err:find("C call boundary", 1, true), "gsub", res, err)
                end)
            end,
            function() -- a stream, left at any piece
                local n, size, seen = R(1, 25), R(0, 30000), 0
                local left
                for part, err in rt:stream("write " .. n .. " " .. size) do
                    expect(part and #part == size, "stream", part and #part, err)
                    seen = seen + 1
                    if R(6) == 1 then
                        left = true
                        break
                    end
                end
                expect(left or seen == n, "stream", seen, n)
            end,
            function() -- a stream that other threads see too
                local s = rt:open(R(2) == 1 and "readall" or "write 100 2000")
                shared[#shared + 1] = s
                s:receive({ timeout = R(1, 4) })
            end,
            function()
                local s = shared[R(1, math.max(1, #shared))]
                if s then
                    s:receive({ timeout = R(1, 5) })
                end
            end,
            function()
                local s = shared[R(1, math.max(1, #shared))]
                if s then
                    s:send(("q"):rep(R(0, 50000)), { timeout = R(1, 5) })
                end
            end,
            function()
                local s = shared[R(1, math.max(1, #shared))]
                if s and R(2) == 1 then
                    s:close()
                elseif s then
                    s:shutdown("send")
                end
            end,
            function() -- both ways, alone; what is sent before anything is received fits the windows
                local s = rt:open("readall")
                local sent, got = 0, 0
                for _ = 1, R(5) do
                    local len = R(0, 12000)
                    if s:send(("q"):rep(len)) then
                        sent = sent + len
                    end
                end
                s:shutdown("send")
                while true do
                    local piece = s:receive()
                    if not piece then
                        break
                    end
                    got = got + #piece
                end
                expect(sent == got, "both ways", sent, got)
            end,
            function()
                expect(rt:cast("echo y"))
            end,
            function()
                rt:call("cancel_seen", { timeout = R(1, 3) })
            end,
            function()
                ngx.sleep(R(1, 3) / 1000)
            end,
            function()
                collectgarbage("step", 50)
            end,
        }
        local threads = {}
        for i = 1, R(1, 6) do
            threads[i] = ngx.thread.spawn(function()
                for _ = 1, R(1, 6) do
                    acts[R(#acts)]()
                end
            end)
        end
        if R(2) == 1 then
            ngx.sleep(R(1, 4) / 1000)
        end
        for i = 1, #threads do
            if R(3) == 1 then
                ngx.thread.kill(threads[i])
            end
        end
        if R(5) == 1 then
            return ngx.exit(200)
        end
        for i = 1, #threads do
            ngx.thread.wait(threads[i])
        end
        ngx.say(wrong or "right")
    }
}
"""


class Client(threading.Thread):
    def __init__(self, nginx, seed, seconds):
        super().__init__(daemon=True)
        self.nginx, self.random, self.end = nginx, random.Random(seed), time.monotonic() + seconds
        self.good, self.gone, self.bad = 0, 0, []

    def run(self):
        while time.monotonic() < self.end:
            seed = self.random.randrange(1 << 31)
            try:
                with self.nginx.connect() as s:
                    s.sendall(f"GET /fuzz?seed={seed} HTTP/1.0\r\n\r\n".encode())
                    if self.random.random() < 0.3:
                        time.sleep(self.random.random() * 0.008)
                        self.gone += 1
                        continue
                    answer = b""
                    while piece := s.recv(65536):
                        answer += piece
                body = answer.partition(b"\r\n\r\n")[2]
                if b" 200 " in answer[:20] and body in (b"right\n", b""):
                    self.good += 1
                else:
                    self.bad.append(f"seed {seed}: {body[:80]!r}")
            except OSError as error:
                self.bad.append(f"seed {seed}: {error!r}")


def round_(checks, abort, cache, seconds):
    name = f"client abort {abort}, code cache {cache}"
    nginx = checks.nginx(
        runtimes="threads 4; stop_timeout 2s;", server=SERVER.replace("@ABORT@", abort), http=f"lua_code_cache {cache};"
    )
    worker, seed = nginx.workers()[0], int(os.environ.get("NFFI_FUZZ_SEED") or time.time_ns() % 1000000)
    sizes = []
    for part in range(2):
        clients = [Client(nginx, f"{seed} {part} {i}", seconds / 2) for i in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        checks.check(nginx.idle(), f"{name}: idle after it", nginx.runtime())
        sizes.append(rss_kb(worker))
    good, gone, bad = sum(c.good for c in clients), sum(c.gone for c in clients), sum((c.bad for c in clients), [])
    checks.check(good > 10 and not bad, f"{name}: every answer is right (NFFI_FUZZ_SEED={seed})", good, gone, bad[:3])
    report = nginx.report()
    checks.check(not any(report[k] for k in ("violations", "data_changed", "bad", "cancel_twice", "held")), f"{name}: the runtime saw no wrong", report)
    checks.check(sizes[1] - sizes[0] < 20000, f"{name}: the memory does not grow", sizes)
    checks.check(nginx.workers() == [worker], f"{name}: the worker is the same one")
    nginx.signal(3)
    checks.check(nginx.wait_end(5) is not None, f"{name}: and leaves")
    bad = nginx.bad_lines(r"lua_code_cache is off")
    checks.check(not bad, f"{name}: the error log is silent", bad[:3])


def body(checks, scale):
    for abort, cache in (("on", "on"), ("off", "on"), ("on", "off")):
        round_(checks, abort, cache, max(3, 60 * scale))


if __name__ == "__main__":
    run("fuzz", body, __doc__)
