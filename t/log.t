# host->log: level, runtime's name and request, from any thread, through a bounded queue.
use NFFI 'no_plan';

log_level('debug');
run_tests();

__DATA__

=== TEST 1: levels are syslog's
--- lua
for level = 0, 7 do
  nffi.call("fixture", "log " .. level .. " level " .. level .. " here")
end
ngx.sleep(0.05)
local names = { [0] = "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug" }
local found = {}
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  local name, level = line:match("%[(%a+)%].*level (%d) here")
  if name then
    found[tonumber(level)] = name
  end
end
for level = 0, 7 do
  t.show(level, found[level] == names[level] or found[level])
end
--- response_body_like
\A0 \| true
1 \| true
2 \| true
3 \| true
4 \| true
5 \| true
6 \| true
7 \| (?:true|nil)
--- no_error_log
panicked



=== TEST 2: the runtime's name, and the request's connection number
--- lua
nffi.call("fixture", "log 4 mark " .. ngx.var.connection)
ngx.sleep(0.05)
local seen
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  if line:find("mark " .. ngx.var.connection, 1, true) then
    seen = line
  end
end
t.show(seen:find("*" .. ngx.var.connection .. " ", 1, true) ~= nil, seen:find("fixture", 1, true) ~= nil)
--- response_body
true | true
--- no_error_log
[error]
[alert]



=== TEST 3: a line of the runtime, of no request
--- lua
nffi.call("fixture", "log_global 4 from the runtime itself")
ngx.sleep(0.05)
t.show("done")
--- response_body
done
--- error_log eval
qr/\[warn\].*fixture.*from the runtime itself/
--- no_error_log
[error]
[alert]



=== TEST 4: a task without a caller's request: a timer, a cast, a task that ended
--- lua
ngx.timer.at(0, function()
  nffi.call("fixture", "log 4 of a timer")
  nffi.get("fixture"):cast("log 4 of a cast")
end)
ngx.sleep(0.1)
t.show("done")
--- response_body
done
--- error_log
of a timer
of a cast
--- no_error_log
[error]
[alert]



=== TEST 5: more lines than fit: the rest is counted, nothing blocks, nothing grows
--- lua
local dropped = t.info("dropped_logs")
t.show(nffi.call("fixture", "logs 50000 6 one of a flood"))
ngx.sleep(0.1)
local n = 0
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  n = n + (line:find("one of a flood", 1, true) and 1 or 0)
end
local lost = t.info("dropped_logs") - dropped
t.show(n > 0, lost > 0, n + lost >= 50000)
--- timeout: 20
--- response_body
logged
true | true | true
--- no_error_log
[alert]
[emerg]



=== TEST 6: NUL and line ends in a message do not break the log's lines
--- lua
nffi.call("fixture", "lognul 4")
ngx.sleep(0.05)
local seen, torn = false, false
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  seen = seen or line:find("one", 1, true) and line:find("fixture", 1, true) and true
  torn = torn or line:find("^three") ~= nil
end
t.show(seen, torn)
--- response_body
true | false
--- no_error_log
[error]
[alert]



=== TEST 7: a message of 0 bytes, and one of 100 000
--- lua
t.show(nffi.call("fixture", "log 4 "))
t.show(nffi.call("fixture", "log 4 " .. ("long"):rep(25000)))
ngx.sleep(0.05)
t.show(nffi.call("fixture", "echo after"))
--- response_body
logged
logged
after
--- no_error_log
[error]
[alert]



=== TEST 8: lines come in the order in which one thread wrote them
--- lua
for i = 1, 200 do
  nffi.get("fixture"):cast("log 6 ordered " .. ngx.var.connection .. " " .. i)
end
nffi.call("fixture", "echo x")
ngx.sleep(0.05)
local last, right = 0, true
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  local i = line:match("ordered " .. ngx.var.connection .. " (%d+)")
  if i then
    right = right and tonumber(i) == last + 1
    last = tonumber(i)
  end
end
t.show(right, last)
--- response_body
true | 200
--- no_error_log
[error]
[alert]
