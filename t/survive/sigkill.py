"""SIGKILL of one of two workers under load: the other one's requests all succeed, a new worker serves.

Guards: nothing of a runtime is shared between workers.
"""

import http.client
import signal
import threading
import time

from harness import run, wait_for


class Client(threading.Thread):
    """One connection, so one worker, for its whole life."""

    def __init__(self, nginx):
        super().__init__(daemon=True)
        self.nginx, self.leave = nginx, threading.Event()
        self.connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
        self.worker = int(nginx.get("/pid", connection=self.connection)[1])
        self.good, self.bad, self.error = 0, 0, None

    def run(self):
        n = 0
        while not self.leave.is_set():
            n += 1
            try:
                status, body = self.nginx.call(f"sleep {n % 5} {n}", connection=self.connection)
                good = status == 200 and body == str(n).encode()
                self.error = self.error if good else (status, body)
            except OSError as error:
                self.error, self.bad = repr(error), self.bad + 1
                return
            self.good, self.bad = self.good + good, self.bad + (not good)


def body(checks, scale):
    nginx = checks.nginx(workers=2, listen="reuseport")
    for _ in range(max(2, int(10 * scale))):
        wait_for(lambda: len(nginx.workers()) == 2, 5)
        victim, other = nginx.workers()
        clients = []
        while len({c.worker for c in clients}) < 2 or len(clients) < 8:
            clients.append(Client(nginx))
        for client in clients:
            client.start()
        time.sleep(0.4)
        nginx.signal(signal.SIGKILL, victim)
        time.sleep(0.6)
        for client in clients:
            client.leave.set()
        for client in clients:
            client.join(10)
        kept = [c for c in clients if c.worker == other]
        good, bad = sum(c.good for c in kept), sum(c.bad for c in kept)
        checks.check(good > 20 and bad == 0, "the other worker's requests all succeed", good, bad, *[c.error for c in kept if c.error])
        fresh = wait_for(lambda: [p for p in nginx.workers() if p not in (victim, other)], 5)
        checks.check(bool(fresh), "a new worker came")
        served = wait_for(lambda: any(Client(nginx).worker in fresh for _ in range(5)), 5)
        checks.check(bool(served), "and serves")
        right = all(nginx.call(f"echo {n}") == (200, str(n).encode()) for n in range(20))
        checks.check(right, "calls work in both")
    checks.check(not nginx.bad_lines(r"exited on signal 9"), "the error log has the kill only", nginx.bad_lines(r"exited on signal 9")[:3])


if __name__ == "__main__":
    run("sigkill", body, __doc__)
