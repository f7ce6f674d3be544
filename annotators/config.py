"""What a config says about models: which provider answers for a role, how fast, and for how much money."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.errors import InputError

ROLES = ("writer", "reasoner", "painter", "describer", "rewriter", "planner", "judge")
PROVIDERS = ("offline", "gemini", "openai", "dashscope")
LIMITS = ("in_flight", "rpm", "tpm")
_SAMPLING = ("temperature", "top_p", "max_tokens", "seed")


class ModelConfig(BaseModel):
    """One model of a role.

    Attributes:
        model: the name the provider knows it by; `offline` for the embedded provider.
        api_key_env: the environment variable that holds the key; the key itself never stands in a config.
        in_flight, rpm, tpm: calls at once, requests and tokens per minute, over all workers and slices together.
        weight: its share where a role names several models.
        extra: sampling parameters beyond the named ones, passed on as they are.
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
    extra: dict[str, Any] = {}
    timeout: float = Field(default=180.0, gt=0)
    total_time: float = Field(default=1200.0, gt=0)
    max_attempts: int = Field(default=6, ge=1)

    @field_validator("provider")
    @classmethod
    def _known(cls, provider: str) -> str:
        if provider not in PROVIDERS:
            raise ValueError(f"{provider!r} is no provider; choose one of {', '.join(PROVIDERS)}")
        return provider

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
