"""Contamination: which samples of a finished output a benchmark has as well, and which are near-duplicates.

A selection over what is stored: it asks no model, changes no shard, and writes ids, for `select` to leave out, and
contamination.json, for the dataset card to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from filters.near_duplicates import alike, near_by_embedding, near_by_hash
from filters.near_hashes import as_hashes, near_matches
from filters.overlaps import KnownTexts
from pipelines.against import Seen, Source, look, phash_of, read_source, says_little
from schemas.counting import many
from schemas.errors import DamageError, ImageError, InputError
from shards.indexes import digest_of_tars, read_indexes
from shards.manifest import canonical, read_run, root_run
from shards.pictures import TARGET, Gallery, gallery
from storage import paths

if TYPE_CHECKING:
    from filters.clip_model import ClipModel

REPORT, EXCLUDED, KEPT = "contamination.json", "contamination-exclude.txt", "contamination-keep.txt"
KINDS = ("sha", "phash", "embedding", "text", "ngram")
DUPLICATES = ("duplicate_phash", "duplicate_embedding")
_EXAMPLES = 5
_EMBEDDED_AT_ONCE = 1024


@dataclass(frozen=True)
class Checks:
    """What counts as the same.

    Attributes:
        distance: bits of 64 in which two perceptual hashes may differ; None: hashes are not compared.
        ngram: words of a run that two texts have in common.
        shortest: texts of fewer words are not compared.
        clip: weights of a CLIP (as `filters.clip.weights`) to compare embeddings; None: they are not compared.
        cosine: of two embeddings, at least.
        duplicates: also look for near-duplicates among the targets.
    """

    distance: int | None = 6
    ngram: int = 13
    shortest: int = 5
    clip: str | None = None
    cosine: float = 0.95
    duplicates: bool = False


@dataclass
class Found:
    """By kind, the samples (by number) and why: the member or word in common, and where else it is."""

    by_kind: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)

    def note(self, kind: str, number: int, what: str, where: str) -> None:
        self.by_kind.setdefault(kind, {}).setdefault(number, (what, where))

    @property
    def numbers(self) -> set[int]:
        return {number for found in self.by_kind.values() for number in found}


def contamination(out: str, against: Sequence[str], checks: Checks) -> dict[str, Any]:
    """Compare, write the report and both lists of ids into `out`, and return the report.

    Raises:
        InputError: `out` is no finished run, or nothing is to be compared, or what to compare with is not there.
        DamageError: a file of `out` cannot be read.
    """
    if not against and not checks.duplicates:
        raise InputError("contamination: give --against DIR_OR_PROMPTS, or --near-duplicates, or both")
    shown = gallery(out)
    model = None if checks.clip is None else _model(checks.clip)
    found, notes, sources = Found(), list[str](), [read_source(spec) for spec in against]
    known = [one for source in sources for one in _looked_at(source, out, notes)]
    if known:
        _images(shown, known, sources, checks, model, found, notes)
    texts = KnownTexts(checks.ngram, checks.shortest)
    for source in sources:
        texts.add(source.texts, source.name)
    for number, instruction in enumerate(shown.instructions):
        if len(texts) and (overlap := texts.overlap(instruction)) is not None:
            found.note(overlap.kind, number, overlap.shared, overlap.where)
    if checks.duplicates:
        _duplicates(shown, checks, model, found)
    return _written(out, shown, sources, checks, found, notes)


def _model(weights: str) -> ClipModel:
    from filters.clip_model import ClipModel
    from filters.weights import WeightsUnavailable, defect_of

    if defect := defect_of(weights):
        raise InputError(f"--clip: {defect}")
    try:
        return ClipModel.load(weights, key="--clip")
    except WeightsUnavailable as error:
        raise InputError(
            f"--clip: {error.reason}; name weights in a folder (local-dir:PATH), or leave it out"
        ) from error


def _looked_at(source: Source, out: str, notes: list[str]) -> list[Seen]:
    """What each picture of a source is known by; those that cannot be decoded are noted and left out."""
    _, run = read_run(out)
    output = (root_run(run).get("output") or {}).get("image") or {}
    cleaning = {"max_side": int(output.get("max_side", 1024)), "quality": int(output.get("quality", 95))}

    def one(picture: tuple[str, Callable[[], bytes]]) -> Seen | str:
        name, read = picture
        try:
            return look(name, read(), **cleaning)
        except (ImageError, OSError) as error:
            return f"{name}: {error}"

    seen = list(_spread(one, source.pictures))
    broken = [one for one in seen if isinstance(one, str)]
    if broken:
        notes.append(f"{source.name}: {many(len(broken), 'image')} cannot be read, such as {broken[0]}")
    return [one for one in seen if isinstance(one, Seen)]


def _images(
    shown: Gallery,
    known: Sequence[Seen],
    sources: Sequence[Source],
    checks: Checks,
    model: ClipModel | None,
    found: Found,
    notes: list[str],
) -> None:
    digests = {digest: seen.name for seen in known for digest in seen.digests}

    def note(kind: str, digest: str, where: str) -> None:
        for number, member in shown.pictures[digest].shown:
            found.note(kind, number, member, where)

    for digest in shown.pictures:
        if digest in digests:
            note("sha", digest, digests[digest])
    if checks.distance is not None:
        told = [seen for seen in known if not says_little(seen.phash)]
        hashes = _hashes(shown, notes)
        mine = [digest for digest, phash in hashes.items() if not says_little(phash)]
        nearest: dict[int, tuple[int, int]] = {}
        pairs = near_matches(
            as_hashes([hashes[digest] for digest in mine]), as_hashes([seen.phash for seen in told]), checks.distance
        )
        for left, right, far in pairs:
            for i, j, bits in zip(left.tolist(), right.tolist(), far.tolist(), strict=True):
                nearest[i] = min(nearest.get(i, (bits, j)), (bits, j))
        for i, (_, j) in nearest.items():
            note("phash", mine[i], told[j].name)
    if model is not None:
        readers = {name: read for source in sources for name, read in source.pictures}
        names = [seen.name for seen in known]
        theirs = _embeddings(model, [(seen.digests[0], readers[seen.name]) for seen in known])
        mine = list(shown.pictures)
        own = _embeddings(model, [(digest, shown.pictures[digest].place.read) for digest in mine])
        for i, j, _ in alike(own, theirs, checks.cosine):
            note("embedding", mine[i], names[j])


def _hashes(shown: Gallery, notes: list[str]) -> dict[str, str]:
    """By digest, the perceptual hash of every distinct image: the index has the targets', the others are decoded."""

    def one(digest: str) -> tuple[str, str]:
        picture = shown.pictures[digest]
        try:
            return digest, picture.phash or phash_of(picture.place.read())
        except ImageError:
            return digest, ""

    found = dict(_spread(one, list(shown.pictures)))
    if broken := sum(not phash for phash in found.values()):
        notes.append(f"{many(broken, 'image')} of the output cannot be decoded; run `verify`")
    return {digest: phash for digest, phash in found.items() if phash}


