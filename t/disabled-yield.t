# Where a C function stands between the coroutine and the call, no yield is possible: an error, and nothing is
# posted. Without the look ahead (lua_isyieldable) the wait would be made and never yielded, and ngx_lua's semaphore
# queue would be corrupt.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: gsub, sort, load's reader: refused, nothing posted, and the next call works
--- lua
local word = "API disabled here: no yield across a C call boundary"
local before = t.info("calls")
local said = {}
local function try(where)
  local res, err, status = nffi.call("fixture", "echo x")
  said[where] = res == nil and err == word and status == nil and "refused" or tostring(err)
end
string.gsub("a", ".", function() try("gsub") end)
table.sort({ 2, 1 }, function(a, b) try("sort") return a < b end)
load(function() try("reader") return nil end)
for where, what in pairs(said) do
  if what ~= "refused" then
    t.show(where, what)
  end
end
t.show(said.gsub, said.sort, t.info("calls") - before)
t.show(nffi.call("fixture", "sleep 5 works"))
t.show(t.idle())
--- response_body
refused | refused | 0
works
idle



=== TEST 2: require: a module that calls while it is loaded
--- user_files
>>> calls_on_load.lua
local res, err = require("resty.nffi").call("fixture", "echo x")
return { res = res, err = err }
--- lua
package.path = "$TEST_NGINX_HTML_DIR/?.lua;" .. package.path
package.loaded.calls_on_load = nil
local before = t.info("calls")
local m = require "calls_on_load"
t.show(m.res, m.err, t.info("calls") - before)
t.show(nffi.call("fixture", "sleep 5 works"))
--- response_body
nil | API disabled here: no yield across a C call boundary | 0
works



=== TEST 3: metamethods: an answer where the VM can yield, else the error; never anything else
--- lua
local word = "API disabled here: no yield across a C call boundary"
local mt = {}
local function call()
  local res, err = nffi.call("fixture", "sleep 2 x")
  if res == "x" or (res == nil and err == word) then
    return "sound"
  end
  return tostring(err)
end
for _, event in ipairs { "__index", "__add", "__concat", "__call", "__unm", "__tostring", "__eq", "__lt", "__len" } do
  mt[event] = call
end
local o, p = setmetatable({}, mt), setmetatable({}, mt)
t.show(o.x, o + 1, o .. "", o(), -o, tostring(o))
local _ = o == p
_ = o < p
t.show(nffi.call("fixture", "sleep 5 works"))
t.show(t.idle())
--- response_body
sound | sound | sound | sound | sound | sound
works
idle



=== TEST 4: a hundred refused calls, then a hundred that wait, in one coroutine
--- lua
for _ = 1, 100 do
  string.gsub("a", ".", function() nffi.call("fixture", "echo x") end)
end
local right = 0
for i = 1, 100 do
  right = right + (nffi.call("fixture", "sleep 1 " .. i) == tostring(i) and 1 or 0)
end
t.show(right, t.idle())
--- response_body
100 | idle



=== TEST 5: a refused call beside threads that wait
--- lua
local threads = {}
for i = 1, 20 do
  threads[i] = ngx.thread.spawn(function()
    string.gsub("a", ".", function() nffi.call("fixture", "echo x") end)
    local res = nffi.call("fixture", "sleep " .. i .. " " .. i)
    string.gsub("a", ".", function() nffi.call("fixture", "echo x") end)
    return res
  end)
end
local right = 0
for i = 1, 20 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == tostring(i) and 1 or 0)
end
t.show(right)
--- response_body
20



=== TEST 6: streams are refused there too
--- lua
local word = "API disabled here: no yield across a C call boundary"
local rt = nffi.get("fixture")
local seen
string.gsub("a", ".", function()
  for part, err in rt:stream("write 3 3") do
    seen = { part, err }
  end
end)
t.show(seen and seen[1], seen and seen[2] == word)
t.show(t.idle())
--- response_body
false | true
idle
