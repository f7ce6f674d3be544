"""What SFT and RL runs share: the backbone, the log, checkpoints, and one line for whatever ends them early."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from filters.devices import device_of
from schemas.errors import InputError, StoppedError
from storage import paths
from training import checkpoint
from training.backbone import Backbone
from training.backbones import qwen_image_edit, sd3
from training.backbones.toy import ToyBackbone
from training.backbones.words import Words
from training.config import Run
from training.data import Batches
from training.memory import ran_out
from training.optimising import Stepper
from training.processes import Processes

METRICS = "metrics.jsonl"
Say = Callable[[str], None]


class NotANumber(Exception):
    """The loss of a step is NaN or infinite."""


class Metrics:
    """`metrics.jsonl` of a run: a line of JSON per record, those behind the step that a run goes on from dropped."""

    def __init__(self, out: str, step: int, say: Say, *, writes: bool) -> None:
        self._address, self._say, self._writes = paths.join(out, METRICS), say, writes
        self._lines: list[str] = []
        if writes and step and paths.exists(self._address):
            kept = paths.read_bytes(self._address).decode().splitlines()
            self._lines = [line for line in kept if json.loads(line)["step"] <= step]

    def lacks_evaluation(self, step: int) -> bool:
        """Whether there is none of this step: a run may have been killed in the middle of it."""
        marks = {"pixel_mse", "eval_reward"}  # a run on labels has no target, SFT may have no reward
        return not any(found["step"] == step and marks & found.keys() for found in map(json.loads, self._lines))

    def write(self, step: int, **figures: Any) -> None:
        """Add a line, and say it; NaN and infinity become null."""
        if not self._writes:
            return
        told = sound(figures)
        self._lines.append(json.dumps({"step": step, **told}))
        paths.write_atomic(self._address, ("\n".join(self._lines) + "\n").encode())
        self._say(
            f"step {step:,}  "
            + "  ".join(f"{key} {_short(value)}" for key, value in told.items() if not isinstance(value, (list, dict)))
        )


class Clock:
    """Wall and CPU seconds of steps, those spent waiting for data apart."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._begin, self._cpu, self.waited, self.steps = time.perf_counter(), time.process_time(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what is done here as waiting for data."""
        begin = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begin

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count what is done here."""
        begin, cpu = time.perf_counter(), time.process_time()
        yield
        self._begin += time.perf_counter() - begin
        self._cpu += time.process_time() - cpu

    def figures(self) -> dict[str, float]:
        """Steps a second, by the wall and of this process's CPU time, and the share of the wall's spent waiting."""
        seconds = max(1e-9, time.perf_counter() - self._begin)
        cpu = max(1e-9, time.process_time() - self._cpu)
        found = {
            "steps_per_s": self.steps / seconds,
            "steps_per_cpu_s": self.steps / cpu,
            "waiting": self.waited / seconds,
        }
        self.begin()
        return found


def open_backbone(config: Run, texts: Callable[[], Iterator[str]]) -> Backbone:
    """The configured backbone with the weights of `init`, or its first ones.

    Args:
        texts: what the toy's vocabulary is taken from where there is no `init`.

    Raises:
        InputError: `init` is of another backbone, or of other parts of the same data; weights cannot be opened.
    """
    torch.manual_seed(config.seed)
    state = None if config.init is None else checkpoint.load_init(config.init)
    if state is not None:
        _refuse_other_parts(config, state["config"])
    if state is not None:
        begun, now = state["config"]["backbone"], json.loads(config.backbone.model_dump_json())
        if begun != now:
            key = next(key for key in sorted({*begun, *now}) if begun.get(key) != now.get(key))
            raise InputError(
                f"init: {config.init} has backbone.{key} = {begun.get(key)!r}, not {now.get(key)!r}; take its own"
            )
    backbone = _first(config, state, texts)
    if state is not None:
        backbone.restore(state["best"])
    return backbone


def _refuse_other_parts(config: Run, begun: dict[str, Any]) -> None:
    """Other shares of the same data would show this run what that one learned by, or judge it by that."""
    now = json.loads(config.held_out.model_dump_json())
    if begun["data"] == config.data and begun["held_out"] != now:
        raise InputError(f"init: {config.init} has held_out = {begun['held_out']}, not {now}; take its own")


def _first(config: Run, state: dict[str, Any] | None, texts: Callable[[], Iterator[str]]) -> Backbone:
    choice = config.backbone
    if choice.kind == "toy":
        words = Words(state["words"]) if state is not None else Words.of(texts())
        return ToyBackbone(choice, words).to(device_of(config.device))
    if choice.kind == "qwen_image_edit":
        return qwen_image_edit.open_backbone(choice, device=config.device, seed=config.seed)
    return sd3.open_backbone(choice, device=config.device, seed=config.seed)


def vocabulary(backbone: Backbone) -> list[str]:
    """Of the toy, which a checkpoint must hold; others have their own."""
    return list(backbone.words.words) if isinstance(backbone, ToyBackbone) else []


class Resumable(Protocol):
    """What SFT's and RL's runs have in common that a checkpoint keeps."""

    config: Any
    backbone: Backbone
    processes: Processes
    batches: Batches
    stepper: Stepper
    generator: torch.Generator
    step: int


def save(run: Resumable, *, best: dict[str, torch.Tensor], **more: Any) -> None:
    """Write the checkpoint of a run's step; every process calls this, the first one writes.

    Args:
        best: the weights to evaluate or to begin another run with.
        more: what this kind of run keeps beside.
    """
    generators = run.processes.gathered(run.generator.get_state()[None])
    if not run.processes.first:
        return
    state = {
        "config": settings(run.config, run.processes),
        "words": vocabulary(run.backbone),
        "weights": run.backbone.saved(),
        "best": best,
        "optimiser": run.stepper.state_dict(),
        "data": run.batches.state_dict(),
        "generators": generators,
    }
    checkpoint.save(run.config.out, run.step, {**state, **more})


def restore(run: Resumable, state: dict[str, Any]) -> None:
    """Go on where `save` was called, but for what it was given beside."""
    run.backbone.restore(state["weights"])
    run.stepper.load_state_dict(state["optimiser"])
    run.batches.load_state_dict(state["data"])
    run.generator.set_state(state["generators"][run.processes.rank])
    run.step = int(state["step"])


def set_threads(config: Run) -> None:
    """As many of this process's threads as the configuration says."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)


