"""An nginx for a test case, with apps in it."""

import http.client
import json
import os
import pathlib
import re
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "t/survive"))

import harness  # noqa: E402

LIBRARY = os.environ["NFFI_PYTHON_LIBRARY"]
VENV = os.environ["NFFI_PYTHON_VENV"]


def runtime(name, app, more=""):
    return f"nffi_runtime {name} {LIBRARY} {{ interface asgi; app {app}; path {HERE}/apps; venv {VENV}; {more} }}\n"


class Case(unittest.TestCase):
    """One nginx for all tests of a class."""

    RUNTIMES = ""
    LOCATIONS = ""
    OPTIONS = {}

    @classmethod
    def setUpClass(cls):
        cls.nginx = harness.Nginx(runtimes=cls.RUNTIMES, server=cls.LOCATIONS, **cls.OPTIONS)
        try:
            cls.nginx.start()
        except BaseException:
            cls.nginx.destroy()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.nginx.destroy()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=30)
        self.addCleanup(connection.close)
        return connection

    def ask(self, path, method="GET", body=None, **headers):
        connection = self.connect()
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response, response.read()

    def text(self, path, **kwargs):
        response, body = self.ask(path, **kwargs)
        self.assertEqual(response.status, 200, body)
        return body.decode()

    def json(self, path, **kwargs):
        return json.loads(self.text(path, **kwargs))

    def raw(self, request):
        """All that comes back until the connection ends."""
        with self.nginx.connect() as connection:
            connection.sendall(request)
            pieces = []
            while piece := connection.recv(65536):
                pieces.append(piece)
            return b"".join(pieces)

    def until(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not (value := condition()):
            self.assertLess(time.monotonic(), end, "it does not come")
            time.sleep(0.02)
        return value

    def notes(self, needle):
        """Waits for a note of the raw app's; it may have to notice a client first."""

        def find():
            return [note for note in self.json("/problems")["notes"] if needle in note]

        try:
            return self.until(find)
        except AssertionError:
            self.fail(f"no note has {needle!r}: {self.json('/problems')['notes']}")

    def logged(self, pattern):
        self.assertTrue(self.nginx.log_has(pattern, 20), f"no line has {pattern!r}")
        return [line for line in self.nginx.log().splitlines() if re.search(pattern, line)]
