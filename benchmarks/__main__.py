"""`make bench`: every benchmark in turn, each writing its section of benchmarks/RESULTS.md."""

from __future__ import annotations

import importlib
import sys

NAMES = ("help_time", "planning", "shard_write", "shard_read", "export", "run_memory")


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    for name in sys.argv[1:] or NAMES:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
