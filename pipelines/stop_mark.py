"""Why a run on a service ends early, as one small object in its output, which launcher and workers all look at.

The first process that stops (a spent budget, a wrong key) writes it, and the others, which ask every few seconds, stop
with it; so does the launcher after Ctrl-C. When the job has ended the launcher reads it, and ends as it says. Each
attempt has its own. It belongs to no dataset: no digest covers it.
"""

from __future__ import annotations

import json

from annotators.errors import Stop
from pipelines.spec import RunSpec
from schemas.errors import PlumblineError, StoppedError
from storage import paths

FOLDER = ".stopped"


def put(spec: RunSpec, stop: Stop) -> None:
    """Say why the run ends; the first reason given stays.

    Raises:
        OSError: the output cannot be written.
    """
    if read(spec) is None:
        body = json.dumps({"exit_code": stop.exit_code, "line": stop.line}, ensure_ascii=False)
        paths.write_atomic(place(spec), body.encode())


def read(spec: RunSpec) -> Stop | None:
    """Why the run ends early; None while it does not.

    Raises:
        OSError: the output cannot be read.
    """
    try:
        told = json.loads(paths.read_bytes(place(spec)))
        return Stop(int(told["exit_code"]), str(told["line"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Stop(StoppedError.exit_code, "the run was stopped; run the same command to go on")


def place(spec: RunSpec) -> str:
    """Where an attempt's stop is."""
    return paths.join(spec.out, f"{FOLDER}/{spec.attempt}.json")


def stop_of(error: Exception) -> Stop:
    """The stop that an error is."""
    if isinstance(error, PlumblineError):
        return Stop(error.exit_code, str(error))
    return Stop(1, f"unforeseen: {type(error).__name__}: {error}")
