"""One process of a service's fleet: its session, opened with its part of every limit, and the run's stop.

What a worker of Dataflow opens, it opens here: a failure becomes the run's stop (`pipelines.stop_mark`), not an
exception, which Beam would try four times over before anybody hears of it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from annotators.budget import Allowance, allowance
from annotators.errors import Stop
from annotators.spending import spent
from pipelines import stop_mark
from pipelines.spec import RunSpec, Session, session
from schemas.errors import InputError, PlumblineError
from schemas.version import VERSION

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks of a process at the run's stop."""

_LOCK = threading.Lock()
_OPENED: dict[str, Session | Stop] = {}


def opened(spec: RunSpec) -> Session | None:
    """This process's session of a run; None where it cannot be opened or the run has stopped."""
    with _LOCK:
        found = _OPENED.get(spec.key)
        if found is None:
            found = _OPENED[spec.key] = _open(spec)
            if not isinstance(found, Stop):
                threading.Thread(target=_watch, args=(spec, found), name="run-stop", daemon=True).start()
    return None if isinstance(found, Stop) or found.engine.stopped is not None else found


def forget(spec: RunSpec) -> None:
    """Close what `opened` opened, for a process that goes on to other runs."""
    from pipelines.spec import close_session

    with _LOCK:
        _OPENED.pop(spec.key, None)
    close_session(spec)


def part_of_budget(spec: RunSpec) -> Allowance:
    """What one process may pay: its equal part of what is left of the slice's budget now.

    So that processes that open together cannot spend more than it together. One that is started later, in the place of
    one that died, has its part of what is left then.
    """
    left = allowance(spec.config.budget, spent(spec.out), (spec.slice.index, spec.slice.of))
    return left.divided(spec.fleet - 1, spec.fleet)


def _open(spec: RunSpec) -> Session | Stop:
    try:
        if spec.version != VERSION:
            raise InputError(
                f"the workers have plumbline {VERSION}, the launcher {spec.version}: build the image again from this "
                "checkout, or leave --sdk_container_image out"
            )
        stop = stop_mark.read(spec)
        if stop is not None:
            return stop
        return session(replace(spec, allowance=part_of_budget(spec)))
    except (PlumblineError, OSError) as error:
        stop = stop_mark.stop_of(error)
        log.error("the run stops: %s", stop.line)
        stop_mark.put(spec, stop)
        return stop


def _watch(spec: RunSpec, found: Session) -> None:
    """Tell the others when this process stops, and stop when another has."""
    wait = threading.Event()
    while _OPENED.get(spec.key) is found:
        try:
            if found.engine.stopped is not None:
                stop_mark.put(spec, found.engine.stopped)
                return
            stop = stop_mark.read(spec)
            if stop is not None:
                found.engine.stop(stop)
                return
        except OSError as error:  # the next look may succeed; a bucket that is gone stops the run at its next commit
            log.warning("%s: the run's stop cannot be looked at (%s)", spec.out, error)
        wait.wait(LOOK_EVERY)
