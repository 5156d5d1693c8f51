"""The module without ngx_lua, before it in the order of modules, and without a runtime; nginx's cache helpers.

Guards: runtimes start in workers only; every function of ngx_lua and LuaJIT is looked up when it is needed, none is linked.
"""

import os

import harness
from harness import run


def body(checks, scale):
    with_lua = list(harness.MODULES)
    ours = with_lua[-1]

    harness.MODULES[:] = [ours, *with_lua[:-1]]
    nginx = checks.nginx(runtimes="stop_timeout 1s;")
    checks.check(nginx.call("echo first") == (200, b"first"), "loaded before ngx_lua: calls work")
    checks.check(not nginx.bad_lines(), "loaded before ngx_lua: the error log is silent", nginx.bad_lines()[:3])

    conf = harness.CONF
    harness.MODULES[:] = [ours]
    harness.CONF = """
{modules}
{user}
worker_processes {workers};
error_log {prefix}/error.log info;
pid {prefix}/nginx.pid;
{main}
events {{}}
http {{
    access_log off;
    client_body_temp_path {prefix}/tmp; proxy_temp_path {prefix}/tmp; fastcgi_temp_path {prefix}/tmp;
    uwsgi_temp_path {prefix}/tmp; scgi_temp_path {prefix}/tmp;
    nffi_done_sink {sink};
    {http}
    server {{ listen 127.0.0.1:{port} {listen}; location / {{ return 200 "alone"; }} {server} }}
    # {lua_path}
}}
"""
    nginx = checks.nginx(runtimes="stop_timeout 1s;")
    checks.check(nginx.log_has('runtime "fixture" is ready', 3), "without ngx_lua: the runtime starts")
    checks.check(nginx.get("/bare")[1] == b"alone", "without ngx_lua: nginx serves")
    nginx.signal(3)
    checks.check(nginx.wait_end(5) is not None, "without ngx_lua: QUIT ends")
    checks.check(not nginx.bad_lines(), "without ngx_lua: the error log is silent", nginx.bad_lines()[:3])

    harness.MODULES[:] = with_lua
    harness.CONF = conf
    nginx = checks.nginx(runtimes="# nffi_runtime: none")
    checks.check(nginx.get("/runtimes") == (200, b""), "without a runtime: there is none")
    nginx.signal(3)
    checks.check(nginx.wait_end(5) is not None, "without a runtime: QUIT ends")
    checks.check(not nginx.bad_lines(), "without a runtime: the error log is silent", nginx.bad_lines()[:3])

    nginx = checks.nginx(runtimes="stop_timeout 1s;", http="proxy_cache_path @PREFIX@/cache keys_zone=z:1m;")
    nginx.call("echo x")
    helpers = nginx.helpers()
    threads = [len(os.listdir(f"/proc/{p}/task")) for p in helpers]
    checks.check(helpers and set(threads) == {1}, "nginx's helper processes have no runtime", threads)


if __name__ == "__main__":
    run("alone", body, __doc__)
