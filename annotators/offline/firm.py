"""FIRM's roles by rules: describer, rewriter, planner, judge and the painter of prompts; a baseline, and free.

Dispatches by `Facts.asks`, the prompt's id. Answers are text in the very form that `schemas.judgements` reads, so that
they go the way of a model's. The rewriter and the judge look at the pair themselves: a report in words, of this
provider or of a model, is not read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from annotators.errors import FinalError
from annotators.interface import Facts, RawAnswer, Request
from schemas.judgements import EditJudgement, RewriteAnswer
from schemas.labels import EditPair
from schemas.references import ImageRef

if TYPE_CHECKING:
    from PIL import Image

    from annotators.offline.changes import Differences

ROLES = ("describer", "rewriter", "planner", "judge")
_SIDE = 1024
"""Longest side in pixels that an image is opened at; what is compared, or read by the oracle, is smaller still."""
_GLANCE = 64
_MOST_PAIRS = 512


class FirmRules:
    """Answers for the prompts `firm/...`; safe to ask from several threads."""

    def __init__(self) -> None:
        self._pairs = PairDifferences()

    def answer(self, request: Request, as_jpeg: Callable[[Image.Image, str], RawAnswer]) -> RawAnswer:
        """The answer to one of FIRM's prompts.

        Args:
            as_jpeg: makes an image answer of a painting and its note.

        Raises:
            FinalError: `bad_request`: another prompt, or facts that lack what it needs; `not_understood`: a judge's
                instruction or prompt that the rules cannot read.
            ImageError: an image cannot be read.
        """
        facts = request.facts
        name = facts.asks.removeprefix("firm/")
        if name == "painter":
            from annotators.offline.prompt_painter import painted

            return as_jpeg(*painted(facts.prompt, request.size, facts.draw))
        if name in ("obvious", "detailed", "rewriter", "execution", "consistency"):
            return RawAnswer(text=self._of_pair(name, facts))
        if name in ("student_execution", "student_consistency"):
            return RawAnswer(text=_judged(name.removeprefix("student_"), facts.instruction, glance(_pair(facts))))
        if name in ("planner", "following", "student_following", "quality"):
            return RawAnswer(text=_of_image(name, facts))
        raise FinalError("bad_request", f"the offline provider has no rules for the prompt {facts.asks}")

    def _of_pair(self, name: str, facts: Facts) -> str:
        """What is told, asked or judged of an edit."""
        pair = _pair(facts)
        d = self._pairs.of(pair)
        if name in ("execution", "consistency"):
            return _judged(name, facts.instruction, d)
        if name == "rewriter":
            return _rewriting(facts, pair, d)
        from annotators.offline.difference_words import detailed, obvious

        return (obvious if name == "obvious" else detailed)(d)


class PairDifferences:
    """What differs between the images of a pair, remembered by their digests; each pair is compared once.

    Whoever asks for a pair that another thread is comparing waits for that thread.
    """

    def __init__(self, most: int = _MOST_PAIRS, compare: Callable[[EditPair], Differences] | None = None) -> None:
        self._known: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most
        self._compare = compare or compared

    def of(self, pair: EditPair) -> Differences:
        """The differences.

        Raises:
            ImageError: as `compared` does; nothing is remembered then, so whoever asks next tries again.
        """
        key = (pair.source.sha256, pair.edited.sha256)
        with self._lock:
            entry = self._known.setdefault(key, _Entry())
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        with entry.lock:
            if entry.found is None:
                entry.found = self._compare(pair)
            return entry.found


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    found: Differences | None = None


def compared(pair: EditPair) -> Differences:
    """What differs between the images of a pair, at full care.

    Raises:
        ImageError: one of them is missing, unreadable, or no longer what it was.
    """
    from annotators.offline.differences import differences

    return differences(*(opened(image) for image in pair.images))


def glance(pair: EditPair) -> Differences:
    """What a glance shows of a pair: both at 64 pixels, never read as drawn pictures, and the strongest change alone.

    This is how the offline judge judges directly, without a report: deliberately with less care, so that an exam of
    both ways has something to tell apart.
    """
    from PIL import Image

    from annotators.offline.differences import pixel_differences

    small = [opened(i).resize((_GLANCE, _GLANCE), Image.Resampling.BOX) for i in pair.images]
    found = pixel_differences(small[0], small[1])
    return replace(found, changes=found.changes[:1], reframed=False, covered=1.0, sharpness="", drift=0.0)


def opened(image: ImageRef) -> Image.Image:
    """An image as RGB over white, at most `_SIDE` pixels long.

    Raises:
        ImageError: `missing`, `unreadable`, `bomb` or `changed`.
    """
    from storage.images import decode
    from storage.references import image_bytes

    return decode(image_bytes(image), max_side=_SIDE)


def _pair(facts: Facts) -> EditPair:
    if facts.pair is None:
        raise FinalError("bad_request", f"{facts.asks} needs the pair among the facts")
    return facts.pair


def _judged(dimension: str, instruction: str, d: Differences) -> str:
    from annotators.offline.critic import consistency, execution
    from annotators.offline.understood import refuse_unread_instruction

    refuse_unread_instruction(instruction)
    score, reason = (execution if dimension == "execution" else consistency)(instruction, d)
    return EditJudgement(reasoning=reason[:4000], score=(score,)).text


def _rewriting(facts: Facts, pair: EditPair, d: Differences) -> str:
    from annotators.offline.chance import number
    from annotators.offline.rewriter import rewritten

    if facts.rewrite is None:
        raise FinalError("bad_request", f"{facts.asks} needs the kind of rewriting among the facts")
    seed = number(0, "pair", pair.source.sha256, pair.edited.sha256)
    return RewriteAnswer(instruction=rewritten(facts.instruction, d, facts.rewrite, seed)).model_dump_json()


def _of_image(name: str, facts: Facts) -> str:
    from annotators.offline.picture_quality import quality
    from annotators.offline.planner import plan_of
    from annotators.offline.prompt_judge import following
    from annotators.offline.understood import refuse_unread_prompt

    if name == "planner":
        return str(plan_of(facts.prompt))
    if facts.image is None:
        raise FinalError("bad_request", f"{facts.asks} needs the image among the facts")
    image = opened(facts.image)
    if name == "quality":
        return quality(image).text
    refuse_unread_prompt(facts.prompt)
    return following(image, facts.prompt, facts.checklist if name == "following" else None)
