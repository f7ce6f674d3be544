"""Filters are asked in order of cost, and each sees only survivors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filters.base import Candidate, Images, Verdict
from filters.score import BATCH, run
from schemas.draft import Draft, ErrorClass, Rejection
from schemas.tasks import Role


@dataclass
class Recording:
    """Judges by a rule and remembers whom it saw."""

    name: str
    cost: int
    rule: Callable[[Draft], Verdict]
    scores: tuple[str, ...] = ("one", "two")
    looks: bool = False
    seen: list[str] = field(default_factory=list)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        if self.looks:
            for candidate in candidates:
                candidate.images.target()
        self.seen += [c.draft.id for c in candidates]
        return [self.rule(c.draft) for c in candidates]


def rejecting(ordinals: set[int], column: str, value: float) -> Callable[[Draft], Verdict]:
    return lambda draft: Verdict("bad" if draft.plan.ordinal in ordinals else "", "why", {column: value})


def drafts(desk: Any, scene: Any, count: int) -> list[Draft]:
    pixels = scene(0)
    return [desk.draft(pixels, [(Role.SUBJECT, pixels)]) for _ in range(count)]


def candidates(made: Sequence[Draft]) -> list[Candidate]:
    return [Candidate.of(draft) for draft in made]


def test_the_dear_filter_sees_only_what_the_cheap_one_kept(desk: Any, scene: Any) -> None:
    made = drafts(desk, scene, 3)
    dear = Recording("dear", 9, rejecting(set(), "two", 0.5))
    cheap = Recording("cheap", 1, rejecting({2}, "one", 0.123456))
    out = run([dear, cheap], candidates(made))
    assert dear.seen == [made[0].id, made[2].id]
    assert [type(o) for o in out] == [Draft, Rejection, Draft]
    assert out[0].scores == {"one": 0.1235, "two": 0.5}


def test_a_rejection_names_its_reason_and_keeps_scores_and_draft(desk: Any, scene: Any) -> None:
    made = drafts(desk, scene, 2)
    out = run([Recording("cheap", 1, rejecting({2}, "one", 0.2))], candidates(made))
    rejection = out[1]
    assert isinstance(rejection, Rejection) and rejection.draft is not None
    assert (rejection.stage, rejection.reason, rejection.error_class) == ("filter", "bad", ErrorClass.FILTERED)
    assert rejection.scores == {"one": 0.2} == rejection.draft.scores
    assert (rejection.id, rejection.ordinal, rejection.task) == (made[1].id, 2, "add")


def test_a_broken_image_costs_its_own_sample_alone(desk: Any, scene: Any) -> None:
    good = drafts(desk, scene, 3)
    broken = desk.draft(b"not an image", [(Role.SUBJECT, scene(0))])
    gone = desk.draft(scene(1), [(Role.SUBJECT, scene(0))])
    Path(gone.target.uri).unlink()
    changed = desk.draft(scene(2), [(Role.SUBJECT, scene(0))])
    Path(changed.target.uri).write_bytes(Path(good[0].target.uri).read_bytes())
    mixed = [good[0], broken, good[1], gone, changed, good[2]]
    out = run([Recording("looking", 1, rejecting(set(), "one", 0.0), looks=True)], candidates(mixed))
    found = [(o.stage, o.reason, o.error_class) if isinstance(o, Rejection) else "kept" for o in out]
    final = ErrorClass.FINAL
    assert found == [
        "kept",
        ("images", "unreadable", final),
        "kept",
        ("images", "missing", final),
        ("images", "changed", final),
        "kept",
    ]


def test_dropped_reasonings_come_back_with_a_rejection_in_their_old_order(desk: Any, scene: Any) -> None:
    said = [(f"caption {i}", ["A thing is from image_1."]) for i in range(3)]
    draft = desk.draft(scene(0), [(Role.SUBJECT, scene(1))], said)

    def drop_first(d: Draft) -> Verdict:
        scored = [r.model_copy(update={"clip_text": 0.1}) for r in d.reasonings]
        return Verdict(reasonings=tuple(scored[1:]), dropped=(scored[0],))

    out = run([Recording("drops", 1, drop_first)], candidates([draft]))[0]
    assert isinstance(out, Draft) and [r.iccot.out_caption for r in out.reasonings] == ["caption 1", "caption 2"]
    rejects = Recording("rejects", 2, lambda d: Verdict("bad", reasonings=(), dropped=d.reasonings))
    out = run([Recording("drops", 1, drop_first), rejects], candidates([draft]))[0]
    assert isinstance(out, Rejection) and out.draft is not None
    assert [(r.iccot.out_caption, r.clip_text) for r in out.draft.reasonings] == [
        (f"caption {i}", 0.1) for i in range(3)
    ]


def test_no_filter_keeps_everything_without_opening_an_image(desk: Any, scene: Any) -> None:
    made = drafts(desk, scene, 2)

    def read(uri: str) -> bytes:
        raise AssertionError(uri)

    assert run([], [Candidate(d, Images.of(d, read)) for d in made]) == made


def test_pixels_are_decoded_once_and_let_go_batch_by_batch(desk: Any, scene: Any) -> None:
    made = drafts(desk, scene, BATCH + 2)
    reads: list[str] = []

    def read(uri: str) -> bytes:
        reads.append(uri)
        return Path(uri).read_bytes()

    held = [Candidate(d, Images.of(d, read)) for d in made]
    two = [Recording(n, c, rejecting(set(), n, 0.0), looks=True) for n, c in (("one", 1), ("two", 2))]
    assert len(run(two, held)) == BATCH + 2
    assert len(reads) == BATCH + 2
    assert not any(c.images._decoded for c in held)
