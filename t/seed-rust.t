# A Rust library of lua-resty-ffi's ABI, as it is.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(seed_rust);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: requests and errors, by a pool of threads
--- lua
require "resty_ffi"
local text = assert(ngx.load_ffi("seed_rust", "8"))
t.show(text:words("words one two three"))
t.show(text:upper("upper straße"))
t.show(text:upper("upper "))
t.show(text:sum("sum 1 2 39"))
t.show(text:sum("sum 1 two"))
t.show(text:other("what"))
t.show(text:none())
local threads = {}
for i = 1, 500 do
  threads[i] = ngx.thread.spawn(function() return select(2, text:sum("sum " .. i .. " " .. i)) end)
end
local right = 0
for i = 1, 500 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == tostring(2 * i) and 1 or 0)
end
t.show(right)
--- response_body
true | 3
true | STRASSE
true | 
true | 42
false | 1 | invalid digit found in string
false | 1 | unknown: what
false | 1 | unknown: 
500



=== TEST 2: a configuration it does not like
--- lua
require "resty_ffi"
t.show(ngx.load_ffi("seed_rust", "many"))
t.show(ngx.load_ffi("seed_rust", "65"))
t.show((assert(ngx.load_ffi("seed_rust")):sum("sum 1 1")))
--- response_body
nil | 1
nil | 1
true
--- no_error_log
[crit]
[alert]



=== TEST 3: hot reload, with `unpin`
--- lua
require "resty_ffi"
local function mapped()
  return io.open("/proc/self/maps"):read("*a"):find("libseed_rust", 1, true) ~= nil
end
for i = 1, 10 do
  local text = assert(ngx.load_ffi("seed_rust", "1", { unpin = true }))
  t.show(text:sum("sum 1 " .. i))
  text:__unload()
  t.wait(3000, function() return not mapped() end)
  t.show(mapped())
end
--- response_body eval
CORE::join '', map { "true | " . (1 + $_) . "\nfalse\n" } 1 .. 10
