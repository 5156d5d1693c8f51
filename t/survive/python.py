"""Two Python runtimes in a worker: reloads under load, children, signals, exceptions, a killed worker, two venvs.

Guards: the interpreter's own thread, which no handler runs on; signals unblocked for children; stopped() without
finalising; one interpreter for all runtimes, compared when the configuration is tested. Skipped without a libpython.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from harness import BINARY, ROOT, Load, alive, run, wait_for

HANDLERS = ROOT / "t/conformance/python"
MORE = '''
import signal
import nffi

def handle(data):
    if data == b"signal":
        try:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except ValueError as error:
            raise nffi.Error(1, str(error))
    if data == b"trace":
        return deep()
    return data

def deep():
    raise LookupError("nothing down here")
'''

SERVER = """
location = /async {
    content_by_lua_block {
        local res, err = require("resty.nffi").call("async", ngx.unescape_uri(ngx.var.args or ""))
        ngx.print(res or err)
    }
}
location = /more {
    content_by_lua_block {
        local res, err = require("resty.nffi").call("more", ngx.unescape_uri(ngx.var.args or ""))
        ngx.print("*", ngx.var.connection, " ", res or err)
    }
}
location = /children {
    content_by_lua_block {
        local good = 0
        for i = 1, 50 do
            local last = { os.execute("exit 3") }
            local pipe = io.popen("echo " .. i)
            local text = pipe:read("*a")
            local ok = pipe:close()
            if (last[1] == 768 or last[3] == 3) and text == i .. "\\n" and (ok == true or ok == 0) then
                good = good + 1
            end
        end
        ngx.print(good)
    }
}
"""


def build():
    """The library; None where there is no Python to host."""
    folder = ROOT / "target/conformance/python_def"
    done = subprocess.run([HANDLERS / "build", folder], stdout=sys.stderr)
    if done.returncode == 77:
        return None
    done.check_returncode()
    return (folder / "library").read_text().strip()


def body(checks, scale):
    library = build()
    if library is None:
        print("skipped: no libpython on this machine")
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nffi-python-"))
    folder.chmod(0o755)
    (folder / "more.py").write_text(MORE)
    common = f"path {HANDLERS}; stop_timeout 10s;"
    runtimes = f"""
        nffi_runtime fixture {library} {{ handler conformance:handle; {common} }}
        nffi_runtime async {library} {{ handler conformance:handle_async; {common} }}
        nffi_runtime more {library} {{ handler more:handle; path {folder}; }}
    """
    nginx = checks.nginx(runtimes=runtimes, server=SERVER)
    checks.check(nginx.call("hello") == (200, b"hello"), "a def answers")
    checks.check(nginx.get("/async?hello") == (200, b"hello"), "an async def answers")

    # An exception, and its traceback, each line with the request.
    connection, answer = nginx.get("/more?trace")[1].decode().split(" ", 1)
    checks.check(answer == "LookupError: nothing down here", "an exception is the answer", answer)
    for line in ("Traceback", r"in deep", "LookupError: nothing down here"):
        pattern = rf'\[error\] .*{re.escape(connection)} nffi runtime "more": .*{line}'
        checks.check(nginx.log_has(pattern, 5), f"error.log has {line} with {connection}")

    # Children: of Lua, of a handler; one that is told to end.
    checks.check(nginx.get("/children") == (200, b"50"), "os.execute and io.popen, 50 of 50")
    for path in ("/call", "/async"):
        good = sum(nginx.get(f"{path}?!run%20exit%207")[1] == b"7 " for _ in range(40))
        checks.check(good == 40, f"{path}: a child's exit code, 40 of 40", good)
        answer = nginx.get(f"{path}?!run%20kill%20-TERM%20$$;%20echo%20survived")[1]
        checks.check(answer == b"-15 ", f"{path}: a child has TERM unblocked", answer)

    # nginx's handlers stay nginx's.
    answer = nginx.get("/more?signal")[1]
    checks.check(b"main thread" in answer, "a handler cannot take nginx's signals", answer)

    # Reloads under load; nobody is left behind.
    loads = [Load(nginx, "/call?hello", clients=2, expect=b"hello", pause=0.002),
             Load(nginx, "/async?!sleep%20100", clients=4, expect=b"slept"),
             Load(nginx, "/call?!sleep%20100", clients=2, expect=b"slept")]
    bare = Load(nginx, "/bare", clients=2, expect=b"bare\n", pause=0.002)
    first = nginx.workers()
    rounds = max(5, int(100 * scale))
    for _ in range(rounds):
        nginx.signal(signal.SIGHUP)
        time.sleep(0.5)
    for load in [*loads, bare]:
        load.stop()
    bad = sum(load.bad for load in loads)
    checks.check(all(load.good > 10 for load in loads), "there was load", [load.good for load in loads])
    checks.check(bad <= bare.bad, "no call failed that a bare location keeps", bad, "against", bare.bad,
                 [load.errors[:2] for load in loads])
    checks.check(not set(first) & set(nginx.workers()), "the workers are new ones")
    wait_for(lambda: len(nginx.children()) == 1, 20)
    checks.check(len(nginx.children()) == 1, f"{rounds} reloads leave no process behind", nginx.children())

    # A killed worker is replaced, by one that can do it all.
    worker = nginx.workers()[0]
    nginx.signal(signal.SIGKILL, worker)
    wait_for(lambda: nginx.workers() and nginx.workers() != [worker], 10)
    checks.check(not alive(worker), "a worker is killed")
    wait_for(lambda: nginx.get("/async?hello") == (200, b"hello"), 10)
    checks.check(nginx.call("again") == (200, b"again"), "its successor answers")

    # QUIT and TERM with calls under way.
    slow = Load(nginx, "/async?!sleep%20300", clients=4, expect=b"slept")
    time.sleep(0.2)
    nginx.signal(signal.SIGQUIT)
    took = nginx.wait_end(15)
    slow.leave.set()
    checks.check(took is not None, "QUIT ends", took)
    checks.check("did not say that it stopped" not in nginx.log(), "the runtimes say when they have stopped")
    expected = ("LookupError", "Traceback", "more.py", "return deep", r"\^\^\^", "exited on signal 9")
    checks.check(not nginx.bad_lines(*expected), "the error log is silent otherwise", nginx.bad_lines(*expected)[:3])

    nginx = checks.nginx(runtimes=runtimes, server=SERVER)
    wait_for(lambda: nginx.get("/async?hello") == (200, b"hello"), 10)
    slow = Load(nginx, "/call?!sleep%2060000", clients=2, expect=b"slept")
    time.sleep(0.3)
    nginx.signal(signal.SIGTERM)
    took = nginx.wait_end(10)
    slow.leave.set()
    checks.check(took is not None and took < 5, "TERM ends, a def that waits or not", took)

    # Two venvs are refused when the configuration is tested, with both names.
    for name in ("one", "two"):
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / "bin/python3").touch()
        (folder / name / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = 3.{minor()}.2\n")
    conf = re.sub(r"handler more:handle;", f"handler more:handle; venv {folder}/two;", nginx.conf.read_text())
    conf = re.sub(r"(handler conformance:handle(_async)?;)", rf"\1 venv {folder}/one;", conf)
    nginx.conf.write_text(conf)
    tested = subprocess.run([BINARY, "-p", nginx.prefix, "-c", nginx.conf, "-t"], capture_output=True, text=True)
    checks.check(tested.returncode == 1 and all(f"{folder}/{name}" in tested.stderr for name in ("one", "two")),
                 "two venvs are an error at nginx -t", tested.stderr)


def minor():
    """Of the Python that is taken without any option."""
    places = ("local/lib", "lib/*-linux-gnu", "lib", "lib64")
    found = [path.name for place in places for path in pathlib.Path("/usr").glob(f"{place}/libpython3.1[1-4].so.1.0")]
    return max(int(name.split(".")[1]) for name in found)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    run("python", body, __doc__)
