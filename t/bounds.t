# queue bounds the tasks not yet polled, tasks those not yet ended: past either "queue full", at once.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: queue: the poller sleeps, three fit, the fourth is refused at once
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { queue 3; }
--- lua
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 450")
t.polled()
local threads, full = {}, 0
for i = 1, 10 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "echo " .. i)
end
local words = {}
for i = 1, 10 do
  local _, res, err = ngx.thread.wait(threads[i])
  words[i] = res or err
end
ngx.thread.wait(stall)
t.show(table.concat(words, ", "))
t.show(nffi.call("fixture", "echo after"))
t.show(t.idle())
--- response_body
1, 2, 3, queue full, queue full, queue full, queue full, queue full, queue full, queue full
after
idle



=== TEST 2: queue full, then a second call in the same coroutine, which waits as usual
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { queue 1; }
--- lua
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 300")
t.polled()
local one = ngx.thread.spawn(nffi.call, "fixture", "echo one")
t.show(nffi.call("fixture", "echo two"))
t.show(nffi.call("fixture", "echo three"))
ngx.thread.wait(stall)
ngx.thread.wait(one)
t.show(nffi.call("fixture", "sleep 5 four"))
t.show(t.idle())
--- response_body
nil | queue full
nil | queue full
four
idle



=== TEST 3: casts count, and are refused the same way
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { queue 2; }
--- lua
local rt = nffi.get("fixture")
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 300")
t.polled()
t.show(rt:cast("echo"))
t.show(rt:cast("echo"))
t.show(rt:cast("echo"))
t.show(rt:call("echo x"))
ngx.thread.wait(stall)
t.show(rt:cast("echo"))
t.show(t.idle())
--- response_body
true
true
nil | queue full
nil | queue full
true
idle



=== TEST 4: tasks: an eager poller empties the queue, the bound holds all the same
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { tasks 5; }
--- lua
local threads = {}
for i = 1, 8 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "sleep 80 " .. i)
  ngx.sleep(0.002)
end
local words = {}
for i = 1, 8 do
  local _, res, err = ngx.thread.wait(threads[i])
  words[i] = res or err
end
t.show(table.concat(words, ", "))
t.show(nffi.call("fixture", "echo after"))
--- response_body
1, 2, 3, 4, 5, queue full, queue full, queue full
after



=== TEST 5: tasks: abandoned ones count until the runtime ends them
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { tasks 3; }
--- lua
local threads = {}
for i = 1, 3 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "late 1500 x", { timeout = 20 })
end
for i = 1, 3 do
  ngx.thread.wait(threads[i])
end
t.show(nffi.call("fixture", "echo x"))
for _ = 1, 100 do
  ngx.sleep(0.05)
  if nffi.call("fixture", "echo x") then
    break
  end
end
t.show(nffi.call("fixture", "echo x"))
t.show(t.idle())
--- response_body
nil | queue full
x
idle



=== TEST 6: tasks: casts count until they are ended
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { tasks 2; }
--- lua
local rt = nffi.get("fixture")
t.show(rt:cast("sleep 100"))
t.show(rt:cast("sleep 100"))
ngx.sleep(0.02)
t.show(rt:cast("sleep 100"))
t.show(rt:call("echo x"))
ngx.sleep(0.12)
t.show(rt:call("echo x"))
--- response_body
true
true
nil | queue full
nil | queue full
x



=== TEST 7: refused calls are counted, and are no calls
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { tasks 1; }
--- lua
local before, calls = t.info("rejected"), t.info("calls")
local a = ngx.thread.spawn(nffi.call, "fixture", "sleep 50")
nffi.call("fixture", "echo x")
nffi.call("fixture", "echo x")
ngx.thread.wait(a)
t.show(t.info("rejected") - before, t.info("calls") - calls)
--- response_body
2 | 1
