# ngx.load_ffi and ngx.load_nonblocking_ffi: what is found, loaded and initialised, and how often.
use FindBin;
use lib "$FindBin::Bin/fixtures/seed";
use Seed qw(seed_nonblocking seed_global);
use NFFI 'no_plan';

$NFFI::fixture = '';
run_tests();

__DATA__

=== TEST 1: a path, a file's name, a short name: one runtime, initialised once
--- lua
require "resty_ffi"
local a = assert(ngx.load_ffi("$TEST_NGINX_SEED/libseed_c.so"))
local b = assert(ngx.load_ffi("libseed_c.so"))
local c = assert(ngx.load_ffi("seed_c"))
local d = assert(ngx.load_ffi("libseed_c"))
t.show(a:f("inits"), select(2, b:f("inits")), select(2, c:f("inits")), select(2, d:f("inits")))
t.show(a == ngx.load_ffi("$TEST_NGINX_SEED/libseed_c.so"), c == ngx.load_ffi("seed_c"))
local count = 0
for _, r in ipairs(nffi.runtimes()) do
  count = count + (r.name == "seed_c" and 1 or 0)
end
t.show(count)
--- response_body
true | 1 | 1 | 1
true | true
1



=== TEST 2: the same library with another configuration is another runtime; none is not an empty one
--- lua
require "resty_ffi"
local none, empty = assert(ngx.load_ffi("seed_c")), assert(ngx.load_ffi("seed_c", ""))
local a, b = assert(ngx.load_ffi("seed_c", "a")), assert(ngx.load_ffi("seed_c", "b"))
ngx.say(tostring(select(2, none:f("cfg"))), " ", select(2, empty:f("cfg")) == "" and "empty")
t.show(select(2, a:f("cfg")), select(2, b:f("cfg")))
-- Their threads are their own.
local threads = {}
for i, rt in ipairs { none, empty, a, b } do
  threads[select(2, rt:f("thread"))] = true
end
local count = 0
for _ in pairs(threads) do count = count + 1 end
t.show(count, a == ngx.load_ffi("seed_c", "a"), none ~= empty)
--- response_body
nil empty
a | b
4 | true | true



=== TEST 3: the configuration arrives whole, and is the library's to write to
--- lua
require "resty_ffi"
local cfg = "kafka?,init,{\"servers\":\"localhost:9092\"}" .. ("x"):rep(100000)
local rt = assert(ngx.load_ffi("seed_c", cfg))
t.show(select(2, rt:f("cfg")) == cfg)
t.show(rt == ngx.load_ffi("seed_c", cfg))
--- response_body
true
true



=== TEST 4: init says no: nil and its rc, and it is asked again
--- lua
require "resty_ffi"
t.show(ngx.load_ffi("seed_c", "fail 7"))
t.show(ngx.load_ffi("seed_c", "fail -1"))
local rt = assert(ngx.load_ffi("seed_c"))
local before = tonumber((select(2, rt:f("inits"))))
t.show(ngx.load_ffi("seed_c", "fail 7"))
t.show(tonumber((select(2, rt:f("inits")))) - before)
--- response_body
nil | 7
nil | -1
nil | 7
1
--- error_log
failed: libffi_init returned 7
--- no_error_log
[crit]
[alert]



=== TEST 5: the first generation: lib_nonblocking_ffi_init, its length, its functions
--- lua
require "resty_ffi"
local rt = assert(ngx.load_nonblocking_ffi("seed_nonblocking", "with\0NUL", 1024, false))
t.show(rt:echo("hello"))
t.show(select(2, rt:f("cfg")) == "with\0NUL")
t.show(rt:f("rc 7 out of paper"))
t.show(rt:f("probe"))
t.show(rt == ngx.load_nonblocking_ffi("seed_nonblocking", "with\0NUL"))
local plain = assert(ngx.load_nonblocking_ffi("$TEST_NGINX_SEED/libseed_nonblocking.so"))
t.show(select(2, plain:f("cfg")) == "", plain ~= rt)
t.show(ngx.load_nonblocking_ffi("seed_nonblocking", "fail 3"))
--- response_body
true | hello
true
false | 7 | out of paper
true | len 5, same 1, NUL 0
true
true | true
nil | 3
--- error_log
lib_nonblocking_ffi_init returned 3
--- no_error_log
[crit]
[alert]



=== TEST 6: what cannot be loaded, and why
--- lua
require "resty_ffi"
local function try(...)
  local rt, err = ngx.load_ffi(...)
  ngx.say(tostring(rt), " ", (tostring(err):gsub("; looked in .*", "; looked in ..."):gsub('"[^"]*/', '"DIR/')))
end
try("no_such")
try("./no_such.so")
try("seed_nonblocking")
t.show((select(2, ngx.load_nonblocking_ffi("seed_c", "")):gsub('"[^"]*/', '"DIR/')))
local _, err = ngx.load_ffi("$TEST_NGINX_T/seed-load.t")
t.show(err:sub(1, 13))
_, err = ngx.load_ffi("libc.so.6")
t.show(err:match("does not export libffi_init$"))
try("seed_c", "a\0b")
--- response_body
nil library "libno_such.so" not found; looked in ...
nil library "DIR/no_such.so" not found; looked in ...
nil library "DIR/libseed_nonblocking.so" does not export libffi_init; it exports lib_nonblocking_ffi_init: load it by ngx.load_nonblocking_ffi
library "DIR/libseed_c.so" does not export lib_nonblocking_ffi_init; it exports libffi_init: load it by ngx.load_ffi
cannot load: 
does not export libffi_init
nil bad configuration: a NUL byte in it; libffi_init takes a C string



