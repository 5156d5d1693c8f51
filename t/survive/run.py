#!/usr/bin/env python3
"""Runs every script of t/survive one after the other: run.py [--scale F] [NAME...]"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="0.1")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    failed = []
    for script in sorted(HERE.glob("*.py")):
        if script.stem in ("run", "harness") or (args.names and script.stem not in args.names):
            continue
        began = time.monotonic()
        env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        try:
            code = subprocess.run([sys.executable, str(script), "--scale", args.scale], env=env, timeout=900).returncode
        except subprocess.TimeoutExpired:
            code = "no end after 900 s"
        print(f"       {script.stem}: {time.monotonic() - began:.1f} s", flush=True)
        if code != 0:
            failed.append(script.stem)
    print("survive: " + (f"FAILED: {' '.join(failed)}" if failed else "all passed"))
    sys.exit(1 if failed else 0)


main()
