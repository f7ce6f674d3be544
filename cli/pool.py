"""`plumbline pool`: indexing reference pools."""

from __future__ import annotations


def run(source: str, out: str, licenses: list[str] | None, min_side: int) -> None:
    """Index `source` and say what was taken and what was left out, reason by reason."""
    from pools.index import index

    report = index(source, out, licenses=licenses, min_side=min_side)
    kinds = ", ".join(f"{count:,} {kind}s" for kind, count in sorted(report.kinds.items()))
    print(f"{report.indexed:,} references: {kinds}")
    print(f"index: {report.out}")
    if report.problems:
        print(f"{len(report.problems):,} left out: {report.problems_file}")
        for reason, count in report.reasons.items():
            example = next(p for p in report.problems if p.reason == reason)
            print(f"  {count:>6,}  {reason:<14} e.g. {example.path}: {example.detail}")
