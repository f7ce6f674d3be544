"""The models section of a config: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from annotators.config import BudgetConfig, ModelConfig, ModelsConfig
from annotators.engine import Engine, EngineSpec
from annotators.interface import Capabilities
from annotators.lanes import limits_of, merged
from annotators.limits import Limits
from schemas.errors import InputError


def section(**roles: Any) -> ModelsConfig:
    return ModelsConfig.model_validate(roles)


def test_a_role_is_one_model_or_a_mix() -> None:
    models = section(writer={"provider": "offline"}, painter=[{"provider": "gemini", "model": "g", "weight": 3}] * 2)
    assert [m.model for m in models.of("writer")] == ["offline"] and len(models.of("painter")) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"writr": {"provider": "offline"}}, "'writr' is no role; choose from writer, reasoner"),
        ({"writer": {"provider": "openia", "model": "m"}}, "'openia' is no provider; choose one of offline, gemini"),
        ({"writer": {"provider": "gemini"}}, "needs the key `model`"),
        ({"writer": {"provider": "offline", "inflight": 3}}, "inflight"),
        ({"writer": {"provider": "offline", "rpm": 0}}, "rpm"),
        ({"writer": {"provider": "offline", "model": "gpt"}}, "leave `model` out"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("gemini", "GEMINI_API_KEY"), ("openai", "OPENAI_API_KEY"), ("dashscope", "DASHSCOPE_API_KEY")],
)
def test_a_missing_key_says_which_variable_to_set(
    provider: str, variable: str, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (variable, "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    spec = EngineSpec(models=section(writer={"provider": provider, "model": "m"}), roles=("writer",))
    with pytest.raises(InputError, match=rf"^models\.writer: no API key for {provider}: set {variable}, or name"):
        Engine(spec, ledger=fakes.Ledger())


@pytest.mark.parametrize("key", ["timeout", "read_timeout", "structured", "in_flight", "paints_by"])
def test_what_belongs_to_a_model_may_be_given_at_one_of_its_roles(key: str) -> None:
    mine, other = (
        ("prompt", "json_schema") if key == "structured" else ("chat", "images") if key == "paints_by" else (7, 9)
    )
    one = {"provider": "openai", "model": "m"}
    models = section(writer=one, reasoner={**one, key: mine})
    (shared,) = merged(models, ("writer", "reasoner")).values()
    assert getattr(shared, key) == mine
    with pytest.raises(
        InputError, match=rf"models\.reasoner\.{key}: .* but models\.writer\.{key} is .*make them equal"
    ):
        merged(section(writer={**one, key: other}, reasoner={**one, key: mine}), ("writer", "reasoner"))


@pytest.mark.parametrize("held", ["", "with a space", "not-ascii-é", "two\nlines"])
def test_a_named_key_variable_must_hold_a_key(held: str, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", held)
    writer = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9", "api_key_env": "MY_KEY"}
    with pytest.raises(InputError, match="MY_KEY") as caught:
        Engine(EngineSpec(models=section(writer=writer), roles=("writer",)), ledger=fakes.Ledger())
    assert not held or held not in str(caught.value)


def test_a_role_that_a_provider_cannot_play_is_refused(fakes: Any) -> None:
    provider = fakes.Provider(capabilities=Capabilities(roles=("writer",)))
    models = section(judge={"provider": "offline"})
    with pytest.raises(InputError, match=r"models\.judge\.provider: offline can only be writer"):
        Engine(EngineSpec(models=models, roles=("judge",)), ledger=fakes.Ledger(), make=lambda *_: provider)


def test_roles_that_nobody_asks_may_name_anything(fakes: Any) -> None:
    models = section(writer={"provider": "offline"}, judge={"provider": "gemini", "model": "g"})
    Engine(EngineSpec(models=models, roles=("writer",)), ledger=fakes.Ledger()).close()


def test_what_shapes_the_bytes_holds_no_address_key_or_limit() -> None:
    model = {"provider": "openai", "model": "m", "temperature": 0.5, "extra": {"top_k": 3}}
    elsewhere = {**model, "base_url": "http://x", "api_key_env": "K", "in_flight": 2, "rpm": 3, "timeout": 9}
    assert section(writer=model).shaping(("writer",)) == section(writer=elsewhere).shaping(("writer",))
    assert section(writer=model).shaping(("writer",)) != section(writer={**model, "seed": 1}).shaping(("writer",))
    assert ModelConfig.model_validate(model).sampling == {"top_k": 3, "temperature": 0.5}


def test_limits_are_those_of_the_model_whoever_names_them() -> None:
    one = {"provider": "openai", "model": "one"}
    models = section(writer={**one, "rpm": 60}, reasoner={**one, "in_flight": 8}, painter={**one, "model": "two"})
    limits = limits_of(models, ("writer", "reasoner", "painter"), shares=2)
    assert list(limits.values()) == [Limits(4, 30.0, None), Limits(32)]


def test_a_budget_is_a_bound_or_absent() -> None:
    assert BudgetConfig() == BudgetConfig(usd=None, calls=None)
    for wrong in ({"usd": 0}, {"calls": 0}, {"eur": 5}):
        with pytest.raises(ValidationError):
            BudgetConfig.model_validate(wrong)
