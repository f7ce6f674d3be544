"""`plumbline estimate`, tested backwards: what it said of three runs, and what their manifests say they came to."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from annotators.config import ModelConfig
from annotators.tokens import family_of, image_tokens, text_tokens
from cli.dataset import run as make_dataset
from cli.estimate import run as estimate_command
from pipelines import config as configs
from pipelines.assumed import Span, answer_text, prose, thinking_tokens
from pipelines.estimate import Estimate, Sampled, estimate, evenly, ratio, spread
from pipelines.measured import Live, of_run
from schemas.errors import InputError
from shards.manifest import read_manifest
from tests.servers.running import PracticeServer

PRO = {"input": 1.25, "output": 10}
PICTURES = {"input": 0.3, "output": 2.5, "image_output": 30}
QUANTITIES = ("calls", "tokens_in", "tokens_out", "usd")


@dataclass
class Case:
    """A run, what was said of it before, and what it came to."""

    path: str
    out: str
    ruled: Estimate
    live: Estimate
    asked: Live
    truth: dict[str, float]
    usage: dict[str, Any] = field(default_factory=dict)

    def errors(self, found: Estimate) -> dict[str, float]:
        return {name: found.total(name).expected / self.truth[name] - 1 for name in QUANTITIES}


def photos(folder: Path) -> str:
    """A pool of three kinds in sizes from 300 to 1,000 pixels."""
    rng = random.Random(3)
    for kind in ("characters", "objects", "scenes"):
        for i in range(8):
            size = (rng.randint(300, 1000), rng.randint(300, 1000))
            image = Image.linear_gradient("L").resize(size).convert("RGB")
            digest = hashlib.sha256(f"{kind} {i}".encode()).digest()
            image.paste(tuple(digest[:3]), (20, 20, 20 + digest[3], 20 + digest[4]))
            path = folder / kind / f"a {kind[:-1]} number {i} with a {digest.hex()[:6]} coat.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=60)
    return str(folder)


@pytest.fixture(scope="module")
def cases(practice_process: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Three runs of different tasks, numbers of reasonings, pools, models and protocols."""
    server, root = practice_process, tmp_path_factory.mktemp("estimates")
    pool = photos(root / "pool")

    def gemini(model: str, price: dict[str, float], **more: Any) -> dict[str, Any]:
        return {"provider": "gemini", "model": model, "base_url": server.gemini, "price": price, **more}

    def qwen(model: str, price: dict[str, float], **more: Any) -> dict[str, Any]:
        return {"provider": "openai", "model": model, "base_url": server.openai, "price": price, **more}

    pro, painter = gemini("gemini-2.5-pro", PRO), gemini("gemini-2.5-flash-image", PICTURES)
    given: dict[str, dict[str, Any]] = {
        "edits": {
            "pool": "toyworld",
            "samples": 70,
            "reasonings": 2,
            "tasks": {"add": 1, "replace": 1, "attribute": 2},
            "models": {"writer": pro, "reasoner": pro, "painter": painter},
        },
        "compositions": {
            "pool": pool,
            "samples": 50,
            "reasonings": 4,
            "max_references": 3,
            "tasks": {"subject_composition": 1, "scene_composition": 1},
            "models": {"writer": pro, "reasoner": pro, "painter": painter},
        },
        "all": {
            "pool": pool,
            "samples": 70,
            "paintings": 2,
            "max_references": 3,
            "models": {
                "writer": qwen("qwen3-vl-plus", {"input": 0.2, "output": 1.6}),
                "reasoner": qwen("qwen3-vl-8b", {"input": 0.1, "output": 0.4}),
                "painter": [
                    qwen("qwen-image-edit-2509", {"image": 0.04}, weight=2, max_images=3),
                    gemini("gemini-2.5-flash-image", PICTURES),
                ],
            },
        },
    }
    made = {}
    for name, run in given.items():
        server.reset()
        server.configure(image_side=256, **({} if name == "all" else {"thinking": "tags", "thinking_tokens": 700}))
        path = root / f"{name}.yaml"
        ledger = str(root / f"ledger {name}")
        shards = {"shard_samples": 30}
        path.write_text(yaml.safe_dump({"dataset": "realign", "seed": 4, "ledger": ledger, "output": shards, **run}))
        sampled = Sampled(configs.load(str(path)), str(path))
        asked = Live(sampled, 20)
        assert server.stats()["ok"] == asked.paid.calls > 20
        out = str(root / name)
        make_dataset("realign", str(path), out, [], 1, "1/1", "", [])
        stats, manifest = server.stats(), read_manifest(out)
        assert manifest is not None
        used = manifest["usage"].values()
        truth = {q: sum(u[q] for u in used) for q in QUANTITIES}
        truth["calls"] += sum(u["ledger_hits"] for u in used)
        assert stats["ok"] == truth["calls"] and stats["repeats"] == 0, "what --live asked the run did not pay again"
        assert sum(u["ledger_hits"] for u in used) == asked.paid.calls
        ruled, live = estimate(sampled), estimate(sampled, asked.ratios)
        made[name] = Case(str(path), out, ruled, live, asked, truth, manifest["usage"])
    return made


