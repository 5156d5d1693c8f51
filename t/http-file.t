# nffi_pass: files of a runtime's, sent by nginx.
use NFFI 'no_plan';

no_root_location();

run_tests();

__DATA__

=== TEST 1: whole, a part, and one between pieces
--- pass
sendfile on;
--- user_files
>>> f.txt
0123456789
--- request eval
["GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt", "GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&offset=2&length=3",
 "GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&before=2"]
--- response_body eval
["0123456789\n", "234", "<<0123456789\n"]



=== TEST 2: ranges and conditions are nginx's, where the length is known
--- pass
--- user_files
>>> f.txt
0123456789
--- request eval
["GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&length_header=11", "GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&length_header=11"]
--- more_headers eval
["Range: bytes=3-5", "If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT"]
--- error_code eval
[206, 304]
--- response_body eval
["345", ""]



=== TEST 3: no regular file, and more than there is
--- pass
--- user_files
>>> f.txt
0123456789
--- request eval
["GET /wrong?how=directory", "GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&length=12",
 "GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt&offset=12"]
--- error_code eval
[200, 502, 502]
--- error_log
http_file() for task
with a file that is no regular one, or shorter than that



=== TEST 4: without sendfile, and HEAD
--- pass
sendfile off;
--- user_files
>>> f.txt
0123456789
--- request eval
["GET /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt", "HEAD /file?path=$ENV{TEST_NGINX_HTML_DIR}/f.txt"]
--- response_body eval
["0123456789\n", ""]
