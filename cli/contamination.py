"""`plumbline contamination`: what of an output a benchmark has as well, and its near-duplicates."""

from __future__ import annotations

from typing import Any

from storage import paths


def run(
    out: str,
    against: list[str],
    duplicates: bool,
    distance: int,
    ngram: int,
    min_words: int,
    clip: str | None,
    cosine: float,
) -> None:
    """Compare, and print the counts of each kind with examples; finding something is no error."""
    from pipelines.contamination import EXCLUDED, KEPT, REPORT, Checks, contamination
    from schemas.counting import many

    checks = Checks(
        distance=None if distance < 0 else distance,
        ngram=ngram,
        shortest=min_words,
        clip=clip,
        cosine=cosine,
        duplicates=duplicates,
    )
    report = contamination(out, against, checks)
    for source in report["against"]:
        print(f"against {source['name']}: {many(source['images'], 'image')}, {many(source['prompts'], 'prompt')}")
    print(f"{out}: {many(report['samples'], 'sample')}, {many(report['images'], 'distinct image')}")
    counts = {**(report["overlaps"] if against else {}), **(report["near_duplicates"] if duplicates else {})}
    if clip is None:
        counts = {kind: count for kind, count in counts.items() if "embedding" not in kind}
    for kind, count in counts.items():
        print(f"  {count:>8,}  {kind}{_example(report['examples'].get(kind))}")
    for note in report["notes"]:
        print(f"note: {note}")
    print(
        f"{many(report['excluded'], 'sample')} to leave out: {paths.join(out, EXCLUDED)}; the others: {KEPT}, {REPORT}"
    )


def _example(examples: list[dict[str, Any]] | None) -> str:
    if not examples:
        return ""
    one = examples[0]
    what = one["what"] if len(one["what"]) <= 60 else one["what"][:57] + "..."
    return f"  such as {one['id']} ({what}; {one['where']})"
