"""An nginx of one's own for a test: a prefix in a temporary folder, a free port, a load, a look into /proc.

Environment, as scripts/test sets it:
  TEST_NGINX_BINARY, TEST_NGINX_LOAD_MODULES, NFFI_LUA_PATH, NFFI_FIXTURES, NFFI_ROOT, NFFI_TEST_SINK
"""

import argparse
import http.client
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(os.environ.get("NFFI_ROOT") or pathlib.Path(__file__).resolve().parents[2])
BINARY = os.environ.get("TEST_NGINX_BINARY") or "/usr/sbin/nginx"
MODULES = shlex.split(os.environ.get("TEST_NGINX_LOAD_MODULES", ""))
LUA_PATH = os.environ.get("NFFI_LUA_PATH") or f"{ROOT}/lua/?.lua;/usr/share/lua/5.1/?.lua;;"
FIXTURES = pathlib.Path(os.environ.get("NFFI_FIXTURES") or ROOT / "target/fixtures")
SINK = os.environ.get("NFFI_TEST_SINK") or "auto"

CONF = """
{modules}
{user}
worker_processes {workers};
error_log {prefix}/error.log info;
pid {prefix}/nginx.pid;
{main}
events {{ worker_connections 30000; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/tmp; proxy_temp_path {prefix}/tmp; fastcgi_temp_path {prefix}/tmp;
    uwsgi_temp_path {prefix}/tmp; scgi_temp_path {prefix}/tmp;
    lua_package_path '{lua_path}';
    lua_shared_dict counts 1m;
    nffi_done_sink {sink};
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=8192 {listen};
        keepalive_requests 1000000;
        location = /bare {{ content_by_lua_block {{ ngx.say("bare") }} }}
        location = /pid {{ content_by_lua_block {{ ngx.say(ngx.worker.pid()) }} }}
        # /call?REQUEST with spaces as plus signs; 200 and the answer, or 500 and the error
        location = /call {{
            content_by_lua_block {{
                local nffi = require "resty.nffi"
                local req = ngx.unescape_uri(ngx.var.args or "")
                local timeout = tonumber(ngx.req.get_headers()["X-Timeout"])
                local res, err = nffi.call("fixture", req, {{ timeout = timeout }})
                ngx.shared.counts:incr(res and "done" or err, 1, 0)
                if not res then
                    ngx.status = 500
                    res = err
                end
                ngx.header["Content-Length"] = #res
                ngx.print(res)
            }}
        }}
        location = /cast {{
            content_by_lua_block {{
                local ok, err = require("resty.nffi").get("fixture"):cast(ngx.unescape_uri(ngx.var.args or ""))
                ngx.say(ok or err)
            }}
        }}
        location = /counts {{
            content_by_lua_block {{
                local counts = ngx.shared.counts
                for _, key in ipairs(counts:get_keys(0)) do
                    ngx.say(key, "=", counts:get(key))
                end
            }}
        }}
        location = /runtimes {{
            content_by_lua_block {{
                collectgarbage()
                for _, r in ipairs(require("resty.nffi").runtimes()) do
                    local words = {{}}
                    for field, value in pairs(r) do
                        words[#words + 1] = field .. "=" .. tostring(value)
                    end
                    ngx.say(table.concat(words, "\\t"))
                end
            }}
        }}
        {server}
    }}
}}
"""


def parse_args(doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--scale", type=float, default=0.1, help="1: the long counts (default: %(default)s)")
    return parser.parse_args()


class Checks:
    """One line a check; the exit status of the script."""

    def __init__(self, name, tap=False):
        self.name, self.tap, self.done, self.failed, self.nginxes = name, tap, 0, 0, []
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))

    def check(self, good, what, *details):
        self.done += 1
        self.failed += not good
        more = " ".join(str(d) for d in details if d != "")
        if self.tap:
            print(f"{'ok' if good else 'not ok'} {self.done} - {self.name}: {what}", flush=True)
            if not good:
                print("#   " + more.replace("\n", "\n#   "), file=sys.stderr, flush=True)
        else:
            print(f"{'ok    ' if good else 'FAILED'} {self.name}: {what}{': ' + more if more else ''}", flush=True)
        return good

    def nginx(self, **kwargs):
        server = Nginx(**kwargs)
        self.nginxes.append(server)
        server.start()
        return server

    def finish(self):
        if self.tap:
            print(f"1..{self.done}")
        for server in self.nginxes:
            notable = [x for x in server.log().splitlines() if not re.search(r"\[(info|notice|debug)\]|open file resource", x)]
            server.destroy()
            if self.failed and notable:
                print(f"--- the end of the error log in {server.prefix}, without info and notice")
                print("\n".join(notable[-12:]))
        sys.exit(1 if self.failed else 0)


def run(name, body, doc):
    """Runs body(checks, scale); an exception is a failure, and no nginx is left behind."""
    args, checks = parse_args(doc), Checks(name)
    try:
        body(checks, args.scale)
    except Exception as error:  # noqa: BLE001: whatever it is, it is reported and the servers go
        import traceback

        traceback.print_exc()
        checks.check(False, f"ended by {type(error).__name__}")
    checks.finish()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds=5.0, step=0.02):
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(step)


