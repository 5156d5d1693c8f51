"""A JVM in the worker: SIGSEGV is its own, children are whose they are, and all ways to end are survived.

Guards: -Xrs and the signal masks of the Java host; SIGCHLD made harmless in workers; exit code 2; STOP.
Where there is no Java, or no Maven, it says so and passes.
"""

import os
import signal
import subprocess
import time

from harness import ROOT, Load, alive, run, wait_for
from sigchld import SERVER

OUT = ROOT / "target/survive-java"

SEED = """
location = /seed {
    content_by_lua_block {
        require "resty_ffi"
        local out = {}
        for _, cfg in ipairs { "demo.Echo,init,one COUNT ", "demo.Echo,init,two COUNT ", "demo.Echo?,init,new COUNT " } do
            local rt, rc = ngx.load_ffi("ffi_java", cfg)
            if rt then
                local ok, res = rt:echo("hello")
                out[#out + 1] = tostring(res)
            else
                out[#out + 1] = "rc " .. tostring(rc)
            end
        end
        for _, cfg in ipairs { "demo.Echo,init,fail 7", "demo.None,init,", "demo.Echo,none,", "nonsense" } do
            local rt, rc = ngx.load_ffi("ffi_java", cfg)
            out[#out + 1] = rt and "loaded" or tostring(rc)
        end
        ngx.print(table.concat(out, "; "))
    }
}
location = /old {
    content_by_lua_block {
        require "resty_ffi"
        local rt, rc = ngx.load_nonblocking_ffi("ffi_java", "demo.Echo,init,old ")
        local ok, res = rt:echo("hello")
        ngx.print(ok and res or tostring(rc))
    }
}
"""


def build():
    """None, or why there is none."""
    built = subprocess.run([ROOT / "runtimes/java/build", OUT], check=False, capture_output=True, text=True)
    if built.returncode == 77:
        return built.stderr.strip()
    if built.returncode:
        raise RuntimeError(built.stderr[-2000:])
    sources = [str(p) for p in (ROOT / "runtimes/java/tests/handlers").rglob("*.java")]
    sources += [str(p) for p in (ROOT / "t/conformance/java/src").rglob("*.java")]
    classes = ["javac", "--release", "17", "-d", OUT / "classes", "-cp", OUT / "nffi.jar"]
    subprocess.run([*classes, *sources], check=True)
    seed = ["mvn", "--batch-mode", "--quiet", "--file", ROOT / "runtimes/java/examples/seed/pom.xml", "package"]
    subprocess.run(seed, check=True, stdout=subprocess.DEVNULL)
    return None


def runtime(handler, more="", name="fixture"):
    return f"nffi_runtime {name} {OUT}/libnffi_java.so {{ handler {handler}; class_path {OUT}/classes; stop_timeout 5s; {more} }}\n"


def signals(checks, scale):
    both = runtime("testing.Odd") + runtime("conformance.Blocking", "greeting two;", "second")
    server = SERVER.replace("system exit", "!run exit").replace('"fixture"', '"second"').replace(
        "tostring(i % 100)", 'tostring(i % 100) .. " "')
    nginx = checks.nginx(runtimes=both, server=server)
    checks.check(nginx.call("null-pointers 2000000") == (200, b"2000"), "implicit null checks work")
    checks.check(nginx.call("null-pointer")[1].startswith(b"java.lang.NullPointerException"), "and reach the caller")
    checks.check(nginx.call("overflow") == (500, b"java.lang.StackOverflowError"), "so do stack overflows")
    nginx.get("/system")
    for path, want in (("/execute", 200), ("/status", 50), ("/popen", 200), ("/system", 200)):
        status, text = nginx.get(path, timeout=120)
        checks.check(status == 200 and text.split()[0] == str(want).encode(), f"{path}: {want} of {want}", text)
    load = Load(nginx, "/call?thread%20x", clients=4, expect=b"joined")
    status, text = nginx.get("/popen", timeout=60)
    load.stop()
    checks.check(text.split()[0] == b"200" and load.bad == 0 and load.good > 0, "/popen under load", text, load.errors[:1])
    expected = (r"NullPointerException|StackOverflowError|^\S+ \S+ \[error\] \S+ .*    at ", r"Odd|overflow|\.\.\. ")
    checks.check(not nginx.bad_lines(*expected), "the error log has nothing else", nginx.bad_lines(*expected)[:3])


