# The loader ffi_java, with a Java library of lua-resty-ffi's ABI.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(ffi_java);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: requests, errors, a configuration
--- main_config
env CLASSPATH;
--- lua
require "resty_ffi"
local digest = assert(ngx.load_ffi("ffi_java", "seed.Digest,init,4"))
t.show(digest:call("MD5 abc"))
t.show(digest:call("SHA-256 abc"))
t.show(digest:call("ROT13 abc"))
t.show(ngx.load_ffi("ffi_java", "seed.Digest,init,rc 9"))
local other = assert(ngx.load_ffi("ffi_java", "seed.Digest,init"))
t.show(other:call("MD5"))
--- response_body
true | 900150983cd24fb0d6963f7d28e17f72
true | ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
false | 44 | no algorithm ROT13
nil | 9
true | d41d8cd98f00b204e9800998ecf8427e
--- no_error_log
[crit]
[alert]
--- timeout: 20



=== TEST 2: 2000 calls of 32 light threads; unload, and again
--- main_config
env CLASSPATH;
--- lua
require "resty_ffi"
local digest = assert(ngx.load_ffi("ffi_java", "seed.Digest,init,3"))
local threads = {}
for i = 1, 32 do
  threads[i] = ngx.thread.spawn(function()
    local right = 0
    for j = 1, 63 do
      local _, res = digest:call("MD5 " .. i * j)
      right = right + (res == ngx.md5(i * j) and 1 or 0)
    end
    return right
  end)
end
local right = 0
for i = 1, 32 do
  local _, n = ngx.thread.wait(threads[i])
  right = right + n
end
t.show(right)
digest:__unload()
t.show(digest:call("MD5 abc"))
local again = assert(ngx.load_ffi("ffi_java", "seed.Digest,init,3"))
t.show(again:call("MD5 abc"))
again:__unload()
--- response_body
2016
false | unloaded
true | 900150983cd24fb0d6963f7d28e17f72
--- timeout: 20



=== TEST 3: no such class, no such method
--- main_config
env CLASSPATH;
--- lua
require "resty_ffi"
t.show(type(select(2, ngx.load_ffi("ffi_java", "seed.NoSuch,init"))))
t.show(type(select(2, ngx.load_ffi("ffi_java", "seed.Digest,noSuch"))))
--- response_body
number
number
--- no_error_log
[alert]
--- timeout: 20
