# A cast is done and not waited for, in any phase.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: returns true at once; the work is done
--- lua
local rt = nffi.get("fixture")
local casts = t.report("casts")
ngx.update_time()
local from = ngx.now()
t.show(rt:cast("stall 100"))
ngx.update_time()
t.show(ngx.now() - from < 0.05)
t.show(t.wait(2000, function() return t.report("casts") == casts + 1 end))
t.show(t.idle())
--- response_body
true
true
true
idle



=== TEST 2: the task carries the flag of a cast
--- lua
local rt = nffi.get("fixture")
t.show(rt:call("flags"))
local casts, calls = t.report("casts"), t.info("casts")
rt:cast("flags")
t.show(t.wait(1000, function() return t.report("casts") == casts + 1 end))
t.show(t.info("casts") - calls)
--- response_body
0
true
1



=== TEST 3: errors of a cast's task reach nobody
--- lua
local rt = nffi.get("fixture")
for _, req in ipairs { "fail 5 nobody reads this", "end 3", "null", "size 100000", "write 10 1000" } do
  t.show(rt:cast(req))
end
t.show(t.report("held"), t.idle())
--- response_body
true
true
true
true
true
0 | idle



=== TEST 4: every phase: set, rewrite, access, header filter, body filter, log
--- config
location = /t {
    set_by_lua_block $x { return tostring(require("resty.nffi").get("fixture"):cast("echo")) }
    rewrite_by_lua_block { ngx.ctx.r = require("resty.nffi").get("fixture"):cast("echo") }
    access_by_lua_block { ngx.ctx.a = require("resty.nffi").get("fixture"):cast("echo") }
    content_by_lua_block {
        local c = require("resty.nffi").get("fixture"):cast("echo")
        local t = require "fixture"
        local done = t.wait(1000, function() return t.report("casts") % 7 == 4 end)
        ngx.say(ngx.var.x, " ", ngx.ctx.r, " ", ngx.ctx.a, " ", c, " ", done)
    }
    header_filter_by_lua_block {
        local ok, err = require("resty.nffi").get("fixture"):cast("echo")
        if not ok then ngx.log(ngx.ERR, "header filter: ", err) end
    }
    body_filter_by_lua_block {
        if not ngx.ctx.once then
            ngx.ctx.once = true
            local ok, err = require("resty.nffi").get("fixture"):cast("echo")
            if not ok then ngx.log(ngx.ERR, "body filter: ", err) end
        end
    }
    log_by_lua_block {
        local ok, err = require("resty.nffi").get("fixture"):cast("echo")
        if not ok then ngx.log(ngx.ERR, "log: ", err) end
    }
}
location = /after {
    content_by_lua_block {
        local t = require "fixture"
        ngx.say(t.wait(1000, function() return t.report("casts") % 7 == 0 end) or t.report("casts"))
    }
}
--- pipelined_requests eval
["GET /t", "GET /after"]
--- response_body eval
["true true true true true\n", "true\n"]



=== TEST 5: a timer, a balancer, and where no yield is possible
--- http_config
upstream backend {
    server 127.0.0.1:1;
    balancer_by_lua_block {
        local ok, err = require("resty.nffi").get("fixture"):cast("echo balancer")
        if not ok then ngx.log(ngx.ERR, "balancer: ", err) end
        assert(require("ngx.balancer").set_current_peer("127.0.0.1", tonumber(ngx.var.server_port)))
    }
}
--- config
location = /back { return 200 "back\n"; }
location = /proxied { proxy_pass http://backend/back; }
location = /t {
    content_by_lua_block {
        local nffi, t = require "resty.nffi", require "fixture"
        local rt = nffi.get("fixture")
        local before = t.report("casts")
        ngx.print(ngx.location.capture("/proxied").body)
        local n = 0
        ngx.timer.at(0, function() if rt:cast("echo timer") then n = n + 1 end end)
        string.gsub("ab", ".", function() if rt:cast("echo gsub") then n = n + 1 end end)
        ngx.say(t.wait(1000, function() return n == 3 and t.report("casts") == before + 4 end))
    }
}
--- response_body
back
true



=== TEST 6: many casts, all of them done
--- lua
local rt = nffi.get("fixture")
local before = t.report("casts")
for i = 1, 5000 do
  local ok, err = rt:cast("echo " .. i)
  if not ok then
    return t.show(i, err)
  end
end
t.show(t.wait(3000, function() return t.report("casts") == before + 5000 end))
t.show(t.idle())
--- timeout: 10
--- response_body
true
idle
