# A call ends at its timeout, the wait in the queue included; a late answer harms nobody.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: the call's own timeout, in time
--- lua
ngx.update_time()
local from = ngx.now()
t.show(nffi.call("fixture", "sleep 400 x", { timeout = 100 }))
ngx.update_time()
local took = (ngx.now() - from) * 1000
t.show(took >= 95 and took < 300 or took)
--- response_body
nil | timeout
true



=== TEST 2: the runtime's timeout, where the call has none
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { timeout 80ms; }
--- lua
t.show(nffi.call("fixture", "sleep 300 x"))
t.show(nffi.call("fixture", "sleep 150 y", { timeout = 2000 }))
--- response_body
nil | timeout
y



=== TEST 3: a late answer is dropped, told to the runtime, and never reaches another call
--- lua
local gone = t.report("gone")
for _ = 1, 20 do
  t.show(nffi.call("fixture", "late 60 late", { timeout = 20 }))
  local res = nffi.call("fixture", "echo mine")
  if res ~= "mine" then
    t.show("got", res)
  end
end
ngx.sleep(0.1)
t.show(t.report("gone") - gone, t.report("bad"), t.idle())
--- response_body eval
"nil | timeout\n" x 20 . "20 | 0 | idle\n"



=== TEST 4: late answers while other calls are waiting, hundreds of them
--- lua
local threads = {}
for i = 1, 300 do
  threads[i] = ngx.thread.spawn(function()
    if i % 2 == 0 then
      return nffi.call("fixture", "late " .. 30 + i % 60 .. " late", { timeout = 30 })
    end
    return nffi.call("fixture", "sleep " .. i % 90 .. " " .. i)
  end)
end
local wrong = 0
for i = 1, 300 do
  local _, res, err = ngx.thread.wait(threads[i])
  if i % 2 == 0 then
    wrong = wrong + ((err == "timeout" or res == "late") and 0 or 1)
  else
    wrong = wrong + (res == tostring(i) and 0 or 1)
  end
end
t.show(wrong, t.idle())
--- response_body
0 | idle



=== TEST 5: the wait in the queue counts
--- lua
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 600")
t.polled()
local taken = t.info("calls")
t.show(nffi.call("fixture", "echo x", { timeout = 50 }))
ngx.thread.wait(stall)
t.show(t.idle())
--- response_body
nil | timeout
idle



=== TEST 6: a task that timed out while still queued is never delivered
--- lua
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 450")
t.polled()
local before = t.info("timeouts")
local file = "$TEST_NGINX_HTML_DIR/never-delivered"
os.remove(file)
t.show(nffi.call("fixture", "append 0 " .. file .. " x", { timeout = 30 }))
ngx.thread.wait(stall)
t.show(nffi.call("fixture", "echo after"))
t.show((io.open(file)), t.info("timeouts") - before)
--- response_body_like
\Anil \| timeout
after
nil \| 1



=== TEST 7: the deadline that the runtime sees is the caller's
--- lua
local left = tonumber((nffi.call("fixture", "deadline", { timeout = 5000 })))
t.show(left > 4700 and left <= 5050 or left)
local left = tonumber((nffi.call("fixture", "deadline")))
t.show(left > 59000 and left <= 60050 or left)
--- response_body
true
true



=== TEST 8: an answer that arrives in the iteration in which the timer fires beats the timeout, or loses whole
--- lua
local odd = 0
for i = 1, 150 do
  local res, err = nffi.call("fixture", "sleep 2 x", { timeout = 2 })
  if not (res == "x" and err == nil) and not (res == nil and err == "timeout") then
    odd = odd + 1
  end
end
t.show(odd, t.idle())
--- response_body
0 | idle
