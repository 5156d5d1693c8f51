"""The benchmark of HTTP: the same applications in nffi, and in their usual servers, behind nginx and direct. Started
by scripts/bench."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass

import machine
import report
from cases import Results, progress
from server import Failed, ROOT, TIED, Placement, free_port, on_cpus, tail, wait_for

CONNECTIONS = 64
APPS = ROOT / "bench/http"


@dataclass(frozen=True)
class Case:
    """What is asked of whom. `app` names the application; `load` is wrk, upload or websocket."""
    name: str
    app: str
    path: str
    load: str = "wrk"

    @property
    def peers(self):
        if self.app in ("go", "rust"):
            return ["nffi", "nginx_own_server"]
        peers = ["nffi", "nginx_uvicorn", "nginx_granian", "uvicorn", "granian"]
        return [*peers, "say"] if self.name == "asgi_hello" else peers


CASES = [
    Case("asgi_hello", "asgi_app", "/hello"),
    Case("fastapi_json", "fastapi_app", "/item/7"),
    Case("flask_json", "flask_app", "/item/7"),
    Case("stream_1m", "asgi_app", "/stream"),
    Case("upload_1m", "asgi_app", "/upload", "upload"),
    Case("websocket_echo", "asgi_app", "/ws", "websocket"),
    Case("go_hello", "go", "/hello"),
    Case("rust_hello", "rust", "/hello"),
]


class Stack:
    """All servers of one application at one placement. Use it with `with`."""

    def __init__(self, args, case, placement):
        self.args, self.case, self.placement = args, case, placement
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nffi-bench-"))
        self.dir.chmod(0o755)
        self.processes, self.pids, self.ports = [], {}, {}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        wanted = self.case.peers
        if "uvicorn" in wanted:
            for server in ("uvicorn", "granian"):
                self.ports[server] = free_port()
                self.pids[server] = [self.python_server(server, self.ports[server])]
                self.pids[f"nginx_{server}"] = [self.python_server(server, self.dir / f"{server}.sock")]
        else:
            self.pids["nginx_own_server"] = [self.own_server()]
        proxied = [peer for peer in wanted if peer.startswith("nginx_")]
        worker = self.nginx("proxy", "\n".join(map(self.proxy, proxied)), [])
        for peer in proxied:
            self.pids[peer].append(worker)
        self.ports["nffi"] = free_port()
        if "say" in wanted:
            self.ports["say"] = free_port()
        worker = self.nginx("nffi", self.inside(), self.args.modules)
        self.pids["nffi"] = self.pids["say"] = [worker]
        for peer in wanted:
            self.wait_for_answer(peer)

    def spawn(self, command, **kwargs):
        log = (self.dir / "servers.log").open("a")
        process = subprocess.Popen(TIED + on_cpus(self.placement.worker, list(map(str, command))), stdout=log, stderr=log, **kwargs)
        self.processes.append(process)
        return process.pid

    def python_server(self, server, at):
        app, bin_ = self.case.app, self.args.venv / "bin"
        wsgi = app == "flask_app"
        where = ["--uds", at] if isinstance(at, pathlib.Path) else ["--host", "127.0.0.1", "--port", at]
        if server == "uvicorn":
            command = [bin_ / "uvicorn", f"{app}:app", *where, "--loop", "uvloop", "--http", "httptools", "--workers", 1,
                       "--no-access-log", "--log-level", "warning", "--interface", "wsgi" if wsgi else "asgi3"]
        else:
            command = [bin_ / "granian", f"{app}:app", *where, "--loop", "uvloop", "--workers", 1, "--no-access-log",
                       "--log-level", "warning", "--interface", "wsgi" if wsgi else "asgi"]
        return self.spawn(command, cwd=APPS)

    def own_server(self):
        program = self.args.go_server if self.case.app == "go" else self.args.rust_server
        return self.spawn([program, self.dir / "own.sock"])

    def proxy(self, peer):
        """An nginx server that proxies, with keep-alive over a unix socket."""
        self.ports[peer] = free_port()
        socket = self.dir / f"{'own' if peer == 'nginx_own_server' else peer.removeprefix('nginx_')}.sock"
        return f"""
    upstream {peer} {{ server unix:{socket}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{self.ports[peer]};
        location / {{
            proxy_pass http://{peer};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}"""

    def inside(self):
        app = self.case.app
        if app in ("go", "rust"):
            library = self.args.go_library if app == "go" else self.args.rust_library
            runtime = f"nffi_runtime app {library} {{}}"
        else:
            interface = "wsgi" if app == "flask_app" else "asgi"
            libpython = f"libpython {self.args.libpython}; " if self.args.libpython else ""
            runtime = (f"nffi_runtime app {self.args.python} {{ interface {interface}; app {app}:app; path {APPS}; "
                       f"{libpython}venv {self.args.venv}; }}")
        say = ""
        if "say" in self.ports:
            say = f"""
    server {{
        listen 127.0.0.1:{self.ports['say']};
        location / {{ content_by_lua_block {{ ngx.header["Content-Length"] = 5 ngx.print("hello") }} }}
    }}"""
        return f"""
    lua_package_path "{self.args.lua_path}";
    {runtime}
    server {{
        listen 127.0.0.1:{self.ports['nffi']};
        location / {{ nffi_pass app; }}
    }}{say}"""

    def nginx(self, name, body, modules):
        words = {"LOAD_MODULES": "\n".join(f"load_module {path};" for path in modules), "NAME": name, "BODY": body,
                 "USER": "user root;" if os.geteuid() == 0 else ""}
        text = (ROOT / "nginx-conf/bench-http.conf.in").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (self.dir / f"{name}.conf").write_text(text)
        self.spawn([self.args.nginx, "-p", f"{self.dir}/", "-c", f"{name}.conf", "-e", f"{name}.log"])
        process, pid = self.processes[-1], self.dir / f"{name}.pid"
        wait_for(f"nginx ({name})", lambda: pid.exists() and pid.read_text().strip(), process, self.dir / f"{name}.log")
        wait_for("its worker", lambda: machine.children(int(pid.read_text())), process)
        return machine.children(int(pid.read_text()))[0]

    def wait_for_answer(self, peer):
        """Asks as the load will, but for WebSocket, whose load fails by itself."""
        path = "/hello" if self.case.load == "websocket" else self.case.path
        body = b"x" if self.case.load == "upload" else None

        def answers():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[peer]}{path}", body, timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                return False

        wait_for(f"{self.case.name}, {peer}", answers, self.processes[0], self.dir / "servers.log")

    def cpu_seconds(self, peer):
        return sum(machine.cpu_seconds(pid) for root in self.pids[peer] for pid in family(root))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def family(pid):
    """A process and all that it has started. One that has just ended is left out."""
    try:
        return [pid] + [p for child in machine.children(pid) for p in family(child)]
    except OSError:
        return []


def placements():
    cpus = machine.cpus()
    first = cpus[:1]
    return [Placement("one_core", first, first, cpus[1:3] or first), Placement("free", [], [], [])]


def run(args, stack, peer, seconds):
    """One round: (requests a second, p50 us, p99 us, CPU us a request)."""
    case, port = stack.case, stack.ports[peer]
    if case.load == "websocket":
        command = [args.ws_load, port, case.path, CONNECTIONS, seconds]
    else:
        script = ["-s", APPS / "upload.lua"] if case.load == "upload" else []
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *script, f"http://127.0.0.1:{port}{case.path}"]
    before = stack.cpu_seconds(peer)
    done = subprocess.run(TIED + on_cpus(stack.placement.load, list(map(str, command))), capture_output=True, text=True, check=False)
    cpu = stack.cpu_seconds(peer) - before
    text = done.stdout + done.stderr
    requests = re.search(r"^\s*(\d+) requests in", text, re.M)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    p50, p99 = (re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)", text, re.M) for share in (50, 99))
    if done.returncode or not (requests and rate and p50 and p99) or re.search(r"Non-2xx|Socket errors", text):
        raise Failed(f"the load on {case.name}, {peer} did not run clean:\n{text}\n{tail(stack.dir / 'nffi.log')}")
    micro = {"us": 1, "ms": 1000, "s": 1_000_000}
    return (float(rate[1]), *(float(m[1]) * micro[m[2]] for m in (p50, p99)), cpu * 1e6 / max(1, int(requests[1])))


METRICS = (("requests_per_second", "1/s"), ("p50_us", "us"), ("p99_us", "us"), ("cpu_us_per_request", "us"))


def measure(results, args, case, placement, rounds, seconds):
    with Stack(args, case, placement) as stack:
        for peer in case.peers:
            run(args, stack, peer, 1)  # connections, caches, just-in-time compilers
        for number in range(rounds):
            progress(f"{case.name}, {placement.name}: round {number + 1} of {rounds}")
            for peer in case.peers:
                for (metric, unit), value in zip(METRICS, run(args, stack, peer, seconds)):
                    results.add(case.name, peer, placement.name, CONNECTIONS, metric, value, unit)


def tables(records, out):
    figures = {(r["case"], r["peer"], r["placement"], r["metric"]): r["value"] for r in records}
    rows = []
    for case, peer, placement in dict.fromkeys((r["case"], r["peer"], r["placement"]) for r in records):
        def of(metric, peer=peer, case=case, placement=placement):
            return figures.get((case, peer, placement, metric))

        rate, cpu = of("requests_per_second"), of("cpu_us_per_request")
        rows.append([case, placement, peer, report.text(rate, 0), report.text(report.ratio(of("requests_per_second", "nffi"), rate)),
                     report.text(of("p50_us"), 0), report.text(of("p99_us"), 0), report.text(cpu, 1),
                     report.text(report.ratio(of("cpu_us_per_request", "nffi"), cpu))])
    print(report.table(["case", "placement", "peer", "requests/s", "nffi / it", "p50 µs", "p99 µs", "CPU µs/request", "nffi / it"],
                       rows, words=3), file=out)
    print(report.table(["target", "one core", "free", "limit", "met"], targets(figures)), file=out)


def targets(figures):
    wanted = [
        ("asgi_hello", "nginx_uvicorn", "requests_per_second", 2.3), ("asgi_hello", "nginx_granian", "requests_per_second", 2),
        ("asgi_hello", "granian", "requests_per_second", 1),
        ("asgi_hello", "nginx_uvicorn", "cpu_us_per_request", 0.25), ("asgi_hello", "nginx_granian", "cpu_us_per_request", 0.25),
        ("fastapi_json", "nginx_uvicorn", "requests_per_second", 1.7), ("fastapi_json", "nginx_granian", "requests_per_second", 1.15),
        ("fastapi_json", "nginx_uvicorn", "cpu_us_per_request", 0.6), ("fastapi_json", "nginx_granian", "cpu_us_per_request", 0.6),
        ("go_hello", "nginx_own_server", "requests_per_second", 2), ("rust_hello", "nginx_own_server", "requests_per_second", 2),
    ]
    rows = []
    for case, peer, metric, limit in wanted:
        values = [report.ratio(figures.get((case, "nffi", p, metric)), figures.get((case, peer, p, metric)))
                  for p in ("one_core", "free")]
        if values == [None, None]:
            continue  # it was not run
        is_cpu = metric == "cpu_us_per_request"
        met = ["-" if v is None else "yes" if (v <= limit if is_cpu else v >= limit) else "NO" for v in values]
        rows.append([f"{case}{', CPU' if is_cpu else ''}: nffi / {peer}", *(report.text(v) for v in values),
                     f"{'<=' if is_cpu else '>='} {limit}", " / ".join(met)])
    return rows


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench http", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the records there")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", metavar="CASE", choices=[c.name for c in CASES], help="this one alone (may be repeated)")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--libpython", type=pathlib.Path, help=argparse.SUPPRESS)
    for name in ("nginx", "venv", "python", "ws-load", "go-server", "go-library", "rust-server", "rust-library"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--lua-path", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--module", dest="modules", type=pathlib.Path, action="append", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    results = Results()
    rounds, seconds = (3, 2) if args.quick else (5, 4)
    print(f"{machine.describe()}; " + ("quick run" if args.quick else "full run"), flush=True)
    try:
        for case in CASES:
            if args.only and case.name not in args.only:
                continue
            for placement in placements():
                measure(results, args, case, placement, rounds, seconds)
    except Failed as e:
        sys.exit(f"bench: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
    records = list(results.records())
    print()
    tables(records, sys.stdout)
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")
    if args.publish:
        import publish
        publish.http(args, records, tables)


if __name__ == "__main__":
    main()
