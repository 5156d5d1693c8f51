"""The processes that are measured: nginx with the bench configuration, and the unix echo server.

Everything started here is told by the kernel to end when its parent does, so that nothing outlives the driver.
"""

import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ("nffi", "nffi_spin", "unix_socket", "say")
SPIN_US = 50
TIED = ["setpriv", "--pdeathsig", "TERM"]


@dataclass
class Placement:
    """Where things run: lists of CPUs, empty where the scheduler is free to choose."""
    name: str
    worker: list  # one CPU
    other: list   # one CPU: the runtime's thread, or the echo server
    load: list    # wrk, a thread for each

    @property
    def load_has_own_cores(self):
        return bool(self.load) and not set(self.load) & set(self.worker + self.other)


def placements():
    cpus = machine.cpus()
    first, second = cpus[:1], cpus[1:2] or cpus[:1]
    found = [Placement("one_core", first, first, cpus[1:4] or first)]
    if len(cpus) > 1:
        found.append(Placement("two_cores", first, second, cpus[2:5] or second))
    return found + [Placement("free", [], [], [])]


def on_cpus(cpus, command):
    return ["taskset", "-c", ",".join(map(str, cpus)), *command] if cpus else command


class Failed(Exception):
    """Something that was started did not do its work; the message says what and where to look."""


class Started:
    """Processes with a folder of their own, started and stopped by who inherits from this. Use it with `with`."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nffi-bench-"))
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError


class Server(Started):
    """nginx with one worker, and the unix echo server, at one placement."""

    def __init__(self, tools, placement, trace=None):
        super().__init__()
        self.tools, self.placement, self.trace = tools, placement, trace
        self.nginx = None
        self.port = free_port()

    def start(self):
        self.start_echo()
        self.start_nginx()

    def start_echo(self):
        path = self.dir / "echo.sock"
        command = on_cpus(self.placement.other, [str(self.tools.unix_echo), str(path)])
        self.echo = subprocess.Popen(TIED + command)
        self.processes.append(self.echo)
        wait_for("the unix echo server", path.exists, self.echo)
        self.echo_pid = self.echo.pid

    def start_nginx(self):
        (self.dir / "nginx.conf").write_text(self.configuration())
        command = TIED + [str(self.tools.nginx), "-p", f"{self.dir}/", "-c", "nginx.conf", "-e", "error.log"]
        if self.trace:
            command = ["strace", "-f", "-y", "--seccomp-bpf", "-e", "trace=futex,write", "-e", "signal=none",
                       "-o", str(self.trace)] + command
        process = subprocess.Popen(TIED + on_cpus(self.placement.worker, command), stderr=subprocess.DEVNULL)
        self.processes.append(process)
        self.nginx = process
        wait_for("nginx", self.answers, process, self.dir / "error.log")
        self.master_pid = int((self.dir / "nginx.pid").read_text())
        self.worker_pid = machine.children(self.master_pid)[0]

    def configuration(self, name="bench.conf.in", runtimes=None):
        option = "".join(f"cpu {cpu}" for cpu in self.placement.other)
        runtimes = runtimes if runtimes is not None else "".join(
            f"nffi_runtime {name} {self.tools.runtime} {{ tasks 1048576; queue 262144; timeout 600s; {spin} "
            f"config '{option}'; }}\n    "
            for name, spin in (("echo", ""), ("echo_spin", f"spin {SPIN_US};")))
        words = {
            "LOAD_MODULES": "\n".join(f"load_module {path};" for path in self.tools.modules),
            "USER": "user root;" if os.geteuid() == 0 else "",
            "ROOT": ROOT, "LUA_PATH": self.tools.lua_path, "RUNTIMES": runtimes,
            "SOCKET": self.dir / "echo.sock", "PORT": self.port,
        }
        text = (ROOT / "nginx-conf" / name).read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        return text

    def answers(self):
        try:
            return self.get("/parked") == "0"
        except (OSError, Failed):
            return False

    def get(self, path, timeout=120):
        """The body of a GET, stripped; anything but 200 is an error that shows the end of the error log."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode().strip()
        except http.client.HTTPException as e:
            raise Failed(f"GET {path}: {e!r}\n{self.log_tail()}") from e
        finally:
            connection.close()
        if response.status != 200:
            raise Failed(f"GET {path} answered {response.status}\n{self.log_tail()}")
        return body

    def resident_bytes(self):
        return machine.resident_bytes(self.worker_pid)

    def log_tail(self):
        return tail(self.dir / "error.log")

    def stop(self):
        # nginx's master by its own id: under strace it is not the process that was started.
        try:
            os.kill(int((self.dir / "nginx.pid").read_text()), 15)
        except (OSError, ValueError):
            if self.nginx:
                self.nginx.terminate()
        for process in self.processes:
            if process is not self.nginx:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        shutil.rmtree(self.dir, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tail(path, lines=8):
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return f"(no {path})"


def wait_for(what, ready, process, log=None, seconds=30):
    until = time.monotonic() + seconds
    while not ready():
        late = time.monotonic() > until
        if late or process.poll() is not None:
            why = f"is not ready after {seconds} s" if late else f"ended with code {process.returncode}"
            raise Failed(f"{what} {why}" + (f"; the end of its log:\n{tail(log)}" if log else ""))
        time.sleep(0.05)
