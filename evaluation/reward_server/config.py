"""`plumbline serve rewards CONFIG`: which reward, by which models, and how much of everything is taken in."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from annotators.config import BudgetConfig, ModelsConfig
from annotators.registry import World
from filters.weights import defect_of
from schemas.errors import InputError

Kind = Literal["cme", "qma", "clip_surrogate"]
Way = Literal["direct", "aided"]


class CmeReward(BaseModel):
    """Of an edit: Execution · (w1 + w2 · Consistency); see `rewards.critics.cme`.

    Attributes:
        way: `direct` asks the judge with images and instruction, as FIRM's reward models are asked; `aided` has the
            differences described first, as its teacher does (two calls more).
        mode: how scores of 1 to 5 become numbers; see `rewards.scores.normalise_scores`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cme"]
    way: Way = "direct"
    w1: float = Field(default=0.6, ge=0, le=1e6)
    w2: float = Field(default=0.4, ge=0, le=1e6)
    mode: Literal["range_1_5", "div5", "range_1_5_0.2_1"] = "range_1_5"

    @model_validator(mode="after")
    def _weighs(self) -> CmeReward:
        if self.w1 + self.w2 == 0:
            raise ValueError("w1 and w2 are both 0: one must weigh something")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are asked."""
        return ("describer", "judge") if self.way == "aided" else ("judge",)


class QmaReward(BaseModel):
    """Of a generated image: Instruction Following · (w1 + w2 · Quality); see `rewards.critics.qma`.

    Attributes:
        way: `direct` shows the judge the prompt alone; `aided` has a checklist planned from it first.
        blend: `mix` is the paper's; `ins` asks for no Quality.
        w1, w2: instead of the blend's; both or neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["qma"]
    way: Way = "direct"
    blend: Literal["mix", "legacy", "ins"] = "mix"
    w1: float | None = Field(default=None, ge=0, le=1e6)
    w2: float | None = Field(default=None, ge=0, le=1e6)

    @model_validator(mode="after")
    def _weighs(self) -> QmaReward:
        if (self.w1 is None) != (self.w2 is None) or (self.w1 is not None and self.blend == "ins"):
            raise ValueError("give both w1 and w2, or neither; and neither with blend: ins")
        if self.w1 is not None and self.w2 is not None and self.w1 + self.w2 == 0:
            raise ValueError("w1 and w2 are both 0: one must weigh something")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are asked."""
        return ("planner", "judge") if self.way == "aided" else ("judge",)


class ClipReward(BaseModel):
    """How well an image fits the caption of its own reasoning; see `rewards.surrogate.clip_surrogate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["clip_surrogate"]
    metric: Literal["cosine", "l2"] = "cosine"

    @property
    def roles(self) -> tuple[str, ...]:
        """No model is asked."""
        return ()


class ClipServing(BaseModel):
    """The CLIP of the surrogate.

    Attributes:
        weights: `toy` (the toy world only), `NAME/PRETRAINED` of open_clip, or `local-dir:PATH`.
        window: seconds that the first sample waits for others, so that several requests share a forward pass.
        most: samples in one pass at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    window: float = Field(default=0.005, ge=0, le=1)
    most: int = Field(default=256, ge=1, le=4096)

    @field_validator("weights")
    @classmethod
    def _names_weights(cls, weights: str) -> str:
        if defect := defect_of(weights):
            raise ValueError(defect)
        return weights


class Limits(BaseModel):
    """How much the server takes in. What is beyond is refused before it is worked on.

    Attributes:
        max_batch: samples of one request.
        max_image_bytes: of one encoded image.  max_pixels: of one image, width times height.
        max_text: characters of an instruction, prompt or caption.
        max_body_bytes: of one request.
        held_bytes: of all requests that are being read or answered.
        queue: samples waiting or under way, over all requests.
        timeout: seconds for one request; what is not answered by then is null, and goes on for whoever asks again.
        grace: seconds that running requests are given when the server is told to stop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_batch: int = Field(default=256, ge=1)
    max_image_bytes: int = Field(default=16 << 20, ge=1)
    max_pixels: int = Field(default=4096 * 4096, ge=1, le=120_000_000)
    max_text: int = Field(default=10_000, ge=1)
    max_body_bytes: int = Field(default=256 << 20, ge=1024)
    held_bytes: int = Field(default=1 << 30, ge=1024)
    queue: int = Field(default=2048, ge=1)
    timeout: float = Field(default=300.0, gt=0)
    grace: float = Field(default=60.0, ge=0)

    @model_validator(mode="after")
    def _a_request_fits(self) -> Limits:
        if self.queue < self.max_batch:
            raise ValueError(f"queue {self.queue} is less than max_batch {self.max_batch}: such a request never fits")
        if self.held_bytes < self.max_body_bytes:
            raise ValueError(f"held_bytes {self.held_bytes} is less than max_body_bytes {self.max_body_bytes}")
        return self


class RewardServerConfig(BaseModel):
    """The configuration of a reward server.

    Attributes:
        port: 0 takes any that is free; the first line printed says which.
        token_env: the environment variable with the token that a client must send; null asks for none.
        prompts: path of a prompt by its id (`firm/student_execution`), in the shipped one's place.
        ledger: where answers are kept, so that the same question is paid once: a folder or bucket address, null for
            the user's own, `false` for none beyond the server's life.
        budget: the most that this server may pay from its start to its end.
        world: what the images show; only the offline provider asks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8100, ge=0, le=65535)
    token_env: str | None = None
    reward: Annotated[CmeReward | QmaReward | ClipReward, Field(discriminator="kind")]
    models: ModelsConfig = ModelsConfig()
    clip: ClipServing | None = None
    prompts: dict[str, str] = {}
    ledger: str | Literal[False] | None = None
    budget: BudgetConfig = BudgetConfig()
    prices: str | None = None
    limits: Limits = Limits()
    world: World = "photos"

    @field_validator("reward", mode="before")
    @classmethod
    def _of_a_kind(cls, reward: Any) -> Any:
        kinds = get_args(Kind)
        if (isinstance(reward, dict) and reward.get("kind") in kinds) or isinstance(reward, BaseModel):
            return reward
        found = f"{reward.get('kind')!r} is none" if isinstance(reward, dict) and "kind" in reward else "it is missing"
        raise ValueError(f"write {{kind: ...}} with one of {', '.join(kinds)}; {found}")

    @field_validator("ledger", mode="before")
    @classmethod
    def _a_place_or_none(cls, ledger: Any) -> Any:
        if ledger is True:
            raise ValueError("write a folder or address, null for the user's own, or false; not true")
        return ledger

    @field_validator("models", mode="after")
    @classmethod
    def _answers_at_once(cls, models: ModelsConfig) -> ModelsConfig:
        for role in ("judge", "describer", "planner"):
            if any(one.mode == "batch" for one in getattr(models, role)):
                raise ValueError(f"{role} has mode: batch, which answers within a day; use mode: online")
        return models

    @model_validator(mode="after")
    def _has_what_it_asks(self) -> RewardServerConfig:
        if isinstance(self.reward, ClipReward) and self.clip is None:
            raise ValueError("reward.kind: clip_surrogate needs a CLIP: add clip: {weights: ...}")
        for role in self.reward.roles:
            try:
                self.models.of(role)
            except InputError as error:
                raise ValueError(str(error)) from None
        return self

    def shown(self) -> dict[str, Any]:
        """The reward as the server tells it."""
        return self.reward.model_dump(exclude_none=True)
