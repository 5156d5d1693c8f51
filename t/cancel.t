# CANCEL reaches the runtime within 200 ms of a timeout, a kill, or a disconnect that nginx sees; once.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: a timeout
--- lua
local cancels = t.report("cancels")
t.show(nffi.call("fixture", "cancel_seen", { timeout = 50 }))
t.show(t.wait(200, function() return t.report("cancels") == cancels + 1 end))
t.show(t.report("max_cancel_lag_us") < 200000, t.report("cancel_twice"))
t.show(t.idle())
--- response_body
nil | timeout
true
true | 0
idle



=== TEST 2: ngx.thread.kill
--- lua
local cancels = t.report("cancels")
local th = ngx.thread.spawn(nffi.call, "fixture", "cancel_seen")
ngx.sleep(0.02)
t.show(ngx.thread.kill(th) and true)
t.show(t.wait(200, function() return t.report("cancels") == cancels + 1 end))
t.show(t.idle())
--- response_body
true
true
idle



=== TEST 3: killed, then answered: the answer is dropped, the slot comes back, other calls are untouched
--- lua
local rt = nffi.get("fixture")
for round = 1, 10 do
  local threads = {}
  for i = 1, 20 do
    threads[i] = ngx.thread.spawn(rt.call, rt, "sleep 10 late")
  end
  ngx.sleep(0.002)
  for i = 1, 20 do
    ngx.thread.kill(threads[i])
  end
  for i = 1, 20 do
    local res, err = rt:call("echo " .. i)
    if res ~= tostring(i) then
      t.show(round, i, res, err)
    end
  end
end
t.show(t.idle(), t.report("bad"))
--- response_body
idle | 0



=== TEST 4: a timed-out task that is polled later was never polled; one that was gets cancelled() == 1
--- lua
local before = t.report("cancels")
local th = ngx.thread.spawn(nffi.call, "fixture", "stall 300")
t.polled()
t.show(nffi.call("fixture", "cancel_seen", { timeout = 20 }))
ngx.thread.wait(th)
t.show(t.report("cancels") - before, t.report("held"), t.idle())
--- response_body
nil | timeout
0 | 0 | idle



=== TEST 5: a request that ends with calls in flight cancels them
--- config
location = /leave {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        for i = 1, 10 do
            ngx.thread.spawn(nffi.call, "fixture", "cancel_seen")
        end
        ngx.sleep(0.01)
        ngx.say("left")
        ngx.exit(200)
    }
}
location = /look {
    content_by_lua_block {
        local t = require "fixture"
        ngx.say(t.wait(200, function() return t.report("held") == 0 end), " ", t.idle())
    }
}
--- pipelined_requests eval
["GET /leave", "GET /look"]
--- response_body eval
["left\n", "true idle\n"]



=== TEST 6: the memory of a request stays the same until its task ends, also after CANCEL
--- lua
local threads = {}
for i = 1, 50 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "late 80 " .. ("z"):rep(3000), { timeout = 20 })
end
for i = 1, 50 do
  ngx.thread.wait(threads[i])
end
for i = 1, 200 do
  nffi.call("fixture", "echo " .. ("y"):rep(3000))
end
ngx.sleep(0.1)
collectgarbage()
t.show(t.report("data_changed"), t.report("cancel_twice"), t.idle())
--- response_body
0 | 0 | idle



=== TEST 7: a client that goes, lua_check_client_abort on: CANCEL
--- config
location = /abort {
    lua_check_client_abort on;
    content_by_lua_block {
        ngx.shared.seen:incr("started", 1, 0)
        require("resty.nffi").call("fixture", "cancel_seen", { timeout = 20000 })
        ngx.shared.seen:incr("done", 1, 0)
    }
}
location = /t {
    content_by_lua_block {
        local t = require "fixture"
        local seen = ngx.shared.seen
        local cancels, started = t.report("cancels"), seen:get("started") or 0
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        assert(sock:send("GET /abort HTTP/1.1\r\nHost: x\r\n\r\n"))
        t.wait(500, function() return seen:get("started") == started + 1 end)
        ngx.sleep(0.02)
        sock:close()
        ngx.say(t.wait(200, function() return t.report("cancels") == cancels + 1 end), " ", t.idle(), " ",
            seen:get("done"))
    }
}
--- http_config
lua_shared_dict seen 100k;
--- response_body
true idle nil
--- no_error_log
[error]
[crit]
[alert]
[emerg]



=== TEST 8: a client that goes, lua_check_client_abort off: the call completes
--- config
location = /abort {
    lua_check_client_abort off;
    content_by_lua_block {
        local seen = ngx.shared.seen
        seen:incr("started", 1, 0)
        if require("resty.nffi").call("fixture", "sleep 100 x") == "x" then
            seen:incr("done", 1, 0)
        end
    }
}
location = /t {
    content_by_lua_block {
        local t = require "fixture"
        local seen = ngx.shared.seen
        local cancels, started = t.report("cancels"), seen:get("started") or 0
        local done = seen:get("done") or 0
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        assert(sock:send("GET /abort HTTP/1.1\r\nHost: x\r\n\r\n"))
        t.wait(500, function() return seen:get("started") == started + 1 end)
        sock:close()
        ngx.say(t.wait(500, function() return seen:get("done") == done + 1 end), " ", t.idle(), " ",
            t.report("cancels") - cancels)
    }
}
--- http_config
lua_shared_dict seen 100k;
--- response_body
true idle 0
