# nffi.runtimes(): what there is, its state, its counters.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: every field of every runtime
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libfixture.so {}
nffi_runtime two $TEST_NGINX_FIXTURES/libother.so {}
--- lua
nffi.call("one", "echo")
nffi.call("two", "echo")
local types = { name = "string", library = "string", state = "string" }
for _, counter in ipairs { "queued", "in_flight", "abandoned", "calls", "casts", "answers", "errors", "timeouts",
                           "cancelled", "rejected", "dropped_logs" } do
  types[counter] = "number"
end
for _, r in ipairs(nffi.runtimes()) do
  for field, expected in pairs(types) do
    if type(r[field]) ~= expected then
      t.show(r.name, field, type(r[field]))
    end
  end
  t.show(r.name, r.library:match("[^/]+$"), r.state, r.error)
end
--- response_body
one | libfixture.so | ready
two | libother.so | ready



=== TEST 2: none at all
--- runtimes
--- lua
t.show(#nffi.runtimes())
--- response_body
0



=== TEST 3: counters count
--- lua
local function delta(what, run)
  local before = t.info()
  run()
  ngx.sleep(0.02)
  local after = t.info()
  local words = {}
  for field, n in pairs(after) do
    if type(n) == "number" and n ~= before[field] then
      words[#words + 1] = field .. " " .. n - before[field]
    end
  end
  table.sort(words)
  t.show(what .. ": " .. table.concat(words, ", "))
end
delta("call", function() nffi.call("fixture", "echo") end)
delta("cast", function() nffi.get("fixture"):cast("echo") end)
delta("error", function() nffi.call("fixture", "fail 3 x") end)
delta("timeout", function() nffi.call("fixture", "cancel_seen", { timeout = 10 }) ngx.sleep(0.25) end)
delta("kill", function()
  local th = ngx.thread.spawn(nffi.call, "fixture", "cancel_seen")
  ngx.sleep(0.01)
  ngx.thread.kill(th)
  ngx.sleep(0.25)
end)
delta("rejected", function() nffi.call("fixture", ("x"):rep(67108865)) end)
--- timeout: 10
--- response_body_like
\Acall: answers 1, calls 1
cast: answers 1, casts 1
error: answers 1, calls 1, errors 1
timeout: answers 1, calls 1, cancelled 1, timeouts 1
kill: answers 1, calls 1, cancelled 1
rejected: rejected 1



=== TEST 4: gauges: queued, in flight, abandoned
--- lua
local th = {}
th[1] = ngx.thread.spawn(nffi.call, "fixture", "stall 1000")
ngx.sleep(0.4)
for i = 2, 5 do
  th[i] = ngx.thread.spawn(nffi.call, "fixture", "sleep 100")
end
ngx.sleep(0.01)
local i = t.info()
t.show(i.queued, i.in_flight, i.abandoned)
for k = 1, 5 do
  ngx.thread.wait(th[k])
end
nffi.call("fixture", "sleep 1500", { timeout = 500 })
local i = t.info()
t.show(i.queued, i.in_flight, i.abandoned)
t.show(t.idle())
--- response_body_like
\A4 \| 5 \| 0
0 \| 1 \| 1
idle
