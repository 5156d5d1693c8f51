"""ASGI's lifespan, options of apps, and what nginx says where an app does not start."""

import pathlib
import signal
import subprocess
import tempfile

from server import Case, harness, runtime

NAMES = {
    "good": "good",
    "failed": "failed",
    "auto": "raises",
    "on": "raises; lifespan on",
    "off": "failed; lifespan off",
    "made": "make; factory on",
    "no_factory": "make",
    "none": "make_none; factory on",
    "wsgi": "wsgi",
    "missing": "nowhere",
}


class Lifespan(Case):
    RUNTIMES = "".join(runtime(name, f"spans:{app}", "env SPANS_FILE /dev/null;") for name, app in NAMES.items())
    LOCATIONS = "".join(f"location /{name} {{ nffi_pass {name}; }}\n" for name in NAMES)

    def test_state_of_the_startup(self):
        self.assertEqual(self.text("/good"), "from startup")
        self.assertEqual(self.text("/made"), "from startup")

    def test_modes(self):
        self.assertEqual(self.text("/auto"), "no state")
        self.logged(r'"auto": the app knows no lifespan')
        self.assertEqual(self.text("/off"), "no state")

    def test_what_does_not_start_says_so(self):
        for name, message in [
            ("failed", "the app's startup has failed: no database"),
            ("on", "the app's lifespan has failed: ValueError: lifespan is not for me"),
            ("no_factory", "spans:make cannot be called with scope, receive and send"),
            ("none", r"spans.make_none\(\) has returned no app, but NoneType"),
            ("wsgi", "A WSGI app wants interface wsgi"),
            ("missing", "spans has no nowhere"),
        ]:
            response, _ = self.ask(f"/{name}")
            self.assertEqual(response.status, 503, name)
            self.logged(f'"{name}".*{message}')
        self.logged("ValueError: lifespan is not for me")


class Shutdown(Case):
    def test_the_app_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "spans"
            nginx = harness.Nginx(
                runtimes=runtime("good", "spans:good", f"env SPANS_FILE {file};"),
                server="location / { nffi_pass good; }",
                main="",
            )
            self.addCleanup(nginx.destroy)
            file.parent.chmod(0o777)
            nginx.start()
            self.assertEqual(nginx.get("/")[1], b"from startup")
            nginx.signal(signal.SIGQUIT)
            self.assertIsNotNone(nginx.wait_end(20))
            self.assertEqual(file.read_text(), "shut down\n")

    def test_one_that_hangs_is_cut_off(self):
        nginx = harness.Nginx(
            runtimes=runtime("hangs", "spans:hangs", "grace 1s;"), server="location / { nffi_pass hangs; }"
        )
        self.addCleanup(nginx.destroy)
        nginx.start()
        self.assertEqual(nginx.get("/")[0], 200)
        nginx.signal(signal.SIGQUIT)
        self.assertIsNotNone(nginx.wait_end(4), "it ends before nffi's stop_timeout")
        self.assertIn("the app's shutdown takes longer", nginx.log())

    setUpClass = tearDownClass = classmethod(lambda cls: None)


class Options(Case):
    setUpClass = tearDownClass = classmethod(lambda cls: None)

    def test_bad_options_are_refused(self):
        for more, message in [
            ("threads 4;", '"threads" is not for interface asgi'),
            ("handler a:b;", '"handler" is not for interface asgi'),
            ("lifespan maybe;", "one of on, off, auto expected"),
            ("ws_max_size 0;", "a size from 1 to"),
            ("greeting hi;", 'unknown option "greeting" of interface asgi'),
        ]:
            nginx = harness.Nginx(runtimes=runtime("x", "spans:good", more))
            self.addCleanup(nginx.destroy)
            tested = subprocess.run(
                [harness.BINARY, "-t", "-p", str(nginx.prefix), "-c", str(nginx.conf)], capture_output=True, text=True
            )
            self.assertNotEqual(tested.returncode, 0, more)
            self.assertIn(message, tested.stderr)
