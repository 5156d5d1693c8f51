"""The benchmark of the languages: the same echo in each, behind nffi and behind a unix socket. Started by scripts/bench."""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, field

import load
import report
from cases import Results, foreign_seconds, progress
from run import orderly
from server import Failed, Server, TIED, on_cpus, placements, wait_for

SMALL = 16


@dataclass
class Language:
    """What was built of one language: an echo as a runtime, and how to start the same behind a unix socket."""
    name: str
    library: str
    options: pathlib.Path
    server: list = field(default_factory=list)  # a command that takes the socket's path as its last argument
    seed: bool = False                          # the library speaks the seed's ABI

    @property
    def peers(self):
        return [self.name] + ([f"{self.name}_unix_socket"] if self.server else [])


class Languages(Server):
    """nginx with all the languages, or some, and their echo servers."""

    def __init__(self, tools, placement, languages):
        super().__init__(tools, placement)
        self.languages = languages
        self.pids = {}

    def start_echo(self):
        for language in self.languages:
            if language.server:
                path = self.socket(language)
                command = on_cpus(self.placement.other, [*language.server, str(path)])
                process = subprocess.Popen(TIED + command)
                self.processes.append(process)
                wait_for(f"the echo server of {language.name}", path.exists, process)
                self.pids[f"{language.name}_unix_socket"] = process.pid

    def socket(self, language):
        return self.dir / f"{language.name}.sock"

    def look_at(self, peer):
        """The peer whose server's CPU time is counted from now on."""
        self.echo_pid = self.pids.get(peer, self.worker_pid)

    def configuration(self):
        runtimes, locations = [], []
        for language in self.languages:
            if language.seed:
                locations.append(self.location(language.name, f'seed("{language.library}")'))
            else:
                runtimes.append(f"nffi_runtime {language.name} {language.library} {{ include {language.options}; "
                                "timeout 60s; }")
                locations.append(self.location(language.name, f'nffi("{language.name}")'))
            if language.server:
                locations.append(self.location(f"{language.name}_unix_socket", f'unix("unix:{self.socket(language)}")'))
        text = super().configuration("bench-languages.conf.in", "\n    ".join(runtimes))
        return text.replace("@LOCATIONS@", "\n        ".join(locations))

    @staticmethod
    def location(peer, call):
        return f'location = /{peer} {{ content_by_lua_block {{ require("nffi_bench_languages").{call} }} }}'

    def answers(self):
        try:
            said = self.get("/ready")
        except (OSError, Failed):
            return False
        if " failed " in said:
            raise Failed(said)
        return said == "ready"

    def sequential(self, language, peer, seconds):
        if peer != language.name:
            kind, at = "unix", f"unix:{self.socket(language)}"
        else:
            kind, at = ("seed", language.library) if language.seed else ("nffi", language.name)
        return float(self.get(f"/sequential?kind={kind}&at={urllib.parse.quote(at, safe='')}&seconds={seconds}"))


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench languages", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the records there")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", metavar="LANGUAGE", help="this one alone (may be repeated)")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/languages.md")
    for name in ("nginx", "testhost", "list"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--lua-path", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--module", dest="modules", type=pathlib.Path, action="append", required=True,
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def read_list(path, only):
    """A line each: name, folder of the build (or seed:LIBRARY), the command of the unix server."""
    found = []
    for line in path.read_text().splitlines():
        name, where, *server = line.split()
        if only and name not in only:
            continue
        if where.startswith("seed:"):
            found.append(Language(name, where.removeprefix("seed:"), pathlib.Path("/dev/null"), server, seed=True))
        else:
            folder = pathlib.Path(where)
            found.append(Language(name, (folder / "library").read_text().strip(), folder / "options.conf", server))
    return found


def measure(results, args, languages, rounds, loop_seconds, load_seconds):
    placement = placements()[0]
    with Languages(args, placement, languages) as server:
        for language in languages:
            for peer in language.peers:
                server.look_at(peer)
                load.run(server, f"/{peer}", 2)  # connections, traces, just-in-time compilers
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for language in languages:
                for peer in language.peers:
                    server.look_at(peer)
                    before = time.monotonic(), foreign_seconds(server)
                    took = server.sequential(language, peer, loop_seconds)
                    after = time.monotonic(), foreign_seconds(server)
                    results.loops.append(after[1] - before[1] > 0.1 * (after[0] - before[0]))
                    results.add("sequential", peer, placement.name, SMALL, "us_per_call", took, "us")
                    run = load.run(server, f"/{peer}", load_seconds)
                    echo_us = 0 if peer == language.name else run.echo_us
                    results.add("concurrent", peer, placement.name, SMALL, "requests_per_second", run.per_second, "1/s")
                    results.add("concurrent", peer, placement.name, SMALL, "cpu_us_per_request",
                                run.worker_us + echo_us, "us")
                    results.note("concurrent", peer, placement.name, "why_not", run.note)


def footprint(results, args, languages, rounds):
    """Start-up by the test host, and what a worker's memory grows by, each language in an nginx of its own."""
    placement = placements()[-1]
    for number in range(rounds):
        with Languages(args, placement, []) as server:
            server.get("/ready")
            bare = server.resident_bytes()
        for language in languages:
            progress(f"start-up and memory, round {number + 1} of {rounds}: {language.name}")
            if language.seed:
                continue
            results.add("start", language.name, placement.name, 0, "ms", start_up(args, language), "ms")
            with Languages(args, placement, [language]) as server:
                for _ in range(200):
                    server.get(f"/{language.name}")
                grown = server.resident_bytes() - bare
                results.add("memory", language.name, placement.name, 0, "bytes_per_worker", grown, "B")


def start_up(args, language):
    config = subprocess.run([sys.executable, args.options_py, language.options], capture_output=True, text=True, check=True)
    said = subprocess.run([args.testhost, language.library, "--config", config.stdout.strip(), "--call", "x"],
                          capture_output=True, text=True, check=False)
    ready = re.search(r"ready after ([\d.]+) (ms|s|µs)", said.stderr)
    if said.returncode or not ready:
        raise Failed(f"{language.name} in the test host:\n{said.stderr}")
    return float(ready[1]) * {"ms": 1, "s": 1000, "µs": 0.001}[ready[2]]


def tables(records, notes, out):
    figures = {(r["case"], r["peer"], r["metric"]): r["value"] for r in records}
    peers = list(dict.fromkeys(r["peer"] for r in records))
    rows = []
    for name in [p for p in peers if not p.endswith("_unix_socket")]:
        unix = f"{name}_unix_socket"
        rate = figures.get(("concurrent", name, "requests_per_second"))
        why = [w for w in notes.get(("concurrent", name, "one_core", "why_not"), []) if w]
        rows.append([
            name, report.text(figures.get(("sequential", name, "us_per_call"))),
            report.text(figures.get(("sequential", unix, "us_per_call"))), report.text(rate, 0),
            report.text(report.ratio(rate, figures.get(("concurrent", "c", "requests_per_second")))),
            report.text(report.ratio(rate, figures.get(("concurrent", unix, "requests_per_second")))),
            report.text(figures.get(("concurrent", name, "cpu_us_per_request"))),
            report.text(figures.get(("concurrent", unix, "cpu_us_per_request"))),
            report.text(figures.get(("start", name, "ms")), 1),
            report.text(None if (m := figures.get(("memory", name, "bytes_per_worker"))) is None else m / 1048576, 1),
            "no: " + why[-1] if why else "yes"])
    print(report.table(["language", "µs/call", "(unix socket)", "64 conn., requests/s", "/ c", "/ its unix socket",
                        "CPU µs/request", "(unix socket, both)", "start ms", "MiB/worker", "valid"], rows), file=out)
    print(report.table(["target", "measured", "limit", "met"], targets(figures)), file=out)


def targets(figures):
    def rate(peer):
        return figures.get(("concurrent", peer, "requests_per_second"))

    found = []
    for name in ("go", "rust", "java"):
        found.append((f"64 connections: {name} / c", report.ratio(rate(name), rate("c")), ">=", 0.85))
    for name in ("go", "rust", "java", "python_def", "python_async"):
        found.append((f"64 connections: {name} / its unix socket",
                      report.ratio(rate(name), rate(f"{name}_unix_socket")), ">=", 2))
    seed, c = (figures.get(("concurrent", p, "cpu_us_per_request")) for p in ("c_seed_abi", "c"))
    found.append(("64 connections, CPU: c_seed_abi / c", report.ratio(seed, c), "<=", 1.1))
    seed, c = (figures.get(("sequential", p, "us_per_call")) for p in ("c_seed_abi", "c"))
    found.append(("sequential: c_seed_abi / c", report.ratio(seed, c), "<=", 1.1))
    verdicts = {None: "not measured", True: "yes", False: "NO"}
    return [[what, report.text(value, 3), f"{sign} {limit}",
             verdicts[None if value is None else value <= limit if sign == "<=" else value >= limit]]
            for what, value, sign, limit in found]


def main():
    args = arguments()
    args.options_py = pathlib.Path(__file__).resolve().parents[1] / "t/conformance/options.py"
    languages = read_list(args.list, args.only)
    results = Results()
    with orderly(args):
        measure(results, args, languages, *((3, 0.1, 1) if args.quick else (5, 0.3, 3)))
        footprint(results, args, languages, 1 if args.quick else 3)
    records = list(results.records())
    print()
    tables(records, results.notes, sys.stdout)
    print(results.disturbance())
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")
    if args.publish:
        import publish
        publish.languages(args, records, results, tables)


if __name__ == "__main__":
    main()
