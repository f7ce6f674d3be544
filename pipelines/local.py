"""A local run: waves of shards on Beam's FnApiRunner, in threads of one process that share one engine."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import threading
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

from annotators.engine import INTERRUPTED
from annotators.errors import Stop
from pipelines import waves
from pipelines.datasets import graph_of
from pipelines.job_service import needed, run_to_end
from pipelines.numbers import Numbers, committed, numbers_of
from pipelines.spec import RunSpec, ShardRange, close_session, session
from pipelines.wave_events import told
from schemas.errors import InputError

LOCAL_RUNNER = "--runner=FnApiRunner"
"""Named always: Beam's default runner tries to fetch another one and then behaves differently."""


class LocalRun:
    """Makes `shards` in the background; the caller watches and may stop it.

    Args:
        beam_options: as `checked_options` gave them.
    """

    def __init__(self, spec: RunSpec, shards: Sequence[ShardRange], beam_options: Sequence[str] = ()) -> None:
        self._spec, self._shards = spec, list(shards)
        self._options = list(beam_options)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="run", daemon=True)

    def start(self) -> None:
        """Open the session, then begin; errors of opening are raised here."""
        self._engine = session(self._spec).engine
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when the run has ended. Raises what a wave raised."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    @property
    def stopped(self) -> Stop | None:
        """Why the run ends early; None while it does not."""
        return self._engine.stopped

    def progress(self) -> Numbers:
        """The numbers of the live line and of the metrics."""
        return numbers_of(self._engine.progress(), committed(self._spec.key))

    def interrupt(self) -> None:
        """Stop in order: remaining plans drain unasked, shards that miss one are not committed."""
        self._engine.stop(Stop(INTERRUPTED, "interrupted; the same command resumes"))

    def close(self) -> None:
        """Close the session, and with it the engine."""
        close_session(self._spec)

    def _run(self) -> None:
        dealt = waves.Waves(self._shards, self._spec.config.output.shard_samples)
        opened = session(self._spec)
        try:
            from pipelines.transforms import stopping  # it takes Beam, which only a run needs

            with stopping(opened):
                self._engine.ask_batches(opened.recipe(), lambda: chain.from_iterable(map(opened.plans, self._shards)))
            waves.run(dealt, self._make, lambda: self.stopped is not None)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error

    def _make(self, wave: list[ShardRange]) -> None:
        with told(wave):
            run_pipeline(self._spec, wave, self._options)


def checked_options(options: Sequence[str]) -> tuple[list[str], argparse.Namespace]:
    """Beam's options with the local runner named, unless another one is; and what Beam reads in them.

    Raises:
        InputError: Beam does not take one of them, it would start processes that no engine reaches, or the job service
            that they name is not there.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    named = any(o == "--runner" or o.startswith("--runner=") for o in options)
    whole = [*options, *([] if named else [LOCAL_RUNNER])]
    parser = argparse.ArgumentParser(prog="Beam", allow_abbrev=False, exit_on_error=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(cast(Any, parser))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            known, unknown = parser.parse_known_args(whole)
    except (argparse.ArgumentError, SystemExit) as error:
        line = (said.getvalue().strip().splitlines() or [str(error)])[-1].rpartition("error: ")[2]
        raise InputError(f"after `--`: {line}; see Beam's pipeline options") from error
    if unknown:
        raise InputError(f"{unknown[0]}: is no option of Beam; a key of the configuration is set with --set KEY=VALUE")
    if getattr(known, "direct_running_mode", "in_memory") not in ("in_memory", "multi_threading"):
        raise InputError("--direct_running_mode: use plumbline's own --workers, which shares limits and stops in order")
    return [*whole, *needed(whole, known)], known


def run_pipeline(spec: RunSpec, shards: list[ShardRange], options: Sequence[str]) -> None:
    """One Beam job over `shards`."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    pipeline = beam.Pipeline(options=PipelineOptions(list(options)))
    graph_of(spec.config.dataset)(pipeline, spec, shards)
    run_to_end(pipeline)
