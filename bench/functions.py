"""The benchmark of WebAssembly functions: in nffi, in `wasmtime serve` behind nginx and direct, beside a native server
behind nginx and a bare `return 200`; what an instance costs in time and memory. Started by scripts/bench."""

import argparse
import contextlib
import json
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass

import machine
import publish
import report
import run
from cases import progress
from server import TIED, Failed, free_port, on_cpus, wait_for
from stack import COLUMNS, Others, Round, Stack, by_key, measure, placements, row, verdicts, wrk

CONNECTIONS = (1, 64)
HELD = 1000
MANY = 20
MIB = 1 << 20
GROWTH = 1_000_000
# Every option that makes `wasmtime serve` faster; a request has an instance of its own, as in nffi. It has no limit of time:
# so its code does not count epochs, which nffi's does.
TUNED = [f"-Opooling-{option}" for option in (
    "allocator", "memory-keep-resident=33554432", "table-keep-resident=262144", "async-stack-keep-resident=65536",
    "max-unused-warm-slots=1000", "pagemap-scan=auto")]
SERVE = ["--allow-precompiled", "--no-logging-prefix", "--max-instance-reuse-count=1", "-Scli"]


@dataclass(frozen=True)
class Function:
    """A file in `args.functions`, and its options. `limit`: of an instance's time, in µs."""
    name: str
    what: str
    file: str
    options: tuple = ()
    limit: float = 0

    @property
    def http(self):
        return ("interface", "message") not in self.options

    def block(self, args, runtime):
        """As in nginx.conf."""
        options = "".join(f" {name} {value};" for name, value in self.options)
        return f"nffi_runtime {runtime} {args.wasm} {{ module {args.functions / self.file}; cache {args.functions / 'cache'};{options} }}"

    def config(self, args, **more):
        """As nffi hands it to the library."""
        return json.dumps({"module": str(args.functions / self.file), "cache": str(args.functions / "cache"),
                           **dict(self.options), **more})


EMPTY = Function("c_empty", "C, empty", "empty.wasm", (("interface", "message"),), 8)
C = Function("c_json", "C, JSON", "c.wasm", (), 12)
GO = Function("go_json", "Go, JSON", "go.wasm", (), 450)
GO_SNAPSHOT = Function("go_snapshot", "Go, JSON, a reactor with `snapshot on`", "go_reactor.wasm", (("snapshot", "on"),), 60)
COMPONENT = Function("component", "a component in Rust, wasi:http", "component.wasm", (("interface", "wasi-http"),))
HOLD = Function("hold", "C, 1 MiB, asleep", "hold.wasm", (("instances", str(HELD)), ("memory_limit", "1m"), ("time_limit", "off")))
ALONE = (EMPTY, C, GO, GO_SNAPSHOT, COMPONENT)
HELLOS = {
    "c_hello": {"nffi": C, "return_200": None},
    "go_hello": {"nffi": GO, "nffi_snapshot": GO_SNAPSHOT, "nginx_native": None, "return_200": None},
    "component_hello": {"nffi": COMPONENT, "nginx_wasmtime_serve": None, "wasmtime_serve": None, "return_200": None},
}


class Functions(Stack):
    """The peers of one case at one placement."""

    def __init__(self, args, peers, placement, before="", more=""):
        super().__init__(args, placement)
        self.peers, self.before, self.more = peers, before, more

    def start(self):
        proxied = ""
        if "nginx_native" in self.peers:
            at = self.dir / "native.sock"
            self.pids["nginx_native"] = [self.spawn([self.args.functions / "server", at])]
            proxied = self.proxy("nginx_native", at)
        if "wasmtime_serve" in self.peers:
            self.ports["wasmtime_serve"] = free_port()
            at = f"127.0.0.1:{self.ports['wasmtime_serve']}"
            process = self.spawn([self.args.wasmtime, "serve", *TUNED, *SERVE, "--addr", at, self.args.functions / "component.cwasm"])
            self.pids["wasmtime_serve"], self.pids["nginx_wasmtime_serve"] = [process], [process]
            proxied = self.proxy("nginx_wasmtime_serve", at)
        if proxied:
            worker = self.nginx("proxy", proxied, [])
            for peer in self.peers:
                if peer.startswith("nginx_"):
                    self.pids[peer].append(worker)
        inside = {peer: function for peer, function in self.peers.items() if function}
        for function in inside.values():
            compiled(self.args, function)
        blocks = [function.block(self.args, peer) for peer, function in inside.items()]
        servers = [self.listen(peer, f"location / {{ nffi_pass {peer}; {self.more} }}") for peer in inside]
        if "return_200" in self.peers:
            servers.append(self.listen("return_200", 'location / { default_type text/plain; return 200 "hello, this is nginx\\n"; }'))
        self.worker = self.nginx("nffi", "\n    ".join([f'lua_package_path "{self.args.lua_path}";', self.before, *blocks, *servers]), self.args.modules)
        for peer in (*inside, "return_200"):
            self.pids[peer] = [self.worker]


