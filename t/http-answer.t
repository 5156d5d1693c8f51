# nffi_pass: heads and bodies of answers.
use NFFI 'no_plan';

no_root_location();

run_tests();

__DATA__

=== TEST 1: one small answer has a Content-Length of its own
--- pass
--- request
GET /hello
--- response_headers
Content-Type: text/plain
Content-Length: 6
!Transfer-Encoding
--- response_body
hello



=== TEST 2: pieces, in order
--- pass
--- request
GET /stream?n=5&size=3&ms=5
--- response_body: aaabbbcccdddeee
--- response_headers
Transfer-Encoding: chunked



=== TEST 3: much more than the window, and an answer of no bytes
--- pass
--- request eval
["GET /stream?n=200&size=70001", "GET /stream?n=0", "GET /stream?n=3&size=0"]
--- response_body_like eval
[qr{\Aa{35000}a{35001}b{35000}b{35001}(?s:.*)\z}, qr{\A\z}, qr{\A\z}]



=== TEST 4: HEAD has the head alone, and the task goes on to its end
--- pass
--- request eval
["HEAD /hello", "HEAD /stream?n=100&size=100000", "HEAD /length?say=42&send=0", "GET /report"]
--- response_body_like eval
[qr{\A\z}, qr{\A\z}, qr{\A\z}, qr{cancels 0, full \d+, gone 0, bad 0}]
--- error_code eval
[200, 200, 200, 200]



=== TEST 5: statuses without a body
--- pass
--- request eval
["GET /status?code=204", "GET /status?code=304", "GET /stream?code=204", "GET /status?code=599", "GET /status?code=999"]
--- error_code eval
[204, 304, 204, 599, 999]
--- response_body eval
["", "", "", "", ""]



=== TEST 6: headers: duplicates in order, and those that are nginx's to send are dropped
--- pass
--- request
GET /header?name=Set-Cookie&value=a=1&name=Set-Cookie&value=b=2&name=Transfer-Encoding&value=chunked&name=Keep-Alive&value=x&name=X-Empty&value=
--- raw_response_headers_like: Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty: \r\n
--- raw_response_headers_unlike: Keep-Alive|chunked



=== TEST 7: Server and Date of the runtime's own, once
--- pass
--- request
GET /header?name=Server&value=mine&name=Date&value=Sat,%2001%20Jan%202022%2000:00:00%20GMT
--- raw_response_headers_like: \AHTTP/1.1 200 OK\r\n(?!(?s:.*)nginx)(?s:.*)Server: mine\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\n



=== TEST 8: a Location is left as it is
--- pass
--- request
GET /header?code=302&name=Location&value=/there
--- error_code: 302
--- response_headers
Location: /there



=== TEST 9: malformed headers never leave the runtime
--- pass
--- request eval
["GET /header?name=A&value=x%0d%0aSet-Cookie:%20evil", "GET /header?name=A%20B&value=x", "GET /header?name=A&value=%0a"]
--- error_code eval
[500, 500, 500]
--- response_body eval
["refused\n", "refused\n", "refused\n"]
--- error_log
http_head() for task
with a malformed status or header



=== TEST 10: nffi_hide_header, whatever its case
--- pass
nffi_hide_header x-secret;
nffi_hide_header Server;
--- request
GET /header?name=X-Secret&value=1&name=X-Open&value=2&name=Server&value=mine
--- response_headers
!X-Secret
X-Open: 2
--- raw_response_headers_unlike: mine



