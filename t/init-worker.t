# Before the event loop runs: init_by_lua is refused (threads do not survive the fork), init_worker_by_lua casts.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: init_by_lua: everything that would start something is refused with ngx_lua's words
--- http_config
init_by_lua_block {
    local nffi = require "resty.nffi"
    said = {}
    local function try(name, ...)
        local ok, err = ...
        table.insert(said, name .. ": " .. tostring(ok) .. " " .. tostring(err))
    end
    try("load", nffi.load("$TEST_NGINX_FIXTURES/libother.so", "early"))
    try("call", nffi.call("fixture", "echo x"))
    local rt, err = nffi.get("fixture")
    if rt then
        try("rt:call", rt:call("echo x"))
        try("cast", rt:cast("echo x"))
        try("open", rt:open("echo x"))
    else
        for _, name in ipairs { "rt:call", "cast", "open" } do try(name, nil, err) end
    end
}
--- lua
for _, line in ipairs(said) do
  t.show(line)
end
t.show(nffi.call("fixture", "echo later"))
--- response_body
load: nil API disabled in the context of init_by_lua*
call: nil API disabled in the context of init_by_lua*
rt:call: nil API disabled in the context of init_by_lua*
cast: nil API disabled in the context of init_by_lua*
open: nil API disabled in the context of init_by_lua*
later



=== TEST 2: a cast in init_worker_by_lua is done
--- http_config
init_worker_by_lua_block {
    cast_ok, cast_err = require("resty.nffi").get("fixture"):cast("echo early")
}
--- lua
t.show(cast_ok, cast_err)
t.show(t.wait(1000, function() return t.report("casts") >= 1 end), t.idle())
--- response_body
true
true | idle



=== TEST 3: a timer of init_worker_by_lua calls
--- http_config
init_worker_by_lua_block {
    timer = {}
    ngx.timer.at(0, function()
        timer.said = { require("resty.nffi").call("fixture", "sleep 5 from a timer") }
    end)
}
--- lua
t.wait(1000, function() return timer.said end)
t.show(unpack(timer.said))
--- response_body
from a timer



=== TEST 4: use in init_worker_by_lua starts the declared runtimes early: once
--- http_config
init_worker_by_lua_block {
    state = require("resty.nffi").runtimes()[1].state
    require("resty.nffi").get("fixture"):cast("echo early")
}
--- lua
t.show(state == "starting" or state == "ready" or state)
t.show(nffi.call("fixture", "echo x"))
t.show(#nffi.runtimes(), t.report("casts"))
--- response_body
true
x
1 | 1



=== TEST 5: outside the event loop a wake does not wait for the loop's end
--- http_config
init_worker_by_lua_block {
    local rt = require("resty.nffi").get("fixture")
    local file = "$TEST_NGINX_HTML_DIR/at-once"
    rt:cast("echo start")
    os.execute("sleep 0.3")
    rt:cast("append 0 " .. file .. " done")
    os.execute("sleep 0.3")
    at_once = io.open(file) ~= nil
}
--- lua
t.show(at_once, t.idle())
--- response_body
true | idle
