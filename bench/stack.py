"""Servers side by side, behind nginx and beside it, and a load on one of them after the other: what the benchmarks of
HTTP and of WebAssembly share."""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import time
import urllib.request

import machine
import report
from server import Failed, ROOT, TIED, Placement, Started, free_port, on_cpus, tail, wait_for

METRICS = (("requests_per_second", "1/s"), ("p50_us", "us"), ("p99_us", "us"), ("cpu_us_per_request", "us"))


class Stack(Started):
    """What runs at one placement: processes, and by peer the port that it answers on and the processes whose CPU time is
    its own. What there is to start is said by `start` of who inherits from this."""

    def __init__(self, args, placement):
        super().__init__()
        self.args, self.placement = args, placement
        self.dir.chmod(0o755)
        self.pids, self.ports = {}, {}

    def spawn(self, command, **kwargs):
        with (self.dir / "servers.log").open("a") as log:
            process = subprocess.Popen(TIED + on_cpus(self.placement.worker, list(map(str, command))), stdout=log, stderr=log, **kwargs)
        self.processes.append(process)
        return process.pid

    def listen(self, peer, locations):
        """An nginx server of a peer's."""
        self.ports[peer] = free_port()
        return f"""
    server {{
        listen 127.0.0.1:{self.ports[peer]};
        {locations}
    }}"""

    def proxy(self, peer, at):
        """One that proxies with keep-alive, to a unix socket or HOST:PORT."""
        return f"""
    upstream {peer} {{ server {f'unix:{at}' if isinstance(at, pathlib.Path) else at}; keepalive 128; }}""" + self.listen(peer, f"""
        location / {{
            proxy_pass http://{peer};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}""")

    def nginx(self, name, body, modules):
        """Starts one, and returns its worker's id."""
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

    def wait_for_answer(self, peer, path, body=None):
        def answers():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[peer]}{path}", body, timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                return False

        wait_for(f"{peer}, {path}", answers, self.processes[0], self.dir / "servers.log")

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


def wrk(stack, peer, path, connections, seconds, *more):
    """The command of a round."""
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *more, f"http://127.0.0.1:{stack.ports[peer]}{path}"]


class Others:
    """Processes that have no part in a measurement: all but commands that this one has run, and `served()` seconds."""

    def __init__(self, served=lambda: 0):
        self.served, self.begin = served, time.monotonic()
        self.before = self.seconds()

    def seconds(self):
        commands = resource.getrusage(resource.RUSAGE_CHILDREN)
        return machine.core_seconds("") - commands.ru_utime - commands.ru_stime - self.served()

    def disturb(self):
        """Did they take more than a tenth of a core since?"""
        return self.seconds() - self.before > 0.1 * (time.monotonic() - self.begin)


class Round:
    """What a command that loads a peer has found: `figures` in the order of METRICS."""

    def __init__(self, stack, peer, command):
        others, before = Others(lambda: stack.cpu_seconds(peer)), stack.cpu_seconds(peer)
        done = subprocess.run(TIED + on_cpus(stack.placement.load, list(map(str, command))), capture_output=True, text=True, check=False)
        cpu = stack.cpu_seconds(peer) - before
        text = done.stdout + done.stderr
        requests = re.search(r"^\s*(\d+) requests in", text, re.M)
        rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
        p50, p99 = (re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)", text, re.M) for share in (50, 99))
        if done.returncode or not (requests and rate and p50 and p99) or re.search(r"Non-2xx|Socket errors", text):
            raise Failed(f"the load on {peer} did not run clean:\n{text}\n{tail(stack.dir / 'nffi.log')}")
        micro = {"us": 1, "ms": 1000, "s": 1_000_000}
        self.requests, self.disturbed = int(requests[1]), others.disturb()
        self.figures = (float(rate[1]), *(float(m[1]) * micro[m[2]] for m in (p50, p99)), cpu * 1e6 / max(1, self.requests))


def measure(results, stack, peer, case, connections, command):
    """A round, into the results."""
    found = Round(stack, peer, command)
    results.loops.append(found.disturbed)
    for (metric, unit), value in zip(METRICS, found.figures):
        results.add(case, peer, stack.placement.name, connections, metric, value, unit)


def verdicts(values, limit, most):
    """Limits met or not, of as many values: `most` where the limit is one from above."""
    return " / ".join("-" if v is None else "yes" if (v <= limit if most else v >= limit) else "NO" for v in values)


def by_key(records):
    return {(r["case"], r["peer"], r["placement"], r["size"], r["metric"]): r["value"] for r in records}


def row(figures, case, peer, placement, connections):
    """A peer's columns: throughput, times, CPU, each with how nffi compares."""
    def of(metric, peer=peer):
        return figures.get((case, peer, placement, connections, metric))

    rate, cpu = of("requests_per_second"), of("cpu_us_per_request")
    return [report.text(rate, 0), report.text(report.ratio(of("requests_per_second", "nffi"), rate)),
            report.text(of("p50_us"), 0), report.text(of("p99_us"), 0), report.text(cpu, 1),
            report.text(report.ratio(of("cpu_us_per_request", "nffi"), cpu))]


COLUMNS = ["requests/s", "nffi / it", "p50 µs", "p99 µs", "CPU µs/request", "nffi / it"]
