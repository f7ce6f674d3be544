"""`plumbline report`: the gallery and the dataset card of an output folder."""

from __future__ import annotations

from storage import paths


def run(out: str, card_only: bool, samples: int | None, thumb: int | None) -> None:
    """Write README.md, attribution.csv where there is something to attribute, and unless `card_only` report.html."""
    from report.card import CARD, write_card
    from report.output import read_output
    from report.page import REPORT, SAMPLES, write_report

    output = read_output(out)
    if output.missing:
        print(f"note: {output.missing}; what is there is shown")
    if output.counts["kept"]:
        write_card(output)
        print(f"{paths.join(out, CARD)}: written")
    else:
        print("note: nothing was kept, so there is no dataset card")
    if card_only:
        return
    written = write_report(output, samples or SAMPLES, thumb)
    shown = f"{written.shown:,}" + (f" of {written.of:,}" if written.shown < written.of else "")
    print(f"{paths.join(out, REPORT)}: {shown} entries, {written.bytes / 1e6:.1f} MB; open it in a browser")