@pytest.mark.parametrize("name", ["edits", "compositions", "all"])
def test_twenty_real_samples_tell_a_run_within_a_tenth(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    errors = case.errors(case.live)
    assert max(map(abs, errors.values())) <= 0.10, errors
    for quantity in QUANTITIES:
        span = case.live.total(quantity)
        assert span.low <= case.truth[quantity] <= span.high, quantity
    for model, used in case.usage.items():
        assert case.live.of_model(model, "usd").expected == pytest.approx(used["usd"], rel=0.15), model


@pytest.mark.parametrize("name", ["edits", "compositions", "all"])
def test_the_rules_alone_tell_calls_and_prompts_within_a_tenth_and_the_rest_within_their_range(
    cases: dict[str, Case], name: str
) -> None:
    case = cases[name]
    errors = case.errors(case.ruled)
    assert abs(errors["calls"]) <= 0.10 and abs(errors["tokens_in"]) <= 0.10, errors
    for quantity in QUANTITIES:
        span = case.ruled.total(quantity)
        assert span.low <= case.truth[quantity] <= span.high, quantity


def test_a_finished_run_tells_one_of_other_tasks_numbers_and_images(cases: dict[str, Case]) -> None:
    for name, by in (("compositions", "edits"), ("edits", "compositions")):
        case = cases[name]
        sampled = Sampled(configs.load(case.path), case.path)
        found, notes = of_run(cases[by].out, sampled, case.path)
        errors = case.errors(estimate(sampled, found, notes))
        assert max(map(abs, errors.values())) <= 0.10, errors
        assert any("another pool" in note for note in notes)


def test_samples_that_the_ledger_has_are_free(cases: dict[str, Case], practice_process: PracticeServer) -> None:
    case = cases["edits"]
    before = practice_process.stats()["requests"]
    again = Live(Sampled(configs.load(case.path), case.path), 20)
    assert again.paid.calls == 0 and again.hits == case.asked.paid.calls
    assert practice_process.stats()["requests"] == before
    assert again.ratios["gemini-2.5-pro"].tokens_out == case.asked.ratios["gemini-2.5-pro"].tokens_out


def test_what_goes_wrong_lies_within_the_range(
    practice_server: PracticeServer,
    cases: dict[str, Case],
    tmp_path: Path,
) -> None:
    practice_server.configure(
        infeasible=0.08,
        thinking="tags",
        thinking_tokens=400,
        faults={"broken": 0.05, "text_for_image": 0.05, "503": 0.05},
    )
    settings = [f"ledger={tmp_path / 'ledger'}", "samples=50"]
    path = cases["all"].path
    sampled = Sampled(configs.load(path, settings), path)
    live = estimate(sampled, Live(sampled, 25).ratios)
    make_dataset("realign", path, str(tmp_path / "out"), settings, 1, "1/1", "", [])
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest is not None and manifest["counts"]["rejected"] > 0
    for name in ("tokens_in", "tokens_out", "usd"):
        truth, span = sum(u[name] for u in manifest["usage"].values()), live.total(name)
        assert span.low <= truth <= span.high, (name, span, truth)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_asks_nobody_and_needs_no_key(
    practice_server: PracticeServer,
    cases: dict[str, Case],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    settings = [
        "samples=512000",
        "budget.usd=40000",
        "models.writer={provider: gemini, model: gemini-2.5-pro, rpm: 60}",
    ]
    estimate_command(cases["edits"].path, settings, 0, None)
    said = capsys.readouterr().out
    for words in ("512,000 samples", "writer", "gemini-2.5-pro", "in all", "bound by rpm", "nothing was asked"):
        assert words in said
    assert "budget.usd is 40000: it" in said
    assert practice_server.stats()["requests"] == 0
    with pytest.raises(InputError, match="GEMINI_API_KEY"):
        estimate_command(cases["edits"].path, settings, 20, None)
    estimate_command(cases["edits"].path, [f"ledger={tmp_path}", "samples=9"], 20, None)
    assert "measured by 9 samples: 36 calls paid now" in capsys.readouterr().out
    estimate_command(cases["edits"].path, [], 0, cases["compositions"].out)
    assert "measured by" in capsys.readouterr().out


def test_bad_input(cases: dict[str, Case], tmp_path: Path) -> None:
    path = cases["edits"].path
    with pytest.raises(InputError, match="holds no finished run"):
        estimate_command(path, [], 0, str(tmp_path))
    with pytest.raises(InputError, match="--live and --from"):
        estimate_command(path, [], 20, str(tmp_path))
    with pytest.raises(InputError, match=r"edits\.yaml: .*no_such"):
        estimate_command(path, ["tasks={no_such: 1}"], 0, None)
    with pytest.raises(InputError, match=r"prices: .*cannot be read"):
        estimate_command(path, ["prices=nowhere.yaml"], 0, None)


def test_a_batch_costs_half_and_an_unknown_price_is_said(cases: dict[str, Case]) -> None:
    path = cases["edits"].path
    whole = estimate(Sampled(configs.load(path), path))
    half = estimate(Sampled(configs.load(path, ["models.painter.mode=batch"]), path))
    assert half.of_model("gemini-2.5-flash-image", "usd").expected == pytest.approx(
        whole.of_model("gemini-2.5-flash-image", "usd").expected / 2
    )
    assert [pace.model for pace in half.paces] == ["gemini-2.5-pro"], "a batch API promises no pace"
    unknown = ["models.painter={provider: gemini, model: gemini-77-image}"]
    found = estimate(Sampled(configs.load(path, unknown), path))
    assert [row.usd for row in found.rows if row.role == "painter"] == [None]
    assert any("gemini-77-image is in no price list" in note for note in found.notes)


def test_plans_that_no_painter_takes_cost_nothing(cases: dict[str, Case]) -> None:
    path = cases["compositions"].path
    found = estimate(Sampled(configs.load(path, ["models.painter.max_images=2", "samples=4000"]), path))
    kept = found.rows[0].calls.expected / 4000 / 1.02
    assert 0.05 < kept < 0.95
    assert any(f"{1 - kept:.0%} of the plans cannot be asked" in note for note in found.notes)


# -- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (768, 768), 258),
        ("gemini-2.5-flash", (1024, 1024), 4 * 258),
        ("gemini-2.5-flash", (4096, 1024), 3 * 258),  # sent as 2048 x 512
        ("gemini-3-pro-preview", (1024, 1024), 1120),
        ("Qwen/Qwen3-VL-8B-Instruct", (1024, 1024), 32 * 32 + 2),
        ("Qwen/Qwen2.5-VL-7B-Instruct", (1036, 1036), 37 * 37 + 2),
        ("Qwen/Qwen3-VL-8B-Instruct", (20, 20), 4 + 2),
        ("gpt-4o", (1024, 1024), 85 + 4 * 170),  # OpenAI's own examples
        ("gpt-4o", (2048, 4096), 85 + 6 * 170),
        ("gpt-5", (1024, 1024), 70 + 4 * 140),
        ("gpt-4.1-mini", (1024, 1024), round(1024 * 1.62)),
        ("gpt-4.1-mini", (2048, 2048), round(1536 * 1.62)),
        ("o4-mini", (1024, 1024), round(1024 * 1.72)),
        ("gpt-5.4", (1024, 1024), round(1024 * 1.2)),
        ("gpt-5.4-nano", (1024, 1024), round(1024 * 2.46)),
        ("gpt-image-1", (1024, 1024), 65 + 129),
    ],
)
def test_image_tokens_by_the_published_rules(model: str, size: tuple[int, int], tokens: int) -> None:
    provider = "gemini" if model.startswith("gemini") else "openai"
    most = 4096 if size == (2048, 4096) else None
    assert image_tokens(*size, ModelConfig(provider=provider, model=model, max_side=most)) == tokens


