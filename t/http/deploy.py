#!/usr/bin/env python3
"""The configurations of nginx-conf/deploy, run as they are: a cache in front of nffi_pass, and several nginxes
behind one, each in a network namespace of its own.

    python3 t/http/deploy.py            with the environment that scripts/test sets (t/survive/harness.py)
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "survive"))
from harness import BINARY, FIXTURES, MODULES, ROOT, free_port, run  # noqa: E402

NFFI_MODULE = [m for m in MODULES if "nffi" in m]


class Nginx:
    """An nginx with the text in its http block, in the namespace of that name if there is one."""

    def __init__(self, name, text, netns=None):
        self.prefix = pathlib.Path(tempfile.mkdtemp(prefix=f"nffi-{name}-"))
        (self.prefix / "tmp").mkdir()
        # The worker's user is not root: it makes sockets and caches here.
        self.prefix.chmod(0o777)
        modules = "".join(f"load_module {m};\n" for m in NFFI_MODULE)
        paths = "".join(f"{p}_temp_path {self.prefix}/tmp/{p};" for p in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        (self.prefix / "nginx.conf").write_text(
            f"{modules}{user} worker_processes 1; daemon off; pid {self.prefix}/pid; error_log {self.prefix}/error.log info;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; {paths}\n"
            f"nffi_runtime app {FIXTURES}/libhttp.so {{}}\n{text.replace('@RUN@', str(self.prefix))}\n}}\n"
        )
        inside = ["ip", "netns", "exec", netns] if netns else []
        self.process = subprocess.Popen([*inside, BINARY, "-p", str(self.prefix), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)

    def log(self):
        return (self.prefix / "error.log").read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)

    def remove(self):
        self.stop()
        shutil.rmtree(self.prefix, ignore_errors=True)


def conf(name, **words):
    text = (ROOT / "nginx-conf/deploy" / name).read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


# One client for all namespaces: a small program that is run in one, so that the test need not be.
CLIENT = """
import http.client, json, sys
host, port, n, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
out, c = [], http.client.HTTPConnection(host, port, timeout=10)
for _ in range(n):
    c.request("GET", path)
    r = c.getresponse()
    out.append([r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read().decode("latin-1")])
print(json.dumps(out))
"""


def get(host, port, path, n=1, netns=None):
    """n requests one after the other: a list of (status, headers, body)."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    done = subprocess.run(
        [*inside, sys.executable, "-c", CLIENT, host, str(port), str(n), path], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def wait_for(what, most=10):
    until = time.monotonic() + most
    while True:
        try:
            if what():
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.05)


def check(checks, good, what, details):
    checks.check(good, what, "" if good else details)


def caching(checks, port):
    nginx = Nginx("caching", conf("caching.conf", LISTEN=f"127.0.0.1:{port}"))
    try:
        check(checks, wait_for(lambda: get("127.0.0.1", port, "/hello")), "the caching nginx starts", nginx.log()[-2000:])
        states = [h["x-cache"] for _, h, _ in get("127.0.0.1", port, "/stream?n=1&size=1000", 3)]
        check(checks, states == ["MISS", "HIT", "HIT"], "the first is a MISS, the others are HITs", states)
        no_store = "/header?name=Cache-Control&value=no-store"
        states = [h["x-cache"] for _, h, _ in get("127.0.0.1", port, no_store, 2)]
        check(checks, states == ["MISS", "MISS"], "what the application does not want cached is not", states)
        status, _, body = get("127.0.0.1", port, "/show")[0]
        check(checks, "client_addr: 127.0.0.1\n" in body, "the application sees the client, not the socket", body)
        status, headers, _ = get("127.0.0.1", port, "/fail")[0]
        check(checks, status == 502, "an error is an error", status)
    finally:
        nginx.remove()


