# The loader ffi_python3, with a Python library of lua-resty-ffi's ABI.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(ffi_python3 resty_ffi_python);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: requests, errors, a configuration, threads
--- lua
require "resty_ffi"
local function load(cfg)
  return ngx.load_ffi("ffi_python3", "$TEST_NGINX_T/fixtures/seed/python/seed_service,init" .. cfg, { is_global = true })
end
local service = assert(load(',{"threads": 4, "name": "a,b"}'))
t.show(service:sorted("sorted [3, 1, 2]"))
t.show(service:config("config"))
t.show(service:sqrt("sqrt 144"))
t.show(service:sqrt("sqrt -1"))
t.show(service:other("what"))
t.show(service:none())
local threads = {}
ngx.update_time()
local from = ngx.now()
for i = 1, 4 do
  threads[i] = ngx.thread.spawn(function() return service:sleep("sleep 300") end)
end
for i = 1, 4 do
  ngx.thread.wait(threads[i])
end
ngx.update_time()
t.show(ngx.now() - from < 1.1)
t.show(load(',{"rc": 9}'))
t.show((assert(load("")):sqrt("sqrt 4")))
--- response_body
true | [1, 2, 3]
true | {"name": "a,b", "threads": 4}
true | 12
false | 33 | isqrt() argument must be nonnegative
false | 33 | unknown: what
false | 33 | unknown: 
true
nil | 9
true
--- no_error_log
[crit]
[alert]
--- timeout: 20



=== TEST 2: `?` loads the module's code again, after an unload
--- lua
require "resty_ffi"
local function load(mark)
  local cfg = "$TEST_NGINX_T/fixtures/seed/python/seed_service" .. mark .. ",init,{\"reload\": 1}"
  return assert(ngx.load_ffi("ffi_python3", cfg, { is_global = true, unpin = true }))
end
local service = load("")
local _, before = service:loads("loads")
service:__unload()
service = load("")
local _, same = service:loads("loads")
service:__unload()
service = load("?")
local _, more = service:loads("loads")
service:__unload()
t.show(same - before, more - before)
t.show(service:loads("loads"))
--- response_body
0 | 1
false | unloaded
--- timeout: 20



=== TEST 3: by its other name; 2000 calls of 32 light threads
--- lua
require "resty_ffi"
local service = assert(ngx.load_ffi("resty_ffi_python", "$TEST_NGINX_T/fixtures/seed/python/seed_service,init,{\"x\":1}"))
local threads = {}
for i = 1, 32 do
  threads[i] = ngx.thread.spawn(function()
    local right = 0
    for j = 1, 63 do
      local _, res = service:sqrt("sqrt " .. (i * j) ^ 2)
      right = right + (res == tostring(i * j) and 1 or 0)
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
--- response_body
2016
--- timeout: 20



=== TEST 4: no such module, no such function
--- lua
require "resty_ffi"
t.show(type(select(2, ngx.load_ffi("ffi_python3", "no_such_module,init"))))
t.show(type(select(2, ngx.load_ffi("ffi_python3", "$TEST_NGINX_T/fixtures/seed/python/seed_service,no_such"))))
--- response_body
number
number
--- no_error_log
[alert]
--- timeout: 20
