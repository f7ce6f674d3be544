"""Best of K: several targets per plan, one kept by the filters' scores, the rest stored with theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from annotators.errors import Failure
from annotators.interface import Answer
from cli.dataset import run as make_dataset
from filters.paintings import chosen, spread
from pipelines.realign import Recipe
from pools.tasks import load_tasks
from prompts.catalogue import Catalogue
from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import InputError
from schemas.references import ImageRef
from shards.merge import merge
from shards.reader import read_samples
from shards.rejects import rejected_drafts
from shards.verify import verify
from tests.pipelines.conftest import CLIP, ROOT, SETTINGS, digests
from tests.pipelines.test_recipe import COT, GOOD, FakeModels, a_plan


def an_image(draw: int) -> ImageRef:
    return ImageRef(uri=f"{draw}.jpg", sha256=f"{draw:064x}", width=4, height=4, media_type="image/jpeg")


class FakePainter(FakeModels):
    """Paints one picture per draw, but where the script has a failure."""

    def __init__(self, failures: dict[int, Failure]) -> None:
        super().__init__(GOOD, [COT.format("A thing in a place.")])
        self.failures = failures

    def check(self, role: str, *, images: int, size: Any = None) -> None: ...

    async def paint(self, role: str, prompt: Any, *, size: Any = None, draw: int = 0, facts: Any = None) -> Any:
        self.asked.append((role, prompt, draw))
        if draw in self.failures:
            raise self.failures[draw]
        return Answer(None, "", "fake", f"key {draw}", image=an_image(draw))


def made(paintings: int, failures: dict[int, Failure] | None = None) -> tuple[Draft, FakePainter]:
    models = FakePainter(failures or {})
    recipe = Recipe(Catalogue({}), load_tasks(None), 1, paintings)
    return asyncio.run(recipe(a_plan(), models)), models  # type: ignore[arg-type]


REFUSED = Failure("painter", "safety", ErrorClass.FINAL, "a refusal")


def test_every_draw_asks_the_same_and_all_are_in_the_draft() -> None:
    draft, models = made(3)
    asked = [(prompt.hash, draw) for role, prompt, draw in models.asked if role == "painter"]
    assert [draw for _, draw in asked] == [0, 1, 2]
    assert len({prompt for prompt, _ in asked}) == 1
    assert [p.image for p in draft.paintings] == [an_image(0), an_image(1), an_image(2)]
    assert [p.source.request_key for p in draft.paintings] == ["key 0", "key 1", "key 2"]


def test_one_painting_is_a_draft_as_it_always_was() -> None:
    draft, _ = made(1)
    assert draft.target == an_image(0)
    assert draft.paintings == ()
    assert "paintings" not in draft.to_json()


def test_a_draw_without_an_answer_costs_only_itself_and_all_of_them_the_plan() -> None:
    draft, _ = made(3, {0: REFUSED, 2: REFUSED})
    assert [p.draw for p in draft.paintings] == [1]
    assert draft.target == an_image(1)
    with pytest.raises(Failure, match="a refusal"):
        made(2, {0: REFUSED, 1: Failure("painter", "no_image", ErrorClass.REPAIRABLE, "only words")})


def test_a_draw_worth_another_attempt_costs_the_plan_and_can_bring_it_back() -> None:
    with pytest.raises(Failure, match="503") as caught:
        made(3, {0: REFUSED, 1: Failure("painter", "server", ErrorClass.RETRYABLE, "503")})
    assert caught.value.error_class is ErrorClass.RETRYABLE
    assert caught.value.instruction == GOOD["instruction"]


def judged(draft: Draft, *verdicts: tuple[str, dict[str, float]]) -> list[Draft | Rejection]:
    """What filters might say: per painting a reason (empty: kept; `unreadable`: no picture) and scores."""
    outcomes: list[Draft | Rejection] = []
    for candidate, (reason, scores) in zip(spread(draft), verdicts, strict=True):
        scored = candidate.model_copy(update={"scores": scores, "target_phash": "ab" * 8})
        broken = reason == "unreadable"
        rejection = Rejection(
            id=draft.id,
            ordinal=0,
            stage="images" if broken else "filter",
            reason=reason or "none",
            error_class=ErrorClass.FINAL if broken else ErrorClass.FILTERED,
            scores=scores,
            draft=scored,
        )
        outcomes.append(rejection if reason else scored)
    return outcomes


@pytest.mark.parametrize(
    ("verdicts", "best"),
    [
        ([("", {}), ("", {})], 0),
        ([("", {"clip_text": 0.2}), ("", {"clip_text": 0.3}), ("", {"clip_text": 0.3})], 1),
        ([("", {"clip_text": -0.1}), ("", {"clip_text": 0.0})], 1),
        ([("clip_text", {"clip_text": 0.9}), ("", {"clip_text": 0.1})], 1),
        ([("no_op", {}), ("clip_text", {"clip_text": 0.1}), ("unreadable", {})], 1),
        ([("unreadable", {}), ("no_op", {})], 1),
        ([("", {"copy_paste": 0.7}), ("", {"copy_paste": 0.2})], 1),
        ([("", {"clip_text": 0.3, "copy_paste": 0.7}), ("", {"clip_text": 0.2, "copy_paste": 0.2})], 0),
        ([("", {"relation_margin": 0.1, "sharpness": 20.0}), ("", {"relation_margin": 0.9, "sharpness": 90.0})], 0),
    ],
)
def test_the_best_is_what_passed_then_what_fits_its_text_then_what_was_drawn_first(
    verdicts: list[tuple[str, dict[str, float]]], best: int
) -> None:
    draft, _ = made(len(verdicts))
    outcome = chosen(draft, judged(draft, *verdicts))
    kept = outcome if isinstance(outcome, Draft) else outcome.draft
    assert kept is not None
    assert kept.target == an_image(best)
    assert kept.provenance["painter"].request_key == f"key {best}"
    assert [p.draw for p in kept.paintings if p.chosen] == [best]
    assert isinstance(outcome, Draft) == any(not reason for reason, _ in verdicts)


def test_where_none_passes_the_best_ones_reason_stands_and_all_are_kept_with_their_scores() -> None:
    draft, _ = made(2)
    outcome = chosen(draft, judged(draft, ("no_op", {"edit_change": 0.0}), ("clip_text", {"clip_text": 0.1})))
    assert isinstance(outcome, Rejection)
    assert (outcome.reason, outcome.scores) == ("clip_text", {"clip_text": 0.1})
    assert outcome.draft is not None
    assert [(p.reason, p.scores) for p in outcome.draft.paintings] == [
        ("no_op", {"edit_change": 0.0}),
        ("clip_text", {"clip_text": 0.1}),
    ]


def test_a_painting_that_is_no_picture_is_left_out_and_two_of_them_are_a_rejection() -> None:
    draft, _ = made(2)
    kept = chosen(draft, judged(draft, ("unreadable", {}), ("", {})))
    assert isinstance(kept, Draft)
    assert [(name, p.draw) for name, p in kept.painted_members] == [("target.jpg", 1)]
    lost = chosen(draft, judged(draft, ("unreadable", {}), ("unreadable", {})))
    assert isinstance(lost, Rejection)
    assert (lost.stage, lost.reason) == ("images", "unreadable")


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(name, SETTING, ..., slice="1/1")`: the small run of `conftest`, in this process: CLIP loads once."""
    folder = tmp_path_factory.mktemp("paintings")

    def made(name: str, *settings: str, part: str = "1/1") -> Path:
        every = [*SETTINGS, CLIP, f"ledger={folder / 'ledger'}", *settings]
        make_dataset("realign", str(ROOT / "configs" / "toy.yaml"), str(folder / name), every, 1, part, "", [])
        return folder / name

    return made


