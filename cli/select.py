"""`plumbline select`: samples chosen by stored scores, as an id list or as shards of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.counting import many
from schemas.errors import InputError

if TYPE_CHECKING:
    from annotators.blobs import Blobs
    from filters.balance import BalanceConfig
    from pipelines.selecting import Selected

_SHOWN = 10


def run(
    out: str,
    where: str | None,
    ids: str | None,
    rejected: bool,
    balance: list[str],
    seed: int | None,
    dest: str | None,
    list_file: str | None,
    shard_samples: int | None,
    ledger: str | None,
) -> None:
    """Choose, say how many, and write what was asked for."""
    from pipelines.selecting import Asked, select, write_selected
    from shards.selecting import read_ids, write_ids

    if where is None and ids is None and not balance:
        raise InputError("select: say what to choose, with --where, --ids or --balance")
    if where is not None and not where.strip():
        raise InputError("--where: is empty; write a condition, as in 'clip_text >= 0.25'")
    asked = Asked(
        where=where or "",
        ids=None if ids is None else read_ids(ids),
        rejected=rejected,
        balance=_balance(balance) if balance else None,
        seed=seed,
    )
    selected = select(out, asked, _blobs(ledger) if rejected else None)
    _say(out, selected, asked.rejected)
    if not selected.ids and (place := list_file or dest):
        raise InputError(f"{place}: not written: no sample of {out} is chosen")
    if list_file is not None:
        write_ids(list_file, selected.ids)
        print(f"{list_file}: {many(len(selected.ids), 'id')}")
    if dest is not None:
        manifest = write_selected(out, dest, selected, shard_samples)
        counts, shards = manifest["counts"], sum(manifest["config"]["shards"].values())
        print(f"{dest}: {many(counts['kept'], 'sample')} in {many(shards, 'shard')}")
        if counts["rejected"]:
            _say_unwritten(dest)


def _say(out: str, found: Selected, rejected: bool) -> None:
    print(f"{out}: {len(found.kept):,} of {many(found.total, 'sample')}")
    if rejected:
        back = found.back
        come = "comes" if len(back.ids) == 1 else "come"
        print(f"  and {len(back.ids):,} of {many(back.rejected, 'rejected one')} {come} back")
        if back.without_draft:
            print(f"  {many(back.without_draft, 'rejection')} never became a sample (`plumbline rejects` says why)")
        if back.unscored:
            print(f"  {many(back.unscored, 'was', 'were')} rejected before a score that is asked for was computed")
        if back.lost:
            print(f"  {many(len(back.lost), 'meets', 'meet')} it and cannot come back:")
            for key, why in list(back.lost.items())[:_SHOWN]:
                print(f"    {key}  {why}")
            if len(back.lost) > _SHOWN:
                print(f"    ... and {len(back.lost) - _SHOWN:,} more")
            print("  where they lie in another ledger, name it with --ledger")
    for dimension, scores in found.left_out.items():
        print(f"  {dimension}: nothing has the score {', '.join(f'{score:g}' for score in scores)}, so it is left out")


def _say_unwritten(dest: str) -> None:
    from shards.rejects import rejections

    print("  could not be written:")
    for _, row in rejections(dest):
        print(f"    {row['id']}  {row['detail']}")


def _balance(settings: list[str]) -> BalanceConfig:
    from filters.balance import BalanceConfig
    from storage.configs import apply_setting, validate

    tree: dict[str, object] = {}
    for setting in settings:
        if "=" not in setting:
            raise InputError(f"--balance {setting}: write it as DIMENSION=SHAPE, such as execution=uniform")
        try:
            apply_setting(tree, setting)
        except InputError as error:
            raise InputError(str(error).replace("--set", "--balance")) from error
    return validate(BalanceConfig, tree, "--balance")


def _blobs(ledger: str | None) -> Blobs | None:
    """The blobs of the ledger that is named, else of the user's own, where there is one."""
    from annotators.ledger import default_location, open_ledger
    from storage import paths

    if ledger is None and not paths.exists(default_location()):
        return None
    opened = open_ledger(ledger, create=False)
    opened.close()
    return opened.blobs
