# What stands in an nffi_runtime block reaches the runtime.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: no option at all is an empty object
--- lua
t.show((nffi.call("fixture", "cfg"):gsub("%s", "")))
--- response_body
{}



=== TEST 2: no value, one value, repeated, several values
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so {
    queue 100;
    flag;
    greeting hello;
    empty "";
    number 5;
    route /a;
    route /b;
    route /c;
    header x 1;
    pair a b;
    pair c;
    mixed;
    mixed a;
    timeout 5s;
}
--- lua
t.show((nffi.call("fixture", "cfg"):gsub('([,:])%s+', "%1")))
--- response_body
{"flag":true,"greeting":"hello","empty":"","number":"5","route":["/a","/b","/c"],"header":[["x","1"]],"pair":[["a","b"],["c"]],"mixed":[[],["a"]]}



=== TEST 3: what JSON must escape
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so {
    quote 'say "hi"';
    backslash "C:\\dir";
    tab "a	b";
    umlaut "grün ✓";
    semicolon "a;b{c}";
    "strange name" x;
}
--- lua
t.show((nffi.call("fixture", "cfg"):gsub('([,:])%s+', "%1")))
--- response_body_like eval
qr/\A\{"quote":"say \\"hi\\"","backslash":"C:\\\\dir","tab":"a(?:\\t|\\u0009)b","umlaut":"(?:grün ✓|gr\\u00fcn \\u2713)","semicolon":"a;b\{c\}","strange name":"x"\}\n\z/



=== TEST 4: nffi's own options do not reach the runtime
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so {
    queue 10; tasks 100; timeout 1s; stop_timeout 1s; max_request 1m; max_response 1m; spin 0; own x;
}
--- lua
t.show((nffi.call("fixture", "cfg"):gsub("%s", "")))
--- response_body
{"own":"x"}



=== TEST 5: config: a string, as it is
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { config 'any text: "quoted", {not json'; }
--- lua
t.show(nffi.call("fixture", "cfg"))
--- response_body
any text: "quoted", {not json



=== TEST 6: config_file: its bytes, as they are; absolute, or relative to nginx.conf as include is
--- user_files
>>> runtime.json
{ "a": [1, 2],
  "b": null }
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { config_file $TEST_NGINX_HTML_DIR/runtime.json; }
nffi_runtime relative $TEST_NGINX_FIXTURES/libfixture.so { config_file ../html/runtime.json; }
--- lua
t.show(nffi.call("fixture", "cfg"))
t.show(nffi.call("relative", "cfg") == nffi.call("fixture", "cfg"))
--- response_body_like
\A\{ "a": \[1, 2\],
  "b": null \}\n?
true



=== TEST 7: one library declared twice with different options: two runtimes
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libfixture.so { x 1; }
nffi_runtime two $TEST_NGINX_FIXTURES/libfixture.so { x 2; }
--- lua
t.show((nffi.call("one", "cfg"):gsub("%s", "")))
t.show((nffi.call("two", "cfg"):gsub("%s", "")))
--- response_body
{"x":"1"}
{"x":"2"}



=== TEST 8: one library declared twice with the same options: two names all the same
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libfixture.so { tasks 1; }
nffi_runtime two $TEST_NGINX_FIXTURES/libfixture.so { }
--- lua
local a = ngx.thread.spawn(nffi.call, "one", "sleep 1000 one")
t.show(nffi.call("two", "echo two"))
t.show(nffi.call("one", "echo x"))
t.show(select(2, ngx.thread.wait(a)))
--- response_body
two
nil | queue full
one



=== TEST 9: spin is a number of microseconds, and calls work with it
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { spin 50; }
--- lua
for i = 1, 200 do
  assert(nffi.call("fixture", "echo " .. i) == tostring(i))
end
ngx.sleep(0.02)
t.show(nffi.call("fixture", "sleep 10 x"))
t.show(t.idle())
--- response_body
x
idle
