# nffi_pass: what of a request reaches the runtime.
use NFFI 'no_plan';

no_root_location();

run_tests();

__DATA__

=== TEST 1: method, paths, query, addresses, headers in order with duplicates
--- pass
--- request
GET /a%20b/../c//show?x=1&y=%20#z
--- more_headers
A: 1
B:
a: 2
--- response_body_like eval
qr{\Amethod: GET
raw_path: /a%20b/../c//show
path: /c/show
query: x=1&y=%20
prefix: 
version: 1001
scheme: http
client_addr: 127.0.0.1
client_port: some
server_addr: 127.0.0.1
server_port: some
server_name: localhost
flags:
content_length: 0
body: none
> Host: localhost
> Connection: close
> A: 1
> B: 
> a: 2
> traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01
\z}



=== TEST 2: after a rewrite the raw path is the new one, encoded
--- pass
rewrite ^/old/(.*)$ "/new path/$1" break;
--- request
GET /old/show
--- response_body_like: raw_path: /new%20path/show\npath: /new path/show\n



=== TEST 3: HTTP/1.0 without a Host
--- pass
--- raw_request eval
"GET /show HTTP/1.0

"
--- response_body_like: version: 1000\n(?s:.*)server_name: localhost\n


=== TEST 4: nffi_prefix where the path is below it, and only there
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- config
nffi_prefix /app;
location / { nffi_pass http; }
--- request eval
["GET /app/show", "GET /application/show", "GET /app", "GET /"]
--- response_body_like eval
[qr{\npath: /app/show\n(?s:.*)\nprefix: /app\n}, qr{\nprefix: \n}, qr{\nprefix: /app\n}, qr{\nprefix: \n}]



=== TEST 5: nffi_param, inherited as a whole or not at all
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- config
nffi_param OUTER $request_method;
location /in/ { nffi_pass http; }
location /own/ { nffi_pass http; nffi_param A "x y"; nffi_param B $arg_b; }
--- request eval
["GET /in/show", "GET /own/show?b=7"]
--- response_body_like eval
[qr{\nparam OUTER=GET\n\z}, qr{\nparam A=x y\nparam B=7\n\z}]



=== TEST 6: a small body is in memory, a large one in a file, a streamed one comes in pieces
--- pass
client_body_buffer_size 1k;
--- config
location /off/ { nffi_pass http; nffi_request_buffering off; client_body_buffer_size 1k; }
--- request eval
["POST /show\nhello", "POST /show\n" . "x" x 5000, "POST /off/show\nhello", "POST /count\n" . "x" x 5000,
 "POST /off/count\n" . "x" x 50000, "POST /body\n" . "abc" x 5000, "POST /off/body\n" . "abc" x 50000]
--- response_body_like eval
[qr{\nflags: body\ncontent_length: 5\nbody: memory\n}, qr{\nflags: body\ncontent_length: 5000\nbody: file\n},
 qr{\nflags: body\ncontent_length: 5\nbody: memory\n}, qr{\A5000 bytes in one\n\z},
 qr{\A50000 bytes in pieces\n\z}, qr{\A(?:abc){5000}\z}, qr{\A(?:abc){50000}\z}]
--- no_error_log
[error]
[alert]



=== TEST 7: a chunked body, buffered: its length is known
--- pass
--- more_headers
Transfer-Encoding: chunked
--- request eval
"POST /show
5\r
hello\r
3\r
abc\r
0\r
\r
"
--- response_body_like: flags: body\ncontent_length: 8\nbody: memory\n



=== TEST 8: client_max_body_size
--- pass
client_max_body_size 1k;
--- request eval
"POST /count\n" . "x" x 1025
--- error_code: 413
--- error_log
client intended to send too large body
nffi runtime "http" gets nothing of a request that ended with 413
--- no_error_log
"http" failed
[alert]



=== TEST 8a: the same of chunks, whose length nobody knows before
--- pass
client_max_body_size 1k;
--- raw_request eval
"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n7d0\r\n" . "x" x 2000 . "\r\n0\r\n\r\n"
--- error_code: 413
--- error_log
client intended to send too large chunked body
nffi runtime "http" gets nothing of a request that ended with 413 while its body was read



=== TEST 9: a valid traceparent is passed on
--- pass
--- request
GET /show
--- more_headers
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00
--- response_body_like: \n> traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\n\z



=== TEST 9a: one of a later version, too
--- pass
--- request
GET /show
--- more_headers
traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more
--- response_body_like: \n> traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more\n\z



=== TEST 9b: an invalid one is replaced
--- pass
--- request
GET /show
--- more_headers
traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-00
--- response_body_like: \n> traceparent: 00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-01\n\z



=== TEST 9c: of several nobody knows which is meant
--- pass
--- request
GET /show
--- more_headers
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00
traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00
--- response_body_like: \A(?!.*traceparent.*traceparent).*\n> traceparent: 00-(?!.af76519)[0-9a-f]{32}-[0-9a-f]{16}-01\n\z



=== TEST 9d: a body that was discarded has no length
--- pass
access_by_lua_block { ngx.req.discard_body() }
--- request
POST /show
hello
--- response_body_unlike: (?i)content-length



=== TEST 9e: nor has it one where it was none
--- pass
--- request
POST /show
--- more_headers
Content-Length: 0
--- response_body_like: > Content-Length: 0



=== TEST 10: a name with variables
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libhttp.so {}
nffi_runtime two $TEST_NGINX_FIXTURES/libhttp.so { other yes; }
--- config
location / { nffi_pass $arg_to; }
--- request eval
["GET /hello?to=two", "GET /hello?to=one"]
--- error_code eval
[200, 200]



=== TEST 10a: a name with variables that nobody has
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libhttp.so {}
--- config
location / { nffi_pass $arg_to; }
--- request
GET /hello?to=three
--- error_code: 500
--- error_log
nffi_pass "three": no nffi_runtime of that name is declared



=== TEST 11: log lines of the call carry its trace, and so does $nffi_trace_id
--- pass
add_header X-Trace $nffi_trace_id;
--- request
GET /log?text=look
--- more_headers
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
--- response_headers
X-Trace: 0af7651916cd43dd8448eb211c80319c
--- error_log
nffi runtime "http": look, trace: 0af7651916cd43dd8448eb211c80319c



=== TEST 12: a message runtime that gets HTTP, and an HTTP runtime that gets a message
--- pass
--- config
location /t {
    content_by_lua_block {
        local res, err, status = require "resty.nffi".call("http", "hello")
        ngx.say(res, " ", err, " ", status)
    }
}
--- request
GET /t
--- response_body
nil HTTP requests only 1
