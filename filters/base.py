"""What a filter is: it sees candidates and gives each a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from schemas.draft import Draft, Reasoning
from schemas.references import ImageRef
from storage.paths import read_bytes
from storage.references import image_bytes

if TYPE_CHECKING:
    from PIL import Image

WORK_SIDE = 768
"""Filters look at pixels no larger than this: every measure here works below it, and a JPEG decodes straight to a
smaller size. CLIP takes the files instead, and decodes them to its own."""


TOGETHER = 64
"""Candidates that a filter with a model sees at once: it takes files, not pixels, and a GPU wants many."""


class Images:
    """The images of one draft, read and decoded when first asked for and then kept.

    Args:
        read: how bytes are had from a uri; tests and other sources of bytes may replace it.
    """

    def __init__(
        self, target: ImageRef, references: Sequence[ImageRef], read: Callable[[str], bytes] = read_bytes
    ) -> None:
        self.target_ref = target
        self.reference_refs = tuple(references)
        self._read = read
        self._encoded: dict[str, bytes] = {}
        self._decoded: dict[str, Image.Image] = {}

    @classmethod
    def of(cls, draft: Draft, read: Callable[[str], bytes] = read_bytes) -> Images:
        return cls(draft.target, [planned.reference for planned in draft.plan.references], read)

    def target(self) -> Image.Image:
        """The target: RGB, upright, within `WORK_SIDE`.

        Raises:
            ImageError: `missing`, `changed`, `unreadable` or `bomb`.
        """
        return self._pixels(self.target_ref)

    def reference(self, number: int) -> Image.Image:
        """Reference `number` (from 1): RGB, upright, within `WORK_SIDE`; a cut-out stands over white.

        Raises:
            ImageError: `missing`, `changed`, `unreadable` or `bomb`.
        """
        return self._pixels(self.reference_refs[number - 1])

    def target_bytes(self) -> bytes:
        """The target's file, for what decodes it to a size of its own.

        Raises:
            ImageError: `missing`, `changed` or `unreadable`.
        """
        return self._bytes(self.target_ref)

    def reference_bytes(self, number: int) -> bytes:
        """The file of reference `number` (from 1).

        Raises:
            ImageError: `missing`, `changed` or `unreadable`.
        """
        return self._bytes(self.reference_refs[number - 1])

    def forget_pixels(self) -> None:
        """Let go of the pixels, and keep the files: a tenth of the memory, and nothing is read twice."""
        self._decoded.clear()

    def forget(self) -> None:
        """Let go of pixels and files; they are read again if asked for again."""
        self._decoded.clear()
        self._encoded.clear()

    def _bytes(self, ref: ImageRef) -> bytes:
        if ref.sha256 not in self._encoded:
            self._encoded[ref.sha256] = image_bytes(ref, self._read)
        return self._encoded[ref.sha256]

    def _pixels(self, ref: ImageRef) -> Image.Image:
        if ref.sha256 not in self._decoded:
            # Pillow must not be imported for the sake of a configuration.
            from storage.images import decode

            self._decoded[ref.sha256] = decode(self._bytes(ref), max_side=WORK_SIDE)
        return self._decoded[ref.sha256]


@dataclass(frozen=True)
class Candidate:
    """A draft that no filter has rejected so far, and its pixels."""

    draft: Draft
    images: Images

    @classmethod
    def of(cls, draft: Draft) -> Candidate:
        return cls(draft, Images.of(draft))


@dataclass(frozen=True)
class Verdict:
    """What a filter says about one candidate; it keeps the candidate iff `reason` is empty.

    Attributes:
        reason: one word for counting (`blur`, `no_op`, `clip_text`).
        detail: a sentence with the value and the limit.
        scores: by column name; a column that was not computed is left out.
        reasonings: those that remain, with what the filter scored; None where it did not look at them.
        dropped: those taken out, scored as well, so that a lower limit can bring them back.
    """

    reason: str = ""
    detail: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    reasonings: tuple[Reasoning, ...] | None = None
    dropped: tuple[Reasoning, ...] = ()


class Filter(Protocol):
    """Keeps or rejects. Verdicts depend on each candidate alone, never on its neighbours in the batch.

    Attributes:
        name: as in the configuration.
        cost: cheap filters have a low one and run first.
        scores: the columns it may write.

    A filter may say in `batch` how many candidates it wants at once: at most `TOGETHER`, by default `score.BATCH`.
    """

    @property
    def name(self) -> str: ...

    @property
    def cost(self) -> int: ...

    @property
    def scores(self) -> tuple[str, ...]: ...

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order.

        Raises:
            ImageError: an image of any of them cannot be used; `score.run` then asks for one candidate at a time.
        """
        ...


def rounded(score: float) -> float:
    """A score as it is stored, and as limits are compared with: 4 decimals, never -0.0."""
    return round(float(score), 4) + 0.0
