"""nffi_zone, nffi_status and nffi_slow_log: what is counted, by whom it can be read, and what stays of it.

Guards: each outcome is counted once, over all workers; reloads and crashes lose nothing that was told; it can be read while queues are full.
"""

import json
import os
import pathlib
import re
import signal
import sys
import time

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "http"))

from client import Raw, each, serve, wait_for  # noqa: E402

from harness import FIXTURES, run  # noqa: E402

ZONE = "nffi_zone metrics 1m;"
STATUS = """
location = /status { nffi_status; }
location = /gojinn { nffi_status gojinn_names=on; }
location /short/ { nffi_pass http; nffi_timeout 200ms; }
location /page/ { nffi_pass http; nffi_intercept_errors on; error_page 404 @page; }
location @page { return 200 page; }
location = /stream {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local s = assert(nffi.get("pieces"):open("write 10 5000"))
        ngx.sleep(0.2)
        for _ = 1, 3 do nffi.call("fixture", "echo x") end -- its slot is another's by now
        local n = 0
        for piece in function() return s:receive() end do n = n + #piece end
        ngx.say(n)
    }
}
"""
FIXTURE = f"""
nffi_runtime fixture {FIXTURES}/libfixture.so {{ stop_timeout 2s; queue 4; }}
nffi_runtime pieces {FIXTURES}/libfixture.so {{ stop_timeout 2s; other yes; }}
nffi_runtime failed {FIXTURES}/libhttp.so {{ init_fail yes; }}
"""
ACCEPTS = {
    "": "text/plain",
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5": "application/openmetrics-text",
    "application/json": "application/json",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html",
}


def status(nginx):
    return json.loads(nginx.get("/status?format=json")[1])


def runtime(nginx, name="http"):
    return status(nginx)["runtimes"].get(name, {})


def ask(nginx, path, method="GET", headers="", body=b""):
    with Raw(nginx.port) as c:
        c.ask(path, method, headers, body)
        return c.answer()


def outcomes(checks):
    """Every way to end, by nffi_pass and by Lua."""
    nginx = serve(checks, STATUS + "location /failed/ { nffi_pass failed; }", http=ZONE + FIXTURE)
    checks.check(status(nginx)["runtimes"].keys() == {"http", "fixture", "pieces", "failed"}, "before any request", status(nginx)["runtimes"].keys())
    for _ in range(3):
        ask(nginx, "/hello")
    ask(nginx, "/count", "POST", body=b"x" * 1000)
    ask(nginx, "/off/count", "POST", body=b"x" * 100000)
    ask(nginx, "/fail")
    ask(nginx, "/wrong?how=no_head")
    ask(nginx, "/page/flush?code=404&ms=50")
    ask(nginx, "/short/sleep")
    with Raw(nginx.port) as c:
        c.ask("/sleep")
        wait_for(lambda: runtime(nginx)["now"]["running"] == 1, 5)
        checks.check(runtime(nginx)["now"] == {"queued": 0, "running": 1, "in_flight": 1, "abandoned": 0}, "one runs", runtime(nginx)["now"])
    wait_for(lambda: runtime(nginx)["calls"]["cancelled"] == 1 and runtime(nginx)["now"]["in_flight"] == 0, 5)
    http = runtime(nginx)
    checks.check(http["calls"] == {"ok": 6, "error": 2, "timeout": 1, "cancelled": 1, "rejected": 0}, "HTTP by outcome", http["calls"])
    checks.check((http["http_responses"]["2xx"], http["http_responses"]["4xx"], http["request_bytes"]) == (5, 1, 101000), "statuses and bytes",
                 http["http_responses"], http["request_bytes"])
    durations = http["duration"]
    checks.check(all(durations[o]["count"] == http["calls"][o] for o in durations), "each has its duration")
    checks.check(http["queue"]["count"] == 10 and http["run"]["count"] == 10, "and its parts", http["queue"], http["run"])
    checks.check(0.19 <= durations["timeout"]["sum"] < 5 and sum(durations["timeout"]["buckets"][:13]) == 0, "times are in seconds",
                 durations["timeout"])

    nginx.get("/call?echo+abc")
    nginx.get("/call?fail+3+no")
    checks.check(nginx.get("/call?never", headers={"X-Timeout": "100"})[1] == b"timeout", "a timeout in Lua")
    nginx.get("/cast?echo+x")
    wait_for(lambda: runtime(nginx, "fixture")["calls"]["ok"] == 2, 5)
    lua = runtime(nginx, "fixture")["calls"]
    checks.check((lua["ok"], lua["error"], lua["timeout"]) == (2, 1, 1), "calls and casts of Lua by outcome", lua)

    before = runtime(nginx, "fixture")["response_bytes"]
    checks.check(nginx.get("/stream")[1] == b"50000\n", "a stream that is received after its end")
    wait_for(lambda: runtime(nginx, "pieces")["response_bytes"] >= 50000, 5)
    checks.check(runtime(nginx, "pieces")["response_bytes"] == 50000 and runtime(nginx, "fixture")["response_bytes"] == before + 3,
                 "its bytes are its own", runtime(nginx, "pieces")["response_bytes"], runtime(nginx, "fixture")["response_bytes"] - before)
    for _ in range(3):
        nginx.get("/failed/hello")
    checks.check(wait_for(lambda: runtime(nginx, "failed")["calls"]["rejected"] == 3, 5), "requests of a runtime that failed", runtime(nginx, "failed"))

    # The only thread of the fixture stalls: all others wait, and some are refused.
    clients = [Raw(nginx.port) for _ in range(12)]
    for c in clients:
        c.ask("/call?stall+1500")
    wait_for(lambda: runtime(nginx, "fixture")["calls"]["rejected"] > 0, 5)
    began = time.monotonic()
    full = runtime(nginx, "fixture")
    checks.check(full["now"]["queued"] > 0 and full["calls"]["rejected"] > 0, "it is shown while the queue is full", full["now"], full["calls"])
    checks.check(time.monotonic() - began < 1, "at once")
    for c in clients:
        c.close()
    return nginx