def test_dashscope_takes_no_more_than_its_most_pixels() -> None:
    there = ModelConfig(provider="openai", model="qwen3-vl-plus", base_url="https://dashscope-intl.aliyuncs.com/x")
    mine = ModelConfig(provider="openai", model="qwen3-vl-plus", base_url="http://localhost/v1")
    assert image_tokens(2048, 2048, there) <= 2560 + 2 < image_tokens(2048, 2048, mine) == 4096 + 2


def test_text_tokens_of_alphabets_and_signs() -> None:
    assert text_tokens("four letters to a token, or so.") == pytest.approx(8, abs=0.5)
    assert text_tokens("把猫放在窗台上") == pytest.approx(7 * 2 / 3)


def test_models_are_known_by_their_names() -> None:
    assert thinking_tokens(ModelConfig(provider="gemini", model="gemini-2.5-pro")).expected > 500
    assert thinking_tokens(ModelConfig(provider="gemini", model="gemini-2.5-flash", thinking_budget=0)) == Span.of(0)
    bounded = thinking_tokens(ModelConfig(provider="gemini", model="gemini-2.5-pro", thinking_budget=512))
    assert bounded.high == 512 and bounded.expected <= 512
    assert thinking_tokens(ModelConfig(provider="openai", model="Qwen/Qwen3-VL-8B-Instruct")) == Span.of(0)
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert thinking_tokens(ModelConfig(provider="openai", model="qwen3.7-plus", extra=off)) == Span.of(0)
    assert family_of(ModelConfig(provider="openai", model="google/gemini-3-flash")) == "gemini-3"


