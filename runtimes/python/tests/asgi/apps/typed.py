"""Is a dict what asgiref's typed definitions say? By their type hints alone."""

import collections.abc
import types
import typing

from asgiref import typing as asgi

SCOPES = {"http": asgi.HTTPScope, "websocket": asgi.WebSocketScope, "lifespan": asgi.LifespanScope}
RECEIVED = {
    "http.request": asgi.HTTPRequestEvent,
    "http.disconnect": asgi.HTTPDisconnectEvent,
    "websocket.connect": asgi.WebSocketConnectEvent,
    "websocket.receive": asgi.WebSocketReceiveEvent,
    "websocket.disconnect": asgi.WebSocketDisconnectEvent,
    "lifespan.startup": asgi.LifespanStartupEvent,
    "lifespan.shutdown": asgi.LifespanShutdownEvent,
}


def problems(value, hint, where="it"):
    """What is wrong with the value, as text."""
    if typing.is_typeddict(hint):
        return list(_of_dict(value, hint, where))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.NotRequired, typing.Required):
        return problems(value, args[0], where)
    if origin in (typing.Union, types.UnionType):
        return [] if any(not problems(value, one, where) for one in args) else [f"{where} is {value!r}, not {hint}"]
    if origin is typing.Literal:
        return [] if value in args else [f"{where} is {value!r}, none of {args}"]
    if origin is tuple:
        if not isinstance(value, (tuple, list)) or len(value) != len(args):
            return [f"{where} is {value!r}, not {hint}"]
        pairs = zip(value, args, strict=True)
        return [found for i, (one, arg) in enumerate(pairs) for found in problems(one, arg, f"{where}[{i}]")]
    if origin is collections.abc.Iterable:
        return [found for i, one in enumerate(value) for found in problems(one, args[0], f"{where}[{i}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{where} is {value!r}, no dict"]
        both = [
            problems(k, args[0], f"a key of {where}") + problems(v, args[1], f"{where}[{k!r}]")
            for k, v in value.items()
        ]
        return [found for each in both for found in each]
    if hint is typing.Any or hint is object:
        return []
    if hint is None:
        hint = type(None)
    # True is no int here.
    return [] if type(value) is hint else [f"{where} is {value!r}, not {hint}"]


def _of_dict(value, hint, where):
    if type(value) is not dict:
        yield f"{where} is no dict, but {type(value)}"
        return
    hints = typing.get_type_hints(hint, include_extras=True)
    for key in value.keys() - hints.keys():
        yield f"{where} has {key!r}, which {hint.__name__} has not"
    for key, one in hints.items():
        if key in value:
            yield from problems(value[key], one, f"{where}[{key!r}]")
        elif typing.get_origin(one) is not typing.NotRequired and problems(None, one):
            # ASGI: what may be None may be missing.
            yield f"{where} lacks {key!r}"