def formats(checks):
    """Each format, by what a client accepts; those for Prometheus read by its own library."""
    nginx = serve(checks, STATUS, http=ZONE)
    for _ in range(5):
        nginx.get("/hello")
    for accept, wanted in ACCEPTS.items():
        head, headers, _ = ask(nginx, "/status", headers=f"Accept: {accept}\r\n" if accept else "")
        checks.check(head == 200 and headers["content-type"].startswith(wanted), f"Accept: {accept}: {wanted}", headers)
    for name, wanted in (("prometheus", "text/plain"), ("openmetrics", "application/openmetrics-text"), ("html", "text/html")):
        headers = ask(nginx, f"/status?format={name}", headers="Accept: application/json\r\n")[1]
        checks.check(headers["content-type"].startswith(wanted), f"?format={name}", headers)
    for name, parse in (("prometheus", prometheus), ("openmetrics", openmetrics.text_string_to_metric_families)):
        families = {family.name: family for family in parse(nginx.get(f"/gojinn?format={name}")[1].decode())}
        values = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
        calls = values["nffi_calls_total", ("outcome", "ok"), ("runtime", "http")]
        counted = values["nffi_duration_seconds_count", ("outcome", "ok"), ("runtime", "http")]
        checks.check(calls == counted == 5, f"{name}: its own parser reads it", calls, counted)
        types = {name: family.type for name, family in families.items()}
        checks.check(types["nffi_calls"] == "counter" and types["nffi_run_seconds"] == "histogram" and types["nffi_queued"] == "gauge",
                     f"{name}: types")
        seed = values["gojinn_function_duration_seconds_count", ("path", "http"), ("status", "200")]
        checks.check(seed == 5 and values["gojinn_active_sandboxes", ("path", "http")] == 0, f"{name}: gojinn's names", seed)
    checks.check(b"gojinn" not in nginx.get("/status")[1], "which are not there unasked")
    checks.check(ask(nginx, "/status", "POST", body=b"x")[0] == 405, "POST: 405")
    with Raw(nginx.port) as c:
        c.ask("/status", "HEAD")
        status_code, headers = c.head()[:2]
        checks.check(status_code == 200 and int(headers["content-length"]) > 1000, "HEAD", headers)
        c.ask("/hello")
        checks.check(c.answer()[2] == b"hello\n", "and its connection is used again")


