"""Access logs with all of nffi's variables: what there is for each way in which a request can end."""

import json
import time

from client import Raw, each, idle, serve, wait_for

from harness import FIXTURES, run

HTTP = """
log_format nffi escape=json '{{"uri":"$request_uri","status":"$status","sent":"$body_bytes_sent","runtime":"$nffi_runtime",'
    '"nffi_status":"$nffi_status","queue":"$nffi_queue_time","time":"$nffi_time","bytes":"$nffi_bytes","trace":"$nffi_trace_id"}}';
nffi_runtime one {fixtures}/libhttp.so {{ tasks 1; one yes; }}
nffi_runtime broken {fixtures}/libhttp.so {{ init_fail yes; }}
"""
SERVER = """
access_log access.log nffi;
location /one/ { nffi_pass one; }
location /broken/ { nffi_pass broken; }
location /quick/ { nffi_pass http; nffi_timeout 200ms; }
location /none { return 200 "none\\n"; }
"""


def body(checks, scale):
    nginx = serve(checks, SERVER, http=HTTP.format(fixtures=FIXTURES))
    access = nginx.prefix / "access.log"

    def entry(uri):
        """The line of the latest request to that uri."""

        def look():
            lines = [json.loads(x) for x in access.read_text().splitlines()] if access.exists() else []
            return next((x for x in reversed(lines) if x["uri"] == uri), None)

        return wait_for(look, 5) or {}

    def shows(what, uri, **wanted):
        e = entry(uri)
        wrong = {k: (e.get(k), v) for k, v in wanted.items() if not (v(e.get(k, "?")) if callable(v) else e.get(k) == v)}
        trace = e.get("trace", "")
        checks.check(not wrong and len(trace) == (32 if e.get("runtime") else 0), what, wrong, trace)

    def seconds(least, most):
        return lambda text: text not in ("", "-") and least <= float(text) < most

    def sections(checks):
        nginx.get("/hello?a")
        shows("200", "/hello?a", status="200", nffi_status="200", runtime="http", bytes="6", queue=seconds(0, 1), time=seconds(0, 2))
        nginx.get("/sleep?ms=300")
        shows("a slow one", "/sleep?ms=300", time=seconds(0.29, 5), queue=seconds(0, 0.29))
        nginx.get("/none")
        shows("no runtime", "/none", runtime="", nffi_status="", bytes="", queue="", time="")
        nginx.get("/fail?a")
        shows("502: it failed", "/fail?a", status="502", nffi_status="502", bytes="0", time=seconds(0, 2))
        nginx.get("/length?say=10&send=5")
        shows("502: it broke the protocol", "/length?say=10&send=5", status="502", nffi_status="502")
        nginx.get("/quick/sleep")
        shows("504", "/quick/sleep", status="504", nffi_status="504", time=seconds(0.19, 3))
        nginx.get("/broken/hello")
        shows("503: it did not start", "/broken/hello", status="503", nffi_status="503", runtime="broken", time="")
        with Raw(nginx.port) as c:
            c.ask("/one/sleep?ms=500")
            wait_for(lambda: nginx.runtime("one")["in_flight"] == 1, 5)
            nginx.get("/one/hello")
            c.answer()
        shows("503: its queue is full", "/one/hello", status="503", nffi_status="503", runtime="one")
        c = Raw(nginx.port)
        c.ask("/sleep?ms=5000")
        wait_for(lambda: nginx.runtime("http")["in_flight"] == 1 and nginx.runtime("http")["queued"] == 0, 5)
        time.sleep(0.1)
        c.close()
        shows("499", "/sleep?ms=5000", status="499", nffi_status="", bytes="0", time=seconds(0, 4), queue=seconds(0, 4))
        with Raw(nginx.port) as c:
            c.ask("/fail?after=7")
            c.rest()
        shows("an answer that is cut", "/fail?after=7", status="200", nffi_status="200", bytes="7")
        c = Raw(nginx.port, receive=4096)
        c.ask("/stream?n=1000&size=100000&b")
        c.head()
        time.sleep(0.1)
        c.reset()
        shows("a client that leaves in the middle", "/stream?n=1000&size=100000&b", nffi_status="200", bytes=lambda b: 0 < int(b) < 100000000)
        with Raw(nginx.port) as c:
            c.ask("/upgrade?most=1", headers="Connection: Upgrade\r\nUpgrade: echo\r\n")
            c.head()
            c.send("12345")
            c.rest()
        shows("an upgraded connection", "/upgrade?most=1", status="101", nffi_status="101", bytes="9", time=seconds(0, 5))
        nginx.get("/status?code=404")
        shows("404 of its own", "/status?code=404", status="404", nffi_status="404", bytes="0")

    each(checks, (sections,))
    checks.check(bool(idle(nginx)), "no task is left")


if __name__ == "__main__":
    run("logs", body, __doc__)
