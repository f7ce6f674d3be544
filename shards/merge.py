"""Merge: gather the finished shards of one run from several folders, and close the run."""

from __future__ import annotations

import hashlib
from typing import Any

from schemas.errors import DamageError, InputError, StoppedError
from shards.commit import finished
from shards.manifest import finished_run, first_difference, read_run, unfinished, write_manifest, write_run
from shards.names import MANIFEST, ShardName, names_of
from shards.scores import balance_of
from shards.tables import Footer
from storage import paths

_COPIES = 4
"""Shards copied at once to or from a bucket; each lies in a temporary file of this machine meanwhile."""


def merge(folders: list[str], out: str) -> dict[str, Any]:
    """Copy every shard of the run into `out` and write its manifest; nothing is copied unless all shards are there.

    `out` may be one of the folders; a folder merged into itself only gets its manifest. Balanced shards are chosen
    from the whole, so those of a folder do not go along; those that `out` has stay in its manifest.

    Raises:
        InputError: the folders hold different runs, or two of them hold different bytes for one shard.
        StoppedError: names the shards that no folder has finished.
        DamageError: a tar does not have the bytes that its index promises, or a folder is finished and a file of a
            shard that no other has is missing; names it.
    """
    if not folders:
        raise InputError("merge: no folder is named; give the folders of the slices")
    run_hash, run = _one_run(folders)
    write_run(out, run)
    names = names_of(run["shards"])
    every = list(dict.fromkeys([out, *folders]))
    on_bucket = next((folder for folder in every if paths.is_remote(folder)), out)
    found = paths.side_by_side(lambda name: _place(every, name, run_hash), names, on_bucket)
    places = dict(zip(names, found, strict=True))
    if missing := [name for name, place in places.items() if place is None]:
        _refuse_damaged([out, *folders], run_hash, missing[0])
        which = unfinished([str(name) for name in missing], len(names))
        raise StoppedError(f"{out}: {which} in any of the folders; finish them, then merge")
    copies = [(*place, out, name) for name, place in places.items() if place is not None and place[0] != out]
    paths.side_by_side(lambda copy: _copy(*copy), copies, on_bucket, _COPIES)
    return write_manifest(out, balance_of(out))


def _one_run(folders: list[str]) -> tuple[str, dict[str, Any]]:
    run_hash, run = read_run(folders[0])
    for folder in folders[1:]:
        other_hash, other = read_run(folder)
        if other_hash != run_hash:
            key, a, b = first_difference(run, other)
            raise InputError(f"{folder}: its run differs from that of {folders[0]} in {key or 'spelling'} ({b} != {a})")
    return run_hash, run


def _place(folders: list[str], name: ShardName, run_hash: str) -> tuple[str, Footer] | None:
    """Which folder has this shard; where several do, they must have made the same."""
    found = [(folder, footer) for folder in folders if (footer := finished(folder, name, run_hash)) is not None]
    for folder, footer in found[1:]:
        if footer != found[0][1]:
            raise InputError(
                f"{paths.join(folder, name.tar)}: differs from the one in {found[0][0]}; remove one of the two"
            )
    return found[0] if found else None


def _refuse_damaged(folders: list[str], run_hash: str, name: ShardName) -> None:
    """A shard that no folder has is damage where the manifest of one says that it is there."""
    for folder in folders:
        try:
            done = finished_run(folder, run_hash) is not None
        except InputError:  # A damaged manifest says nothing; a merge writes it anew.
            continue
        if done:
            lost = [uri for file in reversed(name.files) if not paths.exists(uri := paths.join(folder, file))]
            uri, why = (lost[0], "is missing") if lost else (paths.join(folder, name.tar), "is not what it was")
            raise DamageError(f"{uri}: {why}, though {MANIFEST} says that the run is finished; run `verify`")


def _copy(source: str, footer: Footer, out: str, name: ShardName) -> None:
    """In the order of a commit, so that a merge that is killed leaves no shard that looks finished and is not."""
    paths.copy_atomic(paths.join(source, name.rejects), paths.join(out, name.rejects))
    digest = hashlib.sha256()
    with paths.open_read(paths.join(source, name.tar)) as file, paths.open_atomic(paths.join(out, name.tar)) as copy:
        while block := file.read(paths.BLOCK):
            digest.update(block)
            copy.write(block)
        if digest.hexdigest() != footer.tar_sha256:
            raise DamageError(
                f"{paths.join(source, name.tar)}: is not what its index says; delete {name}'s files there and run the "
                "command that made them again"
            )
    paths.copy_atomic(paths.join(source, name.index_file), paths.join(out, name.index_file))
