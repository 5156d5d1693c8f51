"""Functions behind nffi_pass in a real nginx: the contract, each status, reload, a cold and a warm start.

usage: nginx.py FOLDER COMPONENT HELLO [NAME=FUNCTION.wasm...]

Environment: NFFI_NGINX, NFFI_MODULE, NFFI_WASM (paths of nginx, of its module, of libnffi_wasm.so); NFFI_PORT.
FOLDER has the functions of tests/functions/*.wat as .wasm; COMPONENT is what tests/component is built to, HELLO
what examples/component is; NAME=FUNCTION adds a function that answers as
examples/NAME does.
"""

import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

FUNCTIONS = pathlib.Path(sys.argv[1]).resolve()
COMPONENT, HELLO = (pathlib.Path(argument).resolve() for argument in sys.argv[2:4])
MORE = dict(argument.split("=", 1) for argument in sys.argv[4:])
PORT = int(os.environ.get("NFFI_PORT", "8191"))
NGINX, MODULE, WASM = (os.environ[name] for name in ("NFFI_NGINX", "NFFI_MODULE", "NFFI_WASM"))

CONF = """
load_module "{module}";
worker_processes 1;
daemon on;
{user}
error_log {prefix}/error.log info;
pid {prefix}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 10m;
    client_body_temp_path {prefix}/tmp; proxy_temp_path {prefix}/tmp; fastcgi_temp_path {prefix}/tmp;
    uwsgi_temp_path {prefix}/tmp; scgi_temp_path {prefix}/tmp;
    {runtimes}
    server {{
        listen 127.0.0.1:{port};
        {locations}
        location /slow_504 {{ nffi_pass loop; nffi_timeout 300ms; }}
        location /streamed {{ nffi_pass show; nffi_request_buffering off; }}
        location /component/ {{ rewrite ^/component(/.*) $1 break; nffi_pass component; }}
        location /open/ {{ rewrite ^/open(/.*) $1 break; nffi_pass component; nffi_request_buffering off; }}
    }}
}}
"""


class Nginx:
    def __init__(self):
        self.prefix = pathlib.Path(tempfile.mkdtemp(prefix="nffi-wasm-"))
        self.prefix.chmod(0o755)
        (self.prefix / "tmp").mkdir()
        self.runtimes = {}

    def add(self, name, module=None, options=""):
        self.runtimes[name] = (module or FUNCTIONS / f"{name}.wasm", options)

    def write(self):
        cache = f"cache {self.prefix}/cache;"
        runtimes = "\n".join(
            f'nffi_runtime {name} "{WASM}" {{ module "{module}"; {cache} {options} }}'
            for name, (module, options) in self.runtimes.items()
        )
        locations = "\n".join(f"location /{name} {{ nffi_pass {name}; }}" for name in self.runtimes if name != "component")
        user = "user nobody nogroup;" if os.getuid() == 0 else ""
        conf = CONF.format(
            module=MODULE, user=user, prefix=self.prefix, runtimes=runtimes, port=PORT, locations=locations
        )
        (self.prefix / "nginx.conf").write_text(conf)

    def run(self, *arguments):
        command = [NGINX, "-p", str(self.prefix), "-c", str(self.prefix / "nginx.conf"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    def start(self):
        self.write()
        # What a check does not get done in its time on a slow machine, the next one does.
        for _ in range(10):
            done = self.run("-t")
            assert done.returncode == 0, done.stderr
            if len(list((self.prefix / "cache").iterdir())) >= len(self.runtimes):
                break
        done = self.run()
        assert done.returncode == 0, done.stderr
        wait(lambda: self.ask("GET", "/hello")[0] == 200, "the first answer")

    def master(self):
        return int((self.prefix / "nginx.pid").read_text())

    def workers(self):
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.master())], capture_output=True, text=True, check=False)
        return sorted(int(line) for line in out.stdout.split())

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except ConnectionError:
            return 0, {}, b""
        finally:
            connection.close()

    def memory(self):
        """Of the workers, in bytes, without what they share with files."""
        status = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in self.workers()]
        return sum(int(text.split("RssAnon:")[1].split()[0]) for text in status) << 10

    def log(self):
        return (self.prefix / "error.log").read_text(errors="replace")

    def stop(self):
        try:
            pid = self.master()
            os.kill(pid, signal.SIGTERM)
            wait(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "nginx's end")
        except FileNotFoundError:
            pass
        shutil.rmtree(self.prefix, ignore_errors=True)


