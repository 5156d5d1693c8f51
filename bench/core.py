"""The benchmark of the core: nffi beside a unix socket and a bare ngx.say, in one run. Started by scripts/bench."""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from dataclasses import dataclass

import cases
import plot
import publish
import report
from run import orderly
from server import Server, placements


@dataclass
class Plan:
    rounds: int
    memory_rounds: int
    loop_seconds: float
    load_seconds: int      # wrk takes whole ones
    patience: float        # seconds to spend on rounds that other processes disturb

    def be_patient(self, since):
        """Is there time to run again what began at `since`? Then lets a moment pass first."""
        if self.patience <= 0:
            return False
        time.sleep(0.5)
        self.patience -= time.monotonic() - since
        return True


FULL = Plan(rounds=5, memory_rounds=3, loop_seconds=0.3, load_seconds=3, patience=90)
QUICK = Plan(rounds=3, memory_rounds=1, loop_seconds=0.1, load_seconds=1, patience=15)


@dataclass
class Tools:
    """What scripts/bench built or provided."""
    nginx: pathlib.Path
    modules: list
    lua_path: str
    runtime: pathlib.Path
    unix_echo: pathlib.Path


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench core", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the records there")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, under two minutes")
    parser.add_argument("--patience", type=float, metavar="SECONDS",
                        help="how long to wait in all for other processes to leave the machine alone (90; quick: 15)")
    parser.add_argument("--plots", type=pathlib.Path, metavar="DIR", help="draw the figures there, as SVG")
    parser.add_argument("--publish", action="store_true", help="put tables, records and figures into docs/")
    parser.add_argument("--only", choices=("sequential", "concurrent", "in_flight"), action="append",
                        help="this case alone (may be repeated)")
    for name in ("nginx", "runtime", "unix-echo"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--lua-path", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--module", dest="modules", type=pathlib.Path, action="append", required=True,
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def run(args, plan, results):
    tools = Tools(args.nginx, args.modules, args.lua_path, args.runtime, args.unix_echo)
    wanted = args.only or ["sequential", "concurrent", "in_flight"]
    with tempfile.TemporaryDirectory(prefix="nffi-bench-") as scratch:
        for placement in placements():
            one_core = placement.name == "one_core"
            with Server(tools, placement) as server:
                if "sequential" in wanted:
                    cases.sequential(results, server, plan)
                if "concurrent" in wanted:
                    cases.concurrent(results, server, plan)
            if "concurrent" in wanted:
                cases.wakes(results, tools, placement, plan, pathlib.Path(scratch) / f"{placement.name}.strace")
            if "in_flight" in wanted and one_core:
                with Server(tools, placement) as server:
                    cases.in_flight(results, server, plan)
                cases.memory(results, tools, placement, plan)


def main():
    args = arguments()
    results = cases.Results()
    plan = QUICK if args.quick else FULL
    if args.patience is not None:
        plan.patience = args.patience
    with orderly(args):
        run(args, plan, results)
    records = list(results.records())
    report.write(records, results.notes, sys.stdout)
    if any(results.loops):
        print(f"\n{results.disturbance()}")
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")
        print(f"\nrecords: {args.json}")
    if args.plots:
        for path in plot.draw(records, args.plots):
            print(f"plot: {path}")
    if args.publish:
        publish.publish(args, records, results)


if __name__ == "__main__":
    main()
