"""`make bench`: each benchmark that needs nothing further, in turn, each writing its section of benchmarks/RESULTS.md.

Those that install their peers are asked for by name: `make bench-annotate`, `make bench-clip`, and
`python -m benchmarks.planted` (planted defects; `--no-peers` installs nothing).
"""

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