def wait(condition, what):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, f"{what} never came"
        time.sleep(0.02)


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def a_request_arrives_whole(nginx):
    status, headers, body = nginx.ask(
        "POST", "/show/a%20b?x=1&y=%C3%A9", "hé".encode(), {"x-one": "1", "traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
    )
    assert status == 200 and headers["Content-Type"] == "application/json", (status, headers, body)
    seen = json.loads(body)
    assert seen["method"] == "POST" and seen["uri"] == "/show/a%20b?x=1&y=%C3%A9", seen
    assert seen["headers"]["X-One"] == ["1"] and seen["body"] == "hé", seen
    assert seen["trace_id"] == "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", seen
    seen = json.loads(nginx.ask("GET", "/show")[2])
    assert seen["trace_id"].startswith("00-") and len(seen["trace_id"]) == 55 and seen["body"] == "", seen


@check
def bodies_of_all_kinds(nginx):
    binary = bytes(range(256)) * 8
    seen = json.loads(nginx.ask("POST", "/show", binary)[2])
    assert seen["body"] == "" and base64.b64decode(seen["body_base64"]) == binary
    # In a file: nginx keeps 16k in memory.
    large = b"x" * 3_000_000
    assert json.loads(nginx.ask("POST", "/show", large)[2])["body"].encode() == large
    assert json.loads(nginx.ask("POST", "/streamed", large)[2])["body"].encode() == large
    pieces = [b"one ", b"two ", b"three"]
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("POST", "/streamed", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert json.loads(connection.getresponse().read())["body"] == "one two three"
    connection.close()


@check
def answers(nginx):
    status, headers, body = nginx.ask("GET", "/fixed")
    assert status == 201 and headers.get_all("X-A") == ["1", "2"] and headers["X-B"] == "3", (status, headers)
    assert body == b"made" and headers["Content-Length"] == "4" and headers["Content-Type"] == "text/plain; charset=utf-8"
    assert nginx.ask("HEAD", "/fixed")[2] == b""
    assert nginx.ask("GET", "/binary")[2] == b"\xff\x00\xfe"
    assert nginx.ask("GET", "/empty")[0] == 200


@check
def what_is_no_answer_is_a_502(nginx):
    for path, why in (
        ("/text", "the function's output is not an answer: "),
        ("/half", "the function's output is not an answer: EOF"),
        ("/nothing", "the function's output is not an answer: there is none"),
        ("/split", "has a line break or a zero in it"),
        ("/exit", "the function ended with exit code 7"),
        ("/trap", "the function failed: unreachable"),
        ("/bomb", "(memory_limit)"),
        ("/flood", "(max_output)"),
        ("/deep", "(max_stack)"),
    ):
        status, _, body = nginx.ask("GET", path)
        assert status == 502 and b"502 Bad Gateway" in body, (path, status, body)
        wait(lambda why=why: why in nginx.log(), why)
    wait(lambda: "0: inner" in nginx.log() and "1: middle" in nginx.log(), "a backtrace")
    line = next(line for line in nginx.log().splitlines() if "exit code 7" in line)
    assert 'runtime "exit"' in line and "trace: " in line, line
    line = next(line for line in nginx.log().splitlines() if "said to stderr" in line)
    assert 'runtime "exit"' in line and "trace: " in line, line


@check
def an_endless_loop_is_a_504(nginx):
    begun = time.monotonic()
    assert nginx.ask("GET", "/loop")[0] == 504
    assert time.monotonic() - begun < 20
    wait(lambda: "the function was stopped after 500 ms (time_limit)" in nginx.log(), "the line")
    # The host's own patience; the function is stopped, or it would take its thread for ever.
    assert nginx.ask("GET", "/slow_504")[0] == 504
    assert nginx.ask("GET", "/hello")[0] == 200


@check
def a_full_queue_is_a_503(nginx):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(nginx.ask("GET", "/sleep")[0])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One runs, two wait.
    assert set(seen) == {200, 503} and 1 <= seen.count(200) <= 6, seen


@check
def others_feel_nothing(nginx):
    stop = threading.Event()

    def attack(path):
        while not stop.is_set():
            nginx.ask("GET", path)

    workers = nginx.workers()
    attackers = [threading.Thread(target=attack, args=(path,)) for path in ("/bomb", "/flood", "/deep", "/trap", "/loop")]
    for attacker in attackers:
        attacker.start()
    answers = [nginx.ask("GET", "/hello") for _ in range(200)]
    stop.set()
    for attacker in attackers:
        attacker.join()
    assert all(status == 200 for status, _, _ in answers)
    assert nginx.workers() == workers, "a worker was lost"


@check
def a_client_that_leaves(nginx):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("GET", "/forever")
    time.sleep(0.1)
    connection.close()
    # One instance only: the next is answered when the first one has been stopped.
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("GET", "/forever?end")
    assert connection.getresponse().status == 200
    connection.close()


@check
def a_component(nginx):
    status, headers, body = nginx.ask("GET", "/component/hello")
    assert status == 200 and body == b"hello\n" and headers["Content-Type"] == "text/plain", (status, headers, body)
    assert nginx.ask("HEAD", "/component/hello")[1]["Content-Length"] == "6"
    seen = nginx.ask("GET", "/component/head?x=1", headers={"Host": "example.com", "X-One": "1"})[2].decode()
    assert seen.startswith('Method::Get Some(Scheme::Http) Some("example.com") Some("/head?x=1")'), seen
    assert "x-one: 1" in seen and "traceparent: 00-" in seen, seen
    large = os.urandom(3_000_000)
    for path in ("/component/echo", "/open/echo"):
        assert nginx.ask("POST", path, large)[2] == large, path
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("POST", "/open/echo", body=iter([b"one ", b"two"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().read() == b"one two"
    connection.close()
    assert nginx.ask("GET", "/example?x")[2] == b"hello, this is /example?x\n"


@check
def pieces_of_a_component_come_as_they_are_written(nginx):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    begun = time.monotonic()
    connection.request("GET", "/component/slow?2000")
    answer = connection.getresponse()
    assert answer.read(6) == b"first " and time.monotonic() - begun < 1.5
    assert answer.read() == b"second" and time.monotonic() - begun >= 2
    connection.close()


@check
def a_slow_client_stops_its_component_only(nginx):
    slow = socket.create_connection(("127.0.0.1", PORT))
    slow.sendall(b"GET /component/stream?64 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    before = nginx.memory()
    for _ in range(50):
        assert nginx.ask("GET", "/component/hello")[0] == 200
    assert nginx.memory() - before < 30 << 20, "the answer piles up"
    total = 0
    while piece := slow.recv(1 << 20):
        total += len(piece)
    assert total > 64 << 20, total
    slow.close()


@check
def what_a_component_does_wrong(nginx):
    for path, why in (
        ("/component/trap", "the function failed: unreachable"),
        ("/component/none", "response-outparam.set was not called"),
        ("/component/memory?64", "(memory_limit)"),
    ):
        assert nginx.ask("GET", path)[0] == 502, path
        wait(lambda why=why: why in nginx.log(), why)
    wait(lambda: "innermost" in nginx.log(), "a backtrace")
    line = next(line for line in nginx.log().splitlines() if "on purpose" in line)
    assert 'runtime "component"' in line and "trace: " in line, line
    for path in ("/component/trap-after", "/component/unfinished"):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read() is None, path
        except http.client.IncompleteRead as cut:
            assert cut.partial == b"half of it", cut.partial
    assert nginx.ask("GET", "/component/loop")[0] == 504
    assert nginx.ask("GET", "/component/fetch?127.0.0.1:9/x")[2] == b"ErrorCode::HttpRequestDenied"


@check
def the_examples(nginx):
    for name in MORE:
        status, headers, body = nginx.ask("POST", f"/{name}", "World")
        assert status == 200 and headers["Content-Type"] == "text/plain", (name, status, body)
        assert body.startswith(b"hello "), (name, body)
        if name.startswith("go"):
            assert body == f"hello World, this is POST /{name}\n".encode(), body


@check
def a_reload_brings_the_new_file(nginx):
    function = nginx.prefix / "changing.wasm"
    for name, path in (("fixed", 201), ("empty", 200)):
        shutil.copy(FUNCTIONS / f"{name}.wasm", function)
        nginx.add("changing", function)
        nginx.write()
        assert nginx.run("-t").returncode == 0
        os.kill(nginx.master(), signal.SIGHUP)
        wait(lambda path=path: nginx.ask("GET", "/changing")[0] == path, f"{name}'s answer")
    function.write_bytes(b"\0asm broken")
    test = nginx.run("-t")
    assert test.returncode != 0 and "changing.wasm: is broken" in test.stderr, test.stderr
    nginx.run("-s", "reload")
    assert nginx.ask("GET", "/changing")[0] == 200
    del nginx.runtimes["changing"]


@check
def what_is_refused(nginx):
    for options, why in (
        ("memory_limit 1;", "memory_limit: a size from 65536"),
        ("colour red;", 'unknown option "colour"'),
        ("dir /no/such /x;", "dir /no/such: No such file"),
    ):
        nginx.add("bad", FUNCTIONS / "hello.wasm", options)
        nginx.write()
        test = nginx.run("-t")
        assert test.returncode != 0 and why in test.stderr, test.stderr
    nginx.add("bad", nginx.prefix / "none.wasm")
    nginx.write()
    assert "none.wasm: No such file" in nginx.run("-t").stderr
    del nginx.runtimes["bad"]


@check
def the_cache_is_filled_by_the_master(nginx):
    files = list((nginx.prefix / "cache").iterdir())
    assert files and all(file.stat().st_uid == os.getuid() for file in files), files
    assert "is not used" not in nginx.log() and "is not kept" not in nginx.log()


def main():
    nginx = Nginx()
    for name in ("hello", "show", "fixed", "binary", "empty", "text", "half", "nothing", "split", "exit", "trap", "deep"):
        nginx.add(name)
    nginx.add("bomb", options="memory_limit 1m;")
    nginx.add("flood", options="max_output 64k;")
    nginx.add("loop", options="time_limit 500ms;")
    nginx.add("sleep", options="instances 1; queue 2;")
    nginx.add("forever", options="instances 1; time_limit off;")
    nginx.add("example", HELLO, "interface wasi-http;")
    nginx.add("component", COMPONENT, "interface wasi-http; memory_limit 16m; time_limit 5s;")
    for name, module in MORE.items():
        nginx.add(name, module, "snapshot on;" if name.endswith("_reactor") else "")
    failed = 0
    try:
        nginx.start()
        for test in CHECKS:
            try:
                test(nginx)
                print(f"ok - {test.__name__}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                print(f"not ok - {test.__name__}: {type(error).__name__}: {error}", flush=True)
        alert = [line for line in nginx.log().splitlines() if "[alert]" in line or "[emerg]" in line or "the runtime panicked" in line]
        if any("broken" not in line for line in alert if "[emerg]" not in line):
            failed += 1
            print("not ok - the error log:", *alert, sep="\n")
        if failed:
            print(*nginx.log().splitlines()[-200:], sep="\n")
    finally:
        nginx.stop()
    print(f"{len(CHECKS)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


main()
