# What the collector runs in between: its finalizers may call us at any allocation.
use NFFI 'no_plan';

our $two = <<_EOC_;
nffi_runtime fixture $ENV{TEST_NGINX_FIXTURES}/libfixture.so { max_request 4; }
nffi_runtime failed $ENV{TEST_NGINX_FIXTURES}/libfixture.so { init_fail "@{['f' x 900]}"; }
_EOC_

run_tests();

__DATA__

=== TEST 1: a message is whole, whatever finalizers were told meanwhile (it may be theirs)
--- runtimes eval: $::two
--- lua
local rt, failed = nffi.get("fixture"), nffi.get("failed")
t.wait(2000, function() return t.info("state", "failed") == "failed" end)
local function bait()
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = function() failed:cast("x") end
end
local wrong, last = 0, nil
for _ = 1, 60000 do
  bait()
  local _, err = rt:cast("too long")
  if err ~= "request too large" and err ~= "runtime failed: " .. ("f"):rep(900) then
    wrong, last = wrong + 1, err
  end
end
t.show(wrong, last)
--- response_body
0
--- no_error_log
[alert]
--- timeout: 30



=== TEST 2: why a runtime failed is still there when a finalizer has unloaded it
--- lua
local wrong
for round = 1, 30 do
  for i = 1, 20 do
    local cfg = '{"init_fail":"' .. ("w"):rep(500) .. '","n":"' .. round .. "." .. i .. '"}'
    nffi.load("$TEST_NGINX_FIXTURES/libfixture.so", cfg)
  end
  for _, entry in ipairs(nffi.runtimes()) do
    if entry.error and entry.error ~= ("w"):rep(500) then
      wrong = entry.error
    end
  end
end
t.show(wrong)
--- response_body
nil
--- no_error_log
[alert]
--- timeout: 30



=== TEST 3: a dot in place of a colon calls nobody
--- lua
local rt = nffi.get("fixture")
t.show(rt.call("fixture", "echo x"))
t.show(rt.call({ number = -1 }, "echo x"))
t.show(rt.call({ number = 0.5 }, "echo x"))
t.show(rt.call({ number = 0 / 0 }, "echo x"))
t.show(rt.call({ number = "0" }, "echo x"))
t.show(rt:call("echo x"))
--- response_body
nil | bad runtime: call its methods with a colon, rt:call(...)
nil | bad runtime: call its methods with a colon, rt:call(...)
nil | bad runtime: call its methods with a colon, rt:call(...)
nil | bad runtime: call its methods with a colon, rt:call(...)
nil | bad runtime: call its methods with a colon, rt:call(...)
x