@pytest.fixture(scope="module")
def three(make: Make) -> Path:
    return make("three", "paintings=3")


@pytest.fixture(scope="module")
def one(make: Make) -> Path:
    return make("one")


def samples(out: Path) -> dict[str, Any]:
    return {s.id: s for split in ("train", "test") for s in read_samples(str(out), split)}


def test_every_sample_has_its_paintings_and_the_best_is_the_target(three: Path) -> None:
    assert verify(str(three)) == []
    found = samples(three)
    assert len(found) > 10
    shapes, differing = set(), 0
    for sample in found.values():
        paintings = sample.json["paintings"]
        assert [p["draw"] for p in paintings] == [0, 1, 2]
        assert {p["member"].removesuffix(".jpg") for p in paintings} == {"target", "other_1", "other_2"}
        assert {p["member"].removesuffix(".jpg") for p in paintings} <= set(sample.images)
        best = next(p for p in paintings if p["chosen"])
        assert best["member"] == "target.jpg" and not best["reason"]
        assert best["scores"] == sample.json["scores"]
        assert best["scores"]["clip_text"] == max(p["scores"]["clip_text"] for p in paintings if not p["reason"])
        assert json.loads(sample.json["provenance"])["painter"] == best["source"]
        assert all(type(score) is float for p in paintings for score in p["scores"].values())
        shapes |= {(tuple(p), tuple(p["scores"]), tuple(p["source"])) for p in paintings}
        differing += len({sample.images[p["member"].removesuffix(".jpg")] for p in paintings}) > 1
    assert len(shapes) == 1
    assert differing > len(found) / 2
    assert any(not p["chosen"] and p["draw"] == 0 for s in found.values() for p in s.json["paintings"])


