#!/usr/bin/env python3
"""nginx -t on every wrong configuration: each must be refused with file, line and reason."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "survive"))
from harness import BINARY, FIXTURES, MODULES, Checks, cmdline  # noqa: E402

GOOD = f"{FIXTURES}/libfixture.so"
CHECK = f"{FIXTURES}/libcheck.so"


def option(text, reason, **kwargs):
    """An option of a block, on a line of its own (the third of the http block's text)."""
    return f"nffi_runtime a {GOOD} {{\n  {text}\n}}", reason, 2


def library(name, reason):
    path = name if name.startswith("!") else f"{FIXTURES}/{name}"
    return f"nffi_runtime a {path.lstrip('!')} {{\n  colour red;\n}}", reason, (1, 3)


# In s: a check that hangs is ended after half of it.
HANGS = 60


def check(what, reason):
    return f"nffi_runtime a {CHECK} {{\n  check {what};\n}}", reason, (1, 3)


# name: (text inside http {}, what the message must say, the line counted from the text's first: one or a range)
WRONG = {
    "queue 0": option("queue 0;", "queue"),
    "queue negative": option("queue -5;", "queue"),
    "queue a word": option("queue many;", "queue.*many|many.*queue"),
    "queue a fraction": option("queue 1.5;", "queue"),
    "queue too big": option("queue 99999999999999999999;", "queue"),
    "queue without a value": option("queue;", "queue"),
    "queue with two values": option("queue 1 2;", "queue"),
    "queue twice": option("queue 1; queue 2;", "queue.*(duplicate|twice)|duplicate.*queue"),
    "tasks 0": option("tasks 0;", "tasks"),
    "tasks past 24 bits": option("tasks 16777217;", "tasks"),
    "timeout 0": option("timeout 0;", "timeout"),
    "timeout a word": option("timeout soon;", "timeout"),
    "timeout past 2^31 ms": option("timeout 30d;", "timeout"),
    "timeout twice": option("timeout 1s; timeout 2s;", "timeout"),
    "stop_timeout a word": option("stop_timeout never;", "stop_timeout"),
    "max_request a word": option("max_request much;", "max_request"),
    "max_request negative": option("max_request -1;", "max_request"),
    "max_response a word": option("max_response 5q;", "max_response"),
    "spin a word": option("spin fast;", "spin"),
    "spin with a unit": option("spin 5parsecs;", "spin"),
    "config without a value": option("config;", "config"),
    "config with two values": option("config a b;", "config"),
    "config twice": option("config a; config b;", "config"),
    "config_file missing": option("config_file no/such/file.json;", r"no/such/file\.json.*No such file|cannot read"),
    "config_file a folder": option("config_file /tmp;", "/tmp"),
    "config and config_file": option("config a; config_file /etc/hostname;", "config"),
    "config and own options": (f"nffi_runtime a {GOOD} {{\n  config a; colour red;\n}}", "config", (1, 3)),
    "own options and config": (f"nffi_runtime a {GOOD} {{\n  colour red; config a;\n}}", "config", (1, 3)),
    "a block in the block": option("colour { red; }", ""),
    "duplicate name": (
        f"nffi_runtime a {GOOD} {{}}\nnffi_runtime a {FIXTURES}/libother.so {{}}",
        r"duplicate.*\ba\b|\ba\b.*(duplicate|already)",
        2,
    ),
    "empty name": (f'nffi_runtime "" {GOOD} {{}}', "name", 1),
    "empty library": ('nffi_runtime a "" {}', "librar", 1),
    "no library": ("nffi_runtime a {}", "number of arguments", 1),
    "an argument too many": (f"nffi_runtime a {GOOD} queue=5 {{}}", "number of arguments", 1),
    "no block": (f"nffi_runtime a {GOOD};", r'no opening "\{"', 1),
    "in a server block": (f"server {{\n  nffi_runtime a {GOOD} {{}}\n}}", "not allowed here", 2),
    "unknown directive": ("nffi_runtimes a b {}", "unknown directive", 1),
    "done sink of another name": ("nffi_done_sink pipe;", 'pipe', 1),
    "done sink twice": ("nffi_done_sink auto;\nnffi_done_sink auto;", "duplicate", 2),
    "missing file": library("libmissing.so", "libmissing.so.*No such file|not found"),
    "missing name": library("!no-such-library-anywhere.so", "no-such-library-anywhere.so"),
    "a text file": library("libtext.so", "libtext.so.*not (a|an) (shared library|ELF)|not a shared library"),
    "an empty file": library("libempty.so", "libempty.so.*not a shared library"),
    "a folder": library("libdirectory.so", "libdirectory.so"),
    "a truncated library": library("libtruncated.so", "libtruncated.so"),
    "another architecture": library("libforeign.so", "libforeign.so.*(architecture|machine)"),
    "32 bits": library("lib32bit.so", "lib32bit.so.*(architecture|machine|32)"),
    "another byte order": library("libbigendian.so", "libbigendian.so"),
    "an object file": library("librelocatable.so", "librelocatable.so.*not a shared library"),
    "an executable": library("libexecutable.so", "libexecutable.so.*not a shared library"),
    "headers that point outside": library("libwild.so", "libwild.so"),
    "no symbol": library("libno_symbol.so", "libno_symbol.so.*nffi_runtime_init_v1"),
    "another ABI": library("libfuture.so", "libfuture.so.*nffi_runtime_init_v[12]"),
    "the check refuses": check("refuse", "colour must be red or green"),
    "the check refuses without a word": check("silent", "refuses.* 7"),
    "the check fills the message": check("fill", "eeeeeeeeee"),
    "the check hangs": check("hang", "(time|second)"),
    "the check crashes": check("crash", "signal 11|SIGSEGV|crash|segmentation"),
    "the check exits": check("exit", "libcheck.so|check"),
}



def location(text, reason):
    """A directive in a location, on a line of its own."""
    return f"nffi_runtime a {GOOD} {{}}\nserver {{\n  location / {{\n    {text}\n  }}\n}}", reason, 4


WRONG |= {
    "nffi_pass to nobody": location("nffi_pass b;", 'nffi_pass "b": no nffi_runtime of that name.*there are: a'),
    "nffi_pass where nobody is declared": ("server { location / { nffi_pass b; } }", "none is", 1),
    "nffi_pass without a name": location("nffi_pass;", "number of arguments"),
    "nffi_pass twice": location("nffi_pass a; nffi_pass a;", '"nffi_pass" directive is duplicate'),
    "nffi_pass in a server block": (f"nffi_runtime a {GOOD} {{}}\nserver {{ nffi_pass a; }}", "not allowed here", 2),
    "nffi_timeout 0": location("nffi_timeout 0;", "nffi_timeout.*at least 1ms"),
    "nffi_timeout a word": location("nffi_timeout soon;", "nffi_timeout.*time"),
    "nffi_timeout twice": location("nffi_timeout 1s; nffi_timeout 2s;", "duplicate"),
    "nffi_window small": location("nffi_window 1;", "nffi_window.*at least 1k"),
    "nffi_window a word": location("nffi_window wide;", "nffi_window.*size"),
    "nffi_request_buffering maybe": location("nffi_request_buffering maybe;", "on or off"),
    "nffi_intercept_errors maybe": location("nffi_intercept_errors maybe;", "on or off"),
    "nffi_ignore_client_abort maybe": location("nffi_ignore_client_abort maybe;", "on or off"),
    "nffi_prefix relative": location("nffi_prefix app;", "begins with a slash"),
    "nffi_prefix with a slash at its end": location("nffi_prefix /app/;", "does not end with one"),
    "nffi_hide_header without a name": location("nffi_hide_header;", "number of arguments"),
    "nffi_param without a value": location("nffi_param A;", "number of arguments"),
}

STATUS = "server {\n  location / {\n    nffi_status%s;\n  }\n}"
WRONG |= {
    "nffi_zone without a size": ("nffi_zone a;", "number of arguments", 1),
    "nffi_zone small": ("nffi_zone a 64k;", "nffi_zone.*at least 128k", 1),
    "nffi_zone with a word for a size": ("nffi_zone a large;", "nffi_zone.*at least 128k", 1),
    "nffi_zone without a name": ('nffi_zone "" 1m;', "name.*nffi_zone", 1),
    "nffi_zone twice": ("nffi_zone a 1m;\nnffi_zone b 1m;", "duplicate", 2),
    "nffi_zone in a server block": ("server { nffi_zone a 1m; }", "not allowed here", 1),
    "nffi_zone of another module's name": ("limit_req_zone $remote_addr zone=a:1m rate=1r/s;\nnffi_zone a 1m;", "already (declared|bound)", 2),
    "nffi_status without a zone": (STATUS % "", "nffi_status needs an .nffi_zone NAME SIZE;", 3),
    "nffi_status of an unknown word": ("nffi_zone a 1m;\n" + STATUS % " names=on", "gojinn_names=on or off", 4),
    "nffi_status twice": ("nffi_zone a 1m;\n" + STATUS % "; nffi_status", "duplicate", 4),
    "nffi_status beside nffi_pass": (f"nffi_zone a 1m; nffi_runtime a {GOOD} {{}}\n" + STATUS % "; nffi_pass a", "in one location", 4),
    "nffi_pass beside nffi_status": (f"nffi_zone a 1m; nffi_runtime a {GOOD} {{}}\n" + (STATUS % "").replace("nffi_status", "nffi_pass a; nffi_status"), "in one location", 4),
    "nffi_slow_log off with a time": location("nffi_slow_log off 1s;", "off has no time"),
    "nffi_slow_log without a time": location("nffi_slow_log a.log;", "a file and a time, or off"),
    "nffi_slow_log with a word for a time": location("nffi_slow_log a.log soon;", "nffi_slow_log.*time"),
    "nffi_slow_log twice": location("nffi_slow_log off; nffi_slow_log off;", "duplicate"),
}

WRONG |= {
    "env without a name": option("env;", "env"),
    "env with two values": option("env A b c;", "env"),
    "env with an empty name": option("env =x;", "env"),
    "env twice": option("env A 1; env A 2;", "env A.*duplicate"),
    "working_directory missing": (f"nffi_runtime a {GOOD} {{\n  working_directory no/such;\n}}", "working_directory.*no/such", (1, 3)),
    "working_directory a file": (f"nffi_runtime a {GOOD} {{\n  working_directory /etc/hostname;\n}}", "is no directory", (1, 3)),
    "two values of one variable": (
        f"nffi_runtime a {GOOD} {{ env A 1; }}\nnffi_runtime b {GOOD} {{\n env A 2;\n}}",
        'runtime "a" sets it to "1"',
        (2, 4),
    ),
    "a number with a sign": option("queue +5;", "queue"),
    "one library by two names": (
        f"nffi_runtime a {CHECK} {{ check alone; }}\nnffi_runtime b @DIR@/link.so {{ check alone; }}",
        "another runtime of this library",
        2,
    ),
    "two runtimes that do not agree": (
        f"nffi_runtime a {CHECK} {{ check alone; }}\nnffi_runtime b {CHECK} {{ check alone; }}",
        '"b".*another runtime of this library',
        2,
    ),
    "the check without its environment": check("env", "not in the environment"),
    "the check without its directory": check("here", "not in the working directory"),
}

RIGHT = {
    "nothing at all": "",
    "an empty block": f"nffi_runtime a {GOOD} {{}}",
    "every option": f"""nffi_runtime a {GOOD} {{
        queue 10; tasks 20; timeout 500ms; stop_timeout 1s; max_request 1k; max_response 64m; spin 20;
        own; own2 a; own3 b c;
    }}""",
    "config": f"nffi_runtime a {GOOD} {{ config 'x'; }}",
    "config_file": f"nffi_runtime a {GOOD} {{ config_file /etc/hostname; }}",
    "the biggest numbers": f"nffi_runtime a {GOOD} {{ queue 1048576; tasks 16000000; timeout 2147483647ms; }}",
    "the check agrees": f"nffi_runtime a {CHECK} {{ check fine; }}",
    "the check prints": f"nffi_runtime a {CHECK} {{ check noise; }}",
    "sinks": "nffi_done_sink eventfd;",
    "env and working_directory": f"nffi_runtime a {GOOD} {{ env A; env B 1; env C=2; working_directory /; config 'x'; }}",
    "the check has its environment": f"nffi_runtime a {CHECK} {{ env NFFI_CHECK yes; check env; }}",
    "the check has its directory": f"nffi_runtime a {CHECK} {{ working_directory @DIR@/here; check here; }}",
    "two runtimes of one library, one of them alone": f"nffi_runtime a {CHECK} {{ check alone; }} nffi_runtime b {CHECK} {{ check fine; }}",
    # a dlopen in the master would find out, and start language runtimes before the fork
    "a library that cannot be loaded is not loaded": f"nffi_runtime a {FIXTURES}/libunresolved.so {{}}",
    "a runtime whose init ends the process is not initialised": f"nffi_runtime a {GOOD} {{ init_exit_once @DIR@/x; }}",
}


# The thread pool's sink exists where nginx has the patch, and nowhere else.
PATCHED = any(b"ngx_thread_pool_post_done" in p.read_bytes() for p in map(pathlib.Path, (BINARY, f"{BINARY}.bin")) if p.is_file())
if PATCHED:
    RIGHT["thread_pool, with the patch"] = "nffi_done_sink thread_pool;"
else:
    WRONG["thread_pool, without the patch"] = ("nffi_done_sink thread_pool;", "thread_pool.*patch", 1)


def test(text, folder):
    conf = folder / "nginx.conf"
    lines = [f"load_module {m};" for m in MODULES] + [
        f"pid {folder}/nginx.pid;",
        "error_log stderr;",
        "events {}",
        "http {",
    ]
    first = len(lines) + 1
    conf.write_text("\n".join([*lines, text.replace("@DIR@", str(folder)), "}"]) + "\n")
    began = time.monotonic()
    process = subprocess.Popen(
        [BINARY, "-t", "-p", str(folder), "-c", str(conf)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        out = process.communicate(timeout=2 * HANGS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out = f"no end after {2 * HANGS} s"
    return process.returncode, out, first, time.monotonic() - began


def main():
    checks = Checks("conf", tap="--tap" in sys.argv)
    with tempfile.TemporaryDirectory(prefix="nffi-conf-") as name:
        folder = pathlib.Path(name)
        (folder / "here").mkdir()
        (folder / "link.so").symlink_to(CHECK)
        (folder / "here" / "a_file_that_is_here").touch()
        for what, (text, reason, where) in WRONG.items():
            code, out, first, took = test(text, folder)
            low, high = where if isinstance(where, tuple) else (where, where)
            said = [line for line in out.splitlines() if "[emerg]" in line]
            place = re.search(r" in \S*nginx\.conf:(\d+)", said[-1]) if said else None
            right_line = place is not None and low <= int(place.group(1)) - first + 1 <= high
            right_reason = bool(said) and re.search(reason, " ".join(said), re.I) is not None
            fine = code == 1 and right_line and right_reason and took < HANGS
            checks.check(fine, what, *(said or [out.strip()]), "" if fine else f"(code {code}, {took:.1f} s)")
        for what, text in RIGHT.items():
            code, out, _, _ = test(text, folder)
            checks.check(code == 0, what, "" if code == 0 else out)
        checks.check(not (folder / "x").exists(), "no init ran while the configuration was tested")
        time.sleep(0.1)
        left = [p.name for p in pathlib.Path("/proc").glob("[0-9]*") if name.encode() in cmdline(p.name)]
        checks.check(not left, "no process is left behind", *left)
    checks.finish()


if __name__ == "__main__":
    main()
