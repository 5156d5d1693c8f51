# Where a library is looked for: a name with a slash is relative to nginx's prefix, one without goes the way of the
# dynamic linker.
use File::Spec;
use NFFI 'no_plan';

BEGIN { $ENV{LD_LIBRARY_PATH} = join ':', grep { $_ } "$ENV{TEST_NGINX_FIXTURES}", $ENV{LD_LIBRARY_PATH}; }

our $relative = File::Spec->abs2rel($ENV{TEST_NGINX_FIXTURES}, $ENV{TEST_NGINX_SERVER_ROOT});

run_tests();

__DATA__

=== TEST 1: a bare name, in LD_LIBRARY_PATH
--- runtimes
nffi_runtime fixture libfixture.so {}
--- lua
t.show(nffi.call("fixture", "echo declared"))
local rt = assert(nffi.load("libother.so"))
t.show(rt:call("echo loaded"))
--- response_body
declared
loaded



=== TEST 2: relative to nginx's prefix
--- runtimes eval
"nffi_runtime fixture $::relative/libfixture.so {}"
--- lua eval
"t.show(nffi.call('fixture', 'echo declared'))
t.show(assert(nffi.load('$::relative/libother.so')):call('echo loaded'))"
--- response_body
declared
loaded
