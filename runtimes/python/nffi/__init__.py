"""What a handler may use inside nffi's Python host.

A handler is a function of a module that `nffi_runtime` names as MODULE:FUNCTION. It takes the request's bytes and
returns the answer's: bytes, anything with a buffer, str (as UTF-8), or None for no bytes. A `def` runs on a thread
of a pool, an `async def` on an asyncio loop. A generator function, of either kind, yields the answer in pieces.

The module may have a function `init(config)`, called once before the first request with the options that are not
the host's own, and what it returns is `nffi.state()`. It must return before calls are answered; what it raises is
why the runtime fails to start.

Raise `nffi.Error(status, message)` to answer with an error of your own. Any other exception is answered with status
1 and "TYPE: TEXT", and its traceback goes to the host's log.
"""

from ._context import Error, Gone, cancelled, config, log, request, state

try:
    from ._native import Request
except ImportError:
    # Outside of a host, say in a unit test of a handler: there are no requests.
    class Request:  # type: ignore[no-redef]
        """The request that a handler works on; see `nffi.request()`."""


__all__ = ["Error", "Gone", "Request", "cancelled", "config", "log", "request", "state"]
