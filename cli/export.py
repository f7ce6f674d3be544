"""`plumbline export`: a finished output as the files of a trainer."""

from __future__ import annotations


def run(
    folder: str, name: str, out: str, data_dir: str | None, units: int, without_iccot: float, keys: str | None
) -> None:
    """Export, and print one line: samples read, written, left out by reason, and rows by file."""
    from shards.export.formats import export
    from shards.export.options import Options

    options = Options(data_dir=data_dir or "", units=units, without_iccot=without_iccot, keys=keys or "llamafactory")
    print(f"{out}: {export(folder, name, out, options)}")
