"""Starts runtimes. Runs on: the host's start thread, one at a time."""

from __future__ import annotations

import contextvars
import importlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ._asyncio import AsyncServer
from ._context import App, Error, current_app, described
from ._logging import install, uninstall, write_exception
from ._native import environ
from ._threads import ThreadServer

if TYPE_CHECKING:
    from ._native import Runtime


def start(native: Runtime, options: bytes) -> str | None:
    """Imports the handler, calls its module's init, and serves. Returns why that failed, or None."""
    app = App(native, options)
    # The handlers' threads inherit the mask, and programs that they start: there a blocked TERM would do nothing.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    install(app)
    try:
        contextvars.Context().run(_start, app)
        return None
    except BaseException as error:  # SystemExit too: a module's sys.exit() does not end the worker
        if not isinstance(error, Error):
            write_exception("", error, app)
        uninstall(app)
        return described(error)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start(app: App) -> None:
    current_app.set(app)
    _take_environment()
    if app.switch_interval < _switch_interval():
        sys.setswitchinterval(app.switch_interval)
    for folder in reversed(app.path):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    module = load_module(app.module, app.reload)
    app.handler = find(module, app.function)
    if app.interface != "message":
        _start_app(app)
        return
    init = getattr(module, "init", None)
    if callable(init):
        app.state = init(app.config)
        if inspect.iscoroutine(app.state):
            app.state.close()
            raise Error(1, f"{app.module}.init must be a def, not an async def")
    elif app.config:
        names = ", ".join(f'"{name}"' for name in app.config)
        raise Error(1, f"unknown options {names}: {app.module} has no init(config) that takes them")
    server = AsyncServer(app) if is_async(app.handler) else ThreadServer(app)
    app.native.set_server(server)
    server.start()


def _start_app(app: App) -> None:
    """For the interface NAME there is a module _NAME with a Server(app)."""
    if app.factory:
        app.handler = app.handler()
        if not callable(app.handler):
            raise Error(1, f"{app.module}.{app.function}() has returned no app, but {type(app.handler).__name__}")
    server = importlib.import_module(f"._{app.interface}", __package__).Server(app)
    app.native.set_server(server)
    server.start()


_switched = False


def _switch_interval() -> float:
    """The shortest that a runtime has asked for. The interpreter's own default counts for nothing."""
    global _switched
    before = sys.getswitchinterval() if _switched else float("inf")
    _switched = True
    return before


def _take_environment() -> None:
    """The host sets the variables of a runtime before it is started, which may be after Python was."""
    for name, value in environ():
        if os.environb.get(name) != value:
            os.environb[name] = value


def load_module(name: str, reload: bool) -> Any:
    loaded = sys.modules.get(name)
    if loaded is not None and reload:
        # Its file may be newer than what the finders remember of the folder.
        importlib.invalidate_caches()
        return importlib.reload(loaded)
    return importlib.import_module(name)


def find(module: Any, path: str) -> Callable[..., Any]:
    found = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Error(1, f"{module.__name__} has no {path}") from None
    if not callable(found):
        raise Error(1, f"{module.__name__}.{path} is no function, but {type(found).__name__}")
    return cast("Callable[..., Any]", found)


def is_async(handler: Any) -> bool:
    """Of a function, of a bound method, or of an object that can be called."""
    functions = (handler, type(handler).__call__)
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in functions)


def seed(module: str, function: str, cfg: int, cfg_len: int | None, queue: int) -> int:
    """Calls the init function of a library of lua-resty-ffi's ABI. Runs on: event loop."""
    try:
        _take_environment()
        folder, _, module = module.rpartition("/")
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
        name = module.removesuffix("?")
        if not name or not function:
            raise ValueError('"MODULE[?],FUNCTION[,CFG]" expected')
        init = find(load_module(name, name != module), function)
        if cfg_len is not None and len(inspect.signature(init).parameters) == 3:
            return int(init(cfg, cfg_len, queue))
        return int(init(cfg, queue))
    except BaseException as error:
        # To the host's log where there is one already, else to the process's own standard error.
        print(f"ffi_python3: {module},{function}: {described(error)}", file=sys.stderr)
        traceback.print_exception(error)
        return 1
