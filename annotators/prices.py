"""What an answer costs: the price list, the prices a config gives, and dollars from an answer's tokens.

The list is `configs/prices.yaml`, dated, with the source of each entry. A file of the same form goes before it (the
config's `prices`), and a model's own `price` before both.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotators.config import LOCAL, ModelConfig, ModelsConfig, PriceConfig
from annotators.interface import RawAnswer
from schemas.errors import InputError
from storage import paths

_MILLION = 1e6
# What may follow a listed name: a preview or a dated or numbered version of the same model, and nothing else, for
# the next word is often another model with another price (-lite, -mini, -image, -pro).
_VERSION = re.compile(r"(-(preview|latest|exp|\d[\d-]*))*")
# Hosts that are known to charge, by the end of their name. Those that are not in the price list have no price here.
_CLOUDS = {
    "googleapis.com": "google",
    "openai.com": "openai",
    "aliyuncs.com": "dashscope",
    **{
        host: host
        for host in (
            *("azure.com", "deepinfra.com", "fireworks.ai", "groq.com", "huggingface.co", "hyperbolic.xyz"),
            *("novita.ai", "openrouter.ai", "replicate.com", "siliconflow.cn", "siliconflow.com", "together.ai"),
            *("together.xyz", "volces.com", "x.ai"),
        )
    },
}
_HOME = {"gemini": "google", "openai": "openai", "dashscope": "dashscope"}


class Tier(BaseModel):
    """Prices per million tokens for prompts of more than `above` tokens; the whole prompt and answer cost them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    above: int = Field(ge=1)
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class _Later(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    since: datetime.date
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Entry(PriceConfig):
    """One model in a price list: its prices, where they were published and when somebody looked.

    Attributes:
        image_tokens: tokens of one image answer, for providers that do not count them apart from its text.
        tiers: prices of long prompts, shortest first.
        next: prices from a day on.
    """

    image_tokens: int | None = Field(default=None, ge=1)
    tiers: tuple[Tier, ...] = ()
    next: _Later | None = None
    source: str = ""
    seen: str = ""
    date: datetime.date | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[str, Any] = {}
    clouds: dict[str, dict[str, Entry]]


@dataclass(frozen=True)
class Price:
    """What the answers of one model cost, in dollars per token and per image.

    Attributes:
        image: dollars per image answer, instead of its output tokens.
        image_tokens: how many of an image answer's tokens are the image, where the answer itself does not say.
        tiers: (more than so many prompt tokens, input, output), longest first.
    """

    input: float = 0.0
    output: float = 0.0
    image_output: float = 0.0
    image: float | None = None
    image_tokens: int | None = None
    batch: float = 0.5
    tiers: tuple[tuple[int, float, float], ...] = ()

    @classmethod
    def of(cls, entry: PriceConfig, today: datetime.date | None = None) -> Price:
        """The price that an entry, or a config's own `price`, gives on a day."""
        prompt, answer = entry.input, entry.output
        later = entry.next if isinstance(entry, Entry) else None
        if later is not None and (today or datetime.date.today()) >= later.since:
            prompt, answer = later.input, later.output
        tiers = entry.tiers if isinstance(entry, Entry) else ()
        return cls(
            input=prompt / _MILLION,
            output=answer / _MILLION,
            image_output=(answer if entry.image_output is None else entry.image_output) / _MILLION,
            image=entry.image,
            image_tokens=entry.image_tokens if isinstance(entry, Entry) else None,
            batch=entry.batch,
            tiers=tuple(
                (t.above, t.input / _MILLION, t.output / _MILLION) for t in sorted(tiers, key=lambda t: -t.above)
            ),
        )

    @property
    def free(self) -> bool:
        return self == FREE or not (self.input or self.output or self.image_output or self.image)

    def usd(self, raw: RawAnswer, *, batch: bool = False) -> float:
        """Dollars for one answer.

        Args:
            batch: it came through a batch API.
        """
        return self.of_tokens(raw.tokens_in, raw.tokens_out, image=raw.image is not None, batch=batch)

    def of_tokens(self, tokens_in: float, tokens_out: float, *, image: bool = False, batch: bool = False) -> float:
        """Dollars for an answer of so many tokens; `image`: it is a picture."""
        prompt, answer = self.input, self.output
        for above, tier_input, tier_output in self.tiers:
            if tokens_in > above:
                prompt, answer = tier_input, tier_output
                break
        if not image:
            usd = tokens_in * prompt + tokens_out * answer
        elif self.image is not None:
            usd = tokens_in * prompt + self.image
        else:
            # A server that counts nothing has painted all the same.
            shown = tokens_out if self.image_tokens is None else min(tokens_out or self.image_tokens, self.image_tokens)
            usd = tokens_in * prompt + shown * self.image_output + max(0.0, tokens_out - shown) * answer
        return usd * self.batch if batch else usd


FREE = Price()


class PriceList:
    """The shipped list, with a user's file before it.

    Args:
        path: the config's `prices`; None for the shipped list alone.

    Raises:
        InputError: the file cannot be read; names it and the key.
    """

    def __init__(self, path: str | None = None) -> None:
        self._own = {} if path is None else _read(path).clouds

    @cached_property
    def _clouds(self) -> dict[str, dict[str, Entry]]:
        """Both lists in one; read when first asked, for an offline run has no use for it."""
        shipped = _shipped().clouds
        return {name: {**shipped.get(name, {}), **self._own.get(name, {})} for name in {**shipped, **self._own}}

    def price(self, config: ModelConfig) -> Price | None:
        """What a model's answers cost; None where it is behind a cloud that charges and nobody knows what.

        Offline answers cost nothing, nor does a server of one's own: a `base_url` that is no known cloud.
        """
        if config.provider in LOCAL:
            return FREE
        if config.price is not None:
            return Price.of(config.price)
        cloud = self._cloud(config)
        if cloud is None:
            return FREE
        entry = self.entry(cloud, config.model)
        return None if entry is None else Price.of(entry)

    def entry(self, cloud: str, model: str) -> Entry | None:
        """The entry of that name, or the longest name of which it is a preview or a dated version."""
        name, known = model.removeprefix("models/"), self._clouds.get(cloud, {})
        if name in known:
            return known[name]
        fitting = [n for n in known if name.startswith(n) and _VERSION.fullmatch(name[len(n) :])]
        return known[max(fitting, key=len)] if fitting else None

    def _cloud(self, config: ModelConfig) -> str | None:
        """The cloud that a model is asked at; None for a server of one's own."""
        if config.base_url is None:
            return _HOME[config.provider]
        host = _host(config)
        if host in self._clouds:
            return host
        known = [cloud for end, cloud in _CLOUDS.items() if host == end or host.endswith("." + end)]
        return known[0] if known else None


def prices_of(
    models: ModelsConfig, roles: Sequence[str], prices: PriceList
) -> dict[tuple[str, str, str, str], Price | None]:
    """The price of every lane that `roles` use; None where it is not known.

    Raises:
        InputError: two roles give one model different prices.
    """
    given: dict[tuple[str, str, str, str], tuple[PriceConfig, str]] = {}
    found: dict[tuple[str, str, str, str], Price | None] = {}
    for role in roles:
        for config in models.of(role):
            found.setdefault(config.lane, prices.price(config))
            if config.price is None:
                continue
            before, where = given.setdefault(config.lane, (config.price, role))
            if before != config.price:
                raise InputError(
                    f"models.{role}.price: differs from models.{where}.price, the same model {config.model}; "
                    "make them equal, or give it at one of them"
                )
            found[config.lane] = Price.of(config.price)
    return found


def price_notes(
    models: ModelsConfig, roles: Sequence[str], prices: PriceList, budget_usd: float | None = None
) -> list[str]:
    """One line for each model whose dollars are not counted, and why.

    Raises:
        InputError: `budget_usd` is set, and a model that costs money has no known price.
    """
    known = prices_of(models, roles, prices)
    notes: dict[tuple[str, ...], str] = {}
    for role in roles:
        for config in models.of(role):
            price, where = known[config.lane], f"models.{role}"
            if price is None and budget_usd is not None:
                raise InputError(
                    f"{where}.model: {config.model} is in no price list, so budget.usd cannot hold; add "
                    f"`price: {{input: ..., output: ...}}` to {where} (dollars per million tokens), or drop budget.usd"
                )
            if price is None:
                notes.setdefault(
                    config.lane, f"{where}: {config.model} is in no price list; its dollars count as 0 ({where}.price)"
                )
            elif price.free and config.provider not in LOCAL and budget_usd is not None and config.price is None:
                notes.setdefault(
                    config.lane,
                    f"{where}: {config.model} at {_host(config)} counts as a server of your own, "
                    f"which budget.usd does not bound ({where}.price gives it a price)",
                )
    return list(notes.values())


def _host(config: ModelConfig) -> str:
    return (urlsplit(config.base_url or "").hostname or "").lower()


@lru_cache(maxsize=1)
def _shipped() -> _File:
    text = resources.files("configs").joinpath("prices.yaml").read_text(encoding="utf-8")
    return _File.model_validate(yaml.safe_load(text))


def _read(path: str) -> _File:
    try:
        tree = yaml.safe_load(paths.read_bytes(path).decode("utf-8"))
    except OSError as error:
        raise InputError(f"prices: {path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"prices: {path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"prices: {path}: {line}not YAML") from error
    if not isinstance(tree, Mapping):
        raise InputError(f"prices: {path}: write `clouds: {{CLOUD: {{MODEL: {{input: ..., output: ...}}}}}}`")
    try:
        return _File.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        raise InputError(f"prices: {path}: {key}: {first['msg']}") from error
