"""ASGI's websocket scope, by a raw app and the client of the package websockets; what that cannot send, by hand."""

import base64
import contextlib
import json
import os
import socket
import struct
import time
import zlib

from server import Case, runtime
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect


def frame(opcode, payload, fin=True, masked=True, compressed=False):
    head = bytes([(0x80 if fin else 0) | (0x40 if compressed else 0) | opcode])
    size = len(payload)
    mark = 0x80 if masked else 0
    if size < 126:
        head += bytes([mark | size])
    elif size < 65536:
        head += bytes([mark | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mark | 127]) + struct.pack(">Q", size)
    # A mask of zeros leaves the payload as it is.
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Sockets(Case):
    """What opens them."""

    def tearDown(self):
        self.assertEqual(self.json("/problems")["found"], [], "what asgiref's definitions do not allow")

    def open(self, path, compression=None, **more):
        socket = connect(f"ws://127.0.0.1:{self.nginx.port}{path}", max_size=None, compression=compression, **more)
        self.addCleanup(socket.close)
        return socket

    def by_hand(self, path, key=None, more=b""):
        client = self.nginx.connect()
        self.addCleanup(client.close)
        key = key or base64.b64encode(os.urandom(16))
        client.sendall(
            b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: %s\r\n%s\r\n" % (path.encode(), key, more)
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(1)
            self.assertTrue(piece, head)
            head += piece
        return client, head

    def read_frame(self, client):
        """Opcode and payload of the next."""
        first, payload = self.read_whole_frame(client)
        return first & 15, payload

    def read_whole_frame(self, client):
        """Its first byte, and its payload."""

        def exactly(n):
            got = b""
            while len(got) < n:
                piece = client.recv(n - len(got))
                if not piece:
                    raise EOFError
                got += piece
            return got

        first, size = exactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", exactly(8))
        return first, exactly(size)

    def closed(self, client):
        """Code and reason of the Close that is next, behind which the connection ends."""
        opcode, payload = self.read_frame(client)
        self.assertEqual(opcode, 8, payload)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(client.recv(1), b"")
        return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


class WebSocket(Sockets):
    RUNTIMES = runtime("raw", "raw:app", "ws_max_size 1m;")
    LOCATIONS = """
        location / { nffi_pass raw; }
        location /mounted/ { nffi_pass raw; nffi_prefix /mounted; }
    """

    def test_echo(self):
        socket = self.open("/echo")
        self.assertEqual(socket.response.headers["x-own"], "yes")
        for message in ("", "hello", "päckchen", "x" * 70_000, b"", b"\0\xff", os.urandom(1 << 20)):
            socket.send(message)
            self.assertEqual(socket.recv(), message)
        socket.close(4001, "done")
        self.notes("disconnect 4001 'done'")
        self.notes("late: ClientDisconnected")

    def test_many_messages_in_both_directions(self):
        socket = self.open("/echo")
        for i in range(500):
            socket.send(f"message {i}")
        self.assertEqual([socket.recv() for _ in range(500)], [f"message {i}" for i in range(500)])

    def test_scope(self):
        socket = self.open("/mounted/scope?q=1", subprotocols=["chat", "soap"])
        scope = json.loads(socket.recv())
        self.assertEqual((scope["type"], scope["scheme"], scope["http_version"]), ("websocket", "ws", "1.1"))
        self.assertEqual(
            (scope["path"], scope["root_path"], scope["query_string"]), ("/mounted/scope", "/mounted", "q=1")
        )
        self.assertEqual(scope["subprotocols"], ["chat", "soap"])
        self.assertEqual(scope["state"], {"started": "yes"})
        self.assertEqual(scope["extensions"], {"websocket.http.response": {}})
        self.assertNotIn("method", scope)
        with self.assertRaises(ConnectionClosed):
            socket.recv()
        self.assertEqual(socket.close_code, 1000)
        self.notes("after close: {'type': 'websocket.disconnect'")

    def test_subprotocol(self):
        socket = self.open("/echo?subprotocol=soap", subprotocols=["chat", "soap"])
        self.assertEqual(socket.subprotocol, "soap")

    def test_close_codes(self):
        for code, reason in [(1000, ""), (1001, "leaving"), (3000, "ö" * 60), (4999, "x" * 123)]:
            socket = self.open(f"/close?code={code}&reason={reason}")
            with self.assertRaises(ConnectionClosed):
                socket.recv()
            self.assertEqual((socket.close_code, socket.close_reason), (code, reason))

    def test_a_client_that_goes_without_a_word(self):
        client, _ = self.by_hand("/echo")
        client.close()
        self.notes("disconnect 1006")
        client, _ = self.by_hand("/echo")
        client.sendall(frame(8, b""))
        self.assertEqual(self.read_frame(client)[0], 8)
        self.assertEqual(client.recv(1), b"", "the server closes")
        self.notes("disconnect 1005")

    def test_reject_and_deny(self):
        with self.assertRaises(InvalidStatus) as caught:
            self.open("/reject")
        self.assertEqual(caught.exception.response.status_code, 403)
        with self.assertRaises(InvalidStatus) as caught:
            self.open("/deny")
        response = caught.exception.response
        self.assertEqual(
            (response.status_code, response.body, response.headers["x-why"]), (402, b"pay first", "payment")
        )
        for path in ("/raise", "/return"):
            with self.assertRaises(InvalidStatus) as caught:
                self.open(path)
            self.assertEqual(caught.exception.response.status_code, 500, path)
        self.logged("ASGI callable returned without completing handshake")

    def test_an_app_that_ends(self):
        for path, code in (("/raise?after=1", 1011), ("/return?after=1", 1000)):
            socket = self.open(path)
            with self.assertRaises(ConnectionClosed):
                socket.recv()
            self.assertEqual(socket.close_code, code, path)
        self.logged("ValueError: in a socket")

    def test_what_an_app_must_not_do(self):
        for how, error in [
            ("send_first", "RuntimeError: Expected ASGI message 'websocket.accept', 'websocket.close' or"),
            ("subprotocol", "RuntimeError: 'websocket.accept': the client did not offer"),
            ("accept_twice", "RuntimeError: Expected ASGI message 'websocket.send' or 'websocket.close'"),
            ("after_close", "RuntimeError: Unexpected ASGI message 'websocket.send', after sending 'websocket.close'"),
            ("code", "RuntimeError: 'websocket.close': close code 1005"),
            ("nothing", "RuntimeError: 'websocket.send' has neither"),
        ]:
            try:
                with self.open(f"/wrong?how={how}") as socket:
                    socket.recv()
            except (InvalidStatus, ConnectionClosed):
                pass
            self.notes(f"{how}: {error}")

    def test_pings_are_answered_also_where_the_app_receives_nothing(self):
        client, _ = self.by_hand("/silent")
        for i in range(3):
            client.sendall(frame(9, b"ping %d" % i))
            self.assertEqual(self.read_frame(client), (10, b"ping %d" % i))
        self.text("/hello")
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port)
        connection.request("GET", "/release")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertEqual(self.read_frame(client)[0], 8)

    def test_fragments_with_a_ping_between(self):
        client, _ = self.by_hand("/echo")
        client.sendall(frame(1, b"one ", fin=False) + frame(9, b"p") + frame(0, "zwö".encode()[:3], fin=False))
        self.assertEqual(self.read_frame(client), (10, b"p"))
        client.sendall(frame(0, "zwö".encode()[3:]))
        self.assertEqual(self.read_frame(client), (1, "one zwö".encode()))
        # Byte by byte.
        for byte in frame(2, b"slow"):
            client.sendall(bytes([byte]))
        self.assertEqual(self.read_frame(client), (2, b"slow"))

    def test_what_breaks_the_protocol_is_closed(self):
        for sent, code in [
            (frame(1, b"\xff\xfe"), 1007),
            (frame(1, b"unmasked", masked=False), 1002),
            (frame(3, b"reserved"), 1002),
            (frame(0, b"nothing to continue"), 1002),
            (frame(9, b"x" * 126), 1002),
            (frame(1, b"x" * ((1 << 20) + 1)), 1009),
            (frame(1, b"x" * (1 << 19), fin=False) + frame(0, b"x" * (1 << 19), fin=False) + frame(0, b"x"), 1009),
        ]:
            client, _ = self.by_hand("/echo")
            with contextlib.suppress(OSError):
                client.sendall(sent)
            opcode, payload = self.read_frame(client)
            self.assertEqual((opcode, struct.unpack(">H", payload[:2])[0]), (8, code), sent[:20])
            self.notes(f"disconnect {code}")

    def test_bad_handshakes(self):
        for more, status in [(b"Sec-WebSocket-Key: twice\r\n", b"400")]:
            _, head = self.by_hand("/echo", more=more)
            self.assertIn(status, head.split(b"\r\n")[0])
        _, head = self.by_hand("/echo", key=b"short")
        self.assertIn(b"400", head.split(b"\r\n")[0])

    def test_send_waits_for_the_client(self):
        before = int(self.text("/sent"))
        client, _ = self.by_hand("/flood")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        last = -1
        while (now := int(self.text("/sent"))) != last or now == before:
            last = now
            time.sleep(0.3)
        self.assertLess(now - before, 16 << 20)
        client.close()
        self.notes("flood: ClientDisconnected")

    def test_an_ordinary_request_to_a_websocket(self):
        response, _ = self.ask("/hello", **{"Connection": "Upgrade", "Upgrade": "h2c"})
        self.assertEqual(response.status, 200)


