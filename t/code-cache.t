# lua_code_cache off makes a Lua VM per request: the registry of runtimes is not in it.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: calls, streams, casts
--- http_config
lua_code_cache off;
--- lua
t.show(nffi.call("fixture", "sleep 5 x"))
t.show(nffi.get("fixture"):cast("echo"))
local n = 0
for part in nffi.get("fixture"):stream("write 20 100") do
  n = n + 1
end
t.show(n, t.idle())
--- response_body
x
true
20 | idle
--- no_error_log
[error]
[crit]
[emerg]



=== TEST 2: load is idempotent across VMs
--- runtimes
--- http_config
lua_code_cache off;
--- config
location = /load {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "kept"))
        rt:call("echo x")
        ngx.say(rt:call("cfg"), " ", #nffi.runtimes())
    }
}
--- pipelined_requests eval
["GET /load", "GET /load", "GET /load"]
--- response_body eval
["kept 1\n", "kept 1\n", "kept 1\n"]
--- no_error_log
[error]
[crit]
[emerg]



=== TEST 3: a VM that ends with calls in flight: killed, timed out, left
--- http_config
lua_code_cache off;
--- config
location = /leave {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        for i = 1, 10 do
            ngx.thread.spawn(nffi.call, "fixture", "late 60 x")
        end
        nffi.call("fixture", "late 60 x", { timeout = 5 })
        local s = nffi.get("fixture"):open("readall")
        for part in nffi.get("fixture"):stream("write 1000 1000") do
            break
        end
        ngx.say("left")
        ngx.exit(200)
    }
}
location = /look {
    content_by_lua_block {
        local t = require "fixture"
        ngx.say(t.wait(1000, function() return t.report("held") == 0 end), " ", t.idle())
    }
}
--- pipelined_requests eval
[("GET /leave") x 5, "GET /look"]
--- response_body eval
[("left\n") x 5, "true idle\n"]
--- no_error_log
[error]
[crit]
[emerg]
