# rt:open: pieces in both directions.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: send, receive, in turn; shutdown, then "closed"
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
for i = 1, 3 do
  t.show(s:send("piece " .. i))
  t.show(s:receive())
end
t.show(s:shutdown("send"))
t.show(s:receive())
s:close()
t.show(t.idle())
--- response_body
true
piece 1
true
piece 2
true
piece 3
true
nil | closed
idle



=== TEST 2: all sent, then all received
--- lua
local s = assert(nffi.get("fixture"):open("readcount"))
for i = 1, 50 do
  assert(s:send(("x"):rep(i)))
end
s:shutdown("send")
t.show(s:receive())
t.show(s:receive())
t.show(t.idle())
--- response_body
50 pieces, 1275 bytes
nil | closed
idle



=== TEST 3: flags: pieces follow, pieces are wanted
--- lua
local s = assert(nffi.get("fixture"):open("flags"))
t.show(s:receive())
s:close()
t.show(t.idle())
--- response_body
3
idle



=== TEST 4: binary pieces, and pieces of 0 bytes
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
for _, piece in ipairs { "", "\0", "\0\255\0", ("\1\0"):rep(50000) } do
  assert(s:send(piece))
  local got = s:receive()
  t.show(got == piece)
end
s:shutdown("send")
t.show(s:receive())
--- response_body
true
true
true
true
nil | closed



=== TEST 5: receive has a timeout of its own; the stream lives on
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
t.show(s:receive({ timeout = 30 }))
t.show(s:send("late"))
t.show(s:receive({ timeout = 1000 }))
t.show(s:receive({ timeout = 0 }))
s:shutdown("send")
t.show(s:receive())
t.show(t.idle())
--- response_body
nil | timeout
true
late
nil | bad timeout
nil | closed
idle



=== TEST 6: a reader that does not read: send waits, and goes on when there is room
--- lua
local rt = nffi.get("fixture")
local s = assert(rt:open("readcount"))
for i = 1, 300 do
  local ok, err = s:send(("x"):rep(65536))
  if not ok then
    return t.show(i, err)
  end
end
s:shutdown("send")
t.show(s:receive())
t.show(t.idle())
--- timeout: 20
--- response_body
300 pieces, 19660800 bytes
idle



=== TEST 7: nobody reads at all: send times out instead of eating memory
--- lua
local rt = nffi.get("fixture")
local s = assert(rt:open("never", { timeout = 300 }))
local sent, err = 0, nil
for i = 1, 5000 do
  local ok
  ok, err = s:send(("x"):rep(65536))
  if not ok then
    break
  end
  sent = i
end
t.show(sent < 5000, err)
s:close()
t.show(nffi.call("fixture", "release_all"))
t.show(t.idle())
--- timeout: 10
--- response_body
true | timeout
1
idle



=== TEST 8: the runtime ends early: send says so, receive gives what came and the error
--- lua
local s = assert(nffi.get("fixture"):open("fail 8 enough of that"))
t.wait(5000, function() return t.info("in_flight") == 0 end)
local ok, err = s:send("more")
t.show(ok, type(err))
t.show(s:receive())
t.show(t.idle())
--- response_body
nil | string
nil | enough of that | 8
idle



=== TEST 9: after shutdown and after close
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
t.show(s:shutdown("send"))
t.show(s:send("x"))
t.show(s:receive())
t.show(s:receive())
s:close()
t.show(s:send("x"))
t.show(s:receive())
s:close()
t.show(t.idle())
--- response_body
true
nil | closed
nil | closed
nil | closed
nil | closed
nil | closed
idle



=== TEST 10: a piece that is no string; a piece past max_request
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_request 100; }
--- lua
local s = assert(nffi.get("fixture"):open("readcount"))
t.show(s:send(nil))
t.show(s:send({}))
t.show(s:send(("x"):rep(101)))
t.show(s:send("fine"))
s:shutdown("send")
t.show(s:receive())
--- response_body
nil | bad request: string expected, got nil
nil | bad request: string expected, got table
nil | request too large
true
1 pieces, 4 bytes



=== TEST 11: one thread sends, another receives
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
local receiver = ngx.thread.spawn(function()
  local n, bytes = 0, 0
  while true do
    local piece, err = s:receive()
    if not piece then
      return n, bytes, err
    end
    n, bytes = n + 1, bytes + #piece
  end
end)
for i = 1, 200 do
  assert(s:send(("y"):rep(20000)))
end
s:shutdown("send")
local _, n, bytes, err = ngx.thread.wait(receiver)
t.show(n, bytes, err)
t.show(t.idle())
--- timeout: 20
--- response_body
200 | 4000000 | closed
idle



=== TEST 12: a plain call to a runtime that reads pieces: there are none
--- lua
t.show(nffi.call("fixture", "readcount"))
t.show(t.idle())
--- response_body
0 pieces, 0 bytes
idle



=== TEST 13: one side of a stream has one waiter: a second one is told
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
local first = ngx.thread.spawn(s.receive, s)
t.show(select(2, s:receive()):match("^busy: "))
assert(s:send("for the first"))
t.show(select(2, ngx.thread.wait(first)))
s:shutdown("send")
t.show(s:receive())
t.show(t.idle())
--- response_body
busy: 
for the first
nil | closed
idle



=== TEST 14: close wakes whoever waits, on either side
--- lua
local rt = nffi.get("fixture")
local s = assert(rt:open("readall"))
local receiver = ngx.thread.spawn(s.receive, s)
ngx.sleep(0.01)
s:close()
t.show(select(2, ngx.thread.wait(receiver)))

local s = assert(rt:open("never"))
local sender = ngx.thread.spawn(function()
  while true do
    local ok, err = s:send(("x"):rep(65536))
    if not ok then
      return ok, err
    end
  end
end)
ngx.sleep(0.01)
s:close()
t.show(select(2, ngx.thread.wait(sender)))
nffi.call("fixture", "release_all")
t.show(t.idle())
--- response_body
nil | closed
nil | closed
idle



=== TEST 15: threads that wait on a stream are killed: the stream lives on for others
--- lua
local s = assert(nffi.get("fixture"):open("readall"))
for _ = 1, 20 do
  local th = ngx.thread.spawn(s.receive, s)
  ngx.sleep(0.001)
  ngx.thread.kill(th)
end
assert(s:send("after all"))
t.show(s:receive())
s:shutdown("send")
t.show(s:receive())
t.show(t.idle())
--- response_body
after all
nil | closed
idle