@contextmanager
def one_line(out: str) -> Iterator[None]:
    """What ends a run early becomes one line that says what is kept.

    Raises:
        StoppedError: the loss is no number, or memory did not suffice.
    """
    try:
        yield
    except NotANumber as error:
        raise StoppedError(f"{out}: {error}; {_mend(out, 'a lower optimiser.lr')}, or look at the data") from error
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise StoppedError(f"{out}: out of memory; {_mend(out, 'a smaller batch')}") from error


def refuse_nan(loss: torch.Tensor, step: int) -> None:
    """Raise `NotANumber` where a loss is none, before it moves a weight."""
    if not math.isfinite(value := float(loss.detach())):
        raise NotANumber(f"the loss of step {step:,} is {value}")


def begin(config: Run, processes: Processes) -> tuple[str, dict[str, Any]] | None:
    """(address, content) of the checkpoint to go on from; None where a run begins.

    Raises:
        InputError: there is one, of another configuration, or one that is not to be resumed.
    """
    found = checkpoint.last(config.out)
    if found is None:
        return None
    if not config.resume:
        raise InputError(f"{config.out}: holds a run already ({found}); choose another `out`, or set resume: true")
    state = checkpoint.load(found)
    if (kind := state["config"].get("kind")) != type(config).__name__:
        raise InputError(f"{config.out}: holds a run of another kind ({kind}); choose another `out`")
    checkpoint.refuse_another(found, state["config"], settings(config, processes))
    return found, state


def keep_settings(run: Resumable) -> None:
    """Write `config.json`, what the run was told, before its first step: where that cannot be, nothing could be kept.

    Raises:
        InputError: `out` cannot be written.
    """
    out, told = run.config.out, settings(run.config, run.processes)
    if not run.processes.first:
        return
    try:
        paths.write_atomic(paths.join(out, "config.json"), (json.dumps(told, indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(f"out: {out} cannot be written: {error.strerror or error}") from error


def finished(run: Resumable, say: Say) -> None:
    """Say what there is now."""
    if run.processes.first:
        say(f"{run.config.out}: {run.step:,} steps are done; weights: {checkpoint.last(run.config.out)}")


def settings(config: Run, processes: Processes) -> dict[str, Any]:
    """What a checkpoint must agree in."""
    return json.loads(json.dumps({**config.model_dump(), "processes": processes.world, "kind": type(config).__name__}))  # type: ignore[no-any-return]


def _mend(out: str, how: str) -> str:
    """A run goes on with its own settings alone: others begin another one, from the weights that were kept."""
    found = checkpoint.last(out)
    if found is None:
        return f"no checkpoint had been made; take {how}"
    return f"the last checkpoint is {found}; take {how}, with that as `init` and another `out`"


def sound(value: Any) -> Any:
    """The same as JSON has it: without NaN and infinity, numbers to six places."""
    if isinstance(value, dict):
        return {key: sound(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [sound(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
