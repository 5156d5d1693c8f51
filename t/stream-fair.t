# A stream whose next piece is always there leaves the others their turn, and does not keep what it has handed out.
use NFFI 'no_plan';

our $two = join "\n", map { "nffi_runtime $_ $ENV{TEST_NGINX_FIXTURES}/libfixture.so {}" } qw(fixture other);

run_tests();

__DATA__

=== TEST 1: others run while pieces are taken that are all there already
--- runtimes eval: $::two
--- lua
local ticker = t.ticker("other")
local s = assert(nffi.get("fixture"):open("flood 7000 8192"))
ngx.sleep(0.5) -- they are
local before, bytes = ticker.turns, 0
while true do
  local piece, err = s:receive()
  if not piece then
    t.show(err)
    break
  end
  bytes = bytes + #piece
end
local turns = ticker.stop() - before
t.show(bytes)
t.show(turns >= 3 or turns) -- it would be the one that was under way
--- response_body
closed
57344000
true



=== TEST 2: and while pieces are sent that are taken at once
--- runtimes eval: $::two
--- lua
local ticker = t.ticker("other")
local s = assert(nffi.get("fixture"):open("readcount"))
local piece = ("x"):rep(1000)
for _ = 1, 40000 do
  assert(s:send(piece))
end
assert(s:shutdown("send"))
local answer = s:receive()
local turns = ticker.stop()
t.show(turns >= 3 or turns)
t.show(answer and answer:match("40000000") or answer)
--- response_body
true
40000000
