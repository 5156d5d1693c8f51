"""Reloads, and the end of workers, under load: no request fails."""

import http.client
import signal
import threading

from server import Case, runtime
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class Load(threading.Thread):
    """Requests, each on a connection of its own, or on one that is kept until the server ends it."""

    def __init__(self, port, path, keep):
        super().__init__(daemon=True)
        self.port, self.path, self.keep = port, path, keep
        self.good, self.bad, self.over = 0, [], False

    def run(self):
        connection = None
        while not self.over:
            fresh = connection is None
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read()
                if response.status == 200 and body:
                    self.good += 1
                else:
                    self.bad.append((response.status, body))
                if not self.keep or response.getheader("connection") == "close":
                    connection.close()
                    connection = None
            except (http.client.HTTPException, OSError) as error:
                # A kept connection may end between two requests, as HTTP allows.
                if fresh:
                    self.bad.append(repr(error))
                connection.close()
                connection = None


class Reload(Case):
    RUNTIMES = runtime("app", "fastapi_app:app") + runtime("raw", "raw:app")
    LOCATIONS = "location / { nffi_pass app; } location /raw/ { nffi_pass raw; nffi_prefix /raw; }"

    def reload(self, loads):
        """Returns once every load has had answers of the new worker."""
        before = set(self.nginx.workers())
        self.nginx.signal(signal.SIGHUP)
        self.until(lambda: set(self.nginx.workers()) - before)
        good = [load.good for load in loads]
        self.until(lambda: all(load.good > least for load, least in zip(loads, good, strict=True)))

    def test_under_load(self):
        port = self.nginx.port
        loads = [Load(port, path, keep) for path in ("/item/1", "/raw/hello", "/events") for keep in (True, False)]
        socket = connect(f"ws://127.0.0.1:{port}/chat/ann")
        for load in loads:
            load.start()
        for _ in range(5):
            self.reload(loads)
        # The old worker serves its WebSocket on.
        socket.send("still here")
        self.assertEqual(socket.recv(20), "ann: still here")
        socket.close()
        for load in loads:
            load.over = True
        for load in loads:
            load.join(30)
        self.assertEqual([load.bad for load in loads], [[]] * len(loads))
        # And nobody stays behind.
        self.until(lambda: len(self.nginx.children()) == 1)

    def test_websockets_of_a_worker_that_must_go(self):
        with connect(f"ws://127.0.0.1:{self.nginx.port}/raw/echo") as socket:
            pid = int(self.text("/raw/pid"))
            self.nginx.signal(signal.SIGTERM, pid)
            with self.assertRaises(ConnectionClosed):
                socket.recv(20)
        self.until(lambda: self.ask("/item/1")[0].status == 200)
