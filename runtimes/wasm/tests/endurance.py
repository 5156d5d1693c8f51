"""A million requests to functions behind nginx (--scale 1), and what the worker's memory does meanwhile.

Prints the samples as Test::Nginx does in its leak mode, to be judged by scripts/lib/leak.awk. Environment: that of t/survive,
and NFFI_WASM (libnffi_wasm.so), NFFI_WASM_FUNCTIONS (the folder of tests/functions as .wasm), NFFI_WASM_COMPONENT (what
tests/component is built to).
"""

import os
import pathlib
import selectors
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "t" / "survive"))
from harness import BINARY, Nginx, run  # noqa: E402

WASM, FUNCTIONS, COMPONENT = (os.environ[name] for name in ("NFFI_WASM", "NFFI_WASM_FUNCTIONS", "NFFI_WASM_COMPONENT"))
REQUESTS = 1_000_000
SAMPLES = 100
CONNECTIONS, DEPTH = 32, 8

# So few instances are all used at once from the beginning: what the pool keeps of each is there before the first sample.
OPTIONS = f"queue 1024; instances 8; cache {FUNCTIONS}/cache;"
RUNTIMES = f"""
nffi_runtime function {WASM} {{ module {FUNCTIONS}/hello.wasm; {OPTIONS} }}
nffi_runtime show {WASM} {{ module {FUNCTIONS}/show.wasm; {OPTIONS} }}
nffi_runtime component {WASM} {{ module {COMPONENT}; interface wasi-http; {OPTIONS} }}
"""
SERVER = """
location = /function { nffi_pass function; }
location = /show { nffi_pass show; }
location = /hello { nffi_pass component; }
"""
# What is asked for, and how much of all.
CASES = {
    "a function": (b"GET /function HTTP/1.1\r\nHost: a\r\n\r\n", 0.5),
    "a function that reads its request": (b"POST /show HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 0.2),
    "a component": (b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 0.3),
}


def complete(answers):
    """How many whole answers there are, and how many of them are good."""
    whole = good = at = 0
    while (end := answers.find(b"\r\n\r\n", at)) >= 0:
        head = answers[at:end].lower()
        at = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if at > len(answers):
            break
        whole += 1
        good += head.startswith(b"http/1.1 200 ")
    return whole, good


def ask(port, request, total):
    """So many requests, some at a time on each connection. How many were answered well."""
    selector, left, good = selectors.DefaultSelector(), total, 0
    clients = []

    def begin(client):
        nonlocal left
        client["wanted"], client["answers"] = min(DEPTH, left), b""
        left -= client["wanted"]
        if client["wanted"]:
            client["socket"].sendall(request * client["wanted"])
        else:
            selector.unregister(client["socket"])

    for _ in range(CONNECTIONS):
        client = {"socket": socket.create_connection(("127.0.0.1", port), timeout=60)}
        selector.register(client["socket"], selectors.EVENT_READ, client)
        clients.append(client)
        begin(client)
    while selector.get_map():
        events = selector.select(60)
        if not events:
            raise TimeoutError("no answer for a minute")
        for key, _ in events:
            client = key.data
            piece = client["socket"].recv(1 << 16)
            if not piece:
                raise ConnectionError("nginx closed a connection")
            client["answers"] += piece
            whole, fine = complete(client["answers"])
            if whole == client["wanted"]:
                good += fine
                begin(client)
    for client in clients:
        client["socket"].close()
    return good


def anonymous(pid):
    """KiB of the process's own, without what it shares with files."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def serve(checks):
    """An nginx that finds its functions compiled: however long that takes, it starts at once."""
    nginx = Nginx(runtimes=RUNTIMES, server=SERVER)
    checks.nginxes.append(nginx)
    test = [BINARY, "-t", "-p", str(nginx.prefix), "-c", str(nginx.conf)]
    done = subprocess.run(test, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"nginx -t: {done.stderr}")
    nginx.start()
    return nginx


def body(checks, scale):
    nginx = serve(checks)
    for number, (what, (request, part)) in enumerate(CASES.items(), 1):
        each = max(1, int(REQUESTS * part * scale / SAMPLES))
        worker, began = nginx.workers()[0], time.monotonic()
        # Pools, arenas and the compiled code find their place.
        good, samples = ask(nginx.port, request, 10 * each), []
        for _ in range(SAMPLES):
            good += ask(nginx.port, request, each)
            samples.append(anonymous(worker))
        total = each * (SAMPLES + 10)
        took = time.monotonic() - began
        checks.check(good == total, f"{what}: {total} requests", f"{good} answered well, {total / took:.0f} a second")
        checks.check(nginx.workers() == [worker], f"{what}: by one worker")
        print(f"endurance.py TEST {number}: {what}\nLeakTest: {samples}", flush=True)
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("endurance", body, __doc__)
