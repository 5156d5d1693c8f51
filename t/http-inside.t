# nffi_pass among nginx's own: subrequests, error pages, phases before it.
use NFFI 'no_plan';

no_root_location();
run_tests();

__DATA__

=== TEST 1: ngx.location.capture, several at once, with bodies and large answers
--- config
location / { nffi_pass http; }
location = /t {
    content_by_lua_block {
        local one, two, three = ngx.location.capture_multi {
            { "/stream?n=50&size=20000" },
            { "/body", { method = ngx.HTTP_POST, body = ("x"):rep(100000) } },
            { "/fail" },
        }
        ngx.say(#one.body, " ", #two.body, " ", three.status)
    }
}
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body
1000000 100000 502
--- error_log
failed with status 1



=== TEST 2: SSI: parts that wait for their turn, each larger than the window
--- config
location / { nffi_pass http; nffi_window 16k; }
location = /t {
    ssi on;
    default_type text/html;
    content_by_lua_block {
        ngx.print('<!--#include virtual="/stream?n=4&size=30000&ms=20" -->|<!--#include virtual="/stream?n=4&size=40000" -->|<!--#include virtual="/hello" -->')
    }
}
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- response_body eval
CORE::join("|", "a" x 30000 . "b" x 30000 . "c" x 30000 . "d" x 30000, "a" x 40000 . "b" x 40000 . "c" x 40000 . "d" x 40000, "hello\n")



=== TEST 3: auth_request gets the headers, but no body
--- config
location = /auth { internal; nffi_pass http; error_page 500 = @never; rewrite ^ /show break; }
location = /no { internal; nffi_pass http; set $args code=403; rewrite ^ /status break; }
location = /t { auth_request /auth; nffi_pass http; rewrite ^ /count break; }
location = /u { auth_request /no; nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request eval
["POST /t\nhello", "POST /u\nhello"]
--- error_code eval
[200, 403]
--- response_body_like eval
[qr{\A5 bytes in one\n\z}, qr{403 Forbidden}]



=== TEST 4: a subrequest sees no Content-Length of its parent's
--- config
location / { nffi_pass http; }
location = /t {
    content_by_lua_block {
        ngx.req.read_body()
        local res = ngx.location.capture("/show", { method = ngx.HTTP_GET, body = "" })
        ngx.say(res.body:find("Content-Length", 1, true), res.body:match("body: %a+"))
    }
}
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request
POST /t
hello
--- response_body
nilbody: none



=== TEST 5: as an error page
--- config
location / { return 404; error_page 404 = @app; }
location @app { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request eval
["GET /hello", "POST /body\nhello"]
--- response_body eval
["hello\n", "hello"]



=== TEST 6: after phases of Lua that have read the body, or yielded
--- config
location = /body {
    rewrite_by_lua_block { ngx.req.read_body() ngx.sleep(0.01) }
    access_by_lua_block { ngx.req.set_header("X-Lua", "yes") ngx.sleep(0.01) }
    header_filter_by_lua_block { ngx.header["X-After"] = ngx.var.nffi_status }
    body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1]:upper() }
    nffi_pass http;
}
location = /show { access_by_lua_block { ngx.req.set_header("X-Lua", "yes") } nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request eval
["POST /body\nhello", "GET /show"]
--- response_body_like eval
[qr{\AHELLO\z}, qr{\n> X-Lua: yes\n}]



=== TEST 7: a body that Lua has set
--- config
location = /body {
    access_by_lua_block { ngx.req.read_body() ngx.req.set_body_data("other") }
    nffi_pass http;
}
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request
POST /body
hello
--- response_body: other



=== TEST 8: an if in the location, and limit_except
--- config
location / {
    if ($arg_if) { set $x 1; }
    nffi_pass http;
    limit_except GET { deny all; }
}
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request eval
["GET /hello?if=1", "GET /hello", "POST /hello\nx"]
--- error_code eval
[200, 200, 403]
--- response_body_like eval
[qr{\Ahello\n\z}, qr{\Ahello\n\z}, qr{403 Forbidden}]
--- no_error_log
[alert]
[warn]



=== TEST 9: twice in one request, by X-Accel-Redirect
--- config
location / { nffi_pass http; }
location /second/ { internal; nffi_pass http; add_header X-Bytes $nffi_bytes; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- request
GET /header?name=X-Accel-Redirect&value=/second/hello
--- response_body
hello
--- response_headers
X-Bytes: 0



=== TEST 10: keep-alive: one connection, one request after the other
--- config
location / { nffi_pass http; }
--- runtimes
nffi_runtime http $TEST_NGINX_FIXTURES/libhttp.so {}
--- pipelined_requests eval
["GET /hello", "POST /body\nhello", "GET /stream?n=3&size=2", "GET /hello"]
--- response_body eval
["hello\n", "hello", "aabbcc", "hello\n"]
