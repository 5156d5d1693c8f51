# What bounds a call: the queue, the timeout, a caller that goes.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(seed_nonblocking);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: max_queue bounds what nobody has polled; past it a call fails at once
--- lua
require "resty_ffi"
local function fill(rt)
  local busy = ngx.thread.spawn(function() return rt:f("sleep 200") end)
  t.polled("seed_c")
  ngx.sleep(0.02)
  local threads = {}
  for i = 1, 4 do
    threads[i] = ngx.thread.spawn(function() return rt:f("number " .. i) end)
  end
  t.show(rt:f("too many"))
  local said = {}
  for i = 1, 4 do
    local _, _, res = ngx.thread.wait(threads[i])
    said[i] = res
  end
  t.show(table.concat(said, ", "))
  ngx.thread.wait(busy)
  t.show(rt:f("room again"))
end
fill(assert(ngx.load_ffi("seed_c", "few", { max_queue = 4 })))
fill(assert(ngx.load_nonblocking_ffi("seed_nonblocking", "few", 4)))
--- response_body
false | queue full
number 1, number 2, number 3, number 4
true | room again
false | queue full
number 1, number 2, number 3, number 4
true | room again



=== TEST 2: without an option the queue holds 65536
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "many"))
local busy = ngx.thread.spawn(function() return rt:f("sleep 300") end)
ngx.sleep(0.05)
local threads = {}
for i = 1, 1000 do
  threads[i] = ngx.thread.spawn(function() return rt:f("x") end)
end
ngx.thread.wait(busy)
local right = 0
for i = 1, 1000 do
  local _, ok = ngx.thread.wait(threads[i])
  right = right + (ok and 1 or 0)
end
t.show(right)
--- response_body
1000



=== TEST 3: the timeout: false and "timeout"; what comes late is dropped
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "quick", { timeout = 50 }))
t.show(rt:f("sleep 150"))
ngx.sleep(0.2)
t.show(rt:f("alive"))
--- response_body
false | timeout
true | alive



=== TEST 4: the request of a task whose caller has gone stays until it is answered
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "keeper", { timeout = 50 }))
for _ = 1, 10 do
  ngx.thread.spawn(function() return rt:f("hold") end)
end
ngx.sleep(0.15)
-- What is freed would be used again by these.
for _ = 1, 200 do rt:f("HOLD") end
t.show(rt:f("held"))
t.show(rt:f("release"))
t.show(rt:f("holding"))
t.show(t.wait(1000, function()
  for _, r in ipairs(nffi.runtimes()) do
    if r.in_flight > 0 or r.abandoned > 0 then return false end
  end
  return true
end))
--- response_body
true | 10
true | done
true | 0
true



=== TEST 5: a killed thread's call, and pollers that see no CANCEL
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "killed"))
for _ = 1, 20 do
  local thread = ngx.thread.spawn(function() return rt:f("hold") end)
  ngx.sleep(0.002)
  ngx.thread.kill(thread)
end
ngx.sleep(0.3)
t.show(rt:f("holding"))
t.show(rt:f("release"))
t.show(rt:f("alive"))
--- response_body
true | 20
true | done
true | alive



=== TEST 6: what the host counts of it
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "counted" .. ngx.now()))
rt:f("x")
rt:f("rc 3 no")
rt:f("x")
local list = nffi.runtimes()
local r = list[#list]
t.show(r.name, r.state, r.calls, r.answers, r.errors, r.declared)
--- response_body
seed_c | ready | 3 | 3 | 1 | false
