# In a phase that cannot yield, call and stream say so in ngx_lua's own words, and nothing is posted.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: set_by_lua, header filter, body filter, log
--- http_config
lua_shared_dict said 100k;
init_worker_by_lua_block {
    function try(phase)
        local nffi = require "resty.nffi"
        local res, err, status = nffi.call("fixture", "echo x")
        local rt = nffi.get("fixture")
        local s, open_err = rt:open("echo x")
        local part, stream_err
        for p, e in rt:stream("echo x") do
            part, stream_err = p, e
        end
        ngx.shared.said:set(phase, tostring(res) .. " " .. tostring(err) .. " " .. tostring(status)
            .. " " .. tostring(err == open_err and s == nil) .. " " .. tostring(err == stream_err and part == false))
    end
    try("init_worker")
}
--- config
location = /t {
    set_by_lua_block $x { try("set") return "x" }
    content_by_lua_block { ngx.say("ok ", ngx.var.x) }
    header_filter_by_lua_block { try("header_filter") }
    body_filter_by_lua_block { if ngx.arg[2] then try("body_filter") end }
    log_by_lua_block { try("log") }
}
location = /said {
    content_by_lua_block {
        for _, phase in ipairs { "init_worker", "set", "header_filter", "body_filter", "log" } do
            ngx.say(phase, ": ", ngx.shared.said:get(phase))
        end
        local t = require "fixture"
        ngx.say(t.info("calls"), " ", t.idle())
    }
}
--- pipelined_requests eval
["GET /t", "GET /said"]
--- response_body eval
["ok x\n",
 join("", map { "$_: nil API disabled in the context of ${_}_by_lua* nil true true\n" }
      qw(init_worker set header_filter body_filter log)) . "0 idle\n"]



=== TEST 2: the balancer
--- http_config
upstream backend {
    server 127.0.0.1:1;
    balancer_by_lua_block {
        ngx.ctx.said = { require("resty.nffi").call("fixture", "echo x") }
        ngx.log(ngx.WARN, "balancer says: ", select(2, require("resty.nffi").call("fixture", "echo x")))
        assert(require("ngx.balancer").set_current_peer("127.0.0.1", tonumber(ngx.var.server_port)))
    }
}
--- config
location = /back { return 200 "back\n"; }
location = /t { proxy_pass http://backend/back; }
--- response_body
back
--- error_log
balancer says: API disabled in the context of balancer_by_lua*
--- no_error_log
[error]
[alert]



=== TEST 3: after a refused call the same request calls on, in a phase that may
--- config
location = /t {
    set_by_lua_block $x { return (select(2, require("resty.nffi").call("fixture", "echo x"))) }
    content_by_lua_block {
        ngx.say(ngx.var.x)
        ngx.say(require("resty.nffi").call("fixture", "sleep 5 works"))
    }
}
--- response_body
API disabled in the context of set_by_lua*
works