=== TEST 7: arguments that are none
--- lua
require "resty_ffi"
t.show(ngx.load_ffi())
t.show(ngx.load_ffi(""))
t.show(ngx.load_ffi("seed_c", 5))
t.show(ngx.load_ffi("seed_c", nil, true))
t.show(ngx.load_ffi("seed_c", nil, { max_queu = 5 }))
t.show(ngx.load_ffi("seed_c", nil, { max_queue = "5" }))
t.show(ngx.load_ffi("seed_c", nil, { max_queue = 0 / 0 }))
t.show(ngx.load_ffi("seed_c", "q0", { max_queue = 0 }))
t.show(ngx.load_ffi("seed_c", nil, { is_global = 1 }))
t.show(ngx.load_ffi("seed_c", "t0", { timeout = 0 }))
t.show(ngx.load_nonblocking_ffi("seed_nonblocking", "", "many"))
--- response_body
nil | bad library: string expected, got nil
nil | bad library: its name is empty
nil | bad configuration: string expected, got number
nil | bad options: table expected, got boolean
nil | bad option: "max_queu" is not known
nil | bad option: "max_queue" is no number
nil | bad option: "max_queue" is no number
nil | bad option: "max_queue" is a number from 1 to 16777215
nil | bad option: "is_global" is no boolean
nil | bad option: "timeout" is a number from 1 to 2147483647
nil | bad option: "max_queue" is no number



=== TEST 8: is_global makes a library's symbols everybody's; without it they are its own
--- lua
require "resty_ffi"
local ffi = require "ffi"
pcall(ffi.cdef, "int seed_marker(void); int seed_marker_global(void);")
local function seen(name)
  return (pcall(function() return ffi.C[name] end))
end
assert(ngx.load_ffi("seed_c"))
t.show(seen("seed_marker"))
local global = assert(ngx.load_ffi("seed_global", nil, { is_global = true }))
t.show(seen("seed_marker_global"), global:f("x"))
--- response_body
false
true | true | x



=== TEST 9: in init_by_lua there is no worker to load it in
--- http_config
init_by_lua_block {
    require "resty_ffi"
    loaded, why = ngx.load_ffi("seed_c")
    _, older = ngx.load_nonblocking_ffi("seed_nonblocking", "")
}
--- lua
t.show(loaded, why)
t.show(older)
--- response_body
nil | API disabled in the context of init_by_lua*
API disabled in the context of init_by_lua*



=== TEST 10: in init_worker_by_lua it is loaded at once
--- http_config
init_worker_by_lua_block {
    require "resty_ffi"
    early = assert(ngx.load_ffi("seed_c", "early"))
}
--- lua
t.show(early:f("cfg"))
t.show(early == ngx.load_ffi("seed_c", "early"))
--- response_body
true | early
true



=== TEST 11: where there is no yield the library is loaded all the same, and a call says why it cannot be
--- http_config
init_worker_by_lua_block {
    require "resty_ffi"
    local rt = assert(ngx.load_ffi("seed_c"))
    in_init_worker = { rt:f("x") }
}
--- config
location = /t {
    set_by_lua_block $in_set {
        local rt = assert(ngx.load_ffi("seed_c"))
        local ok, err = rt:f("x")
        return tostring(ok) .. " " .. err
    }
    content_by_lua_block {
        local rt = assert(ngx.load_ffi("seed_c"))
        ngx.say(tostring(in_init_worker[1]), " ", in_init_worker[2])
        ngx.say(ngx.var.in_set)
        local ok, err
        string.gsub("x", "x", function() ok, err = rt:f("x") end)
        ngx.say(tostring(ok), " ", err)
        ngx.say(select(2, rt:f("and now")))
    }
}
--- response_body
false API disabled in the context of init_worker_by_lua*
false API disabled in the context of set_by_lua*
false API disabled here: no yield across a C call boundary
and now



=== TEST 12: every phase that can yield calls; light threads, coroutines and timers too
--- config
location = /t {
    rewrite_by_lua_block {
        require "resty_ffi"
        local _, res = assert(ngx.load_ffi("seed_c")):f("rewrite")
        ngx.ctx.said = res
    }
    access_by_lua_block {
        local _, res = assert(ngx.load_ffi("seed_c")):f("access")
        ngx.ctx.said = ngx.ctx.said .. " " .. res
    }
    content_by_lua_block {
        local rt = assert(ngx.load_ffi("seed_c"))
        local _, res = rt:f("content")
        ngx.say(ngx.ctx.said, " ", res)
        ngx.say(coroutine.wrap(function() return select(2, rt:f("coroutine")) end)())
        local timer
        ngx.timer.at(0, function() timer = select(2, rt:f("timer")) end)
        while not timer do ngx.sleep(0.005) end
        ngx.say(timer)
    }
}
--- response_body
rewrite access content
coroutine
timer



=== TEST 13: each request's VM of its own finds the one runtime
--- http_config
lua_code_cache off;
--- lua
require "resty_ffi"
local rt = assert(ngx.load_ffi("seed_c", "one for all"))
t.show(rt:f("inits"))
--- response_body
true | 1
--- no_error_log
[error]
