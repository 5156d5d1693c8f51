"""Puts a run into docs/: tables into docs/benchmarks.md, between two marks, records and plots into docs/bench."""

import datetime
import io
import json
import re
import subprocess

import machine
import plot
import report
from server import ROOT, Failed

PAGE = ROOT / "docs/benchmarks.md"
FOLDER = ROOT / "docs/bench"


def publish(args, records, results):
    out = io.StringIO()
    print(f"\n{conditions(args)}", file=out)
    report.write(records, results.notes, out)
    if any(results.loops):
        print(f"\n{results.disturbance()}", file=out)
    print(file=out)
    keep(PAGE, "", out.getvalue(), "core.json", records)
    plot.draw(records, FOLDER)


def languages(args, records, results, tables):
    out = io.StringIO()
    print(f"\n{conditions(args, 'languages')}\n", file=out)
    tables(records, results.notes, out)
    print(results.disturbance(), file=out)
    print(file=out)
    keep(ROOT / "docs/languages.md", "", out.getvalue(), "languages.json", records)


def http(args, records, tables, disturbance):
    name, what, file = "http", "http", "http.json"
    if args.libpython:
        name, what, file = "http with one CPython", "http --cpython PREFIX", "http-cpython.json"
    packages = (ROOT / "bench/http/requirements.txt").read_text().split("\n")[1:-1]
    python = version([args.venv / "bin/python3", "--version"])
    out = io.StringIO()
    print(f"\n{conditions(args, what)} {python}, {', '.join(packages)}.\n", file=out)
    tables(records, out)
    print(f"{disturbance}\n", file=out)
    keep(PAGE, name, out.getvalue(), file, records)


def wasm(args, records, tables, disturbance):
    out = io.StringIO()
    tools = [["go", "version"], ["clang-14", "--version"], *([[args.wasmtime, "--version"]] if args.wasmtime else [])]
    print(f"\n{conditions(args, 'wasm')} {', '.join(map(version, tools))}.\n", file=out)
    tables(records, out)
    print(f"{disturbance}\n", file=out)
    keep(PAGE, "wasm", out.getvalue(), "wasm.json", records)


def metrics(args, records, tables, disturbance):
    out = io.StringIO()
    print(f"\n{conditions(args, 'metrics')}\n", file=out)
    tables(records, out)
    print(f"{disturbance}\n", file=out)
    keep(PAGE, "metrics", out.getvalue(), "metrics.json", records)


def keep(page, name, results, file, records):
    """Between the marks of that name in a page, and beside it."""
    of = f" of {name}" if name else ""
    begin, end = f"<!-- results{of} -->", f"<!-- end of results{of} -->"
    text = page.read_text()
    marks = re.compile(rf"({begin}\n).*({end})", re.S)
    if not marks.search(text):
        raise Failed(f"{page} has lost its marks, {begin} and {end}")
    page.write_text(marks.sub(lambda m: m[1] + results + m[2], text))
    (FOLDER / file).write_text(json.dumps(records, indent=1) + "\n")
    print(f"\npublished: {page}, {FOLDER}")


def conditions(args, what="core"):
    quick = " --quick" if args.quick else ""
    return (f"`scripts/bench {what}{quick}` on {datetime.date.today()}: {machine.describe()}; "
            f"{version([args.nginx, '-v'])}, {version(['wrk', '--version'])}, {version(['gcc', '--version'])}.")


def version(command):
    """The first words of what a program says of itself."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    line = (said.stderr + said.stdout).strip().splitlines()[0]
    return re.sub(r"^nginx version: ", "", line).split(" [")[0].strip()
