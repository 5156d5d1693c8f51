# Wrong handles are error codes and a line in the log, never a crash, and harm no other call.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: answers twice: the first one counts, the second is refused and logged
--- lua
t.show(nffi.call("fixture", "twice"))
t.show(t.report("twice_rc"), t.report("violations"))
t.show(nffi.call("fixture", "echo after"), t.idle())
--- response_body
first
-2 | 0
after | idle
--- error_log
fixture
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 2: answers twice while others wait: nobody gets a stranger's answer
--- lua
local threads = {}
for i = 1, 100 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", i % 2 == 0 and "twice" or "sleep 10 " .. i)
end
local wrong = 0
for i = 1, 100 do
  local _, res = ngx.thread.wait(threads[i])
  wrong = wrong + (res == (i % 2 == 0 and "first" or tostring(i)) and 0 or 1)
end
t.show(wrong, t.report("violations"), t.idle())
--- response_body
0 | 0 | idle
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 3: garbage for tasks: all refused
--- lua
t.show(nffi.call("fixture", "garbage"))
local th = ngx.thread.spawn(nffi.call, "fixture", "sleep 50 unharmed")
t.show(nffi.call("fixture", "garbage"))
t.show(select(2, ngx.thread.wait(th)))
t.show(nffi.call("fixture", "echo after"), t.idle())
--- response_body
0 accepted
0 accepted
unharmed
after | idle
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 4: garbage for queues: poll answers STOP
--- lua
t.show(nffi.call("fixture", "bad_queue"))
t.show(nffi.call("fixture", "echo after"), t.idle())
--- response_body
0 accepted
after | idle
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 5: NULL for data and arrays
--- lua
local res = nffi.call("fixture", "bad_args")
t.show(res)
t.show(nffi.call("fixture", "echo after"), t.idle())
--- response_body
4 refused
after | idle
--- no_error_log
[crit]
[emerg]
panicked



=== TEST 6: never answers: the caller gets its timeout, the task is known to be open
--- lua
t.show(nffi.call("fixture", "never", { timeout = 30 }))
t.show(t.report("held"), t.info("abandoned"))
t.show(nffi.call("fixture", "release_all"))
t.show(t.idle())
--- response_body
nil | timeout
1 | 1
1
idle



=== TEST 7: a flood of double answers: each is refused and counted, and calls go on
--- lua
local before = t.info("bad_answers")
for i = 1, 5000 do
  nffi.get("fixture"):cast("twice")
end
t.show(nffi.call("fixture", "echo x", { timeout = 10000 }))
t.show(t.info("bad_answers") - before >= 5000, t.idle())
--- timeout: 20
--- response_body
x
true | idle
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 8: says stopped() while it works
--- lua
t.show(nffi.call("fixture", "own_stop"))
t.show(nffi.call("fixture", "echo after"))
--- response_body_like
\A(?:still here|nil \| runtime failed: it has stopped by itself|nil \| unloaded)
nil \| unloaded
--- no_error_log
[crit]
[alert]
[emerg]
panicked



=== TEST 9: one thread ends itself, another goes on; its task times out
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { threads 8; stop_timeout 200ms; }
--- lua
t.show(nffi.call("fixture", "pthread_exit", { timeout = 50 }))
t.show(nffi.call("fixture", "echo after"))
for i = 1, 100 do
  assert(nffi.call("fixture", "echo " .. i, { timeout = 500 }) == tostring(i))
end
t.show("done")
--- response_body
nil | timeout
after
done
--- no_error_log
[crit]
[alert]
[emerg]