def hello(case):
    """A case of HTTP: its peers in turn, at each number of connections."""
    def measured(results, args):
        peers, (rounds, seconds) = HELLOS[case], (3, 2) if args.quick else (5, 4)
        if "wasmtime_serve" in peers:
            precompile(args)
        for placement in placements():
            with Functions(args, peers, placement) as stack:
                for peer in peers:
                    stack.wait_for_answer(peer, "/hello")
                    Round(stack, peer, wrk(stack, peer, "/hello", CONNECTIONS[-1], 1))  # connections, warm slots
                for number in range(rounds):
                    progress(f"{case}, {placement.name}: round {number + 1} of {rounds}")
                    for connections in CONNECTIONS:
                        for peer in peers:
                            measure(results, stack, peer, case, connections, wrk(stack, peer, "/hello", connections, seconds))

    return case, measured


def precompile(args):
    command = [args.wasmtime, "compile", *TUNED, "-o", args.functions / "component.cwasm", args.functions / COMPONENT.file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"wasmtime compile failed:\n{done.stderr}")


def lone(args, function, calls, cpus=(), **more):
    """What bench/wasm/lone_host.c finds."""
    command = [args.lone_host, args.wasm, function.config(args, threads="1", **more), "http" if function.http else "call", calls]
    done = subprocess.run(TIED + on_cpus(cpus, list(map(str, command))), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{function.what}: lone_host ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def compiled(args, function):
    """Sees to it that a function is in the cache, however long that takes. One that does not end is compiled by nginx."""
    if function is not HOLD:
        lone(args, function, 1)


def instantiate(results, args):
    """Instantiate, run, tear down: each call alone, on one core."""
    placement, (rounds, calls) = placements()[0], (3, 4000) if args.quick else (5, 20000)
    for function in ALONE:
        compiled(args, function)
    for number in range(rounds):
        progress(f"instantiate: round {number + 1} of {rounds}")
        for function in ALONE:
            others = Others()
            found = lone(args, function, calls if function is not GO else calls // 4, placement.worker)
            results.loops.append(others.disturb())
            for part in ("p50", "p99"):
                results.add("instantiate", "nffi", placement.name, 1, f"{function.name}_{part}_us", found[f"{part}_us"], "us")


def startup(results, args):
    """From the library's init to its return, and the first answer: with an empty cache, and with a full one."""
    results.add("startup", "nffi", "free", 1, "go_artifact_bytes", (args.functions / GO.file).stat().st_size, "B")
    for number in range(rounds := 2 if args.quick else 5):
        progress(f"startup: round {number + 1} of {rounds}")
        for function in ALONE:
            with tempfile.TemporaryDirectory(prefix="nffi-bench-") as folder:
                for cache in ("empty", "full"):
                    others = Others()
                    found = lone(args, function, 1, cache=f"{folder}/cache")
                    results.loops.append(others.disturb())
                    for part in ("start", "first"):
                        results.add("startup", "nffi", "free", 1, f"{function.name}_{cache}_cache_{part}_us", found[f"{part}_us"], "us")


def memory(results, args):
    """What the worker holds: without functions, with one that nobody asks, with a thousand instances, after them."""
    free, rounds = placements()[-1], 1 if args.quick else 3
    for number in range(rounds):
        progress(f"memory: round {number + 1} of {rounds}")

        def add(metric, value):
            results.add("memory", "nffi", free.name, HELD, metric, value, "B")

        with Functions(args, {"return_200": None}, free) as stack:
            stack.wait_for_answer("return_200", "/")
            bare = machine.resident_bytes(stack.worker)
        for function in (C, GO, GO_SNAPSHOT, COMPONENT):
            with Functions(args, {"nffi": function, "return_200": None}, free) as stack:
                stack.wait_for_answer("return_200", "/")
                add(f"{function.name}_idle_bytes", settled(stack.worker) - bare)
        many = {f"nffi{number}": C for number in range(MANY)}
        with Functions(args, {**many, "return_200": None}, free) as stack:
            stack.wait_for_answer("return_200", "/")
            add(f"{MANY}_idle_bytes", settled(stack.worker) - bare)
        with Functions(args, {"nffi": HOLD}, free, "nffi_zone bench 1m;" + status(port := free_port()), "nffi_timeout 600s;") as stack:
            idle = settled(stack.worker)
            with contextlib.ExitStack() as clients:
                for _ in range(HELD):
                    client = clients.enter_context(socket.create_connection(("127.0.0.1", stack.ports["nffi"])))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
                wait_for(f"{HELD} instances", lambda: running(port) == HELD, stack.processes[-1], stack.dir / "nffi.log")
                held = settled(stack.worker)
            wait_for("their end", lambda: running(port) == 0, stack.processes[-1], stack.dir / "nffi.log")
            after = settled(stack.worker)
        add("idle_bytes", idle - bare)
        add("held_bytes", held)
        add("bytes_per_instance", (held - idle) / HELD)
        add("after_bytes", after)


def status(port):
    return f" server {{ listen 127.0.0.1:{port}; location / {{ nffi_status; }} }}"


def running(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?format=json", timeout=5) as answer:
        return json.load(answer)["runtimes"]["nffi"]["now"]["running"]


def settled(pid):
    """Resident bytes, once they do not change any more."""
    until, last = time.monotonic() + 10, -1
    while (now := machine.resident_bytes(pid)) != last and time.monotonic() < until:
        last = now
        time.sleep(0.3)
    return now


def growth(results, args):
    """The worker's resident bytes over many requests: the median of the last third of the samples less that of the first."""
    free, count = placements()[-1], GROWTH // 20 if args.quick else GROWTH
    for function in (C, GO_SNAPSHOT, COMPONENT):
        with Functions(args, {"nffi": function}, free) as stack:
            stack.wait_for_answer("nffi", "/hello")
            Round(stack, "nffi", wrk(stack, "nffi", "/hello", 64, 2))
            done, samples = 0, []
            while done < count or len(samples) < 6:
                progress(f"growth, {function.name}: {done:,} of {count:,} requests")
                done += Round(stack, "nffi", wrk(stack, "nffi", "/hello", 64, 1 if args.quick else 2)).requests
                samples.append(machine.resident_bytes(stack.worker))
        third = len(samples) // 3
        first, last = statistics.median(samples[:third]), statistics.median(samples[-third:])
        for metric, value, unit in (("requests", done, "1"), ("first_bytes", first, "B"), ("last_bytes", last, "B")):
            results.add("growth", "nffi", free.name, 64, f"{function.name}_{metric}", value, unit)


CASES = [*map(hello, HELLOS), ("instantiate", instantiate), ("startup", startup), ("memory", memory), ("growth", growth)]


def tables(records, out):
    figures = by_key(records)
    for make in (hello_table, instantiate_table, startup_table, memory_table, growth_table, gojinn_table, targets):
        if text := make(figures):
            print(text, file=out)


def hello_table(figures):
    keys = dict.fromkeys(key[:4] for key in figures if key[0] in HELLOS)
    rows = [[case, placement, size, peer, *row(figures, case, peer, placement, size)]
            for case, peer, placement, size in sorted(keys, key=lambda key: (list(HELLOS).index(key[0]), key[2] == "free", key[3]))]
    return rows and report.table(["case", "placement", "connections", "peer", *COLUMNS], rows, words=4)


def one(figures, case, metric):
    """Of a case with one placement and size."""
    return next((value for key, value in figures.items() if key[0] == case and key[4] == metric), None)


def instantiate_table(figures):
    rows = []
    for function in ALONE:
        p50, p99 = (one(figures, "instantiate", f"{function.name}_{part}_us") for part in ("p50", "p99"))
        if p50:
            rows.append([function.what, report.text(p50, 1), report.text(p99, 1), report.text(report.ratio(p99, p50), 1)])
    return rows and report.table(["instantiate, run, tear down", "median µs", "p99 µs", "p99 / median"], rows)


def startup_table(figures):
    rows = []
    for function in ALONE:
        found = [one(figures, "startup", f"{function.name}_{cache}_cache_{part}_us") for cache in ("empty", "full") for part in ("start", "first")]
        if found[0]:
            rows.append([function.what, *(report.text(us / 1000, 2) for us in found)])
    return rows and report.table(["start, ms", "cache empty", "first request", "cache full", "first request"], rows)


def memory_table(figures):
    def mib(metric):
        return report.text(one(figures, "memory", metric) / MIB, 1)

    if not one(figures, "memory", "held_bytes"):
        return ""
    rows = [[f"the library with a function that nobody asks: {f.what}", mib(f"{f.name}_idle_bytes")] for f in (C, GO, GO_SNAPSHOT, COMPONENT)]
    rows += [[f"{MANY} of the first", mib(f"{MANY}_idle_bytes")],
             [f"one with room for {HELD} instances of 1 MiB", mib("idle_bytes")],
             [f"the worker with {HELD} instances of 1 MiB at once", mib("held_bytes")],
             ["each of them", report.text(one(figures, "memory", "bytes_per_instance") / MIB, 2)],
             ["the worker when they have ended", mib("after_bytes")]]
    return report.table(["memory, of one worker", "MiB"], rows)


def growth_table(figures):
    rows = []
    for function in (C, GO_SNAPSHOT, COMPONENT):
        count, first, last = (one(figures, "growth", f"{function.name}_{metric}") for metric in ("requests", "first_bytes", "last_bytes"))
        if count:
            rows.append([function.what, f"{count:,.0f}", report.text(first / MIB), report.text(last / MIB), report.text((last - first) / MIB)])
    return rows and report.table(["memory of the worker, MiB", "requests", "first third", "last third", "growth"], rows)


def gojinn_table(figures):
    """The seed's own table, with its figures, and ours of a Go function."""
    start, first = (one(figures, "startup", f"{GO.name}_full_cache_{part}_us") for part in ("start", "first"))
    instance, snapshot = (one(figures, "instantiate", f"{f.name}_p50_us") for f in (GO, GO_SNAPSHOT))
    size, idle = one(figures, "startup", "go_artifact_bytes"), one(figures, "memory", f"{GO.name}_idle_bytes")
    warm = [figures.get(("go_hello", peer, "free", 1, "p50_us")) for peer in ("nffi", "nffi_snapshot")]

    def ms(us):
        return f"{us / 1000:.2f} ms"

    if None in (start, instance, idle, *warm):
        return ""
    return report.table(
        ["", "Docker (Gojinn's figures)", "Gojinn (its figures)", "nffi, Go", "as a reactor with `snapshot on`"],
        [["artifact", "20.6 MB", "3.0 MB", f"{size / 1e6:.1f} MB", "the same"],
         ["cold start", "~1500 ms", "< 1 ms (wazero's init)", ms(start) + " from the cache, once a worker", ""],
         ["the first request after it", "", "", ms(first), ms(one(figures, "startup", f"{GO_SNAPSHOT.name}_full_cache_first_us"))],
         ["request latency", "~9 ms (warm)", "~13 ms (fresh sandbox)", ms(warm[0]) + " (fresh sandbox)", ms(warm[1]) + " (fresh sandbox)"],
         ["of it the sandbox: make, run, tear down", "", "", ms(instance), ms(snapshot)],
         ["idle memory", "a daemon's", "0", f"{idle / MIB:.1f} MiB (engine, compiled code); no instance", ""]],
        words=5)


def targets(figures):
    def of(case, peer, placement, metric="requests_per_second"):
        return figures.get((case, peer, placement, 64, metric))

    rows = []
    for function in ALONE:
        p50, p99 = (one(figures, "instantiate", f"{function.name}_{part}_us") for part in ("p50", "p99"))
        if p50 and function.limit:
            rows.append([f"{function.what}: median µs", report.text(p50, 1), f"<= {function.limit}", verdicts([p50], function.limit, most=True)])
            ratio = report.ratio(p99, p50)
            rows.append([f"{function.what}: p99 / median", report.text(ratio, 1), "<= 3", verdicts([ratio], 3, most=True)])
    for case, peer, limit in (("c_hello", "return_200", 0.3), ("component_hello", "nginx_wasmtime_serve", 3)):
        for name, metric in (("throughput", "requests_per_second"), ("CPU time, the other way round", "cpu_us_per_request")):
            values = [report.ratio(of(case, "nffi", p, metric), of(case, peer, p, metric)) for p in ("one_core", "free")]
            if values == [None, None]:
                continue  # it was not run
            if metric == "cpu_us_per_request":
                values = [report.ratio(1, value) for value in values]
            rows.append([f"{case}, 64 connections: nffi / {peer}, {name}, one core / free", " / ".join(map(report.text, values)),
                         f">= {limit}", verdicts(values, limit, most=False)])
    if held := one(figures, "memory", "held_bytes"):
        rows.append([f"{HELD} instances of 1 MiB: the worker, GiB", report.text(held / 2**30), "<= 2", verdicts([held / 2**30], 2, most=True)])
    for function in (C, GO_SNAPSHOT, COMPONENT):
        first, last = (one(figures, "growth", f"{function.name}_{part}_bytes") for part in ("first", "last"))
        if first:
            count, grown = one(figures, "growth", f"{function.name}_requests"), (last - first) / MIB
            rows.append([f"{function.what}: growth over {count:,.0f} requests, MiB", report.text(grown), "<= 1", verdicts([grown], 1, most=True)])
    return rows and report.table(["target", "measured", "limit", "met"], rows)


def arguments():
    parser = run.options("wasm", __doc__, [name for name, _ in CASES], ("wasm", "lone-host", "functions"))
    parser.add_argument("--wasmtime", type=pathlib.Path, help=argparse.SUPPRESS)  # for component_hello alone
    return parser.parse_args()


if __name__ == "__main__":
    run.run(arguments(), CASES, tables, publish.wasm)