class Compression(Sockets):
    RUNTIMES = runtime("raw", "raw:app", "ws_max_size 1m;") + runtime(
        "plain", "raw:app", "ws_max_size 1m; ws_per_message_deflate off;"
    )
    LOCATIONS = """
        location / { nffi_pass raw; }
        location /plain/ { nffi_pass plain; nffi_prefix /plain; }
    """
    OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

    def compressor(self, client_bits=12):
        compressor = zlib.compressobj(wbits=-client_bits)

        def compress(data):
            payload = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
            return payload.removesuffix(b"\0\0\xff\xff")

        return compress

    def test_messages_of_all_kinds(self):
        text = "".join(f"line {i} of a message that repeats itself\n" for i in range(25_000))[: 1 << 20]
        own = ClientPerMessageDeflateFactory
        for compression, extensions in [
            ("deflate", None),
            (None, [own(client_max_window_bits=None)]),
            (None, [own(server_no_context_takeover=True, client_no_context_takeover=True)]),
            (None, [own(client_max_window_bits=9), own()]),
            (None, [own(server_max_window_bits=9), own(server_max_window_bits=14)]),
        ]:
            socket = self.open("/echo", compression, extensions=extensions)
            self.assertEqual([each.name for each in socket.protocol.extensions], ["permessage-deflate"])
            noise = os.urandom(100_000)
            for message in ["", "hello", text, "päckchen" * 100, b"", noise, noise, noise + text[:9000].encode()]:
                for _ in range(2):
                    socket.send(message)
                    self.assertEqual(socket.recv(), message)
            for i in range(300):
                socket.send(f"a message of some length, which differs from the others: {i}")
            for i in range(300):
                self.assertEqual(socket.recv(), f"a message of some length, which differs from the others: {i}")

    def test_what_is_agreed_on(self):
        _, head = self.by_hand("/echo", more=self.OFFER)
        answer = b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        self.assertIn(b"\r\nSec-WebSocket-Extensions: " + answer + b"\r\n", head)
        for path, more in [
            ("/echo", b""),
            ("/echo", b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n"),
            ("/plain/echo", self.OFFER),
        ]:
            _, head = self.by_hand(path, more=more)
            self.assertTrue(head.startswith(b"HTTP/1.1 101"))
            self.assertNotIn(b"extensions", head.lower())

    def test_less_is_sent(self):
        client, _ = self.by_hand("/echo", more=self.OFFER)
        compress, inflate = self.compressor(), zlib.decompressobj(wbits=-12).decompress
        message = b"a message of more than a few bytes, in which there is nothing that comes twice"
        sizes = []
        for _ in range(3):
            client.sendall(frame(1, compress(message), compressed=True))
            first, payload = self.read_whole_frame(client)
            self.assertEqual((first, inflate(payload + b"\0\0\xff\xff")), (0xC1, message))
            sizes.append(len(payload))
        self.assertLess(sizes[1], 15, "it refers to the first")
        # A short one goes as it is, compressed or not as it came.
        for sent in (frame(1, b"short"), frame(1, compress(b"short"), compressed=True)):
            client.sendall(sent)
            self.assertEqual(self.read_whole_frame(client), (0x81, b"short"))

    def test_fragments_with_a_ping_between(self):
        client, _ = self.by_hand("/echo", more=self.OFFER)
        payload = self.compressor()("zwölf ".encode() * 3)
        client.sendall(frame(1, payload[:5], fin=False, compressed=True) + frame(9, b"p"))
        self.assertEqual(self.read_frame(client), (10, b"p"))
        client.sendall(frame(0, payload[5:]))
        self.assertEqual(self.read_frame(client), (1, "zwölf ".encode() * 3))

    def test_what_is_wrong_is_closed(self):
        compress = self.compressor
        bomb = compress()(b"\0" * (64 << 20))
        self.assertLess(len(bomb), 70_000)
        for sent, code, offer in [
            (frame(2, bomb, compressed=True), 1009, True),
            (frame(2, compress()(b"\0" * ((1 << 20) + 1)), compressed=True), 1009, True),
            (frame(1, bomb[:9], fin=False, compressed=True) + frame(0, bomb[9:]), 1009, True),
            (frame(1, b"no deflate", compressed=True), 1002, True),
            (frame(1, compress()(b"\xff" * 10), compressed=True), 1007, True),
            (frame(9, b"", compressed=True), 1002, True),
            (frame(1, b"", fin=False) + frame(0, compress()(b"x"), compressed=True), 1002, True),
            (frame(1, compress()(b"not agreed on"), compressed=True), 1002, False),
        ]:
            client, _ = self.by_hand("/echo", more=self.OFFER if offer else b"")
            with contextlib.suppress(OSError):
                client.sendall(sent)
            self.assertEqual(self.closed(client)[0], code, sent[:20])
            self.notes(f"disconnect {code}")


class Pings(Sockets):
    RUNTIMES = (
        runtime("raw", "raw:app", "ws_ping_interval 200ms;")
        + runtime("strict", "raw:app", "ws_ping_interval 100ms; ws_ping_timeout 1s;")
        + runtime("patient", "raw:app", "ws_ping_interval 100ms; ws_ping_timeout off; uvloop off;")
        + runtime("quiet", "raw:app", "ws_ping_interval off;")
    )
    LOCATIONS = """
        location / { nffi_pass raw; nffi_timeout 1500ms; }
        location /strict/ { nffi_pass strict; nffi_prefix /strict; }
        location /patient/ { nffi_pass patient; nffi_prefix /patient; }
        location /quiet/ { nffi_pass quiet; nffi_prefix /quiet; nffi_timeout 1500ms; }
    """

    def answer_pings(self, client, seconds):
        """How many there were."""
        end, count = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            opcode, payload = self.read_frame(client)
            self.assertEqual(opcode, 9)
            client.sendall(frame(10, payload))
            count += 1
        return count

    def test_who_answers_stays(self):
        client, _ = self.by_hand("/echo")
        began = time.monotonic()
        # Longer than nffi_timeout: a ping is a sign of life.
        count = self.answer_pings(client, 3)
        self.assertGreater(count, 2)
        self.assertLessEqual(count, (time.monotonic() - began) / 0.2 + 1)
        client.sendall(frame(1, b"still there"))
        while (got := self.read_frame(client))[0] == 9:
            pass
        self.assertEqual(got, (1, b"still there"))

    def test_who_does_not_answer_is_closed(self):
        for answer in (b"", frame(10, b""), frame(10, b"other"), frame(1, b"talks")):
            client, _ = self.by_hand("/strict/echo")
            opcode, payload = self.read_frame(client)
            self.assertEqual((opcode, len(payload)), (9, 4))
            client.sendall(answer)
            if answer == frame(1, b"talks"):
                self.assertEqual(self.read_frame(client), (1, b"talks"))
            self.assertEqual(self.closed(client), (1011, "keepalive ping timeout"))
            self.notes("disconnect 1011 'keepalive ping timeout'")
        self.notes("late: ClientDisconnected")
        self.logged(r"\[info\] .*the WebSocket's client answers no ping: closed")

    def test_an_answer_that_is_not_read_yet_is_one(self):
        client, _ = self.by_hand("/strict/silent")
        # The app takes none of them, so what is behind them is not read.
        client.sendall(frame(1, b"one") + frame(1, b"two"))
        self.assertEqual(self.read_frame(client)[0], 9)
        client.settimeout(2.5)
        with self.assertRaises(TimeoutError):
            self.read_frame(client)
        client.settimeout(20)
        self.text("/strict/release")
        self.assertEqual(self.closed(client)[0], 1000)

    def test_without_a_timeout(self):
        client, _ = self.by_hand("/patient/echo")
        self.assertEqual([self.read_frame(client)[0] for _ in range(5)], [9] * 5)
        client.sendall(frame(8, struct.pack(">H", 1000)))
        while (got := self.read_frame(client))[0] == 9:
            pass
        self.assertEqual(got[0], 8)

    def test_without_pings(self):
        client, _ = self.by_hand("/quiet/echo")
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(client.recv(1), b"", "nffi_timeout ends it, and nothing comes before")
