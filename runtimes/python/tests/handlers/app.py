"""Handlers of the tests, each as a def and as an async def where the two may differ."""

import asyncio
import contextvars
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import nffi


class State:
    def __init__(self, config):
        self.config = config
        self.cancelled = 0


def init(config):
    match config.get("init"):
        case "raise":
            raise ValueError("no such luck")
        case "own":
            raise nffi.Error(5, "in my own words")
        case "exit":
            sys.exit(2)
        case "fork":
            os.fork() or os._exit(0)
    return State(config)


def seed(cfg, tq):
    """Of lua-resty-ffi's ABI."""
    return 0


def echo(data):
    return data


async def echo_async(data):
    return data


def command(data):
    name, _, rest = data.decode().partition(" ")
    return globals()[f"do_{name}"](rest)


async def command_async(data):
    name, _, rest = data.decode().partition(" ")
    result = globals().get(f"async_{name}", globals().get(f"do_{name}"))(rest)
    return await result if asyncio.iscoroutine(result) else result


# What a handler may return


def do_return(rest):
    return {
        "str": "päckchen",
        "none": None,
        "array": bytearray(b"ab"),
        "view": memoryview(b"abcd")[1:3],
        "int": 5,
        "surrogate": "\udc80",
    }[rest]


# Errors


def do_fail(rest):
    raise nffi.Error(int(rest), "as told")


def do_raise(rest):
    raise ValueError(rest)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Leaving(Exception):
    def __str__(self):
        sys.exit(3)


class Stiff(Exception):
    def __setattr__(self, name, value):
        raise RuntimeError("it stays as it is")


def do_odd(rest):
    """Texts that are no UTF-8, or none at all."""
    raise {
        "surrogate": ValueError("\udc80"),
        "own": nffi.Error(404, "no \ud800"),
        "mute": Mute(),
        "leaving": Leaving(),
        "stiff": Stiff("stiff"),
    }[rest]


def do_exit(rest):
    sys.exit(int(rest))


def do_base(rest):
    raise KeyboardInterrupt("ctrl")


async def async_lost_task(rest):
    async def leave():
        sys.exit(3)

    asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(0.05)
    return "still here"


# Surroundings


def do_config(rest):
    return str(nffi.config().get(rest))


def do_state(rest):
    return str(nffi.state().config.get(rest))


def do_environ(rest):
    return os.environ.get(rest, "none")


def do_cwd(rest):
    return os.getcwd()


def do_path(rest):
    return sys.path[0]


def do_program(rest):
    return f"{sys.executable} {sys.prefix}"


def do_utf8(rest):
    return f"{sys.flags.utf8_mode} {sys.getfilesystemencoding()}"


def do_signal(rest):
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except ValueError as error:
        return str(error)
    return "taken"


def do_handlers(rest):
    """Does the process catch SIGINT? (As the system sees it.)"""
    with open("/proc/self/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
    return str(bool(int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1)))


def do_terminate(rest):
    # A child that was started with TERM blocked would sleep on.
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    return str(child.wait(10))


def do_interval(rest):
    return f"{sys.getswitchinterval():.6f}"


def do_thread(rest):
    return threading.current_thread().name


def do_main(rest):
    """The name that the system knows the main thread by. Before 3.13 it is the one that imported threading first."""
    with open(f"/proc/self/task/{threading.main_thread().native_id}/comm") as file:
        return file.read().strip()


def do_request(rest):
    request = nffi.request()
    remaining = None if request.deadline is None else request.deadline - time.monotonic()
    waits = remaining is not None and 0 < remaining < 30
    return f"{waits} {request.is_cast} {request.wants_pieces} {request.cancelled()}"


def do_own_thread(rest):
    """A thread of the handler's: without the context there is no request, with it there is."""
    results = []

    def look():
        try:
            results.append(str(nffi.request() is not None))
        except RuntimeError as error:
            results.append(str(error))

    context = contextvars.copy_context()
    for target in (look, lambda: context.run(look)):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    return " | ".join(results)


async def async_to_thread(rest):
    return await asyncio.to_thread(lambda: str(nffi.request().task > 0))


# Waiting


def do_sleep(rest):
    time.sleep(float(rest))
    return "slept"


async def async_sleep(rest):
    await asyncio.sleep(float(rest))
    return "slept"


def do_until_cancelled(rest):
    while not nffi.cancelled():
        time.sleep(0.002)
    nffi.state().cancelled += 1
    return "late"


