"""What the tests of nffi_pass share: an nginx with the fixture http (t/fixtures/http.c), and clients that can misbehave."""

import contextlib
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "survive"))

from harness import FIXTURES, fds, free_port, rss_kb, wait_for  # noqa: E402

SERVER = """
location / { nffi_pass http; }
location /off/ { nffi_pass http; nffi_request_buffering off; client_body_buffer_size 8k; }
location = /control { return 200 "control\\n"; }
"""


def serve(checks, server="", options="", own=False, **kwargs):
    """An nginx with the fixture at /, bodies streamed below /off/; `own`: with the locations of `server` alone."""
    runtime = f"nffi_runtime http {FIXTURES}/libhttp.so {{ stop_timeout 2s; tasks 20000; {options} }}"
    return checks.nginx(runtimes=runtime, server=server if own else SERVER + server, **kwargs)


def report(nginx):
    """What the fixture has counted."""
    text = nginx.get("/report")[1].decode()
    return {name: int(n) for name, n in re.findall(r"(\w+) (\d+)", text)}


def idle(nginx, seconds=10):
    """No task is left; what there is where some are."""

    def look():
        r = nginx.runtime("http")
        return r["queued"] == 0 and r["in_flight"] == 0 and r["abandoned"] == 0

    return wait_for(look, seconds, 0.05)


def each(checks, *sections):
    """Runs the sections, (function, argument...) each; one that is cut short does not keep the others from running."""
    for section, *arguments in sections:
        try:
            section(checks, *arguments)
        except (OSError, ValueError) as error:
            place = error.__traceback__.tb_next
            while place.tb_next and place.tb_frame.f_code is not section.__code__:
                place = place.tb_next
            checks.check(False, f"{section.__name__}, line {place.tb_lineno}: {error!r}")


class Raw:
    """A connection of HTTP/1 that sends and reads what it is told. `ctx`: over TLS."""

    def __init__(self, port, ctx=None, receive=None, timeout=20):
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = ctx.wrap_socket(sock, server_hostname="localhost") if ctx else sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Goes with an RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self):
        """Sends no more, but reads on."""
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def ask(self, path, method="GET", headers="", body=b"", version="1.1"):
        """Sends a request; a body without a length of its own gets one."""
        if body and "content-length" not in headers.lower() and "transfer-encoding" not in headers.lower():
            headers += f"Content-Length: {len(body)}\r\n"
        self.send(f"{method} {path} HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode() + body)

    def more(self):
        """Reads some; False at the end, or where the server has reset the connection."""
        try:
            data = self.sock.recv(262144)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.buffer += data
        return bool(data)

    def until(self, mark):
        """What comes up to and with the mark; raises where the end comes first."""
        while mark not in self.buffer:
            if not self.more():
                raise ConnectionError(f"the end came before {mark!r}: {self.buffer[-200:]!r}")
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def exactly(self, n):
        parts, size = [self.buffer], len(self.buffer)
        while size < n:
            self.buffer = b""
            if not self.more():
                raise ConnectionError(f"the end came after {size} of {n} bytes")
            parts.append(self.buffer)
            size += len(self.buffer)
        data = b"".join(parts)
        self.buffer = data[n:]
        return data[:n]

    def rest(self):
        while self.more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def head(self):
        """Status and headers, names in lower case; interim answers are passed over."""
        while True:
            lines = self.until(b"\r\n\r\n").decode("latin1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            if status >= 200 or status == 101:
                return status, {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:] if x)}

    def answer(self, head_only=False):
        """One whole answer: status, headers, body; raises where it is cut."""
        status, headers = self.head()
        if head_only or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self.chunks()
        if "content-length" in headers:
            return status, headers, self.exactly(int(headers["content-length"]))
        return status, headers, self.rest()

    def chunks(self):
        """What is left of a chunked body, to its end; raises where it is cut."""
        body = b""
        while size := int(self.until(b"\r\n").split(b";")[0], 16):
            body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise ConnectionError("a chunk's end is missing")
        while self.until(b"\r\n") != b"\r\n":
            pass
        return body

    def ended(self, seconds=5.0):
        """Does the server close within that time, without another byte?"""
        self.sock.settimeout(seconds)
        try:
            return self.buffer == b"" and self.sock.recv(1) == b""
        except (TimeoutError, socket.timeout):
            return False
        except ConnectionError:
            return True


