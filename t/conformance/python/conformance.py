"""The conformance handler, as a user of the Python host writes it: a def and an async def."""

import asyncio
import logging
import os
import subprocess
import time

import nffi

log = logging.getLogger("conformance")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class State:
    def __init__(self):
        self.cancelled = 0


def init(config):
    time.sleep(int(config.get("init_sleep", 0)) / 1000)
    if "init_fail" in config:
        raise RuntimeError(config["init_fail"])
    return State()


def handle(data):
    if not data.startswith(b"!"):
        return data
    command, rest = split(data)
    if command == "!sleep":
        end = time.monotonic() + int(rest) / 1000
        while (left := end - time.monotonic()) > 0:
            if nffi.cancelled():
                nffi.state().cancelled += 1
                raise nffi.Gone
            time.sleep(min(left, 0.01))
        return "slept"
    if command == "!run":
        done = subprocess.run(["sh", "-c", rest], stdout=subprocess.PIPE)
        return b"%d %s" % (done.returncode, done.stdout)
    return quick(command, rest)


async def handle_async(data):
    if not data.startswith(b"!"):
        return data
    command, rest = split(data)
    if command == "!sleep":
        try:
            await asyncio.sleep(int(rest) / 1000)
        except asyncio.CancelledError:
            nffi.state().cancelled += 1
            raise
        return "slept"
    if command == "!run":
        process = await asyncio.create_subprocess_exec("sh", "-c", rest, stdout=subprocess.PIPE)
        output, _ = await process.communicate()
        return b"%d %s" % (process.returncode, output)
    return quick(command, rest)


def split(data):
    command, _, rest = data.decode().partition(" ")
    return command, rest


def quick(command, rest):
    """What neither waits nor works."""
    match command:
        case "!greeting":
            return nffi.config().get("greeting", "")
        case "!fail":
            status, _, text = rest.partition(" ")
            raise nffi.Error(int(status), text)
        case "!error":
            raise nffi.Error(1, rest)
        case "!throw":
            raise ValueError(rest)
        case "!cancelled":
            return str(nffi.state().cancelled)
        case "!log":
            level, _, text = rest.partition(" ")
            log.log(LEVELS[level], text)
            return "logged"
        case "!env":
            if rest not in os.environ:
                raise nffi.Error(1, f"no {rest}")
            return os.environ[rest]
        case "!cwd":
            return os.getcwd()
    raise nffi.Error(1, f"what is {command}?")
