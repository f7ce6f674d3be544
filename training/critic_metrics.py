"""What a critic's training tells: a line of `metrics.jsonl` per logged step, and a loss that is no number at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

METRICS = "metrics.jsonl"
_NAMES = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "epoch": "epoch",
    "eval_loss": "eval_loss",
    "eval_mean_token_accuracy": "eval_token_accuracy",
}


class NotANumber(ArithmeticError):
    """The loss is NaN or infinite."""


def checking(trainer: type[Any]) -> type[Any]:
    """The trainer with an eye on each loss: one that is no number is raised before it reaches a weight.

    Raises:
        NotANumber: from `train`.
    """
    import torch

    class Checking(trainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **more: Any) -> Any:
            found = super().compute_loss(*args, **more)
            loss = found[0] if isinstance(found, tuple) else found
            if not torch.isfinite(loss.detach()).all():
                raise NotANumber(f"the loss of update {self.state.global_step + 1:,} is {float(loss.detach()):g}")
            return found

    return Checking


def logging_to(file: str, step: int, say: Callable[[str], None]) -> Any:
    """A callback that appends to `file`; lines after `step`, of a run that broke off, are taken out first.

    A line holds `step`, `loss` (mean over the updates since the last line), `lr`, `tokens_per_s` (of text and images,
    all processes together), `token_accuracy`, `grad_norm` and `epoch`; or, of an evaluation, `step` and `eval_loss`.
    """
    from transformers import TrainerCallback

    class Logging(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.tokens, self.since = 0, time.perf_counter()
            if state.is_world_process_zero:
                _cut(file, step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            line = {name: logs[key] for key, name in _NAMES.items() if key in logs}
            if not state.is_world_process_zero or not {"loss", "eval_loss"} & line.keys():
                return
            if "loss" in line:
                now, tokens = time.perf_counter(), int(logs.get("num_tokens", 0))
                line["tokens_per_s"] = round((tokens - self.tokens) / (now - self.since), 1)
                self.tokens, self.since = tokens, now
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": state.global_step, **line}) + "\n")
            shown = "  ".join(f"{name} {line[name]:.4g}" for name in _SHOWN if name in line)
            say(f"update {state.global_step:,} of {state.max_steps:,}  {shown}")

    return Logging()


_SHOWN = ("loss", "eval_loss", "lr", "tokens_per_s")


def _cut(file: str, step: int) -> None:
    if not os.path.exists(file):
        return
    with open(file, encoding="utf-8") as lines:
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    with open(file, "w", encoding="utf-8") as lines:
        lines.writelines(kept)
