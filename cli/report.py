"""`plumbline report`: the gallery and the dataset card of an output folder."""

from __future__ import annotations

from storage import paths


def run(out: str, card_only: bool, samples: int | None, thumb: int | None) -> None:
    """Write README.md, attribution.csv where there is something to attribute, and unless `card_only` report.html."""
    from report.card import CARD, card_files
    from report.output import read_output
    from report.page import REPORT, SAMPLES, write_report
    from schemas.counting import many

    output = read_output(out)
    if output.missing:
        print(f"note: {output.missing}; what is there is shown")
    # The card is made before the page and written after it: where one of them cannot be made, neither is there.
    files = card_files(output) if output.counts["kept"] else {}
    written = None if card_only else write_report(output, samples or SAMPLES, thumb)
    for name, data in files.items():
        paths.write_atomic(paths.join(out, name), data)
    print(f"{paths.join(out, CARD)}: written" if files else "note: nothing was kept, so there is no dataset card")
    if written is None:
        return
    if written.damaged:
        found = many(written.damaged, "picture is", "pictures are")
        print(f"note: {found} not what the index says, and left out; run `verify`")
    shown = f"{written.shown:,} of " * (written.shown < written.of) + many(written.of, "entry", "entries")
    print(f"{paths.join(out, REPORT)}: {shown}, {written.bytes / 1e6:.1f} MB; open it in a browser")
