#!/usr/bin/env python3
"""libnffi_java.so with nffi-testhost: what no test in Java can see.

Environment: NFFI_TESTHOST, the program; NFFI_JAVA, a folder that runtimes/java/build has filled. Java 21 or later, if
JAVA_21_HOME names one, runs the tests of virtual threads.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TESTHOST = os.environ["NFFI_TESTHOST"]
JAVA = pathlib.Path(os.environ["NFFI_JAVA"])
LIBRARY = JAVA / "libnffi_java.so"
CLASSES = tempfile.TemporaryDirectory(prefix="nffi-java-")


def setUpModule():
    sources = [str(p) for p in (HERE / "handlers").rglob("*.java")]
    sources += [str(p) for p in (HERE / "../../../t/conformance/java/src").resolve().rglob("*.java")]
    command = ["javac", "--release", "17", "-Xlint:all", "-Werror", "-d", CLASSES.name, "-cp", str(JAVA / "nffi.jar")]
    subprocess.run([*command, *sources], check=True)


def tearDownModule():
    CLASSES.cleanup()


def config(handler, **options):
    return json.dumps({"handler": handler, "class_path": CLASSES.name, **options})


def took(out):
    """Seconds, of what --repeat prints."""
    return float(re.search(rb"at once: ([\d.]+) s,", out).group(1))


class Case(unittest.TestCase):
    def host(self, cfg, *arguments, code=0, stdin=None, timeout=60):
        command = [TESTHOST, str(LIBRARY), "--config", cfg, *arguments]
        ran = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)
        errors = ran.stderr.decode(errors="replace")
        self.assertEqual(ran.returncode, code, f"{arguments}: {errors}")
        return ran.stdout, errors

    def calls(self, cfg, *requests, more=(), code=0):
        arguments = [word for request in requests for word in ("--call", request)]
        out, errors = self.host(cfg, *arguments, *more, code=code)
        return out.decode().splitlines(), errors


class Calls(Case):
    def test_both_variants_do_the_same(self):
        for handler in ("conformance.Blocking", "conformance.Future"):
            with self.subTest(handler):
                requests = ["hello", "!greeting", "!fail 42 no", "!error plain", "!throw bad", "!run echo a; exit 3", "!sleep 10"]
                lines, errors = self.calls(config(handler, greeting="hi"), *requests, code=1)
                self.assertEqual(lines, ["hello", "hi", "3 a", "", "slept"])
                for said in ("status 42: no", "status 1: plain", "status 1: java.lang.IllegalStateException: bad"):
                    self.assertIn(said, errors)
                self.assertRegex(errors, r"\[error\] nffi_java, call 5:     at conformance\.Conformance\.answer")

    def test_any_bytes_of_any_length(self):
        for size in (0, 1, 4095, 16384, 16385, 65536, 16 << 20):
            for handler in ("conformance.Blocking", "conformance.Future"):
                request = os.urandom(1 << 10) * (size >> 10) + os.urandom(size % 1024)
                request = b"x" + request[1:] if request else request
                answer, _ = self.host(config(handler), "--stdin", stdin=request)
                self.assertEqual(len(answer), size)
                self.assertTrue(answer == request, f"{size} bytes came back changed")

    def test_many_at_once(self):
        for handler in ("conformance.Blocking", "conformance.Future"):
            out, _ = self.host(config(handler), "--repeat", "50000", "--concurrency", "64")
            self.assertIn(b"50000 calls", out)

    def test_a_slow_call_holds_up_no_other(self):
        load = ("--repeat", "64", "--concurrency", "8", "--call", "!sleep 100")
        out, _ = self.host(config("conformance.Blocking", threads="8"), *load)
        seconds = took(out)
        self.assertLess(seconds, 6.4 / 2, "64 sleeps of 0.1 s on 8 threads")

    def test_cancel(self):
        for handler in ("conformance.Blocking", "conformance.Future"):
            with self.subTest(handler):
                more = ("--timeout", "300")
                lines, _ = self.calls(config(handler, threads="1"), "!sleep 60000", "!sleep 10", "!cancelled", more=more, code=1)
                self.assertEqual(lines, ["slept", "1"])

    def test_on_cancel_and_the_time_left(self):
        lines, errors = self.calls(config("testing.Odd"), "on-cancel", "left", more=("--timeout", "1500"), code=1)
        self.assertEqual(lines, ["seconds"])
        self.assertIn("gone true", errors)


class Failures(Case):
    def test_errors_of_the_jvm_end_the_call_only(self):
        cfg = config("testing.Odd", jvm_option=["-Xmx32m", "-Xss512k"])
        requests = ["overflow", "memory", "class a.B", "null-pointer", "out alive"]
        lines, errors = self.calls(cfg, *requests, more=("--timeout", "20000"), code=1)
        self.assertEqual(lines, ["said"])
        for said in ("StackOverflowError", "OutOfMemoryError: Java heap space", "NoClassDefFoundError: a.B", "NullPointerException"):
            self.assertRegex(errors, rf"status 1: java\.lang\.{said}")
        self.assertIn("5 calls", errors)

    def test_starts_that_fail(self):
        for cfg, said in (
            (config("testing.None"), "handler testing.None: no such class on class_path"),
            (config("java.lang.String"), "implements none of io.github.nffi.Handler, io.github.nffi.AsyncHandler,"),
            (config("conformance.Blocking", init_fail="told to"), "told to"),
            (config("conformance.Blocking", init_sleep="x"), 'init_sleep: a number from 0 to 60000 expected, got "x"'),
            (config("testing.Odd", colour="red"), 'unknown option "colour": neither the Java host nor testing.Odd knows it'),
            (config("testing.Odd", threads="none"), 'threads: a number from 1 to 4096, or virtual, expected, got "none"'),
            (config("testing.Odd", jvm_option="-XX:+NoSuchThing"), "Unrecognized VM option 'NoSuchThing'"),
            (config("testing.Odd", java_home="/nowhere"), "java_home /nowhere: no lib/server/libjvm.so"),
        ):
            with self.subTest(said):
                _, errors = self.calls(cfg, "x", code=1)
                self.assertIn(said, errors)

    def test_the_check(self):
        self.host(config("conformance.Blocking"), "--check")
        for cfg, said in (
            (config("testing.None"), "handler: no testing/None.class on the class_path"),
            (config("testing.Odd", class_path="/no/such"), "class_path /no/such: No such file"),
            (config("testing.Odd", nffi_jar="/no/such.jar"), "nffi_jar /no/such.jar: No such file"),
            ("{}", "handler: missing"),
        ):
            with self.subTest(said):
                _, errors = self.host(cfg, "--check", code=1)
                self.assertIn(said, errors)


class Lines(Case):
    def test_every_way_of_java_leads_to_the_log(self):
        lines, errors = self.calls(config("testing.Odd"), "out hello", "thread x")
        self.assertEqual(lines, ["said", "joined"])
        self.assertRegex(errors, r"\[info\] nffi_java, call 1: hello\n")
        self.assertRegex(errors, r"\[warn\] nffi_java, call 1: hello\n")
        self.assertRegex(errors, r"\[warn\] nffi_java, call 1: odd: logger hello\n")
        self.assertRegex(errors, r"\[info\] nffi_java: thread x\n")
        self.assertRegex(errors, r"\[info\] nffi_java: odd is closed\n")

    def test_levels(self):
        requests = [f"!log {level} at-{level}" for level in ("debug", "info", "warn", "error")]
        more = ("--log-level", "debug")
        for lowest, count in (("debug", 4), ("info", 3), ("warn", 2)):
            _, errors = self.calls(config("conformance.Blocking", log_level=lowest), *requests, more=more)
            self.assertEqual(len(re.findall(r"\[(debug|info|warn|error)\] .*: conformance: at-\1", errors)), count, errors)


class Pieces(Case):
    def test_an_answer_of_pieces_is_whole(self):
        for more in ((), ("--stream",)):
            out, _ = self.host(config("testing.Odd"), "--call", "pieces 500", *more)
            text = "".join(f"piece {i:06d} " * 500 for i in range(500)) + "end"
            self.assertEqual(out.decode().strip(), text)

    def test_a_request_of_pieces(self):
        data = os.urandom(3 << 20)
        out, _ = self.host(config("testing.Copy"), "--stream", "--stdin", stdin=data)
        self.assertTrue(out == data, f"{len(out)} of {len(data)} bytes")


    def test_a_read_of_no_task_says_so(self):
        # Also in the place of an earlier AGAIN, for which a thread would wait for ever.
        lines, errors = self.calls(config("testing.Inside"), "7", code=1)
        self.assertEqual(lines, ["-2 null"])
        self.assertIn("read() for task 0x7", errors)


class Surroundings(Case):
    def test_environment_directory_and_class_loader(self):
        more = ("--env", "COLOUR=red", "--working-directory", "/usr")
        lines, _ = self.calls(config("conformance.Blocking"), "!env COLOUR", "!cwd", "!run pwd", more=more)
        self.assertEqual(lines, ["red", "/usr", "0 /usr", ""])
        lines, _ = self.calls(config("testing.Odd"), "loader")
        self.assertEqual(lines, ["true"])

    def caught(self, *more):
        """Which signals have handlers in a process with a JVM, and what was logged."""
        request = "!run grep SigCgt /proc/$PPID/status"
        lines, errors = self.calls(config("conformance.Blocking"), request, more=more)
        bits = int(lines[0].split()[-1], 16)
        return {number for number in range(1, 65) if bits >> (number - 1) & 1}, errors

    def test_the_jvm_leaves_usr2_alone(self):
        caught, errors = self.caught()
        self.assertTrue({40} <= caught and not {10, 12} & caught, caught)
        self.assertNotIn("[warn]", errors)
        caught, errors = self.caught("--env", "_JAVA_SR_SIGNUM=41")
        self.assertTrue(41 in caught and not {12, 40} & caught, caught)
        self.assertNotIn("[warn]", errors)

    def test_a_signal_that_is_not_the_jvms_to_take_is_warned_of(self):
        caught, errors = self.caught("--env", "_JAVA_SR_SIGNUM=12")
        self.assertIn(12, caught)
        self.assertRegex(errors, r'\[warn\] nffi_java: _JAVA_SR_SIGNUM is "12": the JVM takes SIGUSR2')

    def test_programs_hear_of_signals(self):
        # The start thread blocks many, and Java inherits that; the programs that it starts must not.
        lines, _ = self.calls(config("conformance.Blocking"), "!run grep SigBlk /proc/self/status")
        self.assertEqual(lines[0].split()[-1], "0" * 16)


@unittest.skipUnless(os.environ.get("JAVA_21_HOME"), "no Java 21 or later: JAVA_21_HOME is not set")
class Virtual(Case):
    def config(self, handler, **options):
        return config(handler, java_home=os.environ["JAVA_21_HOME"], threads="virtual", **options)

    def test_a_thousand_sleeps(self):
        load = ("--repeat", "1000", "--concurrency", "1000", "--call", "!sleep 500")
        out, _ = self.host(self.config("conformance.Blocking"), *load)
        seconds = took(out)
        self.assertLess(seconds, 5, "1000 sleeps of 0.5 s at once")

    def test_cancel(self):
        more = ("--timeout", "300")
        lines, _ = self.calls(self.config("conformance.Blocking"), "!sleep 60000", "!cancelled", more=more, code=1)
        self.assertEqual(lines, ["1"])
        lines, _ = self.calls(self.config("testing.Odd"), "virtual", "pieces 100")
        self.assertIn("VirtualThread", lines[0])

    def test_not_of_futures(self):
        _, errors = self.calls(self.config("conformance.Future"), "x", code=1)
        self.assertIn("threads virtual: is for a Handler", errors)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