class Network:
    """A bridge in a namespace of its own for the front, and one namespace for each node."""

    def __init__(self, nodes):
        self.id = f"nffi{os.getpid()}"
        self.names = [f"{self.id}-{i}" for i in range(nodes + 1)]
        self.up = []
        for name in self.names:
            self.run("ip", "netns", "add", name)
            self.up.append(name)
            self.run("ip", "-n", name, "link", "set", "lo", "up")
        front = self.names[0]
        self.run("ip", "-n", front, "link", "add", "br0", "type", "bridge")
        self.run("ip", "-n", front, "addr", "add", "10.83.0.1/24", "dev", "br0")
        self.run("ip", "-n", front, "link", "set", "br0", "up")
        for i, name in enumerate(self.names[1:], 1):
            self.run("ip", "-n", front, "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            self.run("ip", "-n", front, "link", "set", f"v{i}", "master", "br0", "up")
            self.run("ip", "-n", name, "addr", "add", f"10.83.0.1{i}/24", "dev", "eth0")
            self.run("ip", "-n", name, "link", "set", "eth0", "up")

    @staticmethod
    def run(*command):
        subprocess.run(command, check=True, capture_output=True, text=True)

    def remove(self):
        for name in self.up:
            subprocess.run(["ip", "netns", "del", name], check=False)


def scaling_out(checks):
    network = None
    nodes, front = {}, None
    try:
        try:
            network = Network(2)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"scaling out: skipped: no network namespaces here ({getattr(error, 'stderr', '') or error})")
            return
        addresses = ["10.83.0.11:8080", "10.83.0.12:8080"]

        def start(i):
            nodes[i] = Nginx(f"node{i}", conf("node.conf", LISTEN="8080", FRONT="10.83.0.1"), network.names[i])

        start(1)
        start(2)
        servers = " ".join(f"server {address} max_fails=1 fail_timeout=1s;" for address in addresses)
        front = Nginx("front", conf("front.conf", LISTEN="127.0.0.1:8080", NODES=servers), network.names[0])

        def ask(path="/hello", n=1):
            return get("127.0.0.1", 8080, path, n, network.names[0])

        def healthy(i):
            return get(f"10.83.0.1{i}", 8080, "/health", 1, network.names[0])[0][0] == 200

        ready = all(wait_for(lambda i=i: healthy(i)) for i in (1, 2)) and wait_for(ask)
        check(checks, ready, "front and nodes start, /health says so", front.log() + nodes[1].log())
        used = [headers["x-node"] for _, headers, _ in ask(n=20)]
        check(checks, set(used) == set(addresses), "both nodes work", used)
        body = ask("/show")[0][2]
        check(checks, "client_addr: 127.0.0.1\n" in body, "a node sees the front's client", body)

        ask(n=50)
        opened = sum(node.log().count("closed keepalive connection") for node in nodes.values())
        check(checks, opened < 10, "the front keeps its connections", opened)

        nodes[1].stop()
        answers = ask(n=30)
        check(checks, all(a[0] == 200 for a in answers), "a node that is away costs no request", [a[0] for a in answers])
        left = {headers["x-node"].split(", ")[-1] for _, headers, _ in answers}
        check(checks, left == {addresses[1]}, "the other one does the work", left)

        nodes[1].remove()
        start(1)
        check(checks, wait_for(lambda: healthy(1)), "it comes back", nodes[1].log())

        def both():
            return {h["x-node"] for _, h, _ in ask(n=10)} == set(addresses)

        check(checks, wait_for(both), "and gets its share again", front.log())

        statuses = []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            load = [pool.submit(ask, "/sleep?ms=20", 60) for _ in range(2)]
            time.sleep(0.3)
            nodes[2].process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            nodes[2].process.send_signal(signal.SIGQUIT)
            statuses = [a[0] for part in load for a in part.result()]
        check(checks, statuses == [200] * 120, "a node that reloads, then quits, costs no request", statuses)
    finally:
        for nginx in [*nodes.values(), *([front] if front else [])]:
            nginx.remove()
        if network:
            network.remove()


def body(checks, _scale):
    caching(checks, free_port())
    scaling_out(checks)


if __name__ == "__main__":
    run("deploy", body, __doc__)
