# A Go library of lua-resty-ffi's ABI, as it is.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(seed_go);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: requests, errors, binary answers
--- lua
require "resty_ffi"
local store = assert(ngx.load_ffi("seed_go"))
t.show(store:put("put a 1"))
t.show(store:get("get a"))
t.show(store:get("get b"))
t.show(store:digest("sha256 abc"))
t.show(store:odd("what"))
local big = ("x"):rep(1024 * 1024)
store:put("put big " .. big)
t.show(select(2, store:get("get big")) == big)
--- response_body
true | OK
true | 1
false | 404 | no b
true | ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
false | 400 | unknown: what
true



=== TEST 2: a goroutine that waits holds up nobody
--- lua
require "resty_ffi"
local store = assert(ngx.load_ffi("seed_go", '{"capacity":100000}'))
local key = "key" .. ngx.now()
local threads = {}
for i = 1, 50 do
  threads[i] = ngx.thread.spawn(function() return select(2, store:wait("wait " .. key)) end)
end
t.show(store:get("get nothing"))
t.show(store:put("put " .. key .. " here"))
local right = 0
for i = 1, 50 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == "here" and 1 or 0)
end
t.show(right)
--- response_body
false | 404 | no nothing
true | OK
50



=== TEST 3: neither stack growth nor the collector stumbles over what a task or a queue is
--- lua
require "resty_ffi"
local store = assert(ngx.load_ffi("seed_go", '{"capacity":100001}'))
for i = 1, 20 do
  local ok, res = store:deep("deep " .. i * 500)
  if res ~= tostring(i * 500) then
    t.show(ok, res)
  end
end
-- Handles of such an age look like addresses in Go's heap, if nothing is done about it.
for i = 1, 60000 do
  local ok, res = store:get("get nothing")
  if res ~= 404 then
    return t.show(ok, res)
  end
  if i % 10000 == 0 then
    store:deep("deep 2000")
  end
end
t.show(store:deep("deep 5"))
--- response_body
true | 5
--- timeout: 20



=== TEST 4: two configurations; a bad one; unload answers those that wait
--- lua
require "resty_ffi"
t.show(ngx.load_ffi("seed_go", "{"))
t.show(ngx.load_ffi("seed_go", '{"fail":5}'))
local small = assert(ngx.load_ffi("seed_go", '{"capacity":1}'))
t.show(small:put("put a 1"))
t.show(small:put("put b 2"))
local thread = ngx.thread.spawn(function() return small:wait("wait never") end)
ngx.sleep(0.05)
small:__unload()
local _, ok, rc, err = ngx.thread.wait(thread)
t.show(ok, rc, err)
t.show(small:get("get a"))
local again = assert(ngx.load_ffi("seed_go", '{"capacity":1}'))
t.show(again:get("get a"))
again:__unload()
--- response_body
nil | 22
nil | 5
true | OK
false | 507 | full
false | 503 | going
false | unloaded
false | 404 | no a
--- no_error_log
[crit]
[alert]
