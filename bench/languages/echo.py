"""The unix-socket peer in Python: an asyncio server, uvloop where it is installed. python3 echo.py --kind def|async SOCKET

A 4-byte length before each payload, both ways. The handler is the one that nffi calls, called where it costs least.
"""

import asyncio
import sys


def handle(request):
    return request


async def handle_async(request):
    return request


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            end = 4 + int.from_bytes(self.buffer[:4], "big")
            if len(self.buffer) < end:
                return
            request, self.buffer = self.buffer[4:end], self.buffer[end:]
            self.serve(request)

    def serve(self, request):
        self.answer(handle(request))

    def answer(self, answer):
        self.transport.write(len(answer).to_bytes(4, "big") + answer)


class AsyncEcho(Echo):
    def serve(self, request):
        asyncio.get_running_loop().create_task(self.wait(request))

    async def wait(self, request):
        self.answer(await handle_async(request))


async def main(path, kind):
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server({"def": Echo, "async": AsyncEcho}[kind], path, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    run(main(sys.argv[3], sys.argv[2]))
