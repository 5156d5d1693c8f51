# rt:__unload(): accepted calls are finished, pollers see NULL, and with `unpin` the library goes.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(seed_v1 seed_v2);
use NFFI 'no_plan';

$NFFI::fixture = '';

our $helpers = <<'_EOC_';
init_worker_by_lua_block {
    require "resty_ffi"
    -- Is a file mapped into this process?
    function mapped(name)
        local file = io.open("/proc/self/maps")
        local text = file:read("*a")
        file:close()
        return text:find(name, 1, true) ~= nil
    end
    function read(path)
        local file = io.open(path, "rb")
        local text = file and file:read("*a") or ""
        if file then file:close() end
        return text
    end
    -- Until that many threads poll: one that has not come to poll yet is not known to the host.
    function polled_by(rt, n)
        while select(2, rt:f("pollers")) ~= tostring(n) do
            ngx.sleep(0.001)
        end
    end
    function copy(from, to)
        local text = read(from)
        os.remove(to)
        local file = assert(io.open(to, "wb"))
        file:write(text)
        file:close()
    end
}
_EOC_

run_tests();

__DATA__

=== TEST 1: unloaded: calls say so, and another load starts it anew
--- http_config eval: $::helpers
--- lua
local rt = assert(ngx.load_ffi("seed_c", "anew"))
t.show(rt:f("hello"))
local inits = tonumber((select(2, rt:f("inits"))))
t.show(rt:__unload())
t.show(rt:f("hello"))
t.show(rt:__unload())
local again = assert(ngx.load_ffi("seed_c", "anew"))
t.show(again ~= rt, again:f("hello"))
t.show(tonumber((select(2, again:f("inits")))) - inits)
t.show(rt:f("hello"))
again:__unload()
--- response_body
true | hello
true
false | unloaded
false | unloaded
true | true | hello
1
false | unloaded



=== TEST 2: NULL for every thread that polls, after what was accepted
--- http_config eval: $::helpers
--- lua
local file = "$TEST_NGINX_HTML_DIR/null"
os.remove(file)
local rt = assert(ngx.load_ffi("seed_c", "threads 4"))
polled_by(rt, 4)
rt:f("unload_file " .. file)
local threads = {}
for i = 1, 20 do
  threads[i] = ngx.thread.spawn(function() return rt:f("sleep 20") end)
end
rt:__unload()
local right = 0
for i = 1, 20 do
  local _, ok, res = ngx.thread.wait(threads[i])
  right = right + (ok and res == "slept" and 1 or 0)
end
t.show(right)
t.wait(3000, function() return read(file) == ("NULL\n"):rep(4) end)
ngx.print(read(file))
t.show(t.wait(3000, function()
  for _, r in ipairs(nffi.runtimes()) do
    if r.name == "seed_c" and r.state ~= "stopped" then return false end
  end
  return true
end))
--- response_body
20
NULL
NULL
NULL
NULL
true



=== TEST 3: a task that was polled before may be answered after NULL
--- http_config eval: $::helpers
--- lua
local rt = assert(ngx.load_ffi("seed_c", "late"))
local thread = ngx.thread.spawn(function() return rt:f("hold") end)
t.wait(2000, function() return select(2, rt:f("holding")) == "1" end)
rt:__unload()
local _, ok, res = ngx.thread.wait(thread)
t.show(ok, res)
t.show(t.wait(3000, function()
  for _, r in ipairs(nffi.runtimes()) do
    if r.name == "seed_c" and (r.state ~= "stopped" or r.in_flight > 0) then return false end
  end
  return true
end))
--- response_body
true | after NULL
true



=== TEST 4: without `unpin` the library stays
--- http_config eval: $::helpers
--- lua
local rt = assert(ngx.load_ffi("seed_v2"))
rt:f("x")
rt:__unload()
ngx.sleep(0.3)
t.show(mapped("libseed_v2"))
--- response_body
true



=== TEST 5: with `unpin` it goes once its threads have gone, and comes back
--- http_config eval: $::helpers
--- lua
for _ = 1, 5 do
  local rt = assert(ngx.load_ffi("seed_v1", "threads 3", { unpin = true }))
  polled_by(rt, 3)
  t.show(mapped("libseed_v1"), rt:f("x"))
  rt:__unload()
  t.show(t.wait(3000, function() return not mapped("libseed_v1") end))
end
--- response_body eval
"true | true | x\ntrue\n" x 5



=== TEST 6: a thread that goes on after NULL, or after an answer, keeps it
--- http_config eval: $::helpers
--- lua
local rt = assert(ngx.load_ffi("seed_v1", "poller", { unpin = true }))
rt:f("linger 400")
rt:__unload()
ngx.sleep(0.15)
t.show(mapped("libseed_v1"))
t.show(t.wait(3000, function() return not mapped("libseed_v1") end))
rt = assert(ngx.load_ffi("seed_v1", "answerer", { unpin = true }))
t.show(rt:f("later 0 400"))
rt:__unload()
ngx.sleep(0.15)
t.show(mapped("libseed_v1"))
t.show(t.wait(3000, function() return not mapped("libseed_v1") end))
--- response_body
true
true
true | from another thread
true
true



=== TEST 7: two runtimes of one library: it goes with the last
--- http_config eval: $::helpers
--- lua
local a = assert(ngx.load_ffi("seed_v1", "a", { unpin = true }))
local b = assert(ngx.load_ffi("seed_v1", "b", { unpin = true }))
a:f("x")
b:f("x")
a:__unload()
ngx.sleep(0.2)
t.show(mapped("libseed_v1"), b:f("still here"))
b:__unload()
t.show(t.wait(3000, function() return not mapped("libseed_v1") end))
--- response_body
true | true | still here
true



=== TEST 8: a file that was replaced is loaded anew
--- http_config eval: $::helpers
--- lua
local path = "$TEST_NGINX_HTML_DIR/libplugin.so"
copy("$TEST_NGINX_SEED/libseed_v1.so", path)
local rt = assert(ngx.load_ffi(path, nil, { unpin = true }))
t.show(rt:f("version"))
rt:__unload()
t.wait(3000, function() return not mapped("libplugin") end)
copy("$TEST_NGINX_SEED/libseed_v2.so", path)
rt = assert(ngx.load_ffi(path, nil, { unpin = true }))
t.show(rt:f("version"))
rt:__unload()
t.wait(3000, function() return not mapped("libplugin") end)
--- response_body
true | 1
true | 2



=== TEST 9: an init that fails leaves nothing behind with `unpin`
--- http_config eval: $::helpers
--- lua
t.show(ngx.load_ffi("seed_v1", "fail 4", { unpin = true }))
t.show(t.wait(3000, function() return not mapped("libseed_v1") end))
--- response_body
nil | 4
true
--- no_error_log
[crit]
[alert]



=== TEST 10: 200 times, under calls
--- http_config eval: $::helpers
--- lua
local bad = 0
for i = 1, 200 do
  local rt = assert(ngx.load_ffi("seed_v1", "threads 2", { unpin = true }))
  polled_by(rt, 2)
  local threads = {}
  for j = 1, 5 do
    threads[j] = ngx.thread.spawn(function() return rt:f(j % 2 == 0 and "later 0 1" or "x") end)
  end
  rt:__unload()
  for j = 1, 5 do
    local _, ok, res = ngx.thread.wait(threads[j])
    bad = bad + (ok and (res == "x" or res == "from another thread") and 0 or 1)
  end
end
t.show(bad, t.wait(3000, function() return not mapped("libseed_v1") end))
--- response_body
0 | true
--- timeout: 20
