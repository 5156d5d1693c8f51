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
MARKS = re.compile(r"(<!-- results -->\n).*(<!-- end of results -->)", re.S)


def publish(args, records, results):
    text = PAGE.read_text()
    if not MARKS.search(text):
        raise Failed(f"{PAGE} has lost its marks, <!-- results --> and <!-- end of results -->")
    out = io.StringIO()
    print(f"\n{conditions(args)}", file=out)
    report.write(records, results.notes, out)
    if any(results.loops):
        print(f"\n{results.disturbance()}", file=out)
    PAGE.write_text(MARKS.sub(lambda m: m[1] + out.getvalue() + "\n" + m[2], text))
    plot.draw(records, FOLDER)
    (FOLDER / "core.json").write_text(json.dumps(records, indent=1) + "\n")
    print(f"\npublished: {PAGE}, {FOLDER}")


def languages(args, records, results, tables):
    page = ROOT / "docs/languages.md"
    text = page.read_text()
    if not MARKS.search(text):
        raise Failed(f"{page} has lost its marks, <!-- results --> and <!-- end of results -->")
    out = io.StringIO()
    print(f"\n{conditions(args, 'languages')}\n", file=out)
    tables(records, results.notes, out)
    print(results.disturbance(), file=out)
    page.write_text(MARKS.sub(lambda m: m[1] + out.getvalue() + "\n" + m[2], text))
    (FOLDER / "languages.json").write_text(json.dumps(records, indent=1) + "\n")
    print(f"\npublished: {page}, {FOLDER}")


def http(args, records, tables):
    name, what, file = "http", "http", "http.json"
    if args.libpython:
        name, what, file = "http with one CPython", "http --cpython PREFIX", "http-cpython.json"
    marks = re.compile(rf"(<!-- results of {name} -->\n).*(<!-- end of results of {name} -->)", re.S)
    text = PAGE.read_text()
    if not marks.search(text):
        raise Failed(f"{PAGE} has lost its marks, <!-- results of {name} --> and <!-- end of results of {name} -->")
    out = io.StringIO()
    packages = (ROOT / "bench/http/requirements.txt").read_text().split("\n")[1:-1]
    python = version([args.venv / "bin/python3", "--version"])
    print(f"\n{conditions(args, what)} {python}, {', '.join(packages)}.\n", file=out)
    tables(records, out)
    PAGE.write_text(marks.sub(lambda m: m[1] + out.getvalue() + m[2], text))
    (FOLDER / file).write_text(json.dumps(records, indent=1) + "\n")
    print(f"\npublished: {PAGE}, {FOLDER}")


def conditions(args, what="core"):
    quick = " --quick" if args.quick else ""
    return (f"`scripts/bench {what}{quick}` on {datetime.date.today()}: {machine.describe()}; "
            f"{version([args.nginx, '-v'])}, {version(['wrk', '--version'])}, {version(['gcc', '--version'])}.")


def version(command):
    """The first words of what a program says of itself."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    line = (said.stderr + said.stdout).strip().splitlines()[0]
    return re.sub(r"^nginx version: ", "", line).split(" [")[0].strip()