async def async_until_cancelled(rest):
    try:
        await asyncio.sleep(60)
    finally:
        nffi.state().cancelled += 1


async def async_stubborn(rest):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        nffi.state().cancelled += 1
        return "answered all the same"


async def async_careful(rest):
    """Cleans up, and takes its time: a second cancellation would end that."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        nffi.state().cancelled += 1
        await asyncio.sleep(0.05)
        return "cleaned up"


def do_cancelled(rest):
    return str(nffi.state().cancelled)


def do_spin(rest):
    end = time.monotonic() + float(rest)
    while time.monotonic() < end:
        pass
    return "spun"


# Logging


def do_log(rest):
    level, _, text = rest.partition(" ")
    logging.getLogger("shop").log(getattr(logging, level), text)
    return "logged"


def do_print(rest):
    print(rest)
    print("half a ", end="")
    print("line")
    print("to stderr", file=sys.stderr)
    warnings.warn("careful now", stacklevel=1)
    return "printed"


def do_log_nffi(rest):
    nffi.log.warning("plain")
    logging.warning("of the root")
    try:
        raise KeyError("inner")
    except KeyError:
        logging.getLogger("shop").exception("with a trace")
    return "logged"


# Pieces


def pieces(data):
    """Every piece, upside down in case."""
    request = nffi.request()
    for piece in request.pieces:
        request.write(piece.swapcase())


async def pieces_async(data):
    request = nffi.request()
    async for piece in request.pieces:
        await request.write(piece.swapcase())


def flood(data):
    for number in range(int(data)):
        nffi.request().write(b"%08d" % number * 512)


async def flood_async(data):
    for number in range(int(data)):
        await nffi.request().write(b"%08d" % number * 512)


def generator(data):
    for number in range(3):
        yield f"{data.decode()}{number}"


async def generator_async(data):
    for number in range(3):
        await asyncio.sleep(0)
        yield f"{data.decode()}{number}"


async def endless(data):
    try:
        while True:
            await nffi.request().write(b"x" * 65536)
    except BaseException as error:
        nffi.log.info("ended by %s", type(error).__name__)
        raise


def do_first_piece(rest):
    pieces = iter(nffi.request().pieces)
    next(pieces)
    return next(pieces)


async def async_first_piece(rest):
    pieces = aiter(nffi.request().pieces)
    await anext(pieces)
    return await anext(pieces)


def do_many(rest):
    return bytes(int(rest))


def do_many_written(rest):
    nffi.request().write(bytes(int(rest)))


async def async_many_written(rest):
    await nffi.request().write(bytes(int(rest)))


def both(*jobs):
    """Each on a thread of its own: what they say."""
    said = []

    def run(job):
        try:
            said.append(job())
        except nffi.Gone:
            said.append("gone")

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ", ".join(sorted(said))


def do_duplex(rest):
    request = nffi.request()

    def read():
        return f"read {b''.join(request.pieces).decode()}"

    def write():
        request.write(b"x")
        return "wrote"

    return both(read, write)


async def async_duplex(rest):
    request = nffi.request()

    async def read():
        return f"read {b''.join([piece async for piece in request.pieces]).decode()}"

    async def write():
        await request.write(b"x")
        return "wrote"

    return ", ".join(await asyncio.gather(read(), write()))


def do_two_writers(rest):
    request = nffi.request()
    both(lambda: str(request.write(b"x")), lambda: str(request.write(b"y")))
    return "both"


async def async_left_reader(rest):
    """A task of its own waits for a piece, and nobody for the task."""

    async def read():
        return [piece async for piece in nffi.request().pieces]

    reader = asyncio.create_task(read())
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        try:
            return str(await reader)
        except nffi.Gone:
            return "gone"


def do_two_readers(rest):
    request = nffi.request()

    def second():
        pieces = iter(request.pieces)
        next(pieces)
        return next(pieces).decode()

    return both(second, second)


async def async_two_readers(rest):
    async def second():
        pieces = aiter(nffi.request().pieces)
        await anext(pieces)
        return (await anext(pieces)).decode()

    return ", ".join(sorted(await asyncio.gather(second(), second())))


async def async_two_writers(rest):
    request = nffi.request()
    await asyncio.gather(request.write(b"x"), request.write(b"y"))
    return "both"


class Service:
    def method(self, data):
        return b"m:" + data

    async def __call__(self, data):
        return b"c:" + data


service = Service()
no_function = 5