def workers(checks):
    """Two workers, a reload, another worker: all is added up, and gauges go with their worker."""
    nginx = serve(checks, STATUS, http=ZONE, workers=2)
    asked = 0
    while len({pid for pid in runtime(nginx).get("workers", {})}) < 2 or asked < 40:
        ask(nginx, "/hello")
        asked += 1
        if asked == 2000:
            break
    checks.check(wait_for(lambda: runtime(nginx)["calls"]["ok"] == asked, 5), "requests of all workers", asked, runtime(nginx)["calls"])
    before = {str(pid) for pid in nginx.workers()}
    checks.check(set(runtime(nginx)["workers"]) == before, "gauges by worker", before, runtime(nginx)["workers"])
    held = Raw(nginx.port)
    held.ask("/sleep")
    wait_for(lambda: runtime(nginx)["now"]["running"] == 1, 5)
    nginx.signal(signal.SIGHUP)
    checks.check(wait_for(lambda: len(before & set(runtime(nginx)["workers"])) == 1, 10),
                 "after a reload: the one that has a request is there still", before, runtime(nginx)["workers"])
    checks.check(runtime(nginx)["now"]["running"] == 1, "with it")
    held.close()
    checks.check(wait_for(lambda: not before & set(runtime(nginx)["workers"]), 10), "then it is gone", runtime(nginx)["workers"])
    ask(nginx, "/hello")
    checks.check(wait_for(lambda: runtime(nginx)["calls"] == {**runtime(nginx)["calls"], "ok": asked + 1, "cancelled": 1}, 5),
                 "what was counted is not", runtime(nginx)["calls"])
    checks.check(status(nginx)["worker_crashes"] == 0, "a reload is no crash", status(nginx)["worker_crashes"])
    # A runtime that the new configuration has not.
    text = nginx.conf.read_text().replace("nffi_runtime http ", "nffi_runtime other ").replace("nffi_pass http;", "nffi_pass other;")
    nginx.conf.write_text(text)
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: "other" in status(nginx)["runtimes"], 10)
    kept = status(nginx)["runtimes"]
    checks.check(kept["http"]["calls"]["ok"] == asked + 1 and "other" in kept, "a runtime that was removed is kept", list(kept))
    return nginx


def crash(checks):
    """kill -9: the next worker says what ran, with its traces."""
    nginx = serve(checks, STATUS, http=ZONE)
    trace = "0af7651916cd43dd8448eb211c80319c"
    clients = [Raw(nginx.port) for _ in range(3)]
    for c in clients:
        c.ask("/sleep", headers=f"traceparent: 00-{trace}-b7ad6b7169203331-01\r\n")
    worker = nginx.workers()[0]
    # Its first requests: nobody has asked for what is counted, nor has the worker handed it over, as a rule.
    wait_for(lambda: (nginx.runtime("http")["in_flight"], nginx.runtime("http")["queued"]) == (3, 0), 5)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: nginx.workers() not in ([], [worker]), 10)
    checks.check(nginx.log_has(rf"nffi: worker process {worker} ended without leaving; 3 of its tasks were running, 0 waited", 10), "it is said")
    lines = [line for line in nginx.log().splitlines() if 'nffi runtime "http" was running a task of *' in line and trace in line]
    checks.check(len(lines) == 3, "with each of them", lines)
    checks.check(wait_for(lambda: nginx.get("/hello")[0] == 200, 5), "the next worker serves")
    after = status(nginx)
    http = after["runtimes"]["http"]
    checks.check((after["worker_crashes"], http["restarts"], http["now"]["running"]) == (1, 1, 0), "and counts it", after["worker_crashes"], http["restarts"])
    os.kill(nginx.workers()[0], signal.SIGKILL)
    checks.check(wait_for(lambda: nginx.get("/hello")[0] == 200 and status(nginx)["worker_crashes"] == 2, 10), "and the next one")
    after = runtime(nginx)
    checks.check((after["restarts"], after["calls"]["ok"]) == (2, 2), "what was counted before is there", after["calls"])
    for c in clients:
        c.close()
    nginx.signal(signal.SIGHUP)
    wait_for(lambda: len(nginx.workers()) == 1 and nginx.get("/hello")[0] == 200, 5)
    checks.check(len([line for line in nginx.log().splitlines() if "ended without leaving" in line]) == 2, "once each")
    return nginx