def test_assumed_answers_are_such_as_their_parsers_take(cases: dict[str, Case]) -> None:
    from schemas.answers import writer_answer
    from schemas.iccot import ICCoT

    sampled = Sampled(configs.load(cases["all"].path), cases["all"].path, 20)
    for plan in sampled.plans:
        lengths = []
        for size in ("low", "expected", "high"):
            n = len(plan.references)
            ICCoT.parse(answer_text("reasoner", plan, size), n)
            answer = writer_answer(n).model_validate_json(answer_text("writer", plan, size))
            lengths.append(len(answer.instruction))
        assert lengths == sorted(lengths) and answer.feasible
    assert len(prose(40).split()) == 40


def test_ratios_and_their_range() -> None:
    exact = ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], 0.03)
    assert exact == Span(pytest.approx(1.94), pytest.approx(2.0), pytest.approx(2.06))
    loose = ratio([1.0, 3.0] * 10, [2.0, 2.0] * 10, 0.03)
    assert loose.expected == 1.0 and loose.high - 1 == pytest.approx(2 * 0.5 * (20 / 19) ** 0.5 / 20**0.5)
    assert ratio([5.0], [5.0], 0.03).low == 0.5, "one sample tells little"
    assert ratio([0.0], [0.0], 0.03) == Span.of(1.0)


def test_samples_are_spread_over_the_plans() -> None:
    assert evenly(10, 2) == [2, 7] and evenly(3, 3) == [0, 1, 2]
    assert spread({"train": 900, "test": 100, "none": 0}, 10) == {
        "train": evenly(900, 9),
        "test": [50],
        "none": [],
    }
