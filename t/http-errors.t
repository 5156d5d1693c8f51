# nffi_pass: what a client gets, and what the log says, when something goes wrong.
use NFFI 'no_plan';

no_root_location();

run_tests();

__DATA__

=== TEST 1: a failure before the head is a 502 with the runtime's message in the log
--- pass
--- request
GET /fail?status=7&text=out%20of%20paper
--- error_code: 502
--- error_log
nffi runtime "http" failed with status 7: out of paper, trace: 



=== TEST 2: error_page shows its own
--- pass
error_page 502 = @sorry;
--- config
location @sorry { return 200 "sorry, $nffi_runtime $nffi_status\n"; }
--- request
GET /fail
--- response_body
sorry, http 502
--- error_log
nffi runtime "http" failed with status 1



=== TEST 3: after the head the connection is cut: no last chunk
--- config
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        sock:settimeout(5000)
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        sock:send("GET " .. ngx.unescape_uri(ngx.var.arg_path) .. " HTTP/1.1\r\nHost: x\r\n\r\n")
        local all, err, part = sock:receive("*a")
        all = all or part
        ngx.say(all:match("^HTTP/1.1 (%d+)"), " ", all:match("\r\n\r\n(.*)$"):gsub("\r\n", "|"))
    }
}
location / { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request eval
["GET /t?path=/fail%3Fafter=5", "GET /t?path=/length%3Fsay=10%26send=5%26pieces=1%26ms=50"]
--- response_body eval
["200 5|fffff|2\n", "200 xxxxx0\n"]
--- error_log
the connection is cut



=== TEST 4: what no answer is made of is a 502, as long as nothing was sent
--- pass
--- request eval
["GET /wrong?how=no_head", "GET /length?say=10&send=5", "GET /length?say=10&send=15", "GET /length?say=ten&send=5"]
--- error_code eval
[502, 502, 502, 502]
--- error_log
broke the protocol



=== TEST 5: the host refuses what is out of order, and the right calls still work
--- pass
--- request eval
["GET /wrong?how=write_first", "GET /wrong?how=two_heads", "GET /wrong?how=upgrade", "GET /wrong?how=status", "GET /wrong?how=twice"]
--- response_body eval
["hello\n", "one\n", "hello\n", "hello\n", "hello\n"]
--- error_log
for task



=== TEST 6: nffi_timeout to the head
--- pass
nffi_timeout 100ms;
--- request
GET /sleep
--- error_code: 504
--- error_log
nffi runtime "http" timed out: nothing came from it for 100 ms (nffi_timeout), trace: 



=== TEST 7: nffi_timeout between two pieces, not for all of them
--- pass
nffi_timeout 700ms;
--- request
GET /stream?n=5&size=2&ms=300
--- response_body: aabbccddee
--- timeout: 5



=== TEST 8: the runtime's own timeout where nffi_timeout is not said
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so { timeout 100ms; }
--- config
location / { nffi_pass http; }
--- request
GET /sleep
--- error_code: 504
--- error_log
for 100 ms



=== TEST 9: a full queue is a 503 with Retry-After
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so { tasks 1; }
--- config
location / { nffi_pass http; }
location = /t {
    content_by_lua_block {
        local one = ngx.thread.spawn(function() return ngx.location.capture("/sleep?ms=300") end)
        local two = ngx.location.capture("/hello")
        ngx.say(two.status, " ", two.header["Retry-After"])
        local _, res = ngx.thread.wait(one)
        ngx.print(res.body)
    }
}
--- response_body
503 1
slept
--- error_log
nffi runtime "http" queue full



=== TEST 9a: out of order, after trailers
--- config
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        sock:settimeout(5000)
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        sock:send("GET /wrong?how=late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        ngx.say((assert(sock:receive("*a")):match("\r\n\r\n(.*)$"):gsub("\r\n", "|")))
    }
}
location / { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
0|A: b||
--- error_log
after http_trailers()
which has its trailers already



=== TEST 10: a runtime that did not start is a 503, and says why
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so { init_fail yes; }
--- config
location / { nffi_pass http; }
--- request
GET /hello
--- error_code: 503
--- error_log
nffi runtime "http" runtime failed: told to fail
--- no_error_log
panicked



=== TEST 11: a runtime that is deaf to the window
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so { max_response 100k; }
--- config
location / { nffi_pass http; limit_rate 10k; }
--- request
GET /flood?n=1000&size=10000
--- ignore_response
--- error_log
it wrote on and on while the client's window was shut



=== TEST 11a: but it may write as much as it has at once
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so { max_response 100k; }
--- pass
--- request
GET /stream?n=1&size=1000000
--- response_body eval
"a" x 1000000



=== TEST 12: the client leaves: CANCEL reaches the runtime, and 499 the log
--- pass
--- request
GET /sleep
--- timeout: 0.3
--- abort
--- ignore_response
--- wait: 0.3
--- error_log
client prematurely closed connection
nffi runtime "http" is cancelled: the request ended with 499 before its answer did, trace:



=== TEST 13: nffi_ignore_client_abort: the task is let alone
--- pass
nffi_ignore_client_abort on;
--- request
GET /sleep?ms=600
--- timeout: 0.2
--- abort
--- ignore_response
--- wait: 0.2
--- no_error_log
client prematurely closed connection
[error]



=== TEST 14: variables where there was no runtime
--- config
location = /t { return 200 "[$nffi_runtime][$nffi_status][$nffi_time]\n"; }
--- response_body
[][][]