def endings(checks, scale):
    nginx = checks.nginx(runtimes=runtime("testing.Odd"))
    for code in (0, 2):
        worker = nginx.workers()[0]
        try:
            nginx.call(f"exit {code}", timeout=5)
            checks.check(False, f"System.exit({code}) ends the worker")
        except OSError:
            pass
        checks.check(serves_odd(nginx, worker), f"System.exit({code}): respawned and serving")
    for number in (signal.SIGKILL, signal.SIGABRT):
        worker = nginx.workers()[0]
        nginx.signal(number, worker)
        checks.check(serves_odd(nginx, worker), f"kill -{number}: respawned and serving")
    checks.check("cannot be respawned" not in nginx.log(), "nothing is taken as fatal")
    for number, most in ((signal.SIGTERM, 4), (signal.SIGQUIT, 6)):
        nginx = checks.nginx(runtimes=runtime("testing.Odd"))
        nginx.call("hello")
        worker = nginx.workers()[0]
        nginx.signal(number)
        took = nginx.wait_end(20)
        checks.check(took is not None and took < most, f"signal {number}: nginx ends", took)
        checks.check(not alive(worker), f"signal {number}: so has the worker")
        checks.check("odd is closed" in nginx.log(), f"signal {number}: the handler was closed")
        checks.check("did not say that it stopped" not in nginx.log(), f"signal {number}: stopped() was said")
        checks.check(not nginx.bad_lines(), f"signal {number}: the error log is silent", nginx.bad_lines()[:3])


def sent_to_the_worker(checks, scale):
    """By hand: nginx's master tells its workers over a channel."""
    nginx = checks.nginx(runtimes=runtime("testing.Odd"))
    nginx.call("hello")
    worker = nginx.workers()[0]
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGCHLD", "SIGIO", "SIGALRM", "SIGWINCH"):
        nginx.signal(getattr(signal, name), worker)
        time.sleep(0.1)
        checks.check(nginx.call("out x") == (200, b"said") and nginx.workers() == [worker], f"{name}: the worker goes on")
    for name in ("SIGQUIT", "SIGTERM", "SIGINT"):
        worker = nginx.workers()[0]
        nginx.signal(getattr(signal, name), worker)
        gone = wait_for(lambda: not alive(worker), 8)
        checks.check(gone and serves_odd(nginx, worker), f"{name}: the worker leaves, the next one serves")
    checks.check("Full thread dump" not in nginx.stderr(), "QUIT is nginx's, not the JVM's")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


def serves_odd(nginx, old):
    def look():
        try:
            return nginx.workers() and old not in nginx.workers() and nginx.call("out x") == (200, b"said")
        except OSError:
            return False

    return wait_for(look, 20, 0.05)


def reloads(checks, scale):
    """100 at scale 1: no process stays behind."""
    nginx = checks.nginx(runtimes=runtime("conformance.Blocking"))
    load = Load(nginx, "/call?hello", clients=2, expect=b"hello", pause=0.005)
    slow = Load(nginx, "/call?!sleep%20100", clients=2, expect=b"slept")
    bare = Load(nginx, "/bare", clients=2, expect=b"bare\n", pause=0.005)
    for _ in range(max(5, int(100 * scale))):
        old = nginx.workers()
        nginx.signal(signal.SIGHUP)
        wait_for(lambda: nginx.workers() and not set(old) & set(nginx.workers()), 10)
        time.sleep(0.3)
    for each in (load, slow, bare):
        each.stop()
    checks.check(load.good > 20 and slow.good > 5, "there was load", load.good, slow.good)
    checks.check(load.bad + slow.bad <= bare.bad, "no call failed that a bare location keeps", load.errors[:2], slow.errors[:2])
    wait_for(lambda: len(nginx.children()) == 1, 15)
    checks.check(len(nginx.children()) == 1, "no process stays behind", nginx.children())
    checks.check("did not say that it stopped" not in nginx.log(), "stopped() was always said")
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


def disagreements(checks, scale):
    """Two that want two JVMs: an error of the configuration."""
    said = "jvm_option: differs from that of another Java runtime"
    try:
        checks.nginx(runtimes=runtime("testing.Odd") + runtime("testing.Odd", "jvm_option -Xmx33m;", "second"))
        checks.check(False, "two that differ in jvm_option are refused")
    except RuntimeError as error:
        checks.check(said in str(error), "two that differ in jvm_option are refused", "" if said in str(error) else error)


def seed(checks, scale):
    example = ROOT / "runtimes/java/examples/seed/target"
    main = f"env CLASSPATH={example}/seed.jar:{example}/lib/*;"
    old = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = str(OUT)
    try:
        nginx = checks.nginx(main=main, runtimes=runtime("conformance.Blocking"), server=SEED)
    finally:
        os.environ.pop("LD_LIBRARY_PATH")
        if old is not None:
            os.environ["LD_LIBRARY_PATH"] = old
    checks.check(nginx.call("hello") == (200, b"hello"), "a runtime of its own in the same JVM")
    status, text = nginx.get("/seed")
    want = b"one 1 hello; two 2 hello; new 1 hello; 7; -1; -1; -1"
    checks.check(text == want, "ffi_java: loads, reloads with ?, fails with the class's rc", text)
    checks.check(nginx.get("/old")[1] == b"old hello", "by the earlier interface")
    said = nginx.stderr() + nginx.log()
    checks.check("no class demo.None on CLASSPATH" in said, "a class that is not there is named")
    checks.check("demo.Echo has no public static int none(String, long)" in said, "so is a method")


def body(checks, scale):
    missing = build()
    if missing:
        checks.check(True, f"skipped: {missing}")
        return
    for part in (signals, sent_to_the_worker, endings, reloads, disagreements, seed):
        part(checks, scale)


if __name__ == "__main__":
    run("java", body, __doc__)
