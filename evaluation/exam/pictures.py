"""The cases of an exam as files: what a teacher is shown, by reference."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from evaluation.exam.cases import Case, EditCase, PromptCase
from schemas.errors import InputError
from schemas.labels import EditPair
from schemas.references import ImageRef
from storage import paths
from storage.images import decode, encode_jpeg
from toyworld.render import render
from toyworld.world import Picture

FOLDER = "pictures"
_QUALITY, _RECODED = 95, 88


@dataclass(frozen=True)
class DrawnEdit:
    """An edit case and its two pictures."""

    case: EditCase
    pair: EditPair

    @property
    def exchanged(self) -> EditPair | None:
        """The way back; None where it has no sure truth or is the same pair again."""
        pair = self.pair
        if not self.case.inverse or pair.source.sha256 == pair.edited.sha256:
            return None
        return EditPair(
            id=f"{pair.id}-exchanged", source=pair.edited, edited=pair.source, instruction=self.case.inverse
        )


@dataclass(frozen=True)
class DrawnPrompt:
    """A prompt case and its picture."""

    case: PromptCase
    image: ImageRef


Drawn = DrawnEdit | DrawnPrompt


def drawn(case: Case, out: str, side: int) -> Drawn:
    """The case with its pictures drawn `side` pixels square and written as JPEG under `out`.

    Raises:
        InputError: they cannot be written.
    """
    try:
        if isinstance(case, PromptCase):
            return DrawnPrompt(case, _written(_jpeg(case.shown, side), out, case.id, side))
        source = _jpeg(case.source, side)
        first = _written(source, out, f"{case.id}-source", side)
        if str(case.kind) == "identical" and not case.recoded:
            second = first
        else:
            edited = encode_jpeg(decode(source), _RECODED) if case.recoded else _jpeg(case.edited, side)
            second = _written(edited, out, f"{case.id}-edited", side)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return DrawnEdit(case, EditPair(id=case.id, source=first, edited=second, instruction=case.instruction))


def _jpeg(picture: Picture, side: int) -> bytes:
    return encode_jpeg(render(picture, side), _QUALITY)


def _written(data: bytes, out: str, name: str, side: int) -> ImageRef:
    uri = paths.join(out, f"{FOLDER}/{name}.jpg")
    paths.write_atomic(uri, data)
    digest = hashlib.sha256(data).hexdigest()
    return ImageRef(uri=uri, sha256=digest, width=side, height=side, media_type="image/jpeg")
