"""Tables (Markdown, aligned for the terminal too) and targets from the records."""

import statistics

from cases import IN_FLIGHT, MEMORY_AT, SIZES, SMALL
from server import PEERS


class Figures:
    def __init__(self, records):
        self.values = {(r["case"], r["peer"], r["placement"], r["size"], r["metric"]): r["value"] for r in records}
        self.placements = [p for p in ("one_core", "two_cores", "free") if any(k[2] == p for k in self.values)]

    def get(self, case, peer, placement, size, metric):
        return self.values.get((case, peer, placement, size, metric))

    def sequential(self, peer, placement, size):
        return self.get("sequential", peer, placement, size, "us_per_call")

    def concurrent(self, peer, placement, metric="requests_per_second"):
        return self.get("concurrent", peer, placement, SMALL, metric)

    def in_flight(self, size, metric, placement="one_core"):
        return self.get("in_flight", "nffi", placement, size, metric)


def ratio(a, b):
    return None if a is None or not b else a / b


def text(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head, rows, words=1):
    """The first `words` columns are text and stand left, the others right."""
    rows = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) if i < words else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 1) + ("-" if i < words else ":") for i, w in enumerate(widths)) + "|")
    return "\n".join(lines) + "\n"


def bytes_name(size):
    return f"{size // 1024} K" if size >= 1024 else f"{size} B"


def sequential_table(figures):
    rows = []
    for placement in figures.placements:
        for size in SIZES:
            nffi, spin, unix = (figures.sequential(peer, placement, size) for peer in PEERS[:3])
            rows.append([placement, bytes_name(size), text(nffi), text(spin), text(unix),
                         text(ratio(nffi, unix)), text(ratio(spin, nffi))])
    return table(["placement", "payload", "nffi µs", "nffi_spin µs", "unix_socket µs", "nffi / unix_socket",
                  "nffi_spin / nffi"], rows)


def concurrent_table(figures, notes):
    rows = []
    for placement in figures.placements:
        for peer in PEERS:
            rate = figures.concurrent(peer, placement)
            if rate is None:
                continue
            mid = {key: statistics.median(notes["concurrent", peer, placement, key])
                   for key in ("echo_us", "worker_busy", "load_busy")
                   if ("concurrent", peer, placement, key) in notes}
            why = [w for w in notes.get(("concurrent", peer, placement, "why_not"), []) if w]
            rows.append([
                placement, peer, text(rate, 0), text(ratio(rate, figures.concurrent("say", placement))),
                text(ratio(rate, figures.concurrent("unix_socket", placement))),
                text(figures.concurrent(peer, placement, "cpu_us_per_request")),
                text(mid.get("echo_us") if peer == "unix_socket" else None),
                text(figures.concurrent(peer, placement, "futex_wakes_per_request"), 4),
                text(figures.concurrent(peer, placement, "eventfd_writes_per_request"), 4),
                "-" if "worker_busy" not in mid else f"{mid['worker_busy']:.0%}",
                "-" if "load_busy" not in mid or placement == "free" else f"{mid['load_busy']:.0%}",
                "-" if "worker_busy" not in mid else "no: " + why[-1] if why else "yes"])
    return table(["placement", "peer", "requests/s", "/ say", "/ unix_socket", "CPU µs/request (worker)",
                  "(echo server)", "futex wakes", "eventfd writes", "worker busy", "load busy", "valid"], rows, words=2)


def in_flight_table(figures, notes):
    rows = []
    for placement in figures.placements:
        one = figures.in_flight(1, "us_per_call", placement)
        for size in IN_FLIGHT:
            cost = figures.in_flight(size, "us_per_call", placement)
            if cost is None:
                continue
            sleeping = notes.get(("in_flight", "semaphore", placement, size))
            rows.append([placement, f"{size:,}", text(cost), text(ratio(cost, one)),
                         text(figures.in_flight(size, "bytes_per_task", placement), 0),
                         text(statistics.median(sleeping) if sleeping else None, 0)])
    return table(["placement", "in flight", "µs/call", "/ at 1", "bytes/task", "(a coroutine on a semaphore)"], rows)


def targets(figures):
    """(what, measured, limit, met) for each target of the project; measured is None where it was not run."""
    one, seq, con = "one_core", figures.sequential, figures.concurrent
    found = [(f"sequential, one core, {bytes_name(size)}: nffi / unix_socket",
              ratio(seq("nffi", one, size), seq("unix_socket", one, size)), "<=", 0.2 if size == SIZES[-1] else 0.45)
             for size in SIZES]

    def cpu(peer):
        return con(peer, one, "cpu_us_per_request")

    found += [
        ("64 connections, one core: nffi / say", ratio(con("nffi", one), con("say", one)), ">=", 0.95),
        ("(that by CPU time, which no load generator limits: say / nffi)", ratio(cpu("say"), cpu("nffi")), ">=", 0.95),
        ("64 connections, one core: nffi / unix_socket", ratio(con("nffi", one), con("unix_socket", one)), ">=", 2.8),
        ("futex wakes a request", con("nffi", one, "futex_wakes_per_request"), "<=", 0.05),
        ("eventfd writes a request", con("nffi", one, "eventfd_writes_per_request"), "<=", 0.05),
        ("µs a call at 100,000 in flight / at 1",
         ratio(figures.in_flight(IN_FLIGHT[-1], "us_per_call"), figures.in_flight(1, "us_per_call")), "<=", 1.5),
        ("bytes a task in flight", figures.in_flight(MEMORY_AT[-1], "bytes_per_task"), "<=", 512),
        ("sequential, two cores, 16 B: nffi_spin / nffi",
         ratio(seq("nffi_spin", "two_cores", SMALL), seq("nffi", "two_cores", SMALL)), "<=", 0.15),
    ]
    return [(what, value, f"{sign} {limit}",
             None if value is None else value <= limit if sign == "<=" else value >= limit)
            for what, value, sign, limit in found]


def targets_table(figures):
    verdicts = {None: "not measured", True: "yes", False: "NO"}
    return table(["target", "measured", "limit", "met"],
                 [[what, text(value, 3), limit, verdicts[met]] for what, value, limit, met in targets(figures)])


def write(records, notes, out):
    figures = Figures(records)
    measured = {record["case"] for record in records}
    for case, title, make in (("sequential", "Sequential echo: µs a call", lambda: sequential_table(figures)),
                              ("concurrent", "64 connections, 16 B", lambda: concurrent_table(figures, notes)),
                              ("in_flight", "Calls in flight", lambda: in_flight_table(figures, notes))):
        if case in measured:
            print(f"\n### {title}\n\n{make()}", file=out, end="")
    print(f"\n### Targets\n\n{targets_table(figures)}", file=out, end="", flush=True)
