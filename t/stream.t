# for part, err, status in rt:stream(req): the pieces in order, an error as one last round.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: pieces in order, then the end
--- lua
local rt = nffi.get("fixture")
for part, err in rt:stream("write 4 3") do
  t.show(part, err)
end
t.show(t.idle())
--- response_body
aaa
bbb
ccc
ddd
idle



=== TEST 2: one piece by reply, no piece at all, pieces and then a reply with the rest
--- lua
local rt = nffi.get("fixture")
for _, req in ipairs { "echo whole", "end 0", "null", "write_reply 2 rest", "write 0 0" } do
  local parts = {}
  for part, err in rt:stream(req) do
    parts[#parts + 1] = tostring(part) .. (err and "!" .. err or "")
  end
  t.show(#parts, table.concat(parts, ","))
end
t.show(t.idle())
--- response_body_like
\A1 \| whole
0 \|\s
0 \|\s
2 \| aa,rest
0 \|\s
idle



=== TEST 3: the runtime's error: the pieces before it, then one round with part == false
--- lua
local rt = nffi.get("fixture")
for part, err, status in rt:stream("write 2 2 9") do
  t.show(part, type(err) == "string" or err, status)
end
for part, err, status in rt:stream("fail 4 no such row") do
  t.show(part, err, status)
end
t.show(t.idle())
--- response_body
aa
bb
false | true | 9
false | no such row | 4
idle



=== TEST 4: a flag tells the runtime that pieces are wanted
--- lua
local rt = nffi.get("fixture")
for part in rt:stream("flags") do
  t.show(part)
end
--- response_body
2



=== TEST 5: a call to a runtime that writes pieces gets them as one
--- lua
t.show(nffi.call("fixture", "write 3 2"))
t.show(nffi.call("fixture", "write_reply 2 rest"))
local res, err, status = nffi.call("fixture", "write 3 2 6")
t.show(res, type(err), status)
t.show(t.idle())
--- response_body
aabbcc
aarest
nil | string | 6
idle



=== TEST 6: more than the window holds: FULL, WRITABLE, and nothing lost or swapped
--- lua
local rt = nffi.get("fixture")
local full = t.report("full")
local n, bytes, wrong = 0, 0, 0
for part, err in rt:stream("write 400 65536") do
  if not part then
    t.show(err)
  else
    if part ~= string.char(97 + n % 26):rep(65536) then
      wrong = wrong + 1
    end
    n, bytes = n + 1, bytes + #part
    if n % 50 == 0 then
      ngx.sleep(0.005)
    end
  end
end
t.show(n, bytes, wrong)
t.show(t.report("full") > full, t.report("writable") > 0)
t.show(t.report("bad"), t.report("violations"), t.idle())
--- timeout: 20
--- response_body
400 | 26214400 | 0
true | true
0 | 0 | idle



=== TEST 7: a runtime that is deaf to FULL loses nothing either
--- lua
local rt = nffi.get("fixture")
local n = 0
for part in rt:stream("flood 2000 1000") do
  if part == string.char(97 + n % 26):rep(1000) then
    n = n + 1
  end
end
t.show(n, t.idle())
--- timeout: 20
--- response_body
2000 | idle



=== TEST 8: pieces arrive while the runtime goes on: the first is not held back
--- lua
local rt = nffi.get("fixture")
local first, last
for part in rt:stream("drip 5 3 100") do
  ngx.update_time()
  last = ngx.now()
  first = first or last
end
-- Held back, they would come together.
t.show(last - first > 0.2 or last - first)
--- response_body
true



=== TEST 9: pieces of 0 bytes are pieces
--- lua
local rt = nffi.get("fixture")
local n = 0
for part in rt:stream("write 5 0") do
  n = n + (part == "" and 1 or 100)
end
t.show(n, t.idle())
--- response_body
5 | idle



=== TEST 10: the timeout of a stream: one round with "timeout", CANCEL to the runtime
--- lua
local rt = nffi.get("fixture")
local cancels = t.report("cancels")
for part, err, status in rt:stream("cancel_seen", { timeout = 50 }) do
  t.show(part, err, status)
end
t.show(t.wait(500, function() return t.report("cancels") == cancels + 1 end))
t.show(t.idle())
--- response_body
false | timeout
true
idle



=== TEST 11: no such request, bad request: one round with the error
--- lua
local rt = nffi.get("fixture")
for part, err in rt:stream() do
  t.show(part, err)
end
for part, err in rt:stream({}) do
  t.show(part, err)
end
t.show(t.idle())
--- response_body
false | bad request: string expected, got nil
false | bad request: string expected, got table
idle



=== TEST 12: several streams at once, in threads
--- lua
local rt = nffi.get("fixture")
local threads = {}
for i = 1, 20 do
  threads[i] = ngx.thread.spawn(function()
    local n = 0
    for part in rt:stream("write 30 5000") do
      if part ~= string.char(97 + n % 26):rep(5000) then
        return -1
      end
      n = n + 1
      ngx.sleep(0.001)
    end
    return n
  end)
end
local sum = 0
for i = 1, 20 do
  local _, n = ngx.thread.wait(threads[i])
  sum = sum + n
end
t.show(sum, t.report("bad"), t.idle())
--- timeout: 10
--- response_body
600 | 0 | idle
