"""What /proc tells: the machine, the CPU time of processes and cores, memory."""

import os
import platform
import re

TICKS = os.sysconf("SC_CLK_TCK")


def cpus():
    """The CPUs that this process may use, in order."""
    return sorted(os.sched_getaffinity(0))


def cpu_seconds(pid):
    """utime + stime of a process, all its threads."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def core_seconds(cpu):
    """Busy seconds of a core since boot; of all together for ""."""
    with open("/proc/stat") as f:
        for line in f:
            name, *values = line.split()
            if name == f"cpu{cpu}":
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, values[:8])
                return (user + nice + system + irq + softirq + steal) / TICKS
    raise LookupError(f"no cpu{cpu} in /proc/stat")


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as f:
        return 1024 * int(re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.M)[1])


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def describe():
    """One line: cores, CPU, kernel."""
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    name = model[1] if model else platform.machine()
    return f"{len(cpus())} cores of {name}, Linux {platform.release().partition('-')[0]}"