def test_the_index_says_what_there_is_to_choose_from(three: Path) -> None:
    found = samples(three)
    rows = [row for file in sorted((three / "shards").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert len(rows) == len(found)
    for row in rows:
        paintings = found[row["id"]].json["paintings"]
        assert row["paintings"] == 3
        assert row["paintings_passed"] == sum(not p["reason"] for p in paintings)
        assert row["chosen_draw"] == next(p["draw"] for p in paintings if p["chosen"])
        computed = [p["scores"]["clip_text"] for p in paintings if p["scores"]["clip_text"] != -1.0]
        assert row["lowest_clip_text"] == min(computed) <= row["clip_text"]


def test_more_paintings_keep_more_plans_and_the_first_draw_is_the_one_painting(three: Path, one: Path) -> None:
    single, several = samples(one), samples(three)
    assert set(single) <= set(several)
    for key, sample in single.items():
        assert "paintings" not in sample.json
        first = several[key].json["paintings"][0]
        assert first["source"] == json.loads(sample.json["provenance"])["painter"]
        assert several[key].images[first["member"].removesuffix(".jpg")] == sample.images["target"]
    columns = pq.read_table(next((one / "shards").glob("*.parquet"))).column_names
    assert not [name for name in columns if "painting" in name or "draw" in name or "lowest" in name]
    assert "paintings" not in json.loads((one / "run.json").read_text())
    usage = [json.loads((out / "manifest.json").read_text())["usage"]["offline"] for out in (one, three)]
    calls = [used["calls"] + used["ledger_hits"] for used in usage]
    infeasible = json.loads((one / "manifest.json").read_text())["rejected_by_reason"].get("infeasible", 0)
    assert calls[1] - calls[0] == 2 * (24 - infeasible)


def test_slices_choose_the_same_and_merge(three: Path, make: Make, tmp_path: Path) -> None:
    parts = [make(f"part {i}", "paintings=3", part=f"{i}/2") for i in (1, 2)]
    merge([str(part) for part in parts], str(tmp_path / "merged"))
    assert digests(tmp_path / "merged") == digests(three)
    assert verify(str(tmp_path / "merged")) == []


def test_another_number_of_paintings_may_not_go_on_in_the_same_output(three: Path, make: Make) -> None:
    with pytest.raises(InputError, match="begun with paintings = 3, not 2"):
        make(three.name, "paintings=2")


def test_a_rejected_plan_keeps_all_its_paintings(make: Make) -> None:
    drafts = list(rejected_drafts(str(make("strict", "paintings=2", "samples=8", "filters.clip.min_text=0.99"))))
    assert drafts
    for draft in drafts:
        fits = [p.scores["clip_text"] for p in draft.paintings]
        assert [p.reason for p in draft.paintings] == ["clip_text"] * 2
        best = next(p for p in draft.paintings if p.chosen)
        assert best.scores["clip_text"] == max(fits)
        assert (draft.target, draft.scores) == (best.image, best.scores)
