"""One engine per process and spec: what every pipeline and every Beam worker thread of a process asks for."""

from __future__ import annotations

import atexit
import os
import threading

from annotators.engine import Engine, EngineSpec

_LOCK = threading.Lock()
_ENGINES: dict[tuple[int, str], Engine] = {}


def shared_engine(spec: EngineSpec) -> Engine:
    """The engine of this process for `spec`, made by whoever asks first.

    A stopped engine stays: its stop holds for every pipeline of the run. `close_shared_engines` ends it.

    Raises:
        InputError: see `Engine`.
    """
    name = (os.getpid(), spec.model_dump_json())  # a forked child must not use its parent's loop
    with _LOCK:
        if name not in _ENGINES:
            _ENGINES[name] = Engine(spec)
        return _ENGINES[name]


def close_shared_engines() -> None:
    """Close every engine of this process; the next `shared_engine` makes a new one."""
    with _LOCK:
        for name in [name for name in _ENGINES if name[0] == os.getpid()]:
            _ENGINES.pop(name).close()


atexit.register(close_shared_engines)
