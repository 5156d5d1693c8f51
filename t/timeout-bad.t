# A timeout is a number of milliseconds from 1 to 2^31-1; all else is "bad timeout", and nothing is posted.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: bad timeouts
--- lua
local before = t.info("calls")
for _, bad in ipairs { 0, -1, -0.5, 2^31, 2^31 - 0.5, 2^32 + 5, 2^53, 1e300, 1/0, -1/0, 0/0, "5", "x", true, {}, print } do
  local res, err, status = nffi.call("fixture", "echo x", { timeout = bad })
  if res ~= nil or err ~= "bad timeout" or status ~= nil then
    t.show(tostring(bad), res, err, status)
  end
end
t.show(t.info("calls") - before)
--- response_body
0



=== TEST 2: good timeouts
--- lua
for _, good in ipairs { 1000, 1000.5, 2^31 - 1, 86400000 } do
  t.show(nffi.call("fixture", "echo x", { timeout = good }))
end
t.show(nffi.call("fixture", "echo x", {}))
t.show(nffi.call("fixture", "echo x", { timeout = nil }))
--- response_body
x
x
x
x
x
x



=== TEST 3: a fraction is rounded up: 0.001 is one millisecond, not none
--- lua
local res, err = nffi.call("fixture", "sleep 200 x", { timeout = 0.001 })
t.show(res, err)
--- response_body
nil | timeout



=== TEST 4: streams refuse the same
--- lua
local rt = nffi.get("fixture")
for _, bad in ipairs { 0, -1, 2^31, 0/0, "5" } do
  local s, err = rt:open("echo x", { timeout = bad })
  if s ~= nil or err ~= "bad timeout" then
    t.show(tostring(bad), s, err)
  end
  for part, e in rt:stream("echo x", { timeout = bad }) do
    if part ~= false or e ~= "bad timeout" then
      t.show(tostring(bad), part, e)
    end
  end
end
t.show("done", t.idle())
--- response_body
done | idle