def _duplicates(shown: Gallery, checks: Checks, model: ClipModel | None, found: Found) -> None:
    if not any(shown.target_hashes):
        raise InputError("--near-duplicates: this output has no targets; rows of critic labels share images by design")
    if checks.distance is not None:
        hashes = ["" if not phash or says_little(phash) else phash for phash in shown.target_hashes]
        for number, leader in near_by_hash(hashes, checks.distance).items():
            found.note("duplicate_phash", number, TARGET, shown.ids[leader])
    if model is not None:
        targets = {number: d for d, p in shown.pictures.items() for number, member in p.shown if member == TARGET}
        numbers = sorted(targets)
        vectors = _embeddings(model, [(targets[n], shown.pictures[targets[n]].place.read) for n in numbers])
        for i, leader in near_by_embedding(vectors, checks.cosine).items():
            found.note("duplicate_embedding", numbers[i], TARGET, shown.ids[numbers[leader]])


def _embeddings(model: ClipModel, pictures: Sequence[tuple[str, Callable[[], bytes]]]) -> Any:
    """Unit vectors [n, d], float32."""
    import numpy as np

    try:
        parts = [
            model.image_embeddings(pictures[start : start + _EMBEDDED_AT_ONCE]).astype(np.float32)
            for start in range(0, len(pictures), _EMBEDDED_AT_ONCE)
        ]
    except ImageError as error:
        raise DamageError(f"an image of the output cannot be decoded ({error}); run `verify`") from error
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _spread(one: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
    with ThreadPoolExecutor(thread_name_prefix="contamination") as pool:
        return list(pool.map(one, items))


def _written(
    out: str, shown: Gallery, sources: Sequence[Source], checks: Checks, found: Found, notes: Sequence[str]
) -> dict[str, Any]:
    gone = found.numbers
    report = {
        "tars": digest_of_tars(index.footer for index in read_indexes(out, ["id"])),
        "settings": asdict(checks),
        "against": [{"name": s.name, "images": len(s.pictures), "prompts": len(s.texts)} for s in sources],
        "samples": len(shown.ids),
        "images": len(shown.pictures),
        "overlaps": {kind: len(found.by_kind.get(kind, {})) for kind in KINDS},
        "near_duplicates": {kind: len(found.by_kind.get(kind, {})) for kind in DUPLICATES},
        "excluded": len(gone),
        "examples": {
            kind: [
                {"id": shown.ids[number], "what": what, "where": where}
                for number, (what, where) in sorted(rows.items())[:_EXAMPLES]
            ]
            for kind, rows in found.by_kind.items()
        },
        "notes": list(notes),
    }
    try:
        for name, chosen in ((EXCLUDED, True), (KEPT, False)):
            ids = [f"{key}\n" for number, key in enumerate(shown.ids) if (number in gone) is chosen]
            paths.write_atomic(paths.join(out, name), "".join(ids).encode())
        paths.write_atomic(paths.join(out, REPORT), canonical(report))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return report
