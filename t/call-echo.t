# A call brings back what the runtime answered, byte for byte.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: a declared runtime, by name
--- lua
t.show(nffi.call("fixture", "echo hello"))
--- response_body
hello



=== TEST 2: a declared runtime, as an object
--- lua
local rt = nffi.get("fixture")
t.show(rt:call("echo hello"))
t.show(rt:call("echo again"))
--- response_body
hello
again



=== TEST 3: a request of 0 bytes, an answer of 0 bytes, an answer without data
--- lua
for _, req in ipairs { "", "echo", "echo ", "null", "end", "end 0" } do
  local res, err, status = nffi.call("fixture", req)
  ngx.say(type(res), " ", res and #res, " ", err, " ", status)
end
--- response_body_like chomp
\A(?:string 0 nil (?:nil|0)\n){6}\z



=== TEST 4: every byte there is
--- lua
local all = {}
for i = 0, 255 do
  all[#all + 1] = string.char(i)
end
all = table.concat(all)
all = all .. all:reverse()
local res = nffi.call("fixture", "echo " .. all)
t.show(res == all)
--- response_body
true



=== TEST 5: sizes around the edges, up to 16 MiB
--- lua
for _, n in ipairs { 1, 15, 16, 17, 4091, 4096, 65531, 65536, 1048576, 16777216 } do
  local data = ("\0\1\255x"):rep(math.ceil(n / 4)):sub(1, n)
  local res, err = nffi.call("fixture", "echo " .. data, { timeout = 10000 })
  if res ~= data then
    ngx.say(n, ": ", err or "differs")
  end
end
t.show("done")
--- timeout: 20
--- response_body
done



=== TEST 6: a request is copied: what Lua does with the string later does not matter
--- lua
local threads = {}
for i = 1, 50 do
  threads[i] = ngx.thread.spawn(function()
    local req = "sleep 20 " .. ("x"):rep(1000) .. i
    local res = nffi.call("fixture", req)
    return res == ("x"):rep(1000) .. i
  end)
end
collectgarbage()
collectgarbage()
local right = 0
for i = 1, 50 do
  local _, ok = ngx.thread.wait(threads[i])
  right = right + (ok and 1 or 0)
end
t.show(right)
t.show(t.report("data_changed"), t.report("violations"))
--- response_body
50
0 | 0



=== TEST 7: a thousand calls in one request
--- lua
local rt = nffi.get("fixture")
for i = 1, 1000 do
  local res, err = rt:call("echo " .. i)
  if res ~= tostring(i) then
    return t.show(i, res, err)
  end
end
t.show("done", t.idle())
--- timeout: 20
--- response_body
done | idle



=== TEST 8: the runtime runs on a thread of its own
--- lua
t.show(nffi.call("fixture", "thread"))
--- response_body
foreign



=== TEST 9: answers come back to their own callers, whatever their order
--- lua
local threads = {}
for i = 1, 40 do
  threads[i] = ngx.thread.spawn(function()
    return nffi.call("fixture", "sleep " .. (41 - i) * 3 .. " " .. i)
  end)
end
local right = 0
for i = 1, 40 do
  local _, res = ngx.thread.wait(threads[i])
  right = right + (res == tostring(i) and 1 or 0)
end
t.show(right)
--- response_body
40
