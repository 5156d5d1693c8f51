"""The benchmark of HTTP: the same applications in nffi, and in their usual servers, behind nginx and direct. Started
by scripts/bench."""

import argparse
import pathlib
from dataclasses import dataclass

import publish
import report
import run
from cases import progress
from server import ROOT, free_port
from stack import COLUMNS, Round, Stack, by_key, measure, placements, row, verdicts, wrk

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


class Applications(Stack):
    """All servers of one application at one placement."""

    def __init__(self, args, case, placement):
        super().__init__(args, placement)
        self.case = case

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
        worker = self.nginx("proxy", "\n".join(map(self.proxied, proxied)), [])
        for peer in proxied:
            self.pids[peer].append(worker)
        worker = self.nginx("nffi", self.inside(), self.args.modules)
        self.pids["nffi"] = self.pids["say"] = [worker]
        for peer in wanted:
            # Asks as the load will, but for WebSocket, whose load fails by itself.
            path = "/hello" if self.case.load == "websocket" else self.case.path
            self.wait_for_answer(peer, path, b"x" if self.case.load == "upload" else None)

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

    def proxied(self, peer):
        return self.proxy(peer, self.dir / f"{'own' if peer == 'nginx_own_server' else peer.removeprefix('nginx_')}.sock")

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
        servers = self.listen("nffi", "location / { nffi_pass app; }")
        if "say" in self.case.peers:
            servers += self.listen("say", """
        location / { content_by_lua_block { ngx.header["Content-Length"] = 5 ngx.print("hello") } }""")
        return f"""
    lua_package_path "{self.args.lua_path}";
    {runtime}{servers}"""


def command(stack, peer, seconds):
    """Of one round."""
    case = stack.case
    if case.load == "websocket":
        return [stack.args.ws_load, stack.ports[peer], case.path, CONNECTIONS, seconds]
    script = ["-s", APPS / "upload.lua"] if case.load == "upload" else []
    return wrk(stack, peer, case.path, CONNECTIONS, seconds, *script)


def rounds_of(results, args, case, placement, rounds, seconds):
    with Applications(args, case, placement) as stack:
        for peer in case.peers:
            Round(stack, peer, command(stack, peer, 1))  # connections, caches, just-in-time compilers
        for number in range(rounds):
            progress(f"{case.name}, {placement.name}: round {number + 1} of {rounds}")
            for peer in case.peers:
                measure(results, stack, peer, case.name, CONNECTIONS, command(stack, peer, seconds))


def tables(records, out):
    figures = by_key(records)
    rows = [[case, placement, peer, *row(figures, case, peer, placement, CONNECTIONS)]
            for case, peer, placement in dict.fromkeys((r["case"], r["peer"], r["placement"]) for r in records)]
    print(report.table(["case", "placement", "peer", *COLUMNS], rows, words=3), file=out)
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
        values = [report.ratio(figures.get((case, "nffi", p, CONNECTIONS, metric)), figures.get((case, peer, p, CONNECTIONS, metric)))
                  for p in ("one_core", "free")]
        if values == [None, None]:
            continue  # it was not run
        is_cpu = metric == "cpu_us_per_request"
        rows.append([f"{case}{', CPU' if is_cpu else ''}: nffi / {peer}", *(report.text(v) for v in values),
                     f"{'<=' if is_cpu else '>='} {limit}", verdicts(values, limit, most=is_cpu)])
    return rows


def arguments():
    parser = run.options("http", __doc__, [c.name for c in CASES], ("venv", "python", "ws-load", "go-server", "go-library",
                                                                    "rust-server", "rust-library"))
    parser.add_argument("--libpython", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(case):
    def placed(results, args):
        for placement in placements():
            rounds_of(results, args, case, placement, *((3, 2) if args.quick else (5, 4)))

    return case.name, placed


if __name__ == "__main__":
    run.run(arguments(), map(measured, CASES), tables, publish.http)
