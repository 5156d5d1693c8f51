# nffi_pass: connections that are upgraded.
use NFFI 'no_plan';

no_root_location();

# A socket that has asked for an upgrade, and the head it got; code in $run goes on with it.
our $lua = <<'_EOC_';
location = /t {
    content_by_lua_block {
        local function open(path, early, version)
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET " .. path .. " HTTP/" .. (version or "1.1")
                .. "\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n" .. (early or ""))
            local head = {}
            repeat
                local line = assert(sock:receive())
                head[#head + 1] = line
            until line == ""
            return sock, table.concat(head, "\n")
        end
        RUN
    }
}
location / { nffi_pass http; PASS }
_EOC_

add_block_preprocessor(sub {
    my $block = shift;
    my ($run, $pass) = ($block->run, $block->pass_more || '');
    (my $config = $lua) =~ s/RUN/$run/;
    $config =~ s/PASS/$pass/;
    $block->set_value('config', $config);
    $block->set_value('request', 'GET /t');
    $block->set_value('http_config', ($block->http_config || '') . "\n$NFFI::http");
});

run_tests();

__DATA__

=== TEST 1: bytes both ways, from the first one on
--- run
local sock, head = open("/upgrade", "early ")
ngx.say(head:match("^HTTP/1.1 101[^\n]*"), " ", head:match("Upgrade: %a+"), " ", head:match("Connection: %a+"))
sock:send("late")
ngx.say(sock:receive(10))
sock:close()
--- response_body
HTTP/1.1 101 Switching Protocols Upgrade: echo Connection: upgrade
early late



=== TEST 2: the runtime ends it, after its last bytes
--- run
local sock = open("/upgrade?most=1")
sock:send("x")
ngx.print(sock:receive("*a"))
--- response_body
xbye



=== TEST 3: the client ends its side, and gets the rest
--- run
local sock = open("/upgrade?ms=20")
sock:send(("y"):rep(1000))
ngx.say(#sock:receive(1000))
sock:close()
local report = ngx.location.capture("/report").body
ngx.print(report:match("bad %d+"), "\n")
--- response_body
1000
bad 0



=== TEST 4: much more than the window, both ways at once
--- run
local n = 3000000
local sock = open("/upgrade")
local writer = ngx.thread.spawn(function()
    for i = 1, 30 do
        assert(sock:send((string.char(96 + i % 26)):rep(n / 30)))
    end
end)
local got = {}
for i = 1, 30 do
    got[i] = assert(sock:receive(n / 30))
    if got[i] ~= (string.char(96 + i % 26)):rep(n / 30) then
        ngx.say(i, " differs")
    end
end
ngx.say(#table.concat(got))
sock:close()
--- response_body
3000000
--- timeout: 20



=== TEST 5: no upgrade where the client's protocol has none
--- run
local sock, head = open("/upgrade", nil, "1.0")
ngx.say(head:match("^HTTP/1.1 %d+"))
--- response_body
HTTP/1.1 426
--- error_log
with status 101, whose connection cannot be upgraded



=== TEST 6: an ordinary answer to one who asked for more
--- run
local sock, head = open("/hello")
ngx.say(head:match("^HTTP/1.1 %d+"), " ", sock:receive(5))
sock:send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
ngx.say(sock:receive("*a"):match("hello\n$") ~= nil)
--- response_body
HTTP/1.1 200 hello
true



=== TEST 7: nffi_timeout between messages
--- run
local sock = open("/upgrade")
for _ = 1, 4 do
    ngx.sleep(0.7)
    sock:send("x")
    ngx.print(sock:receive(1))
end
local data, err = sock:receive(1)
ngx.say(data, " ", err)
--- pass_more: nffi_timeout 2s;
--- response_body
xxxxnil closed
--- error_log
nffi runtime "http" let its connection idle for 2000 ms (nffi_timeout), which is closed
--- timeout: 10



=== TEST 8: the client vanishes: the runtime is told
--- run
local sock = open("/upgrade")
sock:send("x")
sock:receive(1)
sock:setoption("linger", 0)
sock:close()
ngx.sleep(0.2)
ngx.say("left")
--- response_body
left
