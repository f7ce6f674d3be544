"""Look at one row of a raw pool: what the index says of it, or why it is left out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pools.licenses import AllowList
from pools.rows import KIND_FOLDERS, Row, parent
from schemas.errors import ImageError
from schemas.references import Kind, Person
from storage import paths
from storage.objects import StoreError

# Enough detail for a 32 x 32 perceptual hash, and a JPEG is still read to its end.
_LOOK_AT = 256


@dataclass(frozen=True)
class Problem:
    """A row that is not in the index, and why.

    Attributes:
        row: its place in the source, from 1 (a JSONL's line).
        path: what the source calls it.
        reason: one word for counting: bad_json, bad_path, bomb, changed, duplicate, license, missing, no_caption,
            no_path, outside, tiny, unknown_kind, unreadable.
        detail: the sentence behind it.
    """

    row: int
    path: str
    reason: str
    detail: str


class Examiner:
    """Turns a row of a source into a row of the index (a dict), or into a `Problem`; safe in several threads."""

    def __init__(self, out: str, kind: Kind | None, licenses: AllowList | None, min_side: int) -> None:
        self._kind, self._licenses, self._min_side = kind, licenses, min_side
        self.folder = parent(out)
        self.images = f"{out.removesuffix('.parquet')}-images"

    def __call__(self, row: Row) -> dict[str, Any] | Problem:
        try:
            if row.fault:
                raise ImageError(*row.fault)
            described = self._described(row)
            data, uri = self._bytes(row)
            return described | self._seen(row, data) | {"uri": uri}
        except ImageError as error:
            return Problem(row.number, one_line(row.name), error.reason, one_line(error.detail))

    def _described(self, row: Row) -> dict[str, Any]:
        said = row.fields
        kind = _kind(said.get("kind")) or self._kind
        if kind is None:
            raise ImageError("unknown_kind", f"kind {said.get('kind')!r} is none of {', '.join(Kind)}")
        caption, license = one_line(said.get("caption")), one_line(said.get("license"))
        if not caption:
            raise ImageError("no_caption", "neither the source nor the file's name says what it shows")
        if self._licenses is not None and license not in self._licenses:
            raise ImageError("license", f"licence {license!r} is not on the allow-list")
        person = one_line(said.get("person")).lower()
        return {
            "source_id": one_line(said.get("id")),
            "kind": kind.value,
            "caption": caption,
            "subject": one_line(said.get("subject")),
            "category": one_line(said.get("category")) or one_line(said.get("class")),
            "license": license,
            "attribution": one_line(said.get("attribution")),
            # Anything but a word of ours says too little to rely on.
            "person": person if person in set(Person) else Person.UNKNOWN.value,
        }

    def _bytes(self, row: Row) -> tuple[bytes, str]:
        """The image and its uri as the index writes it."""
        if row.data is not None:
            return row.data, ""
        try:
            row.path.encode("utf-8")
            resolved = paths.inside(row.folder, row.path)
            data = paths.read_bytes(resolved)
        except UnicodeEncodeError as error:
            raise ImageError("bad_path", "its name is not UTF-8") from error
        except ValueError as error:
            raise ImageError("outside", f"the path leaves the pool's folder {row.folder}") from error
        except FileNotFoundError as error:
            raise ImageError("missing", "there is no such file") from error
        except StoreError as error:
            if not error.here_only:
                raise  # not this image's fault, and it would be every other one's
            raise ImageError("unreadable", str(error)) from error
        except OSError as error:
            raise ImageError("unreadable", f"{type(error).__name__}: {error.strerror or 'cannot be read'}") from error
        return data, _relative(resolved, self.folder)

    def _seen(self, row: Row, data: bytes) -> dict[str, Any]:
        from storage import images

        sha256 = hashlib.sha256(data).hexdigest()
        stated = one_line(row.fields.get("sha256"))
        if stated and stated.lower() != sha256:
            raise ImageError("changed", f"its sha256 is {sha256}, not the {stated} that the source states")
        probe = images.probe(data)
        if min(probe.width, probe.height) < self._min_side:
            raise ImageError("tiny", f"{probe.width} x {probe.height}: a side is below {self._min_side} pixels")
        phash = images.phash(images.decode(data, max_side=_LOOK_AT))
        return {
            "id": sha256,
            "sha256": sha256,
            "width": probe.width,
            "height": probe.height,
            "media_type": probe.media_type,
            "phash": phash,
            "alpha": probe.alpha and images.uses_alpha(images.decode_rgba(data, max_side=_LOOK_AT)),
        }


def _relative(resolved: str, folder: str) -> str:
    try:
        root = paths.inside(folder, folder)
    except ValueError:  # a folder here and images on a bucket, or the reverse
        return resolved
    return resolved.removeprefix(root.rstrip("/") + "/")


def _kind(value: object) -> Kind | None:
    word = one_line(value).lower()
    word = KIND_FOLDERS.get(word, word)
    return Kind(word) if word in set(Kind) else None


def one_line(value: object) -> str:
    """A value as one line of valid Unicode; empty for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return " ".join(str(value).encode("utf-8", "replace").decode().split())
