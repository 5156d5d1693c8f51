"""The cases: each yields records, and keeps what only the printed tables need in `notes`."""

import re
import statistics
import sys
import time

import load
import machine
from server import Failed, PEERS, Server

SIZES = (16, 1024, 10240, 102400)
IN_FLIGHT = (1, 1000, 10000, 100000)
MEMORY_AT = (10000, 100000)
SMALL = 16


class Results:
    """Every figure of every round; a record is the median of its rounds."""

    def __init__(self):
        self.values, self.notes = {}, {}
        self.loops = []  # of each loop that counts: was it disturbed?

    def add(self, case, peer, placement, size, metric, value, unit):
        self.values.setdefault((case, peer, placement, size, metric, unit), []).append(value)

    def note(self, case, peer, placement, key, value):
        self.notes.setdefault((case, peer, placement, key), []).append(value)

    def disturbance(self, what="loops"):
        return (f"{sum(self.loops)} of {len(self.loops)} {what} were disturbed: other processes took more than a tenth "
                "of a core meanwhile.")

    def records(self):
        names = ("case", "peer", "placement", "size", "metric", "unit")
        for key, values in self.values.items():
            record = dict(zip(names, key))
            unit = record.pop("unit")
            yield record | {"value": round(statistics.median(values), 4), "unit": unit}


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def loop(results, server, plan, peer, size):
    """Microseconds a call in one request's loop, again and again while the plan's patience lasts where other
    processes took more than a tenth of a core meanwhile."""
    while True:
        before = time.monotonic(), foreign_seconds(server)
        took = float(server.get(f"/sequential?peer={peer}&size={size}&seconds={plan.loop_seconds}"))
        after = time.monotonic(), foreign_seconds(server)
        disturbed = after[1] - before[1] > 0.1 * (after[0] - before[0])
        if not disturbed or not plan.be_patient(since=before[0]):
            results.loops.append(disturbed)
            return took


def foreign_seconds(server):
    """CPU time of all that is not the server."""
    return machine.core_seconds("") - machine.cpu_seconds(server.worker_pid) - machine.cpu_seconds(server.echo_pid)


def sequential(results, server, plan):
    """One request makes the calls one after the other, and times them itself."""
    name = server.placement.name
    for number in range(plan.rounds):
        progress(f"sequential, {name}: round {number + 1} of {plan.rounds}")
        for size in SIZES:
            for peer in PEERS[:3]:
                took = loop(results, server, plan, peer, size)
                results.add("sequential", peer, name, size, "us_per_call", took, "us")


def concurrent(results, server, plan):
    """64 connections. A round that other processes disturbed is run again while the plan's patience lasts; what is
    kept all the same, the table says."""
    placement = server.placement
    for peer in PEERS:
        load.run(server, f"/{peer}", 1)  # opens the connections of the pool, compiles the traces
    for number in range(plan.rounds):
        progress(f"concurrent, {placement.name}: round {number + 1} of {plan.rounds}")
        for peer in PEERS:
            while True:
                start = time.monotonic()
                run = load.run(server, f"/{peer}", plan.load_seconds)
                if not run.disturbed or not plan.be_patient(since=start):
                    break
            keep_load(results, peer, placement.name, run)


def keep_load(results, peer, placement, run):
    results.add("concurrent", peer, placement, SMALL, "requests_per_second", run.per_second, "1/s")
    results.add("concurrent", peer, placement, SMALL, "cpu_us_per_request", run.worker_us, "us")
    results.note("concurrent", peer, placement, "echo_us", run.echo_us)
    results.note("concurrent", peer, placement, "worker_busy", run.worker_busy)
    results.note("concurrent", peer, placement, "load_busy", run.load_busy)
    results.note("concurrent", peer, placement, "why_not", run.note)


def wakes(results, tools, placement, plan, trace):
    """Counts, from outside, what a request costs in wakes. strace slows the server: nothing is timed here."""
    progress(f"wakes, {placement.name}: under strace")
    with Server(tools, placement, trace) as server:
        for peer in PEERS:
            load.run(server, f"/{peer}", 1)
            start = trace.stat().st_size
            requests = load.run(server, f"/{peer}", plan.load_seconds).requests
            with trace.open(errors="replace") as f:
                f.seek(start)
                futex, eventfd = count_wakes(f)
            results.add("concurrent", peer, placement.name, SMALL, "futex_wakes_per_request",
                        futex / requests, "1")
            results.add("concurrent", peer, placement.name, SMALL, "eventfd_writes_per_request",
                        eventfd / requests, "1")


def count_wakes(lines):
    """(FUTEX_WAKE calls, writes to an eventfd) in the output of strace -y."""
    futex = eventfd = 0
    for line in lines:
        if re.search(r"\bfutex\(.*FUTEX_WAKE", line):
            futex += 1
        elif re.search(r"\bwrite\(\d+<anon_inode:\[eventfd\]>", line):
            eventfd += 1
    return futex, eventfd


def in_flight(results, server, plan):
    """What a call costs while others wait: these are parked in the runtime, and wait for its answer."""
    name = server.placement.name
    for number in range(plan.rounds):
        parked = 0
        for count in IN_FLIGHT:
            progress(f"in flight, {name}: round {number + 1} of {plan.rounds}, {count} calls parked")
            park(server, "nffi", count - parked, count)
            parked = count
            server.get("/collect")
            took = loop(results, server, plan, "nffi", SMALL)
            results.add("in_flight", "nffi", name, count, "us_per_call", took, "us")
        server.get("/release")
        server.get("/collect")


def park(server, peer, more, total):
    server.get(f"/park?peer={peer}&count={more}")
    until = time.monotonic() + 60
    while (now := int(server.get(f"/parked?peer={peer}"))) != total:
        if time.monotonic() > until:
            raise Failed(f"only {now} of {total} calls of {peer} were parked after 60 s\n{server.log_tail()}")
        time.sleep(0.02)


def memory(results, tools, placement, plan):
    """What a task costs in memory beyond a coroutine asleep on a semaphore, each in a server of its own."""
    for number in range(plan.memory_rounds):
        progress(f"memory, {placement.name}: round {number + 1} of {plan.memory_rounds}")
        grown = {peer: growth(tools, placement, peer) for peer in ("semaphore", "nffi")}
        for count in MEMORY_AT:
            extra = (grown["nffi"][count] - grown["semaphore"][count]) / count - SMALL
            results.add("in_flight", "nffi", placement.name, count, "bytes_per_task", extra, "B")
            results.note("in_flight", "semaphore", placement.name, count, grown["semaphore"][count] / count)


def growth(tools, placement, peer):
    """Resident bytes that a worker gains with so many coroutines parked, by their number."""
    grown, parked = {}, 0
    with Server(tools, placement) as server:
        server.get(f"/sequential?peer=nffi&size={SMALL}&seconds=0.1")
        server.get("/collect")
        start = server.resident_bytes()
        for count in MEMORY_AT:
            park(server, peer, count - parked, count)
            parked = count
            server.get("/collect")
            grown[count] = server.resident_bytes() - start
    return grown
