"""From arguments to records, tables and documentation: a run of a benchmark of servers."""

import argparse
import contextlib
import json
import pathlib
import signal
import sys

import machine
from cases import Results
from server import Failed


def options(what, about, cases, paths):
    """A parser with the options that these have in common. `paths`: arguments that scripts/bench gives."""
    parser = argparse.ArgumentParser(prog=f"scripts/bench {what}", description=about)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the records there")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", metavar="CASE", choices=cases, help="this one alone (may be repeated)")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/benchmarks.md")
    for name in ("nginx", *paths):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--lua-path", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--module", dest="modules", type=pathlib.Path, action="append", required=True, help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def orderly(args):
    """A run, whatever ends it: signals become exceptions, so that `with` and `finally` end what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started it in the background
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    print(f"{machine.describe()}; " + ("quick run" if args.quick else "full run"), flush=True)
    try:
        yield
    except Failed as e:
        sys.exit(f"bench: {e}")
    except KeyboardInterrupt:
        sys.exit(130)


def run(args, cases, tables, publish):
    """Runs those of `cases`, (name, function) pairs, that are wanted. A function takes results and arguments."""
    results = Results()
    with orderly(args):
        for name, measure in cases:
            if not args.only or name in args.only:
                measure(results, args)
    records = list(results.records())
    print()
    tables(records, sys.stdout)
    disturbance = results.disturbance("rounds") if results.loops else ""
    print(disturbance)
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")
    if args.publish:
        publish(args, records, tables, disturbance)
