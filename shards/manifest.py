"""run.json, written first, says what shapes the bytes; manifest.json, written last, says what they came to."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from schemas.errors import InputError, StoppedError
from schemas.usage import Usage, total
from shards.commit import finished
from shards.names import MANIFEST, MOST_SHARDS, REJECTS, RUN, SHARDS, ShardName, is_split, names_of
from shards.tables import Footer, read_rejects
from storage import paths

Json = dict[str, Any]
_INPUTS = {"input": "the list or its images have", "pool": "the pool has"}
"""Keys of run.json that digest an input, and what a user calls it."""


def canonical(value: Mapping[str, Any]) -> bytes:
    """The one way a JSON file of ours is spelt: equal values give equal bytes, so a hash covers every byte."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_run(out: str, run: Mapping[str, Any]) -> str:
    """Begin a run in the folder `out`, or recognise that it was begun with the same `run`.

    Args:
        run: JSON of what shapes the bytes. `shards` ({split: number of shards}) is required; `dataset`, `prompts`
            ({name: hash}), `versions` and `notes` are copied to the manifest.

    Returns:
        the run's hash: the sha256 of run.json.

    Raises:
        InputError: the folder was begun with another run (names the first key that differs), holds shards of no
            known run, or cannot be written.
    """
    data = canonical(run)
    uri = paths.join(out, RUN)
    if not _is_shards(run["shards"]):
        raise InputError(
            f"splits: {_short(run['shards'])} cannot be written; a split is named with letters, digits and _, "
            f"and has at most {MOST_SHARDS:,} shards"
        )
    try:
        if paths.exists(uri):
            _same_run(uri, data, run)
            return hashlib.sha256(data).hexdigest()
        if stray := _stray(out):
            raise InputError(f"{paths.join(out, stray)}: this folder holds files but no {RUN}; choose an empty --out")
        paths.write_atomic(uri, data)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from error
    return hashlib.sha256(data).hexdigest()


def read_run(out: str) -> tuple[str, Json]:
    """(hash, content) of run.json.

    Raises:
        InputError: it is missing or damaged.
    """
    uri = paths.join(out, RUN)
    try:
        data = paths.read_bytes(uri)
        run = json.loads(data)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{uri}: there is no such file; {out} is not the folder of a run") from error
    except ValueError as error:
        raise InputError(f"{uri}: it is no JSON ({error}); it must be as the run wrote it") from error
    if not isinstance(run, dict) or not _is_shards(run.get("shards")):
        raise InputError(f"{uri}: `shards` must give the number of shards of each split; the file is damaged")
    return hashlib.sha256(data).hexdigest(), run


def root_run(run: Mapping[str, Any]) -> Json:
    """The run.json behind a selection, a selection of a selection and so on; any other run's is its own."""
    while isinstance(selection := run.get("selection"), dict) and isinstance(of := selection.get("of"), dict):
        run = of
    return dict(run)


def write_manifest(out: str, balance: Mapping[str, Any] | None = None) -> Json:
    """Close a run whose shards are all finished; the counts come from their footers.

    Args:
        balance: `{dimension: {before: {score: rows}, after: {...}}}` (`shards.scores.balance_of`), where samples of
            the run were written as balanced shards; it follows from the files, so run.json does not hash it.

    Raises:
        InputError: run.json is missing or damaged.
        StoppedError: names the shards that are not finished.
    """
    run_hash, run = read_run(out)
    names = names_of(run["shards"])
    ends = paths.side_by_side(lambda name: finished(out, name, run_hash), names, out)
    footers = dict(zip(names, ends, strict=True))
    if missing := [str(name) for name, footer in footers.items() if footer is None]:
        raise StoppedError(f"{out}: {unfinished(missing, len(names))}; run the same command again")
    known = [footer for footer in footers.values() if footer is not None]
    manifest = summary(run_hash, run, known)
    manifest["usage"], manifest["files"] = _usage(out, names), dict(_files(out, known))
    if balance:
        manifest["balance"] = dict(balance)
    manifest["digest"] = digest_of(manifest)
    paths.write_atomic(paths.join(out, MANIFEST), canonical(manifest))
    return manifest


