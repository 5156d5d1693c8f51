# max_request and max_response: refused with an error of their own, to the byte.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: max_request
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_request 1k; }
--- lua
t.show(#nffi.call("fixture", "echo " .. ("x"):rep(1019)))
t.show(nffi.call("fixture", "echo " .. ("x"):rep(1020)))
local rt = nffi.get("fixture")
t.show(rt:cast("echo " .. ("x"):rep(1020)))
t.show(rt:open("echo " .. ("x"):rep(1020)))
t.show(t.idle())
--- response_body
1019
nil | request too large
nil | request too large
nil | request too large
idle



=== TEST 2: max_response
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_response 1k; }
--- lua
t.show(#nffi.call("fixture", "size 1024"))
local res, err, status = nffi.call("fixture", "size 1025")
t.show(res, err, tostring(status))
t.show(nffi.call("fixture", "echo after"))
t.show(t.idle())
--- response_body
1024
nil | answer too large | nil
after
idle



=== TEST 3: max_response holds for an answer gathered from pieces
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_response 1k; }
--- lua
t.show(#nffi.call("fixture", "write 4 256"))
t.show(nffi.call("fixture", "write 5 256"))
t.show(nffi.call("fixture", "write 1000 256"))
t.show(nffi.call("fixture", "write_reply 1000 " .. ("x"):rep(30)))
t.show(nffi.call("fixture", "echo after"))
t.show(t.idle())
--- response_body
1024
nil | answer too large
nil | answer too large
nil | answer too large
after
idle



=== TEST 4: a runtime's error message is bounded like an answer
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_response 100; }
--- lua
local res, err, status = nffi.call("fixture", "fail 5 " .. ("m"):rep(101))
t.show(res, err)
t.show(nffi.call("fixture", "fail 5 " .. ("m"):rep(3)))
--- response_body
nil | answer too large
nil | mmm | 5



=== TEST 5: sizes with letters, and zero
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_request 2m; max_response 2m; }
nffi_runtime tiny $TEST_NGINX_FIXTURES/libfixture.so { max_request 5; max_response 1; }
--- lua
t.show(#nffi.call("fixture", "echo " .. ("x"):rep(2097147)))
t.show(nffi.call("fixture", "echo " .. ("x"):rep(2097148)))
t.show(nffi.call("tiny", "echo "))
t.show(nffi.call("tiny", "echo x"))
t.show(nffi.call("tiny", "flags"))
--- response_body
2097147
nil | request too large

nil | request too large
0



=== TEST 6: pieces past max_response are dropped as they come, not gathered first
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { max_response 1m; }
--- lua
local function peak()
  local f = io.open("/proc/self/status")
  local kb = f:read("*a"):match("VmHWM:%s+(%d+)")
  f:close()
  return tonumber(kb)
end
local before = peak()
t.show(nffi.call("fixture", "flood 4000 65536"))
t.show(peak() - before < 50000 or peak() - before, t.idle())
--- timeout: 10
--- response_body
nil | answer too large
true | idle