=== TEST 11: trailers, where the client's protocol has them
--- config
location = /t {
    content_by_lua_block {
        for _, version in ipairs { "1.1", "1.0" } do
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /trailers HTTP/" .. version .. "\r\nHost: x\r\nConnection: close\r\n\r\n")
            ngx.say((assert(sock:receive("*a")):match("\r\n\r\n(.*)$"):gsub("\r\n", "|")))
        end
    }
}
location / { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
5|ttttt|0|X-Sum: 42|X-Done: yes||
ttttt



=== TEST 11a: what is no trailer is none
--- config
location = /t {
    content_by_lua_block {
        for _, name in ipairs { "X-Also", "content-length", "Transfer-Encoding", "X-Accel-Redirect", "Set-Cookie", "x-secret" } do
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /trailers?name=" .. name .. " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            ngx.say((assert(sock:receive("*a")):match("\r\n0\r\n(.*)$"):gsub("\r\n", "|")))
        end
    }
}
location / { nffi_pass http; nffi_hide_header X-Secret; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
X-Sum: 42|X-Done: yes|X-Also: no||
X-Sum: 42|X-Done: yes||
X-Sum: 42|X-Done: yes||
X-Sum: 42|X-Done: yes||
X-Sum: 42|X-Done: yes||
X-Sum: 42|X-Done: yes||



=== TEST 12: hints before the head are no answer
--- pass
--- request
GET /hints
--- response_body
hello



=== TEST 13: a flushed head is on its way before the body
--- config
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        sock:settimeout(5000)
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        sock:send("GET /flush?ms=500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        ngx.update_time()
        local start = ngx.now()
        assert(sock:receive() == "HTTP/1.1 200 OK")
        ngx.update_time()
        local head = ngx.now() - start
        assert(sock:receive("*a"))
        ngx.update_time()
        ngx.say(head < ngx.now() - start - 0.2)
    }
}
location / { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
true



=== TEST 14: a Content-Length that is right
--- pass
--- request eval
["GET /length?say=70000&send=70000", "GET /length?say=70000&send=70000&pieces=1", "GET /length?say=0&send=0"]
--- response_headers eval
["Content-Length: 70000", "Content-Length: 70000", "Content-Length: 0"]
--- response_body eval
["x" x 70000, "x" x 70000, ""]



=== TEST 15: gzip, and other filters, work on pieces
--- pass
gzip on; gzip_types text/plain; gzip_min_length 1;
sub_filter a b; sub_filter_types text/plain; sub_filter_once off;
--- request
GET /stream?n=1&size=5
--- response_body: bbbbb



=== TEST 16: charset apart from the type
--- pass
gzip on; gzip_types text/x; gzip_min_length 1;
--- request
GET /header?name=Content-Type&value=text/x;%20charset=utf-8
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Type: text/x; charset=utf-8
Content-Encoding: gzip



=== TEST 17: X-Accel-Redirect, with what an internal redirect keeps
--- pass
--- config
location /inside/ { internal; return 200 "$uri?$args\n"; }
location @named { internal; return 201 "named\n"; }
--- request eval
["GET /header?name=X-Accel-Redirect&value=/inside/a%3fx=1&name=Set-Cookie&value=c&name=X-Own&value=1",
 "POST /header?name=X-Accel-Redirect&value=\@named\nbody"]
--- response_body eval
["/inside/a?x=1\n", "named\n"]
--- response_headers eval
["Set-Cookie: c\n!X-Own", "!X-Accel-Redirect"]
--- error_code eval
[200, 201]



=== TEST 18: X-Accel-Limit-Rate is obeyed, and not sent
--- pass
--- request
GET /header?name=X-Accel-Limit-Rate&value=100000
--- response_headers
!X-Accel-Limit-Rate
--- response_body
header



=== TEST 19: nffi_intercept_errors, and what the log can say then
--- pass
nffi_intercept_errors on;
error_page 404 = @ours;
--- config
location @ours { return 200 "ours, $nffi_status\n"; }
--- request eval
["GET /status?code=404", "GET /status?code=410"]
--- error_code eval
[200, 410]
--- response_body eval
["ours, 404\n", ""]



=== TEST 19a: statuses that nginx has a meaning of its own for get their page, too
--- config
location = /t {
    content_by_lua_block {
        for _, status in ipairs { 404, 408, 444 } do
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /status?code=" .. status .. " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            ngx.say(sock:receive("*l"), " ", (assert(sock:receive("*a")):match("\r\n\r\n(.*)$")))
        end
    }
}
location / {
    nffi_pass http;
    nffi_intercept_errors on;
    error_page 404 408 444 @ours;
}
location @ours { return 418 "ours, $nffi_status"; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
HTTP/1.1 404 Not Found ours, 404
HTTP/1.1 408 Request Time-out ours, 408
HTTP/1.1 444  ours, 444



=== TEST 20: without it the runtime's own page goes out
--- pass
error_page 404 = @ours;
--- config
location @ours { return 200 ours; }
--- request
GET /stream?code=404&n=1&size=2
--- error_code: 404
--- response_body: aa
