"""python -m benchmarks.at_scale: compute the tables of docs/scale.md and write them into the page."""

from __future__ import annotations

from benchmarks.at_scale.page import PAGE, rendered
from benchmarks.at_scale.runs import demands
from benchmarks.scale.measured import load


def main() -> None:
    """Write the page."""
    before = PAGE.read_text(encoding="utf-8")
    after = rendered(before, demands(), load())
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE}: {'written' if after != before else 'as it was'}")


if __name__ == "__main__":
    main()