def certificate(prefix):
    """A self-made one for localhost: the paths of certificate and key."""
    cert, key = prefix / "cert.pem", prefix / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )
    return cert, key


def context(cert, *protocols):
    ctx = ssl.create_default_context(cafile=str(cert))
    if protocols:
        ctx.set_alpn_protocols(list(protocols))
    return ctx


class H2:
    """A connection of HTTP/2. Streams are numbers; their windows open by themselves only where `auto`."""

    def __init__(self, port, ctx=None, window=65535, connection_window=1 << 24, auto=True, timeout=20):
        import h2.config
        import h2.connection
        import h2.events
        import h2.exceptions
        import h2.settings

        self.gone = h2.exceptions.StreamClosedError
        self.events, self.auto = h2.events, auto
        self.raw = Raw(port, ctx, timeout=timeout)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window, h2.settings.SettingCodes.ENABLE_PUSH: 0})
        if connection_window > 65535:
            self.h2.increment_flow_control_window(connection_window - 65535)
        self.streams, self.closed, self.acknowledged = {}, False, 0
        self.flush()
        self.wait(lambda: self.acknowledged == 2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.raw.send(data)

    def ask(self, path, method="GET", body=None, headers=(), end=True):
        """Sends a request's head, and a body that the windows have room for. The number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = {"status": None, "headers": {}, "body": bytearray(), "trailers": {}, "ended": False, "reset": None}
        base = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.h2.send_headers(stream, base + list(headers), end_stream=body is None and end)
        if body:
            self.h2.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def upload(self, stream, data, end=True):
        """Sends a body as far as the windows go, waiting for them."""
        while data:
            self.wait(lambda: self.h2.local_flow_control_window(stream) > 0 or self.streams[stream]["reset"] is not None
                      or self.streams[stream]["ended"])
            n = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if n <= 0 or self.streams[stream]["reset"] is not None:
                return False
            self.h2.send_data(stream, data[:n])
            data = data[n:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()
        return True

    def open(self, stream, n):
        self.h2.increment_flow_control_window(n, stream)
        self.flush()

    def cancel(self, stream, code=8):
        with contextlib.suppress(self.gone):
            self.h2.reset_stream(stream, code)
        self.flush()

    def step(self, seconds):
        """Takes what comes within that time; False where nothing came."""
        if self.closed:
            return False
        self.raw.sock.settimeout(seconds)
        try:
            data = self.raw.sock.recv(262144)
        except (TimeoutError, socket.timeout):
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return True
        e = self.events
        for event in self.h2.receive_data(data):
            s = self.streams.get(getattr(event, "stream_id", None))
            if isinstance(event, e.SettingsAcknowledged):
                self.acknowledged += 1
            elif isinstance(event, e.ResponseReceived):
                fields = dict(event.headers)
                s["status"], s["headers"] = int(fields.pop(":status")), fields
            elif isinstance(event, e.DataReceived):
                s["body"] += event.data
                n = event.flow_controlled_length
                if n:
                    self.h2.increment_flow_control_window(n)
                if n and self.auto and not event.stream_ended:
                    # It may have ended with a frame that is not looked at yet.
                    with contextlib.suppress(self.gone):
                        self.h2.increment_flow_control_window(n, event.stream_id)
            elif isinstance(event, e.TrailersReceived):
                s["trailers"] = dict(event.headers)
            elif isinstance(event, e.StreamEnded):
                s["ended"] = True
            elif isinstance(event, e.StreamReset) and s:
                s["reset"] = int(event.error_code)
            elif isinstance(event, e.ConnectionTerminated):
                self.closed = True
        with contextlib.suppress(OSError):
            self.flush()
        return True

    def wait(self, condition, seconds=20.0):
        """True once the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return condition()
            self.step(min(left, 0.5))
        return True

    def answer(self, stream, seconds=20.0):
        """The stream, once it has ended either way."""
        s = self.streams[stream]
        self.wait(lambda: s["ended"] or s["reset"] is not None, seconds)
        return s

    def get(self, path, **kwargs):
        return self.answer(self.ask(path, **kwargs))


__all__ = ["H2", "Raw", "certificate", "context", "each", "fds", "free_port", "idle", "report", "rss_kb", "serve", "wait_for"]