def read_manifest(out: str) -> Json | None:
    """The manifest, or None where the run is not finished.

    Raises:
        InputError: it is damaged.
    """
    uri = paths.join(out, MANIFEST)
    try:
        manifest = json.loads(paths.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{uri}: it is no JSON ({error}); run `verify`, or `merge` it into itself") from error
    if not isinstance(manifest, dict) or manifest.get("digest") != digest_of(manifest):
        raise InputError(f"{uri}: it is damaged (its digest is not that of its content); `merge` writes it anew")
    return manifest


def finished_run(out: str, run_hash: str) -> Json | None:
    """The manifest if this very run is complete in `out`: nothing is left to do."""
    manifest = read_manifest(out)
    return manifest if manifest is not None and manifest.get("run") == run_hash else None


def digest_of(manifest: Mapping[str, Any]) -> str:
    """The sha256 of the manifest's content without its own `digest`."""
    return hashlib.sha256(canonical({k: v for k, v in manifest.items() if k != "digest"})).hexdigest()


def summary(run_hash: str, run: Mapping[str, Any], footers: list[Footer]) -> Json:
    """The part of a manifest that follows from run.json and the footers alone."""
    reasons: Counter[str] = Counter()
    for footer in footers:
        reasons.update(footer.rejected_by_reason)
    return {
        "format": 1,
        "run": run_hash,
        "dataset": run.get("dataset", ""),
        "config": dict(run),
        "prompts": run.get("prompts", {}),
        "versions": run.get("versions", {}),
        "notes": run.get("notes", {}),
        "counts": {key: sum(getattr(footer, key) for footer in footers) for key in ("planned", "kept", "rejected")},
        "rejected_by_reason": dict(sorted(reasons.items())),
    }


def unfinished(missing: list[str], of: int) -> str:
    """`2 of 5 shards are not finished (train-00001-of-00004, ...)`."""
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return f"{len(missing)} of {of} shards are not finished ({shown})"


def first_difference(begun: object, wanted: object, key: str = "") -> tuple[str, object, object]:
    """(dotted key, begun value, wanted value) of the first key, in alphabetical order, where two JSON values differ."""
    if isinstance(begun, dict) and isinstance(wanted, dict):
        for name in sorted({*begun, *wanted}):
            if begun.get(name) != wanted.get(name) or (name in begun) != (name in wanted):
                return first_difference(begun.get(name), wanted.get(name), f"{key}.{name}" if key else name)
    return key, begun, wanted


def _same_run(uri: str, data: bytes, run: Mapping[str, Any]) -> None:
    found = paths.read_bytes(uri)
    if found == data:
        return
    try:
        begun = json.loads(found)
    except ValueError as error:
        raise InputError(f"{uri}: it is no JSON ({error}); choose another --out") from error
    key, before, now = first_difference(begun, json.loads(data))
    if not key:
        raise InputError(f"{uri}: it was changed since the run wrote it; choose another --out")
    if said := _INPUTS.get(key):
        raise InputError(
            f"{uri}: {said} changed since this folder was begun ({key} = {str(before)[:8]}, now {str(now)[:8]}); "
            "choose another --out (with the same ledger nothing that was asked before is paid again), or set it back"
        )
    raise InputError(
        f"{uri}: this folder was begun with {key} = {_short(before)}, not {_short(now)}; "
        "set it back or choose another --out"
    )


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _stray(out: str) -> str:
    """A file that lies in the folder although no run was begun there; none where the folder is empty or missing."""
    if not paths.is_remote(out):
        with suppress(FileNotFoundError), os.scandir(out) as entries:
            visible = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
            if visible:
                return visible[0]
    for folder in (SHARDS, REJECTS):
        for name in paths.list_files(paths.join(out, folder)):
            if name.endswith((".tar", ".parquet")):
                return f"{folder}/{name}"
    return MANIFEST if paths.exists(paths.join(out, MANIFEST)) else ""


def _is_shards(found: object) -> bool:
    return isinstance(found, dict) and all(
        is_split(split) and type(of) is int and 0 <= of <= MOST_SHARDS for split, of in found.items()
    )


def _usage(out: str, names: list[ShardName]) -> Json:
    def usage(name: ShardName) -> dict[str, Usage]:
        return read_rejects(paths.read_bytes(paths.join(out, name.rejects)), columns=())[0]

    parts = paths.side_by_side(usage, names, out)
    return {model: used.model_dump() for model, used in total(parts).items()}


def _files(out: str, footers: list[Footer]) -> Iterator[tuple[str, Json]]:
    def tables(footer: Footer) -> list[tuple[str, Json]]:
        found = []
        for file, rows in ((footer.name.index_file, footer.kept), (footer.name.rejects, footer.rejected)):
            data = paths.read_bytes(paths.join(out, file))
            found.append((file, {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "samples": rows}))
        return found

    for footer, found in zip(footers, paths.side_by_side(tables, footers, out), strict=True):
        yield footer.name.tar, {"sha256": footer.tar_sha256, "bytes": footer.tar_bytes, "samples": footer.kept}
        yield from found
