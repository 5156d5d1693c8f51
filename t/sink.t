# The done sink: the patched nginx's own thread pool queue where it is there, else the eventfd; or as told.
use NFFI 'no_plan';

# nginx has one eventfd of its own, for its thread pools; the eventfd sink is a second.
our $fds = sink eq 'thread_pool' || sink eq 'auto' && is_patched ? 1 : 2;

run_tests();

__DATA__

=== TEST 1: the sink that was asked for works, whatever the load
--- lua
local rt = nffi.get("fixture")
local threads = {}
for i = 1, 50 do
  threads[i] = ngx.thread.spawn(function()
    for k = 1, 40 do
      if rt:call("echo " .. i .. "." .. k) ~= i .. "." .. k then
        return false
      end
    end
    return true
  end)
end
local right = 0
for i = 1, 50 do
  local _, ok = ngx.thread.wait(threads[i])
  right = right + (ok and 1 or 0)
end
t.show(right, t.idle())
--- response_body
50 | idle



=== TEST 2: eventfd, forced: on any nginx
--- http_config
nffi_done_sink eventfd;
--- lua
for i = 1, 100 do
  assert(nffi.call("fixture", "echo " .. i) == tostring(i))
end
t.show(nffi.call("fixture", "sleep 5 x"))
--- response_body
x



=== TEST 3: the one that was chosen
--- lua
local n = 0
local p = io.popen("ls -l /proc/" .. ngx.worker.pid() .. "/fd")
for line in p:lines() do
  n = n + (line:find("[eventfd]", 1, true) and 1 or 0)
end
p:close()
t.show(nffi.call("fixture", "echo " .. n))
--- response_body eval
"$::fds\n"



=== TEST 4: auto: the thread pool's where nginx has the patch
--- http_config
nffi_done_sink auto;
--- lua
local n = 0
local p = io.popen("ls -l /proc/" .. ngx.worker.pid() .. "/fd")
for line in p:lines() do
  n = n + (line:find("[eventfd]", 1, true) and 1 or 0)
end
p:close()
t.show(nffi.call("fixture", "echo " .. n))
--- response_body eval
NFFI::is_patched ? "1\n" : "2\n"
