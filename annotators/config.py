"""What a config says about models: which provider answers for a role, how fast, and for how much money."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.errors import InputError

ROLES = ("writer", "reasoner", "painter", "describer", "rewriter", "planner", "judge")
PROVIDERS = ("offline", "gemini", "openai", "dashscope", "transformers")
LOCAL = ("offline", "transformers")
"""Those that answer in this process, for nothing."""
SHARED = (
    *("in_flight", "rpm", "tpm", "connect_timeout", "read_timeout", "timeout", "total_time", "max_attempts"),
    *("max_images", "sizes", "paints_by", "structured"),
)
"""Keys that belong to a model, whichever of its roles gives them."""
_SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "thinking_budget", "max_side")


class PriceConfig(BaseModel):
    """A price that goes before the price list's, in US dollars.

    Attributes:
        input, output: per million tokens; thinking counts as output.
        image_output: per million tokens of an image answer; `output` where absent.
        image: per image answer, instead of its output tokens.
        batch: the factor of a batch API's price.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    image_output: float | None = Field(default=None, ge=0)
    image: float | None = Field(default=None, ge=0)
    batch: float = Field(default=0.5, ge=0, le=1)


class ModelConfig(BaseModel):
    """One model of a role.

    Attributes:
        model: the name the provider knows it by; `offline` for the embedded provider; for `transformers` a folder.
        api_key_env: the environment variable that holds the key, or `secret:projects/P/secrets/NAME` in Google's Secret
            Manager; the key itself never stands in a config.
        in_flight, rpm, tpm: calls at once, requests and tokens per minute, over all workers and slices together.
        weight: its share where a role names several models.
        thinking_budget: tokens a Gemini model may think; 0 for none, -1 for as many as it likes.
        max_side: images are sent with no longer side than this, in pixels (default 2048).
        extra: sampling parameters beyond the named ones, passed on as they are.
        max_images, sizes: what a painter can take and give, where the provider's own declaration is wrong for this
            model: reference images in one request, and WIDTHxHEIGHT words.
        paints_by: how an OpenAI-compatible painter is asked: `images` (images.edit, or images.generate without
            references) or `chat` (a chat answer that holds an image).
        structured: how an OpenAI-compatible server is told the answer's schema; by default `json_schema`, and what
            the server knows instead once it has refused that.
        mode: `batch` asks through the provider's batch API before the run, at its lower price.
        price: goes before the price list's.
        connect_timeout, read_timeout: seconds to reach the server, and of its longest silence.
        timeout: seconds for one attempt.
        total_time: seconds for one request with all its retries, from the first attempt on.
        max_attempts: tries of one request that fail with 5xx, timeouts or resets; a 429 is no try.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    model: str = ""
    base_url: str | None = None
    api_key_env: str | None = None
    in_flight: int = Field(default=64, ge=1, le=4096)
    rpm: int | None = Field(default=None, ge=1)
    tpm: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0)
    thinking_budget: int | None = Field(default=None, ge=-1)
    max_side: int | None = Field(default=None, ge=64, le=8192)
    extra: dict[str, Any] = {}
    max_images: int | None = Field(default=None, ge=0)
    sizes: tuple[str, ...] | None = None
    paints_by: Literal["images", "chat"] = "images"
    structured: Literal["json_schema", "json_object", "guided_json", "prompt"] | None = None
    mode: Literal["online", "batch"] = "online"
    price: PriceConfig | None = None
    connect_timeout: float = Field(default=10.0, gt=0)
    read_timeout: float = Field(default=120.0, gt=0)
    timeout: float = Field(default=180.0, gt=0)
    total_time: float = Field(default=1200.0, gt=0)
    max_attempts: int = Field(default=6, ge=1)

    @field_validator("provider")
    @classmethod
    def _known(cls, provider: str) -> str:
        if provider not in PROVIDERS:
            raise ValueError(f"{provider!r} is no provider; choose one of {', '.join(PROVIDERS)}")
        return provider

    @field_validator("sizes")
    @classmethod
    def _readable_sizes(cls, sizes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for size in sizes or ():
            if not re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", size):
                raise ValueError(f"{size!r} is no size; write WIDTHxHEIGHT, as in 1024x1024")
        return sizes

    @property
    def size_list(self) -> tuple[tuple[int, int], ...] | None:
        """`sizes` as (width, height) pairs; None for any."""
        if self.sizes is None:
            return None
        pairs = [size.split("x") for size in self.sizes]
        return tuple((int(width), int(height)) for width, height in pairs)

    @model_validator(mode="before")
    @classmethod
    def _names_its_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("provider") == "offline":
            return {**data, "model": data.get("model") or "offline"}
        return data

    @model_validator(mode="after")
    def _has_a_model(self) -> ModelConfig:
        if not self.model:
            raise ValueError(f"provider {self.provider} needs the key `model`")
        if self.provider == "offline" and self.model != "offline":
            raise ValueError("the offline provider has one model, named offline; leave `model` out")
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that were given; they are part of each request's key."""
        named = {name: getattr(self, name) for name in _SAMPLING if getattr(self, name) is not None}
        return {**self.extra, **named}

    @property
    def lane(self) -> tuple[str, str, str, str]:
        """Models of equal lane share one quota at the provider, so their limits are counted together."""
        return (self.provider, self.model, self.base_url or "", self.api_key_env or "")

    def shaping(self) -> dict[str, Any]:
        """What of this shapes the bytes of a dataset (for run.json): no address, key variable, limit or time."""
        return {
            "provider": self.provider,
            "model": self.model,
            "weight": self.weight,
            "sampling": dict(sorted(self.sampling.items())),
        }


class ModelsConfig(BaseModel):
    """The `models:` section: each role is one model or a weighted mix; an absent role is an empty tuple."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    writer: tuple[ModelConfig, ...] = ()
    reasoner: tuple[ModelConfig, ...] = ()
    painter: tuple[ModelConfig, ...] = ()
    describer: tuple[ModelConfig, ...] = ()
    rewriter: tuple[ModelConfig, ...] = ()
    planner: tuple[ModelConfig, ...] = ()
    judge: tuple[ModelConfig, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _known_roles(cls, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [str(name) for name in data if name not in ROLES]
            if unknown:
                raise ValueError(f"{unknown[0]!r} is no role; choose from {', '.join(ROLES)}")
        return data

    @field_validator(*ROLES, mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict | ModelConfig) else value

    def of(self, role: str) -> tuple[ModelConfig, ...]:
        """The models of `role`.

        Raises:
            InputError: the role is unknown or has no model.
        """
        if role not in ROLES:
            raise InputError(f"models.{role}: no such role; choose from {', '.join(ROLES)}")
        found: tuple[ModelConfig, ...] = getattr(self, role)
        if not found:
            raise InputError(f"models.{role}: no model is configured for this role; add `{role}: {{provider: ...}}`")
        return found

    def shaping(self, roles: tuple[str, ...]) -> dict[str, Any]:
        """What of the models of `roles` shapes the bytes of a dataset."""
        return {role: [m.shaping() for m in self.of(role)] for role in roles}


class BudgetConfig(BaseModel):
    """The most a dataset may cost, over all attempts at it. None: no bound.

    Workers and slices have equal parts of what is left when they begin (`annotators.budget.Budget`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: float | None = Field(default=None, gt=0)
    calls: int | None = Field(default=None, ge=1)
