# unload: new calls are refused, accepted ones finish, then STOP; answers after it harm nobody.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: unload, then a call; load again, then a call
--- runtimes
--- lua
local path = "$TEST_NGINX_FIXTURES/libfixture.so"
local rt = assert(nffi.load(path, "one"))
t.show(rt:call("echo before"))
t.show(rt:unload())
t.show(rt:call("echo x"))
t.show(rt:cast("echo x"))
t.show(rt:open("echo x"))
for part, err in rt:stream("echo x") do
  t.show(part, err)
end
local again = assert(nffi.load(path, "one"))
t.show(again:call("echo again"))
t.show(rt:call("echo x"))
t.show(again:unload())
--- response_body
before
true
nil | unloaded
nil | unloaded
nil | unloaded
false | unloaded
again
nil | unloaded
true



=== TEST 2: what was accepted finishes, casts too; STOP comes after it
--- runtimes
--- lua
local file = "$TEST_NGINX_HTML_DIR/unload-report"
os.remove(file)
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", '{"report_file":"' .. file .. '"}'))
local threads = {}
for i = 1, 10 do
  threads[i] = ngx.thread.spawn(rt.call, rt, "sleep " .. 100 + i .. " " .. i)
  rt:cast("sleep 150")
end
ngx.sleep(0.01)
t.show(rt:unload())
t.show(rt:call("echo x"))
local right = 0
for i = 1, 10 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == tostring(i) and 1 or 0)
end
t.show(right)
t.show(t.wait(1500, function() return io.open(file) end) and true)
local text = io.open(file):read("*a")
t.show(text:match('"held_at_stop":%d+'), text:match('"casts":%d+'), text:match('"bad":%d+'),
  text:match('"violations":%d+'))
--- response_body
true
nil | unloaded
10
true
"held_at_stop":0 | "casts":10 | "bad":0 | "violations":0



=== TEST 3: one unload ends it for all who loaded it; a second one says so
--- runtimes
--- lua
local path = "$TEST_NGINX_FIXTURES/libfixture.so"
local a, b = nffi.load(path, "shared"), nffi.load(path, "shared")
t.show(a:unload())
t.show(b:call("echo x"))
t.show((b:unload()))
t.show((a:unload()))
--- response_body
true
nil | unloaded
nil
nil



=== TEST 4: a declared runtime can be unloaded too
--- lua
local rt = nffi.get("fixture")
local res, err = rt:call("echo x")
t.show(res or err)
rt:unload()
t.show(rt:call("echo x"))
t.show(nffi.call("fixture", "echo x"))
--- response_body_like
\A(?:x|unloaded)
nil \| unloaded
nil \| (?:unloaded|no such runtime)



=== TEST 5: every poller gets STOP, and dead handles are error codes
--- runtimes
--- lua
local file = "$TEST_NGINX_HTML_DIR/probe-report"
os.remove(file)
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so",
  '{"threads":"5","probe":true,"report_file":"' .. file .. '"}'))
for i = 1, 100 do
  rt:call("echo " .. i)
end
rt:unload()
t.show(t.wait(1500, function() return io.open(file) end) and true)
local text = io.open(file):read("*a")
t.show(text:match('"stops":%d+'), text:match('"violations":%d+'))
--- response_body
true
"stops":5 | "violations":0
--- no_error_log
[crit]
[alert]
[emerg]
panicked



=== TEST 6: pollers in epoll get STOP
--- runtimes
--- lua
for _, mode in ipairs { "poll_fd", "edge" } do
  local file = "$TEST_NGINX_HTML_DIR/epoll-report"
  os.remove(file)
  local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so",
    '{"threads":"3","' .. mode .. '":true,"report_file":"' .. file .. '"}'))
  t.show(rt:call("echo x"))
  rt:unload()
  t.show(t.wait(1500, function() return io.open(file) end) and true)
  local text = io.open(file):read("*a")
  t.show(text:match('"stops":%d+'), text:match('"violations":%d+'))
end
--- response_body
x
true
"stops":3 | "violations":0
x
true
"stops":3 | "violations":0



=== TEST 7: the states an unloaded runtime goes through
--- runtimes
--- lua
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "states" .. ngx.now()))
local function state()
  for _, r in ipairs(nffi.runtimes()) do
    if r.library:find("libfixture", 1, true) and r.state ~= "stopped" then
      return r.state
    end
  end
  return "stopped"
end
t.show(state())
local th = ngx.thread.spawn(rt.call, rt, "sleep 100 x")
ngx.sleep(0.01)
rt:unload()
t.show(state())
t.show(select(2, ngx.thread.wait(th)))
t.show(t.wait(1500, function() return state() == "stopped" end))
--- response_body
ready
unloading
x
true



=== TEST 8: load and unload, many times over, with calls between: nothing grows
--- runtimes
--- lua
local function count(dir)
  local p, n = io.popen("ls /proc/" .. ngx.worker.pid() .. "/" .. dir .. " | wc -l"), 0
  n = tonumber(p:read("*a"))
  p:close()
  return n
end
local function cycle(times)
  for i = 1, times do
    local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "cycle " .. i))
    if rt:call("echo " .. i) ~= tostring(i) then
      t.show("wrong at", i)
    end
    rt:unload()
  end
  ngx.sleep(0.2)
end
cycle(10)
local fds, threads = count("fd"), count("task")
cycle(60)
t.show(count("fd") <= fds + 2 or count("fd") - fds, count("task") <= threads + 2 or count("task") - threads)
--- timeout: 20
--- response_body
true | true



=== TEST 9: unload while init still runs: callers are told, the runtime is stopped
--- runtimes
--- lua
local rt
local th = ngx.thread.spawn(function()
  return nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", '{"init_sleep":"100","n":"' .. ngx.now() .. '"}')
end)
local _, first = ngx.thread.wait(th)
rt = first
t.show(rt:call("echo x"))
rt:unload()
t.show(rt:call("echo x"))
--- response_body
x
nil | unloaded



=== TEST 10: open streams when unload comes: they end, one way or the other
--- runtimes
--- lua
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "streams"))
local s = assert(rt:open("readall"))
assert(s:send("a"))
t.show(s:receive())
rt:unload()
local ok = s:send("b")
local piece = s:receive({ timeout = 500 })
t.show(ok == true and piece == "b")
s:shutdown("send")
t.show(s:receive({ timeout = 500 }))
--- response_body
a
true
nil | closed
