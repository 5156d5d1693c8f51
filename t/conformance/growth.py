"""A language's memory after a million calls (--scale 1): what it grows by after the first fifth."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "survive"))
from harness import run  # noqa: E402

LIBRARY, OPTIONS = os.environ["NFFI_LIBRARY"], os.environ["NFFI_OPTIONS"]
CALLS = 1_000_000
# What allocators and collectors may still take: a leak of 50 bytes a call would pass it at a million calls.
MOST_KB = 16_384

LOOP = """
location = /loop {
    content_by_lua_block {
        local nffi = require "resty.nffi"
        local left = tonumber(ngx.var.arg_n)
        local function caller()
            while left > 0 do
                left = left - 1
                local sent = "call " .. left .. (" "):rep(left % 500)
                if nffi.call("fixture", sent) ~= sent then
                    error("wrong answer")
                end
                if left % 50 == 0 then
                    nffi.call("fixture", "!error on purpose")
                end
            end
        end
        local threads = {}
        for i = 1, 32 do
            threads[i] = ngx.thread.spawn(caller)
        end
        for i = 1, 32 do
            assert(ngx.thread.wait(threads[i]))
        end
        collectgarbage()
        collectgarbage()
        ngx.print("done")
    }
}
"""


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def body(checks, scale):
    nginx = checks.nginx(runtimes=f"nffi_runtime fixture {LIBRARY} {{ include {OPTIONS}; }}", server=LOOP)
    fifth = int(CALLS * scale / 5)
    sizes = []
    for _ in range(5):
        status, answer = nginx.get(f"/loop?n={fifth}", timeout=600)
        if not checks.check((status, answer) == (200, b"done"), f"{fifth} calls", status, answer):
            return
        sizes.append(resident(nginx.workers()[0]))
    checks.check(sizes[-1] - sizes[0] < MOST_KB, "no growth after the first fifth", "KiB:", *sizes)
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run(f"growth {os.environ.get('NFFI_LANGUAGE', '')}", body, __doc__)
