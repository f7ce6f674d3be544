"""What a critic is trained by. No torch: the command line reads it before anything heavy is imported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from storage import configs


class LoraConfig(BaseModel):
    """Low-rank adapters in place of a full fine-tune; they are merged into the folder that is written.

    Attributes:
        targets: names of modules, or `all-linear`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rank: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class CriticConfig(BaseModel):
    """Fine-tunes a vision-language model on the student rows of FIRM outputs (arXiv 2603.12247, section 4.1).

    Attributes:
        data: one or several outputs of `firm-edit` and `firm-gen`, local or remote; their split `train` is learnt.
        out: the folder for the model, its checkpoints (`checkpoint-STEP`) and `metrics.jsonl`.
        init: a model's folder, or its name on the Hugging Face hub.
        steps: updates in all; null: as many as `epochs` has.
        seed: of the order of the rows and of new adapters.
        resume: go on from the last checkpoint in `out`; false refuses a folder that has one.
        ids: a file of sample ids, one to a line: only these rows are learnt (`plumbline select --write-ids`).
        learning_rate: its peak, after the warm-up.
        warmup: the share of the updates in which it rises.
        batch_size: rows per process and forward pass; an update takes `batch_size` x `accumulate` x processes.
        image_side: an image is scaled down to at most this many pixels squared; written to the processor, so whoever
            asks the model later shows it images of the same size. null: as the processor has it.
        lora: adapters; null: all weights.
        freeze_vision: leave the vision tower as it is.
        bf16: mixed precision; with `lora` the frozen weights are bf16, too.
        recompute: activations anew in the backward pass, for memory (gradient checkpointing).
        log_every, save_every: in updates.
        eval_every: in updates; the loss on the split `test`. 0: never.
        keep: checkpoints kept, the newest.
        workers: processes that read and decode beside the training; 0: none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    data: list[str] = Field(min_length=1)
    out: str = Field(min_length=1)
    init: str = Field(min_length=1)
    steps: int | None = Field(default=None, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    seed: int = Field(default=42, ge=0)
    resume: bool = True
    ids: str | None = None
    learning_rate: float = Field(default=1e-5, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    image_side: int | None = Field(default=None, ge=32)
    lora: LoraConfig | None = None
    freeze_vision: bool = False
    bf16: bool = False
    recompute: bool = True
    log_every: int = Field(default=10, ge=1)
    save_every: int = Field(default=500, ge=1)
    eval_every: int = Field(default=0, ge=0)
    keep: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)

    @field_validator("data", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # YAML takes 1e-5, which has no dot, for a text.
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    def shaping(self) -> dict[str, Any]:
        """What of it shapes the weights at a step: a checkpoint goes on only under the same."""
        aside = {"out", "resume", "workers", "log_every", "save_every", "eval_every", "keep", "recompute"}
        return self.model_dump(exclude=aside)


def load(path: str, settings: list[str]) -> CriticConfig:
    """Read a configuration.

    Raises:
        InputError: one line naming the file, the key or line, and the mend.
    """
    return configs.load(CriticConfig, path, settings)
