"""What this machine's packages weigh: statistics of its dpkg status file, with the standard library alone.

A request is ignored; an answer is JSON. The handler's option is `status`, the file.
"""

import json
import math
import re
import statistics

STATUS = "/var/lib/dpkg/status"


def init(config):
    """Called once, before the first request, with the options that the host does not know."""
    global STATUS
    STATUS = config.get("status", STATUS)
    open(STATUS, encoding="utf-8").close()  # says now, not at the first request, what is wrong with it


def packages(text):
    """(name, KiB installed, number of dependencies) of each installed package."""
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", paragraph, re.M))
        if fields.get("Status", "").endswith(" installed"):
            depends = [d for d in fields.get("Depends", "").split(",") if d.strip()]
            yield fields["Package"], int(fields.get("Installed-Size", 0)), len(depends)


def handle(request):
    with open(STATUS, encoding="utf-8", errors="replace") as file:
        found = list(packages(file.read()))
    sizes = [size for _, size, _ in found]
    if len(sizes) < 2:
        raise ValueError(f"{STATUS} has fewer than two installed packages")
    depends = [count for _, _, count in found]
    # By powers of two: package sizes are spread over six orders of magnitude.
    histogram = [0] * (max(1, max(sizes)).bit_length() + 1)
    for size in sizes:
        histogram[size.bit_length()] += 1
    logs = [math.log2(size + 1) for size in sizes]
    slope, _ = statistics.linear_regression(depends, logs) if len(set(depends)) > 1 else (0, 0)
    return json.dumps(
        {
            "packages": len(found),
            "total_kib": sum(sizes),
            "mean_kib": round(statistics.fmean(sizes), 1),
            "quartiles_kib": [round(q) for q in statistics.quantiles(sizes, n=4)],
            "largest": [{"name": n, "kib": s} for n, s, _ in sorted(found, key=lambda f: -f[1])[:5]],
            "histogram": [{"below_kib": 2**power, "packages": n} for power, n in enumerate(histogram)],
            "each_dependency_multiplies_by": round(2**slope, 3),
            "correlation": round(statistics.correlation(depends, logs), 3) if len(set(depends)) > 1 else 0,
        }
    ).encode()
