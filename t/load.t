# nffi.load: from Lua, idempotent, waits for init where it can.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: load, call
--- runtimes
--- lua
local rt, err = nffi.load("$TEST_NGINX_FIXTURES/libfixture.so")
t.show(err)
t.show(rt:call("echo loaded"))
t.show(rt:call("cfg"))
--- response_body eval
"nil\nloaded\n\n"



=== TEST 2: the configuration reaches the runtime as it is
--- runtimes
--- lua
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", 'any "text", also {broken'))
t.show(rt:call("cfg"))
local bin = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "a\0b\255"))
t.show(bin:call("cfg") == "a\0b\255")
--- response_body
any "text", also {broken
true



=== TEST 3: same library and configuration: one runtime; another configuration: another
--- runtimes
--- lua
local path = "$TEST_NGINX_FIXTURES/libfixture.so"
local a, b, c = nffi.load(path, "x"), nffi.load(path, "x"), nffi.load(path, "y")
a:call("echo")
local n = tonumber(a:call("report"):match('"calls":(%d+)'))
b:call("echo")
b:call("echo")
c:call("echo")
t.show(tonumber(a:call("report"):match('"calls":(%d+)')) - n)
t.show(c:call("cfg"), a:call("cfg"))
local count = 0
for _, r in ipairs(nffi.runtimes()) do
  count = count + (r.library:find("libfixture", 1, true) and r.state == "ready" and 1 or 0)
end
t.show(count)
--- response_body
3
y | x
2



=== TEST 4: two libraries of one source have nothing in common
--- runtimes
--- lua
local a = nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", "x")
local b = nffi.load("$TEST_NGINX_FIXTURES/libother.so", "x")
a:call("never", { timeout = 300 })
t.show(b:call("release_all"), a:call("release_all"))
--- response_body
0 | 1



=== TEST 5: load yields until init is done, and nobody else waits for it
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libother.so {}
--- lua
local quick = 0
local ticker = ngx.thread.spawn(function()
  while true do
    if nffi.call("fixture", "echo x") == "x" then
      quick = quick + 1
    end
    ngx.sleep(0.01)
  end
end)
ngx.update_time()
local from = ngx.now()
-- another configuration every time, or the second round would find it running
local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", '{"init_sleep":"200","x":"' .. ngx.now() .. '"}'))
ngx.update_time()
local took = ngx.now() - from
t.show(took >= 0.19 or took, quick >= 5 or quick)
t.show(rt:call("echo x"))
ngx.thread.kill(ticker)
--- response_body
true | true
x



=== TEST 6: failures are told, each with its reason
--- runtimes
--- lua
local function try(lib, cfg)
  local rt, err = nffi.load(lib, cfg)
  ngx.say(tostring(rt), " ", type(err) == "string" and #err > 0 and "told" or tostring(err))
end
try("$TEST_NGINX_FIXTURES/no-such-file.so")
try("$TEST_NGINX_FIXTURES/libtext.so")
try("$TEST_NGINX_FIXTURES/libno_symbol.so")
try("$TEST_NGINX_FIXTURES/libforeign.so")
try("$TEST_NGINX_FIXTURES/libunresolved.so")
try("$TEST_NGINX_FIXTURES/libdirectory.so")
try("no-such-name-anywhere.so")
--- response_body eval
"nil told\n" x 7
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 7: a failed init: nil and the runtime's own message, from load
--- runtimes
--- lua
t.show(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", '{"init_fail":"the licence is over"}'))
--- response_body
nil | runtime failed: the licence is over
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 8: what is no name, no configuration, no table
--- runtimes
--- lua
for _, args in ipairs { { 5 }, { {} }, { "" }, { "$TEST_NGINX_FIXTURES/libfixture.so", 5 } } do
  local ok, rt, err = pcall(nffi.load, args[1], args[2])
  t.show(ok == false and "error" or rt, ok and type(err) or "string")
end
--- response_body_like chomp
\A(?:(?:error|nil) \| string\n){4}\z
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 9: options: queue, tasks, timeout
--- runtimes
--- lua
local path = "$TEST_NGINX_FIXTURES/libfixture.so"
local rt = assert(nffi.load(path, "few", { tasks = 2, timeout = 50, max_request = 100, max_response = 100 }))
local a = ngx.thread.spawn(rt.call, rt, "sleep 20 a")
local b = ngx.thread.spawn(rt.call, rt, "sleep 20 b")
t.show(rt:call("echo c"))
ngx.thread.wait(a)
ngx.thread.wait(b)
t.show(rt:call("sleep 150 x"))
t.show(rt:call(("x"):rep(101)))
t.show(rt:call("size 101"))
ngx.sleep(0.15)
--- response_body
nil | queue full
nil | timeout
nil | request too large
nil | answer too large



=== TEST 10: many coroutines load the same at once
--- runtimes
--- lua
local cfg = '{"init_sleep":"50","x":"' .. ngx.now() .. '"}'
local threads = {}
for i = 1, 20 do
  threads[i] = ngx.thread.spawn(function()
    local rt = assert(nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", cfg))
    return rt:call("echo " .. i)
  end)
end
local right = 0
for i = 1, 20 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == tostring(i) and 1 or 0)
end
local count = 0
for _, r in ipairs(nffi.runtimes()) do
  count = count + (r.library:find("libfixture", 1, true) and r.calls == 20 and 1 or 0)
end
t.show(right, count)
--- response_body_like
\A20 \| [12]



=== TEST 11: where no yield is possible, load returns at once and calls wait
--- runtimes
--- http_config
init_worker_by_lua_block {
    early = assert(require("resty.nffi").load("$TEST_NGINX_FIXTURES/libfixture.so", '{"init_sleep":"150"}'))
}
--- lua
t.show(early:call("echo patience"))
--- response_body
patience
--- timeout: 5
