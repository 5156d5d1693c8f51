# Errors are values: nil and one of the documented words; a runtime's own error has a status.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: a runtime's own error: its message and its status
--- lua
t.show(nffi.call("fixture", "fail 7 the disk is full"))
t.show(nffi.call("fixture", "fail -3 below zero"))
t.show(nffi.call("fixture", "fail 2147483647 high"))
--- response_body
nil | the disk is full | 7
nil | below zero | -3
nil | high | 2147483647



=== TEST 2: a runtime's own error without a message is still an error
--- lua
for _, req in ipairs { "fail 5 ", "end 5" } do
  local res, err, status = nffi.call("fixture", req)
  t.show(res, type(err), status)
end
--- response_body
nil | string | 5
nil | string | 5



=== TEST 3: no such runtime
--- lua
t.show(nffi.call("nobody", "echo x"))
t.show(nffi.get("nobody"))
t.show(nffi.call("", "echo x"))
--- response_body
nil | no such runtime
nil | no such runtime
nil | no such runtime



=== TEST 4: a request that is no string is refused, and nothing is posted
--- lua
local before = t.info("calls")
t.show(nffi.call("fixture"))
t.show(nffi.call("fixture", nil))
t.show(nffi.call("fixture", true))
t.show(nffi.call("fixture", {}))
t.show(nffi.call("fixture", print))
local rt = nffi.get("fixture")
t.show(rt:call())
t.show(rt:call({}))
t.show(rt:cast())
t.show(rt:cast({}))
t.show(t.info("calls") - before, t.info("casts"))
--- response_body
nil | bad request: string expected, got nil
nil | bad request: string expected, got nil
nil | bad request: string expected, got boolean
nil | bad request: string expected, got table
nil | bad request: string expected, got function
nil | bad request: string expected, got nil
nil | bad request: string expected, got table
nil | bad request: string expected, got nil
nil | bad request: string expected, got table
0 | 0



=== TEST 5: nffi's own errors have no status
--- lua
local _, err, status = nffi.call("fixture", "sleep 300", { timeout = 20 })
t.show(err, tostring(status))
local _, err, status = nffi.call("nobody", "")
t.show(err, tostring(status))
--- response_body
timeout | nil
no such runtime | nil



=== TEST 6: a misspelt method is a Lua error, not a request
--- lua
local rt = nffi.get("fixture")
local before = t.info("calls")
t.show((pcall(function() return rt:kall("echo x") end)))
t.show((pcall(function() return nffi.kall("echo x") end)))
t.show(t.info("calls") - before)
--- response_body
false
false
0
