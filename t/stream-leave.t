# A loop left early (break, error, return, kill, lost reference) leaks nothing: the task is cancelled and ended.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: break
--- lua
local rt = nffi.get("fixture")
for _ = 1, 20 do
  for part in rt:stream("write 1000 100") do
    break
  end
end
collectgarbage()
collectgarbage()
t.show(t.wait(1500, function() return t.report("held") == 0 end), t.idle())
t.show(nffi.call("fixture", "echo after"))
--- response_body
true | idle
after



=== TEST 2: an error in the loop's body
--- lua
local rt = nffi.get("fixture")
for _ = 1, 20 do
  local ok, err = pcall(function()
    for part in rt:stream("write 1000 100") do
      error("in the loop", 0)
    end
  end)
  assert(not ok and err == "in the loop")
end
collectgarbage()
collectgarbage()
t.show(t.wait(1500, function() return t.report("held") == 0 end), t.idle())
--- response_body
true | idle



=== TEST 3: return out of the loop, the request ends: its tasks are cancelled without a collection
--- config
location = /leave {
    content_by_lua_block {
        collectgarbage("stop")
        for part in require("resty.nffi").get("fixture"):stream("write 100000 1000") do
            ngx.say("left")
            return
        end
    }
}
location = /look {
    content_by_lua_block {
        local t = require "fixture"
        ngx.say(t.wait(1000, function() return t.report("held") == 0 end), " ", t.idle())
        collectgarbage("restart")
    }
}
--- pipelined_requests eval
["GET /leave", "GET /look"]
--- response_body eval
["left\n", "true idle\n"]



=== TEST 4: ngx.exit and ngx.thread.kill in the middle
--- config
location = /leave {
    content_by_lua_block {
        ngx.status = 200
        for part in require("resty.nffi").get("fixture"):stream("write 100000 1000") do
            ngx.say("left")
            ngx.exit(200)
        end
    }
}
location = /kill {
    content_by_lua_block {
        local th = ngx.thread.spawn(function()
            for part in require("resty.nffi").get("fixture"):stream("cancel_seen") do
                ngx.say("never")
            end
        end)
        ngx.sleep(0.01)
        ngx.say(ngx.thread.kill(th) and true)
    }
}
location = /look {
    content_by_lua_block {
        local t = require "fixture"
        ngx.say(t.wait(1000, function() return t.report("held") == 0 end), " ", t.idle())
    }
}
--- pipelined_requests eval
["GET /leave", "GET /kill", "GET /look"]
--- response_body eval
["left\n", "true\n", "true idle\n"]



=== TEST 5: an opened stream that is lost, and one that is closed early
--- lua
local rt = nffi.get("fixture")
for _ = 1, 20 do
  local s = assert(rt:open("write 1000 100"))
  s:receive()
  s:close()
  assert(rt:open("write 1000 100"))
  assert(rt:open("readall"))
end
collectgarbage()
collectgarbage()
t.show(t.wait(1500, function() return t.report("held") == 0 end), t.idle())
t.show(nffi.call("fixture", "echo after"))
--- response_body
true | idle
after



=== TEST 6: left with pieces in the window, hundreds of times: the memory comes back
--- lua
local rt = nffi.get("fixture")
local function rss()
  local f = io.open("/proc/self/status")
  local kb = f:read("*a"):match("VmRSS:%s+(%d+)")
  f:close()
  return tonumber(kb)
end
local function rounds(n)
  for _ = 1, n do
    for part in rt:stream("write 40 50000") do
      break
    end
  end
  collectgarbage()
  collectgarbage()
  t.idle()
end
rounds(400)
local before = rss()
rounds(800)
local more = rss() - before
t.show(more < 25000 or more) -- 80 MB were in windows that nobody emptied
--- timeout: 20
--- response_body
true
