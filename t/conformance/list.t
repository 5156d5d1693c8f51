# What every language does, through Lua, in an nginx. One list; scripts/test.d/conformance runs it for each line
# of t/conformance/languages, with these in the environment:
#
#   NFFI_LIBRARY   the library
#   NFFI_OPTIONS   a file with the options of its nffi_runtime block
#   NFFI_CONFIG    the same options as JSON, with a greeting, for nffi.load
#
# What the handlers of t/conformance/*/ do with a request is in t/conformance/README.md.
use NFFI 'no_plan';

$ENV{TEST_NGINX_LIBRARY} = $ENV{NFFI_LIBRARY} or die "NFFI_LIBRARY is not set: run scripts/test conformance";
$ENV{TEST_NGINX_OPTIONS} = $ENV{NFFI_OPTIONS};
# As a Lua string.
$ENV{TEST_NGINX_CONFIG} = "[=[$ENV{NFFI_CONFIG}]=]";

our $language = "nffi_runtime lang $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; timeout 30s; }";

add_block_preprocessor(sub { $_[0]->set_value('timeout', 40) });

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: echo, from 0 bytes to 16 MiB, every byte
--- runtimes eval: $::language
--- lua
local all = {}
for i = 0, 255 do
  all[#all + 1] = string.char(i)
end
all = table.concat(all)
for _, size in ipairs { 0, 1, 255, 256, 4095, 4096, 65536, 1048576, 16777216 } do
  local req = all:rep(math.ceil(size / 256)):sub(1, size)
  local res, err = nffi.call("lang", req)
  t.show(size, res == req or err or "other bytes")
end
--- response_body
0 | true
1 | true
255 | true
256 | true
4095 | true
4096 | true
65536 | true
1048576 | true
16777216 | true



=== TEST 2: an error with a status and a message, and an ordinary one
--- runtimes eval: $::language
--- lua
t.show(nffi.call("lang", "!fail 7 the disk is full"))
t.show(nffi.call("lang", "!fail -3 below zero"))
t.show(nffi.call("lang", "!error no such page"))
--- response_body
nil | the disk is full | 7
nil | below zero | -3
nil | no such page | 1



=== TEST 3: a thousand calls at once
--- runtimes eval: $::language
--- lua
local threads = {}
for i = 1, 1000 do
  threads[i] = ngx.thread.spawn(nffi.call, "lang", "call " .. i)
end
local right = 0
for i = 1, 1000 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == "call " .. i and 1 or 0)
end
t.show(right)
t.show(t.idle("lang"))
--- response_body
1000
idle



=== TEST 4: a timeout, then the late answer, which is nobody's
--- runtimes eval: $::language
--- lua
assert(nffi.call("lang", "warm"))
t.show(nffi.call("lang", "!sleep 300", { timeout = 50 }))
t.show(nffi.call("lang", "the next"))
t.show(t.wait(5000, function() return t.info("in_flight", "lang") == 0 end))
t.show(nffi.call("lang", "and the next"))
t.show(t.info("bad_answers", "lang"))
--- response_body
nil | timeout
the next
true
and the next
0



=== TEST 5: the handler sees CANCEL
--- runtimes eval: $::language
--- lua
local before = assert(tonumber((nffi.call("lang", "!cancelled"))))
t.show(nffi.call("lang", "!sleep 20000", { timeout = 100 }))
t.show(t.wait(5000, function() return tonumber((nffi.call("lang", "!cancelled"))) == before + 1 end))
t.show(t.wait(5000, function() return t.info("in_flight", "lang") == 0 end))
--- response_body
nil | timeout
true
true



=== TEST 6: a panic, or an exception that nobody expects: an error answer, a line in the log, and life goes on
--- runtimes eval: $::language
--- lua
local res, err, status = nffi.call("lang", "!throw kaboom")
t.show(res, status, err:find("kaboom", 1, true) ~= nil or err)
t.show(nffi.call("lang", "alive"))
--- response_body
nil | 1 | true
alive
--- error_log eval
qr/\[error\] .*nffi runtime "lang": .*kaboom/
--- no_error_log
[alert]



=== TEST 7: log lines, each at its level, with the request's connection
--- runtimes eval: $::language
--- lua
for _, level in ipairs { "debug", "info", "warn", "error" } do
  t.show(nffi.call("lang", "!log " .. level .. " this is " .. level .. " of conn " .. ngx.var.connection))
