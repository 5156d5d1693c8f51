# A call works in every phase that may yield.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: rewrite, access and content, one after the other
--- config
location = /t {
    rewrite_by_lua_block { ngx.ctx.a = require("resty.nffi").call("fixture", "sleep 5 rewrite") }
    access_by_lua_block { ngx.ctx.b = require("resty.nffi").call("fixture", "sleep 5 access") }
    content_by_lua_block {
        local c = require("resty.nffi").call("fixture", "sleep 5 content")
        ngx.say(ngx.ctx.a, " ", ngx.ctx.b, " ", c)
    }
}
--- response_body
rewrite access content



=== TEST 2: a timer
--- lua
local got
ngx.timer.at(0, function()
  got = { nffi.call("fixture", "sleep 5 timer") }
end)
t.show(t.wait(1000, function() return got end))
t.show(unpack(got))
--- response_body
true
timer



=== TEST 3: a user coroutine, driven by its creator
--- lua
local co = coroutine.create(function(first)
  local a = nffi.call("fixture", "sleep 5 " .. first)
  local second = coroutine.yield(a)
  local b = nffi.call("fixture", "echo " .. second)
  coroutine.yield(b)
  return "end"
end)
t.show(coroutine.resume(co, "one"))
t.show(coroutine.resume(co, "two"))
t.show(coroutine.resume(co))
t.show(coroutine.status(co))
--- response_body
true | one
true | two
true | end
dead



=== TEST 4: coroutine.wrap as an iterator
--- lua
local function items()
  for i = 1, 3 do
    coroutine.yield(nffi.call("fixture", "echo " .. i))
  end
end
for item in coroutine.wrap(items) do
  t.show(item)
end
--- response_body
1
2
3



=== TEST 5: light threads beside each other
--- lua
local threads = {}
ngx.update_time()
local from = ngx.now()
for i = 1, 10 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "sleep 100 " .. i)
end
local words = {}
for i = 1, 10 do
  local _, res = ngx.thread.wait(threads[i])
  words[i] = res
end
ngx.update_time()
local took = ngx.now() - from
t.show(table.concat(words, " "))
t.show(took < 0.5 or took)
--- response_body
1 2 3 4 5 6 7 8 9 10
true



=== TEST 6: the first of several threads
--- lua
local a = ngx.thread.spawn(nffi.call, "fixture", "sleep 300 slow")
local b = ngx.thread.spawn(nffi.call, "fixture", "sleep 10 quick")
local _, res = ngx.thread.wait(a, b)
t.show(res)
--- response_body
quick



=== TEST 7: subrequests, several at once
--- config
location = /t {
    content_by_lua_block {
        local a, b, c = ngx.location.capture_multi { { "/sub", { args = "n=1" } }, { "/sub", { args = "n=2" } },
                                                     { "/sub", { args = "n=3" } } }
        ngx.say(a.body, b.body, c.body, require("resty.nffi").call("fixture", "sleep 5 main"))
    }
}
location = /sub {
    content_by_lua_block {
        ngx.print(require("resty.nffi").call("fixture", "sleep 20 sub" .. ngx.var.arg_n) .. " ")
    }
}
--- response_body
sub1 sub2 sub3 main



=== TEST 8: inside pcall and xpcall
--- lua
t.show(pcall(nffi.call, "fixture", "sleep 5 in pcall"))
t.show(xpcall(function() return nffi.call("fixture", "sleep 5 in xpcall") end, debug.traceback))
--- response_body
true | in pcall
true | in xpcall



=== TEST 9: after a call, the request goes on as if nothing had been: body, sleep, cosocket
--- request
POST /t
the body
--- lua
t.show(nffi.call("fixture", "sleep 5 one"))
ngx.req.read_body()
ngx.sleep(0.01)
t.show(nffi.call("fixture", "echo " .. ngx.req.get_body_data()))
--- response_body
one
the body



=== TEST 10: semaphores of the caller's own are not disturbed
--- lua
local sem = require("ngx.semaphore").new()
local waiter = ngx.thread.spawn(function()
  return sem:wait(1)
end)
t.show(nffi.call("fixture", "sleep 10 call"))
sem:post()
local _, ok = ngx.thread.wait(waiter)
t.show(ok)
t.show(select(2, sem:wait(0.01)))
t.show(nffi.call("fixture", "echo after"))
--- response_body
call
true
timeout
after



=== TEST 11: server_rewrite_by_lua
--- config
server_rewrite_by_lua_block {
    ngx.ctx.early = require("resty.nffi").call("fixture", "sleep 5 server rewrite")
}
location = /t { content_by_lua_block { ngx.say(ngx.ctx.early) } }
--- response_body
server rewrite
