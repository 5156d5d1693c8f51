# Calls of a runtime of lua-resty-ffi's ABI: what comes back, from what the library says.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed;
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: load, call, by any name
--- lua
require "resty_ffi"
local rt, rc = ngx.load_ffi("$TEST_NGINX_SEED/libseed_c.so")
t.show(type(rt), rc)
t.show(rt:echo("hello"))
t.show(rt:consume("hello again"))
t.show(rt:number("this name too"))
t.show(rt:call("and this"))
t.show(rt("the object itself"))
--- response_body
table
true | hello
true | hello again
true | this name too
true | and this
true | the object itself



=== TEST 2: binary requests and answers of all sizes
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
for _, size in ipairs { 1, 2, 4095, 4096, 65537, 16 * 1024 * 1024 } do
  local text = ("\0\255x"):rep(math.ceil(size / 3)):sub(1, size)
  local ok, res = rt:echo(text)
  if not ok or res ~= text then
    ngx.say(size, ": ", tostring(res):sub(1, 50))
  end
end
local ok, res = rt:f("binary")
t.show(ok, #res, res == "a\0b")
--- response_body
true | 3 | true



=== TEST 3: rsp_len 0 with an rsp is a C string, an empty one too; rsp NULL is nil
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("cstring"))
local ok, res = rt:f("empty")
t.show(ok, res == "")
ngx.say(tostring((rt:f("null"))), " ", tostring(select(2, rt:f("null"))))
--- response_body
true | a C string
true | true
true nil



=== TEST 4: a request of no bytes is one, with a NUL behind it; none at all is NULL
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
local ok, res = rt:f("")
t.show(ok, res == "")
t.show(rt:f())
t.show(rt:f(nil))
--- response_body
true | true
true | no request
true | no request



=== TEST 5: get_req: the length, also not asked for; a NUL behind it; nothing once answered
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("probe"))
t.show(rt:f("probe" .. ("\0x"):rep(100)))
t.show(rt:f("still alive?"))
--- response_body
true | len 5, same 1, NUL 0
true | len 205, same 1, NUL 0
true | still alive?
--- error_log
get_req() for task
--- no_error_log
[crit]
[alert]



=== TEST 6: an rc is an error: false, the rc, and the message or nil
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("rc 7 out of paper"))
t.show(rt:f("rc -3 below zero"))
local ok, rc, err = rt:f("rc 9")
t.show(ok, rc, err == nil)
ok, rc, err = rt:f("rc 9 ")
t.show(ok, rc, err == "")
--- response_body
false | 7 | out of paper
false | -3 | below zero
false | 9 | true
false | 9 | true



=== TEST 7: an answer's length above INT_MAX, which comes as a negative one, is refused
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
local ok, rc, err = rt:f("length 0")
t.show(ok, rc, err)
ok, rc, err = rt:f("length 5")
t.show(ok, rc, err)
t.show(rt:f("alive"))
--- response_body
false | -1 | answer refused: its length came as -2147483648; up to 2147483647 bytes fit this ABI
false | 5 | answer refused: its length came as -2147483648; up to 2147483647 bytes fit this ABI
true | alive



=== TEST 8: an answer from another thread; many at once
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("later 20"))
local threads = {}
for i = 1, 100 do
  threads[i] = ngx.thread.spawn(function()
    if i % 10 == 0 then
      return select(2, rt:f("later " .. i % 7))
    end
    return select(2, rt:f("number " .. i))
  end)
end
local right = 0
for i = 1, 100 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == (i % 10 == 0 and "from another thread" or "number " .. i) and 1 or 0)
end
t.show(right)
--- response_body
true | from another thread
100



=== TEST 9: any number of threads poll
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "threads 8"))
t.wait(2000, function() return select(2, rt:f("pollers")) == "8" end)
t.show(rt:f("pollers"))
local threads, seen, count = {}, {}, 0
ngx.update_time()
local from = ngx.now()
for i = 1, 8 do
  threads[i] = ngx.thread.spawn(function() return rt:f("sleep 200") end)
end
for i = 1, 8 do
  ngx.thread.wait(threads[i])
end
ngx.update_time()
-- One thread alone would take 1.6 s.
t.show(ngx.now() - from < 1.4)
--- response_body
true | 8
true



=== TEST 10: a second answer to one task is harmless, also with the same block
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
for _ = 1, 50 do
  local ok, res = rt:f("twice")
  if not ok or res ~= "once" then
    ngx.say(tostring(res))
  end
end
t.show(rt:f("alive"))
--- response_body
true | alive
--- error_log
respond() for task
--- no_error_log
[crit]
[alert]



=== TEST 11: pointers that are no tasks and no queues
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("garbage"))
t.show(rt:f("bad_queue"))
t.show(rt:f("alive"))
--- response_body
true | no request of garbage
true | NULL
true | alive
--- error_log
which has ended already or never was
--- no_error_log
[crit]
[alert]



=== TEST 12: neither handle looks like an address, whatever its age
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
-- Past the 50 000th use of a slot a bare handle looks like a page of Go's heap.
for _ = 1, 60000 do
  local ok, res = rt:f("handle")
  if res ~= "1 1" then
    return t.show(ok, res)
  end
end
t.show(rt:f("handle"))
--- response_body
true | 1 1
--- timeout: 20



=== TEST 13: numbers are what Lua prints; what is no request is said so
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f(5))
t.show(rt:f({}))
t.show(rt:f(true))
--- response_body
true | 5
false | bad request: string expected, got table
false | bad request: string expected, got boolean



=== TEST 14: threads of the library do not get nginx's signals
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c"))
t.show(rt:f("masked"))
-- Nor does the event loop lose them.
local status = io.open("/proc/self/status"):read("*a")
t.show(status:match("SigBlk:%s*(%x+)"))
--- response_body
true | 3
0000000000000000
