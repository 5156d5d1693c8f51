"""The load of Test::Nginx's leak mode, which calls it with weighttp's options and kills it when it has seen enough.

Sends GETs over some keepalive connections, one at a time on each, and keeps a tally of the answers in the file that
NFFI_LEAK_TALLY names, so that a flat line of memory without any load behind it can be told from one with.
"""

import os
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit


def arguments(words):
    """Connections, header lines and the URL."""
    connections, headers = 1, []
    words = iter(words)
    for word in words:
        if word.startswith("-c"):
            connections = int(word[2:])
        elif word == "-H":
            headers.append(next(words))
        elif not word.startswith("-"):
            return connections, headers, urlsplit(word)
    sys.exit("weighttp: no URL given")


def complete(answer):
    """Is this a whole response?"""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    _, found, rest = head.partition(b"content-length:")
    return bool(found) and len(body) >= int(rest.split(b"\r\n", 1)[0])


class Client:
    """One connection; opened anew when the server closes it."""

    def __init__(self, selector, address, request):
        self.selector, self.address, self.request = selector, address, request
        self.answers = self.errors = 0
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(self.address, 10)
        self.selector.register(self.socket, selectors.EVENT_READ, self)
        self.send()

    def send(self):
        self.answer = b""
        self.socket.sendall(self.request)

    def readable(self):
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionError:
            piece = b""
        self.answer += piece
        if piece and not complete(self.answer):
            return
        if self.answer.startswith(b"HTTP/1.1 2"):
            self.answers += 1
        else:
            self.errors += 1
        if piece and b"connection: close" not in self.answer.lower():
            self.send()
        else:
            self.selector.unregister(self.socket)
            self.socket.close()
            self.connect()


def main():
    connections, headers, url = arguments(sys.argv[1:])
    target = url.path + ("?" + url.query if url.query else "")
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
    selector = selectors.DefaultSelector()
    request = "\r\n".join(lines).encode("latin-1")
    clients = [Client(selector, (url.hostname, url.port or 80), request) for _ in range(connections)]
    tally = os.environ["NFFI_LEAK_TALLY"] + f".{os.getpid()}"
    write_at = 0
    while True:
        for key, _ in selector.select():
            key.data.readable()
        if time.monotonic() > write_at:
            write_at = time.monotonic() + 0.2
            with open(tally, "w", encoding="ascii") as file:
                print(sum(c.answers for c in clients), sum(c.errors for c in clients), file=file)


main()