class Nginx:
    def __init__(self, runtimes=None, workers=1, main="", http="", server="", listen="", library="libfixture.so"):
        self.prefix = pathlib.Path(tempfile.mkdtemp(prefix="nffi-survive-"))
        self.prefix.chmod(0o755)
        (self.prefix / "tmp").mkdir()
        self.port = free_port()
        if runtimes is None:
            runtimes = "stop_timeout 2s;"
        if "nffi_runtime" not in runtimes:
            runtimes = f"nffi_runtime fixture {FIXTURES}/{library} {{ {runtimes} }}"
        self.conf = self.prefix / "nginx.conf"
        self.conf.write_text(
            CONF.format(
                modules="\n".join(f"load_module {m};" for m in MODULES),
                user="user root;" if os.geteuid() == 0 else "",
                workers=workers,
                prefix=self.prefix,
                main=main,
                lua_path=f"{ROOT}/t/lib/?.lua;{LUA_PATH}",
                sink=SINK,
                http=f"{runtimes}\n{http}".replace("@PREFIX@", str(self.prefix)),
                port=self.port,
                listen=listen,
                server=server,
            )
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [BINARY, "-p", str(self.prefix), "-c", str(self.conf), "-g", "daemon off;"],
            stdout=(self.prefix / "stdout").open("wb"),
            stderr=(self.prefix / "stderr").open("wb"),
            start_new_session=True,
        )
        if not wait_for(self.answers, 10):
            raise RuntimeError(f"nginx does not answer: {self.stderr()} {self.log()}")

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"nginx ended with {self.process.returncode}: {self.stderr()}")
        try:
            return self.get("/bare")[0] == 200
        except OSError:
            return False

    def stderr(self):
        return (self.prefix / "stderr").read_text(errors="replace")

    def log(self):
        try:
            return (self.prefix / "error.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log_has(self, pattern, seconds=0.0):
        return bool(wait_for(lambda: re.search(pattern, self.log()), seconds))

    def bad_lines(self, *expected):
        """Lines of the error log that nobody asked for."""
        return [
            line
            for line in self.log().splitlines()
            if re.search(r"\[(emerg|alert|crit|error)\]|panicked", line)
            and not any(re.search(e, line) for e in expected)
        ]

    def master(self):
        """The nginx master: what was started, or what it became through a wrapper."""
        return int((self.prefix / "nginx.pid").read_text())

    def children(self, pid=None):
        pid = pid or self.master()
        found = []
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(p) for p in task.read_text().split()]
        return found

    def started(self, what):
        """Children that the master has started as such. By the log: behind a dynamic linker nginx cannot set its title."""
        logs = "".join(p.read_text(errors="replace") for p in self.prefix.glob("error.log*"))
        found = {int(pid) for pid in re.findall(rf"start {what} process (\d+)", logs)}
        return [p for p in self.children() if p in found and f"{p}#{p}: gracefully shutting down" not in logs]

    def workers(self):
        return self.started("worker")

    def helpers(self):
        return self.started("cache manager") + self.started("cache loader")

    def signal(self, number, pid=None):
        os.kill(pid or self.master(), number)

    def wait_end(self, seconds):
        """The seconds until it had ended, or None."""
        began = time.monotonic()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - began

    def destroy(self):
        if self.process is not None and self.process.poll() is None:
            # The master first, and still: it would start another worker for each that is killed.
            self.process.send_signal(signal.SIGSTOP)
            for pid in [self.process.pid, *self.children(self.process.pid)]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
        shutil.rmtree(self.prefix, ignore_errors=True)

    # What a client does

    def get(self, path, timeout=20, headers=None, connection=None):
        own = connection is None
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            if own:
                connection.close()

    def call(self, request, timeout_ms=None, **kwargs):
        headers = {"X-Timeout": str(timeout_ms)} if timeout_ms is not None else None
        return self.get("/call?" + request.replace(" ", "%20"), headers=headers, **kwargs)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def counts(self):
        text = self.get("/counts")[1].decode()
        return {key: int(value) for key, value in (line.rsplit("=", 1) for line in text.splitlines())}

    def report(self):
        import json

        status, text = self.call("report")
        if status != 200:
            raise RuntimeError(f"no report: {text}")
        return json.loads(text)

    def runtime(self, name="fixture"):
        for line in self.get("/runtimes")[1].decode().splitlines():
            fields = dict(word.split("=", 1) for word in line.split("\t"))
            if fields["name"] == name:
                return {k: int(v) if v.lstrip("-").isdigit() else v for k, v in fields.items()}
        return None

    def idle(self, seconds=5.0):
        """All let go: nothing queued, in flight or abandoned."""

        def look():
            r = self.runtime()
            return r["queued"] == 0 and r["in_flight"] == 0 and r["abandoned"] == 0

        return wait_for(look, seconds, 0.05)


def cmdline(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def rss_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def send(sock, path, keep=False):
    close = "" if keep else "Connection: close\r\n"
    sock.sendall(f"GET {path.replace(' ', '%20')} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode())


class Load:
    """Clients in threads, each asking one path again and again over a connection each, or over one for all."""

    def __init__(self, nginx, path, clients=4, keepalive=False, expect=None, pause=0.0):
        self.nginx, self.path, self.keepalive, self.expect, self.pause = nginx, path, keepalive, expect, pause
        self.good, self.bad, self.errors = 0, 0, []
        self.lock, self.leave = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self):
        connection = None
        while not self.leave.is_set():
            try:
                if self.keepalive and connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=20)
                status, body = self.nginx.get(self.path, connection=connection)
                good = status == 200 and (self.expect is None or body == self.expect)
                error = f"{status} {body[:60]!r}"
            except OSError as failure:
                good, error, connection = False, repr(failure), None
            with self.lock:
                if good:
                    self.good += 1
                else:
                    self.bad += 1
                    self.errors.append((time.monotonic(), error))
            if self.pause:
                time.sleep(self.pause)

    def stop(self):
        self.leave.set()
        for thread in self.threads:
            thread.join(25)
        return self
