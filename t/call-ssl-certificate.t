# A call in the TLS handshake. In a file of its own: with HUP the next block's log would tell of the socket's end.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: ssl_certificate_by_lua waits for the runtime, then the handshake goes on
--- http_config
server {
    listen unix:$TEST_NGINX_HTML_DIR/tls.sock ssl;
    server_name test.invalid;
    ssl_certificate $TEST_NGINX_T/fixtures/tls.crt;
    ssl_certificate_key $TEST_NGINX_T/fixtures/tls.key;
    ssl_certificate_by_lua_block {
        ngx.ctx.cert = require("resty.nffi").call("fixture", "sleep 10 certificate")
        ngx.log(ngx.WARN, "in the handshake: ", ngx.ctx.cert)
    }
    location / { content_by_lua_block { ngx.say("hello over TLS") } }
}
--- lua
local sock = ngx.socket.tcp()
sock:settimeout(2000)
assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tls.sock"))
t.show((sock:sslhandshake(nil, "test.invalid", false)) and "shaken")
assert(sock:send("GET / HTTP/1.0\r\nHost: test.invalid\r\n\r\n"))
local all = sock:receive("*a")
t.show(all:match("hello over TLS"))
sock:close()
--- response_body
shaken
hello over TLS
--- error_log
in the handshake: certificate
--- no_error_log
[error]
[alert]
