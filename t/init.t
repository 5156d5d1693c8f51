# A runtime starts beside the event loop; calls wait for it inside their timeout; a failed one says why.
use NFFI 'no_plan';

repeat_each(1); # a failure is logged once, for the first request
run_tests();

__DATA__

=== TEST 1: a failed init: every call gets the runtime's message
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_fail "no database at /var/lib/x"; }
--- lua
for _ = 1, 3 do
  t.show(nffi.call("fixture", "echo x"))
end
t.show(nffi.get("fixture"):cast("echo x"))
t.show(t.info("state"), t.info("error"))
--- response_body
nil | runtime failed: no database at /var/lib/x
nil | runtime failed: no database at /var/lib/x
nil | runtime failed: no database at /var/lib/x
nil | runtime failed: no database at /var/lib/x
failed | no database at /var/lib/x
--- error_log
no database at /var/lib/x
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 2: it is logged once, however many calls fail
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_fail "logged once"; }
--- lua
for _ = 1, 20 do
  nffi.call("fixture", "echo x")
end
local n = 0
for line in io.lines("$TEST_NGINX_SERVER_ROOT/logs/error.log") do
  n = n + (line:find("logged once", 1, true) and 1 or 0)
end
t.show(n)
--- response_body
1
--- error_log eval
qr/\[(?:error|crit|alert|emerg)\].*fixture.*logged once/



=== TEST 3: calls made before it is ready wait for it
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_sleep 200; }
--- lua
t.show(nffi.call("fixture", "echo patience"))
t.show(t.info("state"))
--- response_body
patience
ready



=== TEST 4: calls that wait for a failing init are answered when it has failed, not at their timeout
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_sleep 150; init_fail "late failure"; }
--- lua
ngx.update_time()
local from = ngx.now()
t.show(nffi.call("fixture", "echo x", { timeout = 3000 }))
ngx.update_time()
t.show(ngx.now() - from < 2)
t.show(t.idle())
--- response_body
nil | runtime failed: late failure
true
idle
--- error_log
late failure



=== TEST 5: inside their timeout; the event loop is never blocked by an init
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_sleep 700; }
nffi_runtime quick $TEST_NGINX_FIXTURES/libother.so { }
--- config
location = /early {
    content_by_lua_block {
        local nffi, t = require "resty.nffi", require "fixture"
        if t.info("state") == "starting" then
            t.show(nffi.call("fixture", "echo x", { timeout = 50 }))
        else
            t.show(nil, "timeout")
        end
        t.show(nffi.call("quick", "echo quick"))
    }
}
location = /later {
    content_by_lua_block {
        local nffi, t = require "resty.nffi", require "fixture"
        t.show(nffi.call("fixture", "echo ready", { timeout = 2000 }))
        t.show(t.idle())
    }
}
--- pipelined_requests eval
["GET /early", "GET /later"]
--- response_body eval
["nil | timeout\nquick\n", "ready\nidle\n"]



=== TEST 6: an error message of every byte there is room for
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_fill_err; }
--- lua
local _, err = nffi.call("fixture", "echo x")
t.show(err:match("^runtime failed: e+$") and #err > 40 and #err < 70000)
--- response_body
true
--- error_log
eeeeeeeee



=== TEST 7: a library that cannot be loaded in the worker
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libunresolved.so {}
--- lua
local res, err = nffi.call("fixture", "echo x")
t.show(res, err:match("^runtime failed: .*nobody_has_this_function") and "told" or err)
t.show(t.info("state"))
--- response_body
nil | told
failed
--- error_log
nobody_has_this_function



=== TEST 8: a runtime without a thread to poll: calls time out, nothing else happens
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { threads 0; stop_timeout 100ms; }
--- lua
t.show(nffi.call("fixture", "echo x", { timeout = 50 }))
t.show(nffi.call("fixture", "echo x", { timeout = 50 }))
--- response_body
nil | timeout
nil | timeout
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 9: a line that is logged inside init has the runtime's name
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { init_log "warming up"; }
--- lua
t.show(nffi.call("fixture", "echo x"))
--- response_body
x
--- error_log eval
qr/\[warn\].*fixture.*warming up/
--- no_error_log
[error]
[alert]