def slow(checks):
    """nffi_slow_log: those that take long, and no others; at USR1 it is opened again."""
    nginx = serve(checks, """
location /quiet/ { nffi_pass http; nffi_slow_log off; }
location /sub { content_by_lua_block { ngx.print(ngx.location.capture("/sleep?ms=1600").body) } }
location /again/ { nffi_pass http; nffi_timeout 1200ms; error_page 504 = @again; }
location @again { nffi_pass http; rewrite ^ /hello break; }
""", http="nffi_slow_log @PREFIX@/slow.log 1s;")
    log = nginx.prefix / "slow.log"
    ask(nginx, "/hello")
    ask(nginx, "/quiet/sleep?ms=1500")
    ask(nginx, "/sleep?ms=1500&quote=\"\\", headers="traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n")
    ask(nginx, "/sub")
    checks.check(ask(nginx, "/again/sleep")[2] == b"hello\n", "a timeout, and its error_page")
    wait_for(lambda: len(log.read_text().splitlines()) == 3, 5)
    lines = log.read_text().splitlines()
    checks.check(len(lines) == 3, "three of six: a request, a subrequest, one that an error_page stands for", lines)
    found = re.fullmatch(r'(\S+) runtime="http" trace=0af7651916cd43dd8448eb211c80319c queue=(\S+) run=(\S+) status=200 bytes=6 '
                         r'client=127.0.0.1 request="(.*)"', lines[0])
    checks.check(found and float(found[2]) < 1.4 <= float(found[3]), "what it says", lines[0])
    checks.check(found and found[4] == "GET /sleep?ms=1500&quote=\\x22\\x5C HTTP/1.1", "a client cannot forge a line", lines[0])
    checks.check("status=504" in lines[2] and "/again/sleep" in lines[2], "its own status", lines[2])
    with Raw(nginx.port) as c:
        c.ask("/upgrade", headers="Connection: Upgrade\r\nUpgrade: echo\r\n")
        c.head()
        time.sleep(1.2)
    log.rename(nginx.prefix / "slow.old")
    nginx.signal(signal.SIGUSR1)
    wait_for(log.exists, 5)

    def again():
        ask(nginx, "/sleep?ms=1100")
        return log.read_text()

    checks.check(wait_for(again, 10), "USR1")
    checks.check(len((nginx.prefix / "slow.old").read_text().splitlines()) < 6, "a connection that was upgraded has none")


def slow_lua(checks):
    """The same of what Lua asks for: calls, casts, streams; also where no request asks, and without a zone."""
    nginx = serve(checks, """
location /quiet/ { nffi_slow_log off; content_by_lua_block { require("resty.nffi").call("fixture", "sleep 1400") } }
location /queue {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        assert(nffi.get("fixture"):cast("stall 1400"))
        ngx.say(nffi.call("fixture", "echo x"))
    }
}
location /open { content_by_lua_block { assert(require("resty.nffi").get("fixture"):open("sleep 1400")):receive() } }
location /gone { lua_check_client_abort on; content_by_lua_block { require("resty.nffi").call("fixture", "sleep 5000") } }
location /timer {
    nffi_slow_log off;
    content_by_lua_block { ngx.timer.at(0, function() require("resty.nffi").call("fixture", "sleep 1300") end) }
}
""", http=f"""nffi_slow_log @PREFIX@/slow.log 1s;
nffi_runtime fixture {FIXTURES}/libfixture.so {{ stop_timeout 2s; }}
init_worker_by_lua_block {{ ngx.timer.at(0, function() require("resty.nffi").call("fixture", "sleep 1250") end) }}
""")
    log = nginx.prefix / "slow.log"
    checks.check(wait_for(lambda: log.read_text() != "", 30), "a timer of init_worker's: by the http block")
    traceparent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    ask(nginx, "/call?echo+x")
    ask(nginx, "/quiet/")
    ask(nginx, "/call?sleep+1400", headers=traceparent)
    ask(nginx, "/call?never", headers="X-Timeout: 1250\r\n")
    ask(nginx, "/call?fail+3+no")
    ask(nginx, "/queue")
    ask(nginx, "/open")
    with Raw(nginx.port) as c:
        c.ask("/gone")
        time.sleep(1.3)
    wait_for(lambda: len(log.read_text().splitlines()) >= 7, 30)
    # Its location has none.
    ask(nginx, "/timer")
    wait_for(lambda: nginx.runtime("fixture")["in_flight"] == nginx.runtime("fixture")["abandoned"] + 1, 30)
    wait_for(lambda: nginx.runtime("fixture")["in_flight"] == nginx.runtime("fixture")["abandoned"], 30)
    lines = log.read_text().splitlines()
    pattern = re.compile(r'\S+ runtime="fixture" trace=(\S+) queue=(\S+) run=(\S+) (\S+) client=(\S+) request="(.*)"')
    found = [pattern.fullmatch(line) for line in lines]
    checks.check(len(lines) == 7 and all(found), "those that are slow, and no others", lines)
    trace = "0af7651916cd43dd8448eb211c80319c"
    wanted = [
        ("-", "call=ok", "-", "-"), (trace, "call=ok", "127.0.0.1", "GET /call?sleep+1400 HTTP/1.1"),
        ("-", "call=timeout", "127.0.0.1", "GET /call?never HTTP/1.1"), ("-", "cast=ok", "127.0.0.1", "GET /queue HTTP/1.1"),
        ("-", "call=ok", "127.0.0.1", "GET /queue HTTP/1.1"), ("-", "stream=ok", "127.0.0.1", "GET /open HTTP/1.1"),
        ("-", "call=cancelled", "127.0.0.1", "GET /gone HTTP/1.1"),
    ]
    said = [(m[1], m[4], m[5], m[6]) for m in found if m]
    checks.check(said == wanted, "what they say", *(pair for pair in zip(said, wanted) if pair[0] != pair[1]))
    times = [(float(m[2]), float(m[3])) for m in found if m]
    checks.check(all(sum(t) > 0.99 for t in times), "their times together", times)
    checks.check(len(times) == 7 and times[1][1] > 1.3 and times[4][0] > times[4][1], "in the run, and in the queue", times)


