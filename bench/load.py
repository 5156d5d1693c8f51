"""64 connections with wrk, and what the cores and processes did meanwhile."""

import re
import subprocess
import time
from dataclasses import dataclass

import machine
from server import Failed, TIED, on_cpus

CONNECTIONS = 64


@dataclass
class Load:
    requests: int
    per_second: float
    worker_us: float       # CPU of the worker process (a runtime's thread is in it), a request
    echo_us: float         # CPU of the unix echo server, a request
    worker_busy: float     # of the worker's core, 0 to 1; of the worker process where it has no core of its own
    load_busy: float       # of the load generator's core
    disturbed: bool        # others took part of a core: worth another try
    note: str              # why the round breaks the rule below; empty where it does not


def run(server, path, seconds):
    """One round. It is valid where the load generator's own cores stay below 90 % busy, the worker's core
    is above 95 % busy, and processes that are not part of the measurement took less than 4 % of a core."""
    placement = server.placement
    command = on_cpus(placement.load, ["wrk", f"-t{len(placement.load) or 1}", f"-c{CONNECTIONS}", f"-d{seconds}s",
                                       f"http://127.0.0.1:{server.port}{path}"])
    wrk = subprocess.Popen(TIED + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        cpu_from = machine.cpu_seconds(server.worker_pid), machine.cpu_seconds(server.echo_pid)
        time.sleep(0.2)
        usage_from = usage(server, wrk.pid)
        time.sleep(max(0.1, seconds - 0.4))
        usage_to = usage(server, wrk.pid)
        text = wrk.communicate(timeout=seconds + 30)[0]
        cpu_to = machine.cpu_seconds(server.worker_pid), machine.cpu_seconds(server.echo_pid)
    finally:
        wrk.kill()
        wrk.wait()
    requests, rate = parse(path, wrk.returncode, text)
    busy = Busy(placement, usage_from, usage_to)
    return Load(requests, rate, *((b - a) * 1e6 / requests for a, b in zip(cpu_from, cpu_to)),
                busy.worker, busy.load, *busy.verdict(placement))


def parse(path, code, text):
    requests = re.search(r"^\s*(\d+) requests in", text, re.M)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    if code != 0 or not requests or not rate or re.search(r"Non-2xx|Socket errors", text):
        raise Failed(f"wrk on {path} did not run clean:\n{text}")
    return int(requests[1]), float(rate[1])


def usage(server, load_pid):
    """Seconds, of everything that a verdict needs."""
    p = server.placement
    return {"clock": time.monotonic(), "all cores": machine.core_seconds(""),
            "worker core": sum(map(machine.core_seconds, p.worker)),
            "load core": sum(map(machine.core_seconds, p.load)),
            "worker": machine.cpu_seconds(server.worker_pid), "echo": machine.cpu_seconds(server.echo_pid),
            "load": machine.cpu_seconds(load_pid)}


class Busy:
    """Shares of the cores, 0 to 1, between two looks; of one core's time where nothing is pinned."""

    def __init__(self, placement, before, after):
        took = {key: after[key] - before[key] for key in after}
        clock, cores = took["clock"], max(1, len(placement.load))
        self.worker = (took["worker core"] if placement.worker else took["worker"]) / clock
        self.load = (took["load core"] if placement.load else took["load"]) / clock / cores
        self.foreign = (took["all cores"] - took["worker"] - took["echo"] - took["load"]) / clock

    def verdict(self, placement):
        """(disturbed, why the round breaks the rule)"""
        if self.foreign >= 0.04:
            return True, f"others used {self.foreign:.0%} of a core"
        if not placement.worker:
            return False, "nothing is pinned"
        if not placement.load_has_own_cores:
            return False, "the load generator shares a core"
        if self.load >= 0.90:
            return False, f"load generator {self.load:.0%} busy"
        if self.worker <= 0.95:
            return False, f"worker's core only {self.worker:.0%} busy"
        return False, ""
