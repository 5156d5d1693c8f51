"""nffi_pass where nginx's own parts meet it: subrequests that fail, mirrors, error pages, TLS records, filters, small windows.

Guards: a failure ends what it belongs to and no more; what filters hold is sent while the runtime pauses.
"""

import pathlib
import tempfile
import time

from client import Raw, certificate, context, each, free_port, idle, rss_kb, serve, wait_for

from harness import FIXTURES, run

SERVER = """
client_max_body_size 2g;
listen 127.0.0.1:{tls} ssl sndbuf=16k;
ssl_certificate {cert};
ssl_certificate_key {key};
location = /mirrored {{ mirror /mirror-fails; nffi_pass http; rewrite ^ /flush?ms=300 break; }}
location = /mirror-fails {{ internal; nffi_pass http; rewrite ^ /fail?after=5 break; }}
location = /captured {{
    content_by_lua_block {{
        local res = ngx.location.capture("/fail?after=5")
        ngx.say(res.status, " ", res.truncated, " ", #res.body)
    }}
}}
location = /ssi {{
    ssi on;
    default_type text/html;
    content_by_lua_block {{ ngx.print('<!--#include virtual="/fail?after=5" -->|rest') }}
}}
location = /again/fail {{
    nffi_pass http; nffi_request_buffering off; client_body_buffer_size 1k;
    error_page 502 = @second;
}}
location @second {{ nffi_pass http; rewrite ^ /show break; }}
location /wide/ {{ nffi_pass narrow; nffi_window 1m; }}
location /lua/ {{
    nffi_pass http;
    header_filter_by_lua_block {{ ngx.header["X-Status"] = ngx.var.nffi_status }}
    body_filter_by_lua_block {{ ngx.ctx.seen = (ngx.ctx.seen or "") .. " " .. ngx.var.nffi_bytes; if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. ngx.ctx.seen end }}
}}
location /param/ {{ nffi_pass http; nffi_param TRACE $nffi_trace_id; nffi_param RUNTIME $nffi_runtime; }}
location = /post-action {{ nffi_pass http; rewrite ^ /hello break; post_action @after; }}
location @after {{ nffi_pass http; rewrite ^ /stream?n=20&size=1000&ms=10 break; }}
location /zipped/ {{ nffi_pass http; gzip on; gzip_types text/plain; gzip_min_length 1; }}
location /threads/ {{ nffi_pass http; aio threads; sendfile on; output_buffers 2 64k; }}
location /copied/ {{ nffi_pass http; aio threads; sendfile off; }}
location /rated/ {{ nffi_pass http; limit_rate 300k; }}
"""


def subrequests(checks, nginx):
    with Raw(nginx.port) as c:
        for _ in range(3):
            c.ask("/mirrored")
            checks.check(c.answer()[2] == b"later\n", "a mirror that fails is not the client's")
        c.ask("/hello")
        checks.check(c.answer()[2] == b"hello\n", "nor is its connection")
    with Raw(nginx.port) as c:
        c.ask("/captured")
        status, _, body = c.answer()
        checks.check(status == 200 and body.startswith(b"200 true"), "ngx.location.capture sees what is cut", body)
    with Raw(nginx.port) as c:
        c.ask("/ssi")
        c.head()
        checks.check(b"0\r\n\r\n" not in c.rest(), "a page with a part that was cut is cut, too")
    with Raw(nginx.port) as c:
        c.ask("/fail?after=5", "HEAD")
        c.answer(head_only=True)
        time.sleep(0.2)
        c.ask("/hello")
        checks.check(c.answer()[2] == b"hello\n", "a failure after a HEAD's answer is not the client's")
    with Raw(nginx.port) as c:
        for _ in range(3):
            c.ask("/post-action")
            checks.check(c.answer()[2] == b"hello\n", "post_action adds nothing to the answer")
    checks.check(idle(nginx), "no task is left")


def error_page(checks, nginx):
    for headers, body in [("", b"x" * 200000), ("Content-Length: 3000000\r\n", b"x" * 100000), ("", b"x" * 10)]:
        with Raw(nginx.port) as c:
            c.ask("/again/fail?ms=0", "POST", headers, body)
            status, _, text = c.answer()
            whole = f"content_length: {len(body)}\n".encode() in text and b"Content-Length" in text and not headers
            none = b"content_length: 0\n" in text and b"Content-Length" not in text and b"body: none" in text
            checks.check(status == 200 and (whole or none), "an error page's runtime gets a whole body or none", text[-200:])


