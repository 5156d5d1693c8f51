# What every suite of t/ shares: the http block around a test, silence in the error log unless
# a block expects a line, and the environment that scripts/test hands over:
#
#   NFFI_ROOT       the project                    (default: the working directory)
#   NFFI_LUA_PATH   lua_package_path, whole        (default: the project's lua/ and Debian's)
#   NFFI_FIXTURES   the folder of libfixture.so    (default: target/fixtures)
#   NFFI_TEST_SINK  auto, thread_pool or eventfd   (default: auto)
#
# Sections beside Test::Nginx's own:
#   --- runtimes    nffi_runtime blocks, instead of one named "fixture" without options
#   --- lua         shorthand for a location /t with content_by_lua_block, and a GET of it
#   --- pass        a location / with `nffi_pass http;` and what is said here; "http" is libhttp.so
package NFFI;

use Cwd ();
use Test::Nginx::Socket::Lua -Base;
use Test::Nginx::Util ();

my $root = $ENV{NFFI_ROOT} || Cwd::cwd();
my $sink = $ENV{NFFI_TEST_SINK} || 'auto';
my $path = $ENV{NFFI_LUA_PATH} || "$root/lua/?.lua;/usr/share/lua/5.1/?.lua;;";

$ENV{TEST_NGINX_FIXTURES} = $ENV{NFFI_FIXTURES} || "$root/target/fixtures";
$ENV{TEST_NGINX_T} = "$root/t";
$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

our $fixture = "nffi_runtime fixture $ENV{TEST_NGINX_FIXTURES}/libfixture.so {}";

our $http = "nffi_runtime http $ENV{TEST_NGINX_FIXTURES}/libhttp.so {}";

our @EXPORT = qw(sink is_patched);

sub sink() { $sink }

# Does this nginx carry the patch that the thread_pool sink needs? (A script may stand before the binary.)
sub is_patched() {
    my $binary = $ENV{TEST_NGINX_BINARY} || 'nginx';
    return scalar grep { -f $_ && system("grep -q ngx_thread_pool_post_done '$_'") == 0 } $binary, "$binary.bin";
}

add_block_preprocessor(sub {
    my $block = shift;
    my $runtimes = defined $block->runtimes ? $block->runtimes : defined $block->pass ? "$fixture\n$http" : $fixture;
    my $more = defined $block->http_config ? $block->http_config : '';
    my $done = $more =~ /nffi_done_sink/ ? '' : "nffi_done_sink $sink;";

    $block->set_value('http_config', <<_EOC_);
    lua_package_path '$root/t/lib/?.lua;$path';
    $done
    $runtimes
    $more
_EOC_

    if (defined $block->lua) {
        my $config = defined $block->config ? $block->config : '';
        my $lua = $block->lua;
        $block->set_value('config', <<_EOC_);
    location = /t {
        content_by_lua_block {
            local nffi = require "resty.nffi"
            local t = require "fixture"
            $lua
        }
    }
    $config
_EOC_
    }

    if (defined $block->pass) {
        my $config = defined $block->config ? $block->config : '';
        my $pass = $block->pass;
        $block->set_value('config', "location / {\nnffi_pass http;\n$pass\n}\n$config");
    }

    $block->set_value('request', 'GET /t')
        if !defined $block->request && !defined $block->raw_request
            && !defined $block->pipelined_requests;

    # A block that waits for a line says itself what must not be there.
    $block->set_value('no_error_log', "[warn]\n[error]\n[crit]\n[alert]\n[emerg]\npanicked")
        if !defined $block->error_log && !defined $block->no_error_log
            && !defined $block->must_die && !defined $block->grep_error_log;
});

# TEST_NGINX_CHECK_LEAK and valgrind send the requests themselves often enough.
repeat_each(2);
no_shuffle();
no_long_string();
log_level('info');

1;
