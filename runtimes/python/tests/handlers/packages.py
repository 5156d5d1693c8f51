"""C extensions: numpy, and uvloop under the loop."""

import asyncio
import os
import sys
import threading

import numpy


def mean(data):
    """Of 64-bit numbers; solves a system of equations on the way, for LAPACK's sake."""
    values = numpy.frombuffer(data, dtype="<f8")
    square = numpy.eye(len(values)) * 2
    return f"{numpy.linalg.solve(square, values).mean() * 2:.3f} in {os.path.basename(sys.prefix)}"


async def loop(data):
    process = await asyncio.create_subprocess_exec("sh", "-c", "echo child; exit 3", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    await asyncio.sleep(0.01)
    name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return f"{name} {process.returncode} {output.decode().strip()} {threading.current_thread().name}"


async def echo(data):
    return data
