# What a runtime finds around it: env and working_directory.
use NFFI 'no_plan';

run_tests();

__DATA__

=== TEST 1: env sets a variable, one way or the other
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { env NFFI_A "one two"; env NFFI_B=x=y; own x; }
--- lua
t.show(nffi.call("fixture", "getenv NFFI_A"))
t.show(nffi.call("fixture", "getenv NFFI_B"))
t.show(nffi.call("fixture", "getenv NFFI_C"))
t.show((nffi.call("fixture", "cfg"):gsub("%s", "")))
t.show(os.getenv("NFFI_A"))
--- response_body
one two
x=y
nil | not set | 1
{"own":"x"}
one two



=== TEST 2: env without a value wants what nginx hands on
--- main_config
env NFFI_HANDED=on;
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { env NFFI_HANDED; }
--- lua
t.show(nffi.call("fixture", "getenv NFFI_HANDED"))
--- response_body
on



=== TEST 3: and says what to do where nginx does not
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { env NFFI_NOT_HANDED; }
--- lua
t.show(nffi.call("fixture", "echo x"))
--- response_body
nil | runtime failed: env NFFI_NOT_HANDED: it is not set in this process; nginx hands a variable to its workers where "env NFFI_NOT_HANDED;" stands at the top of nginx.conf
--- no_error_log
[alert]



=== TEST 4: two runtimes share a variable
--- runtimes
nffi_runtime one $TEST_NGINX_FIXTURES/libfixture.so { env NFFI_S 1; }
nffi_runtime two $TEST_NGINX_FIXTURES/libfixture.so { env NFFI_S 1; }
nffi_runtime three $TEST_NGINX_FIXTURES/libfixture.so {}
--- lua
for _, name in ipairs { "one", "two", "three" } do
  t.show(nffi.call(name, "getenv NFFI_S"))
end
--- response_body
1
1
1



=== TEST 5: what a JVM has to find is set before any runtime starts, and can be set otherwise
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so {}
--- lua
t.show(nffi.call("fixture", "getenv _JAVA_SR_SIGNUM"))
--- response_body
40



=== TEST 6: by the option
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { env _JAVA_SR_SIGNUM 41; }
--- lua
t.show(nffi.call("fixture", "getenv _JAVA_SR_SIGNUM"))
--- response_body
41



=== TEST 7: each runtime has a working directory of its own, and nginx keeps its own
--- runtimes
nffi_runtime fixture $TEST_NGINX_FIXTURES/libfixture.so { working_directory /proc; threads 4; }
nffi_runtime other $TEST_NGINX_FIXTURES/libfixture.so { working_directory html; }
nffi_runtime none $TEST_NGINX_FIXTURES/libfixture.so {}
--- lua
local f = io.popen("pwd")
local own = f:read("*l")
f:close()
t.show(nffi.call("fixture", "cwd"))
t.show(nffi.call("other", "cwd") == ngx.config.prefix():gsub("/$", "") .. "/html")
t.show(nffi.call("none", "cwd") == own)
--- response_body
/proc
true
true