def small(checks):
    """A zone without room for all: it is said, and everything else works."""
    many = "".join(f"nffi_runtime r{i} {FIXTURES}/libhttp.so {{ number {i}; }}" for i in range(70))
    places = "".join(f"location /r{i}/ {{ nffi_pass r{i}; }}" for i in range(70))
    nginx = serve(checks, STATUS + places, http="nffi_zone metrics 128k;" + many)
    for i in range(70):
        status_code = ask(nginx, f"/r{i}/hello")[0]
        if status_code != 200:
            checks.check(False, f"runtime {i} is served", status_code)
    checks.check(nginx.log_has('nffi_zone has no room for runtime "r[0-9]+", which is not counted', 5), "it is said")
    shown = status(nginx)["runtimes"]
    checks.check(10 < len(shown) < 70, "and the others are counted", len(shown))
    checks.check(all(r["calls"]["ok"] <= 1 for r in shown.values()), "right")
    # Where the zone has room, a worker has: for so many.
    nginx = serve(checks, STATUS + places, http="nffi_zone metrics 1m;" + many)
    good = sum(ask(nginx, f"/r{i}/hello")[0] == 200 for i in range(70))
    shown = {}

    def named():
        """Those without room are tried again, and named where they were not, once a second."""
        shown.update(status(nginx)["runtimes"])
        return set(re.findall(r'a worker counts 64 runtimes at a time: "(r[0-9]+)" is not counted', nginx.log()))

    wait_for(lambda: len(named()) == 7, 5)
    checks.check(good == 70 and len(shown) == 64 and named() == {f"r{i}" for i in range(70)} - shown.keys(), "64 runtimes, and the others are named",
                 good, len(shown), named())
    checks.check(all(shown[f"r{i}"]["calls"]["ok"] == 1 for i in range(70) if f"r{i}" in shown), "right")
    # So many workers have no room, but each can show what the others count.
    nginx = serve(checks, STATUS, http="nffi_zone metrics 128k;", workers=14)
    good = sum(ask(nginx, "/status?format=json")[0] == 200 for _ in range(50))
    checks.check(good == 50 and nginx.log_has("nffi_zone has no room for this worker", 5), "workers without room", good)
    checks.check(0 < len(status(nginx)["workers"]) < 14, "the others are there", status(nginx)["workers"])


def body(checks, scale):
    each(checks, (outcomes,), (formats,), (workers,), (crash,), (slow,), (slow_lua,), (small,))
    for nginx in checks.nginxes:
        expected = (r'nffi runtime "http" (failed|timed out|was running|broke)', r'nffi runtime "failed"', "ended without leaving", "exited on signal 9", "queue full")
        checks.check(not nginx.bad_lines(*expected), "the error log is silent", nginx.bad_lines(*expected)[:3])


if __name__ == "__main__":
    run("status", body, __doc__)
