"""Verify: is every byte of a run what its manifest says, and does every sample keep the promises of the format?"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import DamageError, InputError
from schemas.usage import Usage, total
from shards.commit import finished
from shards.manifest import canonical, digest_of, read_run, summary, unfinished
from shards.names import BALANCED, MANIFEST, REJECTS, RUN, SHARDS, ShardName, names_of
from shards.samples import Shape, sample_problems
from shards.scores import balance_of, histograms
from shards.tables import Footer, read_index, read_rejects
from shards.tar import Member, walk
from storage import paths

_READERS_REMOTE = 8


@dataclass
class Findings:
    """What one shard showed: its problems, and what must be compared with the other shards."""

    problems: list[str] = field(default_factory=list)
    footer: Footer | None = None
    usage: dict[str, Usage] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    shape: Shape = field(default_factory=Shape)


def verify(out: str) -> list[str]:
    """Every problem of a run, each one line that names the file; empty where all is well.

    Every file is read whole, so one flipped bit anywhere in run.json, manifest.json, shards/ or rejects/ is found.
    """
    try:
        run_hash, run = read_run(out)
    except InputError as error:
        return [str(error)]
    names = names_of(run["shards"])
    if not paths.exists(paths.join(out, MANIFEST)):
        ends = paths.side_by_side(lambda name: finished(out, name, run_hash), names, out)
        missing = [str(name) for name, footer in zip(names, ends, strict=True) if footer is None]
        state = unfinished(missing, len(names)) if missing else f"all {len(names)} shards are finished; merge closes it"
        return [f"{paths.join(out, MANIFEST)}: is missing, so the run is unfinished: {state}"]
    manifest, problems = _manifest(out)
    problems += _run_problems(manifest, run_hash, run)
    listed: Mapping[str, Any] = manifest.get("files", {}) if isinstance(manifest.get("files"), dict) else {}
    problems += _listing_problems(out, listed, names) if manifest else []
    readers = _READERS_REMOTE if paths.is_remote(out) else min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(readers, thread_name_prefix="verify") as pool:
        found = list(pool.map(lambda name: _shard(out, name, listed, run_hash), names))
    for findings in found:
        problems += findings.problems
    problems += _between_shards(dict(zip(names, found, strict=True)))
    if all(findings.footer is not None for findings in found):
        problems += _sums(manifest, run_hash, run, found)
        problems += [] if problems else _balance_problems(out, manifest)
    return problems


def _manifest(out: str) -> tuple[dict[str, Any], list[str]]:
    data = paths.read_bytes(paths.join(out, MANIFEST))
    try:
        manifest = json.loads(data)
        # Spelt the one way we spell it: then the digest of the content stands for every byte of the file.
        sound = isinstance(manifest, dict) and canonical(manifest) == data
    except ValueError as error:
        return {}, [f"{MANIFEST}: is damaged: it is no JSON ({error})"]
    if not sound:
        return manifest if isinstance(manifest, dict) else {}, [f"{MANIFEST}: is damaged: it is not as it was written"]
    if manifest.get("digest") != digest_of(manifest):
        return manifest, [f"{MANIFEST}: is damaged: its digest is not that of its content"]
    return manifest, []


def _run_problems(manifest: Mapping[str, Any], run_hash: str, run: Mapping[str, Any]) -> list[str]:
    if manifest.get("run") == run_hash:
        return []
    if manifest.get("config") == run:
        return [f"{RUN}: is damaged: its sha256 is {run_hash}, the manifest says {manifest.get('run')}"]
    return [f"{RUN}: is not the run of {MANIFEST}: its sha256 is {run_hash}, the manifest says {manifest.get('run')}"]


def _listing_problems(out: str, listed: Mapping[str, Any], names: list[ShardName]) -> list[str]:
    wanted = {file for name in names for file in name.files}
    problems = [f"{file}: is missing from {MANIFEST}" for file in sorted(wanted - set(listed))]
    problems += [f"{file}: is in {MANIFEST} but belongs to no shard of {RUN}" for file in sorted(set(listed) - wanted)]
    for folder in (SHARDS, REJECTS):
        there = {f"{folder}/{name}" for name in paths.list_files(paths.join(out, folder))}
        extra = sorted(file for file in there - wanted if file.endswith((".tar", ".parquet")))
        problems += [f"{file}: is no file of this run; remove it" for file in extra]
    return problems


def _shard(out: str, name: ShardName, listed: Mapping[str, Any], run_hash: str) -> Findings:
    found = Findings()
    index = _table(out, name.index_file, listed, found)
    rejects = _table(out, name.rejects, listed, found)
    rows: list[dict[str, Any]] | None = None
    if index is not None:
        try:
            found.footer, rows = read_index(index, name)
        except ValueError as error:
            found.problems.append(f"{name.index_file}: {error}")
    _tar(out, name, listed, rows, found)
    if found.footer is not None and rows is not None:
        found.problems += _index_problems(name, found.footer, rows, run_hash)
        found.subjects.update(subject for row in rows for subject in row["subjects"] or ())
        if rejects is not None:
            _rejects(name, rejects, found.footer, found)
    return found


def _table(out: str, file: str, listed: Mapping[str, Any], found: Findings) -> bytes | None:
    """The bytes of a Parquet file that are as the manifest says; damaged ones are not parsed at all."""
    try:
        data = paths.read_bytes(paths.join(out, file))
    except FileNotFoundError:
        found.problems.append(f"{file}: is missing")
        return None
    said = listed.get(file)
    if said is None:
        return data
    if problem := _differs(file, hashlib.sha256(data).hexdigest(), len(data), said):
        found.problems.append(problem)
        return None
    return data


def _differs(file: str, sha256: str, count: int, said: object) -> str:
    said = said if isinstance(said, dict) else {}
    if said.get("bytes") != count:
        return f"{file}: has {count:,} bytes, the manifest says {said.get('bytes')}"
    return (
        ""
        if said.get("sha256") == sha256
        else f"{file}: has the sha256 {sha256}, the manifest says {said.get('sha256')}"
    )


def _tar(out: str, name: ShardName, listed: Mapping[str, Any], rows: list[dict[str, Any]] | None, f: Findings) -> None:
    """One pass over the tar: its hash, each member against the index, each sample against the format."""
    uri = paths.join(out, name.tar)
    digest = hashlib.sha256()
    expected = None if rows is None else _expected(rows)
    try:
        with paths.open_read(uri) as file:
            for sample in _samples(file, name, digest, expected, f):
                key = next(iter(sample)).partition(".")[0]
                f.ids.append(key)
                f.problems += sample_problems(name, key, sample, f.shape, f.subjects)
        sha256 = digest.hexdigest()
        if expected is not None:
            f.problems += [f"{name.tar}: member {m.name} of the index is not in the tar" for m in expected]
    except FileNotFoundError:
        f.problems.append(f"{name.tar}: is missing")
        return
    except DamageError as error:
        f.problems.append(str(error))
        sha256 = paths.sha256_file(uri)
    said = listed.get(name.tar)
    if said is not None and (problem := _differs(name.tar, sha256, paths.size(uri), said)):
        f.problems.append(problem)
    if f.footer is not None and f.footer.tar_sha256 != sha256:
        f.problems.append(f"{name.tar}: has the sha256 {sha256}, its index says {f.footer.tar_sha256}")


def _expected(rows: list[dict[str, Any]]) -> Iterator[Member]:
    for row in rows:
        for member in row["members"]:
            yield Member(**member)


def _samples(
    file: Any, name: ShardName, digest: Any, expected: Iterator[Member] | None, found: Findings
) -> Iterator[dict[str, bytes]]:
    """Members grouped by sample, each compared with the index on the way; the first disagreement is reported."""
    sample: dict[str, bytes] = {}
    key, agreed = "", True
    for member_name, offset, content in walk(file, name.tar, digest):
        data = bytes(content)
        actual = Member(member_name, hashlib.sha256(data).hexdigest(), offset, len(data))
        if expected is not None and agreed:
            said = next(expected, None)
            if said != actual:
                agreed = said is not None and said.name == actual.name and said.size == actual.size
                found.problems.append(_disagreement(name, actual, said))
        if sample and member_name.partition(".")[0] != key:
            yield sample
            sample = {}
        key = member_name.partition(".")[0]
        sample[member_name] = data
    if sample:
        yield sample


def _disagreement(name: ShardName, actual: Member, said: Member | None) -> str:
    if said is None:
        return f"{name.tar}: member {actual.name} is not in the index"
    for key in ("name", "offset", "size", "sha256"):
        a, b = getattr(actual, key), getattr(said, key)
        if a != b:
            return f"{name.tar}: member {actual.name} has the {key} {a}, its index says {b}"
    return ""


def _index_problems(name: ShardName, footer: Footer, rows: list[dict[str, Any]], run_hash: str) -> list[str]:
    file, ids = name.index_file, [row["id"] for row in rows]
    problems = []
    if footer.run_hash != run_hash:
        problems.append(f"{file}: was made by another run ({footer.run_hash}, not {run_hash})")
    if footer.kept != len(rows):
        problems.append(f"{file}: has {len(rows)} rows, its footer says {footer.kept} were kept")
    if footer.planned != footer.kept + footer.rejected:
        problems.append(f"{file}: {footer.planned} planned are not {footer.kept} kept and {footer.rejected} rejected")
    if ids != sorted(set(ids)):
        problems.append(f"{file}: its ids are not sorted, or one comes twice")
    for row in rows:
        strays = [m["name"] for m in row["members"] if m["name"].partition(".")[0] != row["id"]]
        if strays or row["split"] != name.split:
            problems.append(f"{file}: row {row['id']} has {strays[0] if strays else 'the split ' + row['split']}")
    return problems


def _rejects(name: ShardName, data: bytes, footer: Footer, found: Findings) -> None:
    try:
        found.usage, rows = read_rejects(data, columns=["reason", "split"])
    except ValueError as error:
        found.problems.append(f"{name.rejects}: {error}")
        return
    if len(rows) != footer.rejected:
        found.problems.append(f"{name.rejects}: has {len(rows)} rows, the index says {footer.rejected} were rejected")
    if dict(Counter(row["reason"] for row in rows)) != footer.rejected_by_reason:
        found.problems.append(f"{name.rejects}: its reasons are not those that the index counts")


def _between_shards(found: dict[ShardName, Findings]) -> list[str]:
    problems: list[str] = []
    first: dict[str, ShardName] = {}
    subjects: dict[str, dict[str, None]] = {}
    shape = Shape()
    for name, findings in found.items():
        for key in findings.ids:
            if key in first:
                problems.append(f"{name.tar}: sample {key} is also in {first[key].tar}")
            first.setdefault(key, name)
        if problem := shape.merge(findings.shape):
            problems.append(f"{name.tar}: {problem}")
        for subject in findings.subjects:
            subjects.setdefault(subject, {})[name.split] = None
    shared = sorted(subject for subject, splits in subjects.items() if len(splits) > 1)
    if shared:
        splits = " and ".join(sorted(subjects[shared[0]]))
        problems.append(f"{SHARDS}: {len(shared)} subjects are in more than one split ({shared[0]} in {splits})")
    return problems


def _sums(manifest: Mapping[str, Any], run_hash: str, run: Mapping[str, Any], found: list[Findings]) -> list[str]:
    """Whatever the manifest sums up must be the sum of the shards."""
    sums = summary(run_hash, run, [f.footer for f in found if f.footer is not None])
    sums["usage"] = {model: used.model_dump() for model, used in total(f.usage for f in found).items()}
    return [
        f"{MANIFEST}: {key} is {json.dumps(manifest.get(key))}, the shards give {json.dumps(sums[key])}"
        for key in ("counts", "rejected_by_reason", "usage", "config", "prompts", "notes", "versions")
        if manifest.get(key) != sums[key] and not (key == "usage" and any(f.problems for f in found))
    ]


def _balance_problems(out: str, manifest: Mapping[str, Any]) -> list[str]:
    """The histograms that the manifest has must be those of the shards, of the whole and of the balanced ones."""
    said = manifest.get("balance")
    if said is None:
        return []
    try:
        before = histograms(out)
        found = balance_of(out)
    except (InputError, DamageError) as error:
        return [f"{MANIFEST}: its balance cannot be checked: {error}"]
    if not isinstance(said, dict) or {d: s.get("before") for d, s in said.items() if isinstance(s, dict)} != before:
        return [f"{MANIFEST}: its balance is not that of the scores in the indexes"]
    if found is not None and found != said:
        return [f"{MANIFEST}: its balance is not that of {BALANCED}/"]
    return []
