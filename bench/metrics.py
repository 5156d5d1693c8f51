"""The benchmark of the metrics: the same requests with nffi_zone and without it, in pairs of short rounds. Started by
scripts/bench."""

import math

import publish
import report
import run
from cases import progress
from stack import Stack, Round, placements, wrk

CONNECTIONS = 64
CASES = {"nffi_pass": "/hello", "nffi_call": "/call"}
# The second one without tells what the method itself is worth.
PEERS = {"without": "", "without_too": "", "with": "nffi_zone metrics 1m;"}
METRICS = {"requests_per_second": 0, "cpu_us_per_request": 3}
LEAST = 0.98


class Nginxes(Stack):
    """One for each peer."""

    def start(self):
        for peer, zone in PEERS.items():
            body = f"""
    {zone}
    lua_package_path "{self.args.lua_path}";
    nffi_runtime hello {self.args.rust_library} {{}}
    nffi_runtime echo {self.args.runtime} {{}}""" + self.listen(peer, """
        location = /hello { nffi_pass hello; }
        location = /call { content_by_lua_block { ngx.print(require("resty.nffi").call("echo", "0123456789abcdef")) } }""")
            self.pids[peer] = [self.nginx(peer, body, self.args.modules)]
            for path in CASES.values():
                self.wait_for_answer(peer, path)


def measure(case):
    def run_pairs(results, args):
        placement = placements()[0]
        rounds = 20 if args.quick else 100
        with Nginxes(args, placement) as stack:
            for number in range(rounds):
                progress(f"{case}: round {number + 1} of {rounds}")
                # To and fro, so that a drift of the machine falls on all alike.
                order = list(PEERS) if number % 2 else list(reversed(PEERS))
                rounds_of = {peer: Round(stack, peer, wrk(stack, peer, CASES[case], CONNECTIONS, 1)) for peer in order}
                for metric, at in METRICS.items():
                    of = {peer: found.figures[at] for peer, found in rounds_of.items()}
                    for peer in PEERS:
                        results.add(case, peer, placement.name, CONNECTIONS, metric, of[peer], "1/s" if at == 0 else "us")
                        if peer != "without":
                            results.add(case, peer, placement.name, CONNECTIONS, f"{metric}_ratio", of[peer] / of["without"], "ratio")
                results.loops.extend(found.disturbed for found in rounds_of.values())
            for metric in METRICS:
                for peer in PEERS:
                    bounds(results, case, peer, placement.name, f"{metric}_ratio")
    return run_pairs


def bounds(results, case, peer, placement, metric):
    """Between which the median of the pairs' ratios lies, by 95 %: two of them, of any distribution."""
    pairs = sorted(results.values.get((case, peer, placement, CONNECTIONS, metric, "ratio"), []))
    if pairs:
        low = max(0, math.floor((len(pairs) - 1.96 * math.sqrt(len(pairs))) / 2))
        results.add(case, peer, placement, CONNECTIONS, f"{metric}_low", pairs[low], "ratio")
        results.add(case, peer, placement, CONNECTIONS, f"{metric}_high", pairs[-1 - low], "ratio")


def tables(records, out):
    figures = {(r["case"], r["peer"], r["metric"]): r["value"] for r in records}
    rows = []
    for case, peer in dict.fromkeys((r["case"], r["peer"]) for r in records):
        def of(metric, case=case, peer=peer):
            return figures.get((case, peer, metric))

        def ratio(metric, of=of):
            if of(f"{metric}_ratio") is None:
                return "1"
            return f"{of(f'{metric}_ratio'):.4f} ({of(f'{metric}_ratio_low'):.4f} to {of(f'{metric}_ratio_high'):.4f})"

        least = of("requests_per_second_ratio")
        met = "-" if peer != "with" else "yes" if least >= LEAST else "NO"
        rows.append([case, peer, report.text(of("requests_per_second"), 0), ratio("requests_per_second"),
                     report.text(of("cpu_us_per_request"), 2), ratio("cpu_us_per_request"), met])
    print(report.table(["case", "nffi_zone", "requests/s", "of without", "CPU µs/request", "of without", f">= {LEAST}"], rows, words=2), file=out)


def main():
    args = run.options("metrics", __doc__, CASES, ("runtime", "rust-library")).parse_args()
    run.run(args, [(case, measure(case)) for case in CASES], tables, publish.metrics)


if __name__ == "__main__":
    main()
