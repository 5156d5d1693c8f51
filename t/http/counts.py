"""Many requests and many upgraded connections: nothing grows. 1 000 000 and 10 000 at scale 1.

Guards: what each request takes (an exchange, a slot, a number, pieces) is given back.
"""

from client import Raw, each, fds, idle, report, rss_kb, serve, wait_for

from harness import run

UPGRADE = "Connection: Upgrade\r\nUpgrade: echo\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
# What is pipelined: requests and the bodies of their answers.
KINDS = [(GET % b"/hello", b"hello\n"), (POST % b"/body", b"hello"), (POST % b"/off/body", b"hello"),
         (GET % b"/stream?n=3&size=4", b"aaaabbbbcccc")]


def ask(nginx, total):
    """So many requests over a few connections, 100 on their way at a time; how many answers were right."""
    done = right = 0
    batch = [KINDS[0 if i % 8 else i // 8 % len(KINDS)] for i in range(96)]
    block, clients = b"".join(request for request, _ in batch), [Raw(nginx.port) for _ in range(2)]
    while done < total:
        for c in clients:
            c.send(block)
        for c in clients:
            for _, body in batch:
                status, _, got = c.answer()
                right += status == 200 and got == body
                done += 1
    for c in clients:
        c.close()
    return done, right


def requests(checks, nginx, total):
    worker = nginx.workers()[0]
    ask(nginx, max(10000, total // 10))
    memory, open_fds = rss_kb(worker), fds(worker)
    done, right = ask(nginx, total)
    checks.check(right == done, f"{total} requests are answered", right, "of", done)
    checks.check(idle(nginx) and report(nginx)["bad"] == 0, "no task is left")
    checks.check(rss_kb(worker) - memory < 8000, "memory is as before", memory, "->", rss_kb(worker))
    checks.check(wait_for(lambda: fds(worker) <= open_fds, 5), "descriptors are as before", open_fds, "->", fds(worker))


def upgraded(checks, nginx, total):
    worker = nginx.workers()[0]

    def some(n):
        clients = []
        for i in range(n):
            c = Raw(nginx.port)
            c.ask("/upgrade", headers=UPGRADE)
            clients.append(c)
        good = 0
        for i, c in enumerate(clients):
            good += c.head()[0] == 101
            c.send("x" * (i % 7 * 1000 + 1))
            if i % 3:
                c.exactly(i % 7 * 1000 + 1)
        for i, c in enumerate(clients):
            if i % 3 == 0:
                c.reset()
            elif i % 3 == 1:
                c.close()
            else:
                c.end()
                good -= c.rest() != b"bye\n"
                c.close()
        return good

    for _ in range(3):
        some(250)
        idle(nginx, 20)
    memory, open_fds, good, done = rss_kb(worker), fds(worker), 0, 0
    while done < total:
        good += some(250)
        done += 250
        if not idle(nginx, 20):
            break
    checks.check(good == done and idle(nginx), f"{total} upgraded connections opened and dropped", good, "of", done)
    checks.check(rss_kb(worker) - memory < 16000, "upgraded: memory is as before", memory, "->", rss_kb(worker))
    checks.check(wait_for(lambda: fds(worker) <= open_fds, 5), "upgraded: descriptors are as before", open_fds, "->", fds(worker))


def body(checks, scale):
    nginx = serve(checks)
    each(checks, (requests, nginx, max(20000, int(1000000 * scale))), (upgraded, nginx, max(500, int(10000 * scale))))
    checks.check(not nginx.bad_lines(), "the error log is silent", nginx.bad_lines()[:3])


if __name__ == "__main__":
    run("counts", body, __doc__)
