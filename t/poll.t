# One queue, every way to poll it: single, batch, timed, epoll, many threads, batched replies.
use NFFI 'no_plan';

my @modes = (
    '',
    'batch 64;',
    'poll_timeout 5;',
    'poll_timeout 0;',
    'batch 64; poll_timeout 3; threads 4;',
    'poll_fd;',
    'poll_fd; batch 32;',
    'edge;',
    'edge; batch 32;',
    'threads 16;',
    'threads 16; batch 8;',
    'threads 4; poll_fd;',
    'threads 4; edge; batch 4;',
    'threads 4; edge; batch 64; many;',
    'batch 256; many;',
    'threads 16; batch 16; many;',
);

our $every = join '', map {
    "nffi_runtime mode$_ $ENV{TEST_NGINX_FIXTURES}/libfixture.so { $modes[$_] stop_timeout 1s; }\n"
} 0 .. $#modes;

run_tests();

__DATA__

=== TEST 1: calls in parallel and in turn, in every mode
--- runtimes eval: $::every
--- lua
for _, r in ipairs(nffi.runtimes()) do
  local threads, wrong = {}, 0
  for i = 1, 100 do
    threads[i] = ngx.thread.spawn(nffi.call, r.name, (i % 3 == 0 and "sleep 5 " or "echo ") .. i)
  end
  for i = 1, 100 do
    local _, res, err = ngx.thread.wait(threads[i])
    wrong = wrong + (res == tostring(i) and 0 or 1)
  end
  for i = 1, 30 do
    wrong = wrong + (nffi.call(r.name, "echo " .. i) == tostring(i) and 0 or 1)
  end
  if wrong > 0 or t.report("violations", r.name) > 0 or t.report("bad", r.name) > 0 then
    t.show(r.name, wrong, t.report(nil, r.name))
  end
  if t.idle(r.name) ~= "idle" then
    t.show(r.name, t.idle(r.name))
  end
end
t.show("done")
--- timeout: 20
--- response_body
done



=== TEST 2: CANCEL, pieces both ways, in every mode
--- runtimes eval: $::every
--- lua
for _, r in ipairs(nffi.runtimes()) do
  local rt = nffi.get(r.name)
  local threads, wrong = {}, 0
  for i = 1, 16 do
    threads[i] = ngx.thread.spawn(function()
      local s = assert(rt:open("readall"))
      for k = 1, 10 do
        assert(s:send(("x"):rep(k)))
        local piece = s:receive()
        if piece ~= ("x"):rep(k) then
          wrong = wrong + 1
        end
      end
      s:shutdown("send")
      local n = 0
      for part in rt:stream("write 40 4000") do
        if part ~= string.char(97 + n % 26):rep(4000) then
          wrong = wrong + 1
        end
        n = n + 1
      end
      wrong = wrong + (n == 40 and 0 or 1)
      rt:call("cancel_seen", { timeout = 5 })
    end)
  end
  for i = 1, 16 do
    local ok, err = ngx.thread.wait(threads[i])
    if not ok then
      t.show(r.name, err)
    end
  end
  if not t.wait(500, function() return t.report("held", r.name) == 0 end) or wrong > 0
    or t.report("violations", r.name) > 0 or t.report("cancel_twice", r.name) > 0
    or t.report("data_changed", r.name) > 0 then
    t.show(r.name, wrong, t.report(nil, r.name))
  end
end
t.show("done")
--- timeout: 20
--- response_body
done



=== TEST 3: a batch brings many at once, and never more than asked for
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { batch 10; }
--- lua
local stall = ngx.thread.spawn(nffi.call, "fixture", "stall 300")
t.polled()
local threads = {}
for i = 1, 40 do
  threads[i] = ngx.thread.spawn(nffi.call, "fixture", "echo x")
end
for i = 1, 40 do
  ngx.thread.wait(threads[i])
end
ngx.thread.wait(stall)
t.show(t.report("batch_max"), t.report("violations"))
--- response_body
10 | 0



=== TEST 4: an idle runtime burns no CPU, in epoll neither
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { poll_fd; }
nffi_runtime edge $TEST_NGINX_FIXTURES/libother.so { edge; }
nffi_runtime blocking $TEST_NGINX_FIXTURES/libother.so { threads 4; }
--- lua
local function ticks()
  local f = io.open("/proc/self/stat")
  local utime, stime = f:read("*a"):match("%) %S+" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  f:close()
  return tonumber(utime) + tonumber(stime)
end
for _, name in ipairs { "fixture", "edge", "blocking" } do
  t.show(nffi.call(name, "echo " .. name))
end
ngx.sleep(0.1)
local before = ticks()
ngx.sleep(0.6)
t.show(ticks() - before <= 6 or ticks() - before)
--- response_body
fixture
edge
blocking
true



=== TEST 5: a poller that leaves work behind wakes the next: one busy thread holds nobody up
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { threads 4; }
--- lua
local slow = 0
for _ = 1, 2 do
  local threads = {}
  for i = 1, 3 do
    threads[i] = ngx.thread.spawn(nffi.call, "fixture", "stall 1500")
  end
  ngx.update_time()
  local from = ngx.now()
  nffi.call("fixture", "echo x")
  ngx.update_time()
  slow = math.max(slow, ngx.now() - from)
  for i = 1, 3 do
    ngx.thread.wait(threads[i])
  end
end
t.show(slow < 1 or slow)
--- timeout: 10
--- response_body
true