end
t.show(t.idle("lang"))
--- response_body
logged
logged
logged
logged
idle
--- error_log eval
[
    qr/\[info\] .*\*(\d+) nffi runtime "lang": .*this is info of conn \1/,
    qr/\[warn\] .*\*(\d+) nffi runtime "lang": .*this is warn of conn \1/,
    qr/\[error\] .*\*(\d+) nffi runtime "lang": .*this is error of conn \1/,
]
--- no_error_log
this is debug
[alert]



=== TEST 8: init fails, with its own words
--- runtimes eval
"nffi_runtime lang $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; init_fail 'no such luck today'; }"
--- lua
local res, err, status = nffi.call("lang", "x")
t.show(res, err:find("^runtime failed: .*no such luck today") ~= nil or err, status)
--- response_body
nil | true
--- no_error_log
[alert]



=== TEST 9: a slow init: calls wait inside their timeouts, and nginx is not held up
--- runtimes eval
"nffi_runtime lang $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; init_sleep 1000; }"
--- lua
local begin = ngx.now()
ngx.sleep(0.01)
ngx.update_time()
t.show(ngx.now() - begin < 0.5)
if t.info("state", "lang") == "starting" then
  t.show(nffi.call("lang", "too early", { timeout = 20 }))
else
  t.show(nil, "timeout") -- the second round: it is ready
end
t.show(nffi.call("lang", "in time", { timeout = 20000 }))
--- response_body
true
nil | timeout
in time



=== TEST 10: two configurations are two runtimes
--- runtimes eval
"nffi_runtime lang $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; greeting hello; }
 nffi_runtime other $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; greeting 'good day'; }"
--- lua
t.show(nffi.call("lang", "!greeting"))
t.show(nffi.call("other", "!greeting"))
t.show(nffi.call("lang", "!greeting"))
--- response_body
hello
good day
hello



=== TEST 11: loaded from Lua, unloaded, and loaded again
--- runtimes
--- lua
for i = 1, 3 do
  local rt, err = nffi.load("$TEST_NGINX_LIBRARY", $TEST_NGINX_CONFIG, { timeout = 20000 })
  if not rt then
    return t.show("not loaded", err)
  end
  local threads = {}
  for n = 1, 20 do
    threads[n] = ngx.thread.spawn(rt.call, rt, "round " .. i .. " call " .. n)
  end
  t.show(rt:unload())
  local right = 0
  for n = 1, 20 do
    local _, res = ngx.thread.wait(threads[n])
    right = right + (res == "round " .. i .. " call " .. n and 1 or 0)
  end
  t.show(right, rt:call("x"))
end
--- response_body
true
20 | nil | unloaded
true
20 | nil | unloaded
true
20 | nil | unloaded



=== TEST 12: environment and working directory
--- runtimes eval
"nffi_runtime lang $ENV{NFFI_LIBRARY} { include $ENV{NFFI_OPTIONS}; env NFFI_CONFORMANCE 'a value'; working_directory /proc; }"
--- lua
t.show(nffi.call("lang", "!env NFFI_CONFORMANCE"))
t.show(nffi.call("lang", "!env NFFI_NOT_THERE"))
t.show(nffi.call("lang", "!cwd"))
--- response_body
a value
nil | no NFFI_NOT_THERE | 1
/proc



=== TEST 13: a child's output and exit code
--- runtimes eval: $::language
--- lua
for i = 1, 20 do
  local res, err = nffi.call("lang", "!run echo child " .. i .. "; exit " .. i)
  if res ~= i .. " child " .. i .. "\n" then
    return t.show(i, res, err)
  end
end
t.show("right")
local f = io.popen("echo from Lua")
t.show(f:read("*l"), f:close())
t.show(os.execute("exit 0") == 0 or os.execute("exit 0") == true)
--- response_body
right
from Lua | true
true



=== TEST 14: casts are done
--- runtimes eval: $::language
--- lua
local rt = nffi.get("lang")
for i = 1, 100 do
  assert(rt:cast("cast " .. i))
end
t.show(t.idle("lang"))
t.show(t.info("casts", "lang") % 100, t.info("answers", "lang") >= 100)
--- response_body
idle
0 | true