def filters(checks, nginx):
    with Raw(nginx.port) as c:
        c.ask("/lua/stream?n=3&size=5&ms=20")
        _, headers, body = c.answer()
        checks.check(headers["x-status"] == "200" and body.startswith(b"aaaaabbbbbccccc 5 10 15"), "variables inside of filters", body)
        c.ask("/param/show")
        body = c.answer()[2].decode()
        trace = body.split("traceparent: 00-")[1][:32]
        checks.check(f"param TRACE={trace}\n" in body and "param RUNTIME=http\n" in body, "variables inside of params", body[-200:])
        c.ask("/zipped/stream?n=5&size=100000&ms=5", headers="Accept-Encoding: gzip\r\n")
        import gzip

        checks.check(len(gzip.decompress(c.answer()[2])) == 500000, "gzip")
        file = nginx.prefix / "file"
        file.write_bytes(bytes(range(256)) * 8000)
        for where in ("threads", "copied"):
            for before in (0, 5):
                c.ask(f"/{where}/file?path={file}&before={before}")
                body = c.answer()[2]
                checks.check(body == b"<" * before + file.read_bytes(), f"{where}: a file, {before} bytes before it", len(body))
        began = time.monotonic()
        c.ask("/rated/stream?n=60&size=10000")
        checks.check(len(c.answer()[2]) == 600000 and time.monotonic() - began > 0.5, "limit_rate")
    for where in ("threads", "copied", "rated"):
        clients = []
        for _ in range(20):
            c = Raw(nginx.port, receive=4096)
            c.ask(f"/{where}/file?path={file}")
            clients.append(c)
        time.sleep(0.1)
        for c in clients:
            c.reset()
        checks.check(idle(nginx), f"{where}: reset in the middle of a file")
    with Raw(nginx.port) as c:
        c.ask("/wide/stream?n=100&size=100000")
        checks.check(len(c.answer()[2]) == 10000000, "nffi_window larger than max_response: the window rules")


def records(checks, port, ctx):
    """A client reads what there is while the runtime pauses: nothing may wait in a TLS record or a filter for the next piece."""
    late = []
    size = 4000
    for n in range(2, 60):
        with Raw(port, ctx, receive=4096, timeout=1.5) as c:
            # all of it at once, and then the pause
            c.ask(f"/pause?n={n}&size={size}&ms=4000")
            time.sleep(0.03)
            try:
                c.head()
                got = 0
                while got < n * size:
                    chunk = int(c.until(b"\r\n"), 16)
                    c.exactly(chunk + 2)
                    got += chunk
            except OSError:
                late.append(n * size)
    checks.check(not late, "TLS: nothing waits for the next piece", late)


def chunks(checks, nginx):
    """Tiny chunks must not fill the request's pool."""
    worker = nginx.workers()[0]
    idle(nginx)
    block = b"1\r\nx\r\n" * 20000
    grown = []
    with Raw(nginx.port) as c:
        c.ask("/off/count", "POST", "Transfer-Encoding: chunked\r\n")
        for i in range(60):
            c.send(block)
            if i in (9, 59):
                time.sleep(0.3)
                grown.append(rss_kb(worker))
        c.send("0\r\n\r\n")
        checks.check(c.answer()[2] == b"1200000 bytes in pieces\n", "1 200 000 chunks of a byte")
    checks.check(grown[1] - grown[0] < 4000, "memory stays as it is", grown)


def unloaded(checks):
    """A runtime that is unloaded finishes what it has, and gets nothing more."""
    unload = 'content_by_lua_block { ngx.say(require("resty.nffi").get("http"):unload()) }'
    nginx = serve(checks, f"location = /unload {{ {unload} }}")
    asked = []
    for path, wanted in [("/sleep?ms=600", 6), ("/stream?n=6&size=100000&ms=100", 600000), ("/flush?ms=600", 6), ("/upgrade", None)]:
        c = Raw(nginx.port)
        c.ask(path, headers="" if wanted else "Connection: Upgrade\r\nUpgrade: echo\r\n")
        asked.append((c, wanted))
    upgraded = asked[-1][0]
    upgraded.head()
    wait_for(lambda: nginx.runtime("http")["in_flight"] == len(asked), 5)
    checks.check(nginx.get("/unload") == (200, b"true\n"), "unload")
    checks.check(nginx.get("/hello")[0] == 503, "a new request: 503")
    for c, wanted in asked:
        if wanted:
            status, _, body = c.answer()
            checks.check((status, len(body)) == (200, wanted), "what it has is answered", status, len(body))
    upgraded.send("still")
    checks.check(upgraded.exactly(5) == b"still", "an upgraded connection stays")
    upgraded.close()
    checks.check(nginx.log_has('nffi runtime "http" has stopped', 10), "then it is stopped")
    checks.check(nginx.get("/hello")[0] == 503 and nginx.get("/control")[0] == 200, "the worker goes on")


def body(checks, scale):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        cert, key = certificate(pathlib.Path(folder))
        nginx = serve(checks, SERVER.format(tls=port, cert=cert, key=key), main="thread_pool default threads=4;",
                      http=f"nffi_runtime narrow {FIXTURES}/libhttp.so {{ max_response 100k; other yes; }}")
        each(checks, (subrequests, nginx), (error_page, nginx), (filters, nginx), (records, port, context(cert)), (chunks, nginx), (unloaded,))
        expected = (r'nffi runtime "http" (failed|timed out)',)
        checks.check(not nginx.bad_lines(*expected), "the error log is silent", nginx.bad_lines(*expected)[:3])


if __name__ == "__main__":
    run("inside", body, __doc__)
