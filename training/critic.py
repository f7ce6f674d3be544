"""FIRM's reward model: supervised fine-tuning of a vision-language model on student rows (arXiv 2603.12247, 4.1).

The loop is TRL's SFTTrainer; the loss is next-token cross-entropy on the student's answer alone. Here stands what it
needs around: rows out of the shards, one line per logged step, and one line for whatever ends it early.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, PlumblineError, StoppedError
from storage import paths
from training.critic_config import CriticConfig
from training.critic_data import Rows
from training.critic_metrics import METRICS, NotANumber, checking, logging_to
from training.critic_model import load_model, load_processor, save
from training.memory import ran_out

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

SETTINGS = "critic.json"
"""In the folder that is written: what shaped its weights; a checkpoint goes on only under the same."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How torch.save says that a file could not be written to its end.
_UNWRITTEN = ("PytorchStreamWriter", "inline_container", "iostream error")


def train(config: CriticConfig, say: Callable[[str], None]) -> None:
    """Train, or go on from the last checkpoint, and leave a transformers folder in `config.out`.

    Args:
        say: is told a line per logged step.

    Raises:
        InputError: bad data, no model in `init`, a checkpoint of another configuration.
        StoppedError: the loss is no number, or memory did not suffice; the last checkpoint is kept.
        DamageError: a row is not what its index says.
    """
    rows = Rows(config.data, ids=config.ids)
    held_out = Rows(config.data, "test") if config.eval_every else None
    checkpoint = _checkpoint(config)
    if int(os.environ.get("RANK", "0")):
        say = _silent
    else:
        _keep_settings(config)
    processor = load_processor(config)
    step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    total = f"{len(rows):,} rows of {', '.join(config.data)}"
    say(f"{total}; " + (f"goes on from {checkpoint}" if checkpoint else f"begins at {config.init}"))
    with _one_line(config):
        trainer = trainer_of(config, load_model(config), processor, rows, held_out)
        trainer.add_callback(logging_to(os.path.join(config.out, METRICS), step, say))
        trainer.train(resume_from_checkpoint=checkpoint)
        save(trainer, processor, config.out)
    say(f"{config.out}: the model after {trainer.state.global_step:,} updates")


def _silent(line: str) -> None: ...


def trainer_of(config: CriticConfig, model: Any, processor: Any, rows: Rows, held_out: Rows | None) -> SFTTrainer:
    """TRL's trainer of these rows, with the loss on the completion alone and every loss looked at."""
    from transformers import PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    trainer: SFTTrainer = checking(SFTTrainer)(
        model=model,
        args=_arguments(config),
        train_dataset=rows.dataset(),
        eval_dataset=None if held_out is None else held_out.dataset(),
        processing_class=processor,
        peft_config=_adapters(config),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(config: CriticConfig) -> SFTConfig:
    import torch
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=config.out,
        max_steps=config.steps or -1,
        num_train_epochs=config.epochs,
        seed=config.seed,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        # Cutting into the tokens of an image breaks it; `image_side` bounds a row's length.
        max_length=None,
        completion_only_loss=True,
        bf16=config.bf16,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=config.recompute,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        logging_steps=config.log_every,
        # The filter would log the last finite loss in a NaN's place.
        logging_nan_inf_filter=False,
        save_steps=config.save_every,
        save_total_limit=config.keep,
        eval_strategy="steps" if config.eval_every else "no",
        eval_steps=config.eval_every or None,
        report_to=[],
        disable_tqdm=True,
    )


def _adapters(config: CriticConfig) -> Any:
    if config.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.targets,
        exclude_modules=r".*\bvisual\b.*" if config.freeze_vision else None,
        task_type="CAUSAL_LM",
    )


def _checkpoint(config: CriticConfig) -> str | None:
    """The last whole checkpoint in `out`; None where there is none yet."""
    found = last_checkpoint(config.out)
    if not config.resume:
        if found:
            raise InputError(f"out: {config.out} has {os.path.basename(found)}; set resume: true, or name another out")
        return None
    file = os.path.join(config.out, SETTINGS)
    if found is None or not os.path.exists(file):
        return found
    try:
        before = json.loads(paths.read_bytes(file))
    except ValueError as error:
        raise InputError(f"{file}: is damaged ({error}); name another out") from error
    now = _settings(config)
    for key in now:
        if before.get(key) != now[key]:
            was, what = json.dumps(before.get(key)), json.dumps(now[key])
            raise InputError(f"{key}: {found} was trained with {was}, not {what}; set it so, or name another out")
    return found


def last_checkpoint(out: str) -> str | None:
    """The newest checkpoint of a folder that was written to its end: its state is what is written last."""
    names = os.listdir(out) if os.path.isdir(out) else []
    steps = sorted(int(name[11:]) for name in names if name.startswith("checkpoint-") and name[11:].isdigit())
    for step in reversed(steps):
        folder = os.path.join(out, f"checkpoint-{step}")
        try:
            if json.loads(paths.read_bytes(os.path.join(folder, "trainer_state.json")))["global_step"] == step:
                return folder
        except (OSError, ValueError, KeyError):
            continue
    return None


def _settings(config: CriticConfig) -> dict[str, Any]:
    # As torchrun and accelerate say it; the rows of an update are dealt out among them.
    return {**config.shaping(), "processes": int(os.environ.get("WORLD_SIZE", "1"))}


def _keep_settings(config: CriticConfig) -> None:
    file = os.path.join(config.out, SETTINGS)
    try:
        os.makedirs(config.out, exist_ok=True)
        paths.write_atomic(file, json.dumps(_settings(config), indent=2).encode() + b"\n")
    except OSError as error:
        raise InputError(f"out: {config.out} cannot be written: {error.strerror or error}") from error


@contextmanager
def _one_line(config: CriticConfig) -> Iterator[None]:
    """What ends a training early as one line that says what is kept."""
    from safetensors import SafetensorError

    try:
        yield
    except NotANumber as error:
        mend = "it has moved no weight: lower learning_rate or raise warmup, with another out"
        raise StoppedError(f"{error}; {mend}{_kept(config)}") from error
    except (MemoryError, RuntimeError) as error:
        if any(word in str(error) for word in _UNWRITTEN):
            raise _unwritten(config) from error
        if not ran_out(error):
            raise
        mend = "lower batch_size and raise accumulate, set image_side, or train adapters (lora)"
        raise StoppedError(f"out of memory; {mend}{_kept(config)}") from error
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) not in _FULL and "while serializing" not in str(error):
            raise
        raise _unwritten(config) from error
    except PlumblineError as error:
        # From a worker process it comes with that process's traceback; its last line is what was said.
        said = str(error).strip().splitlines()[-1]
        raise type(error)(said.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error


def _unwritten(config: CriticConfig) -> StoppedError:
    return StoppedError(
        f"out: {config.out} cannot be written, its disk may be full; make room and go on{_kept(config)}"
    )


def _kept(config: CriticConfig) -> str:
    found = last_checkpoint(config.out)
    return f" ({found} is there)" if found else " (there is no checkpoint yet)"
