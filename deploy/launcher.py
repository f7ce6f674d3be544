"""The flex template's launcher: its parameters as the command line of `plumbline`.

Dataflow starts this file in the image with each parameter as `--NAME=VALUE`, and with Beam's own options for the job
(`--runner`, `--project`, `--region`, `--temp_location`, `--template_location`, ...). The first are this program's, the
rest goes to Beam as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence

from schemas.errors import InputError, PlumblineError
from storage import paths

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parser() -> argparse.ArgumentParser:
    """The template's own parameters; `metadata.json` describes the same."""
    found = argparse.ArgumentParser(prog="launcher", allow_abbrev=False)
    found.add_argument("--config", required=True, help="A configuration: gs://..., or a file of the image's configs/.")
    found.add_argument("--out", required=True, help="The output folder, on a bucket.")
    found.add_argument("--settings", default="", help="KEY=VALUE settings, separated by semicolons.")
    found.add_argument("--slice", default="1/1", help="I/N: only every N-th shard, from the I-th on.")
    return found


def run(argv: Sequence[str]) -> None:
    """Describe the job that the parameters ask for; Dataflow starts it.

    Raises:
        PlumblineError: one line about what must be mended.
    """
    from cli.dataset import run as make
    from pipelines.config import read_yaml

    own, beam_options = parser().parse_known_args(argv)
    path = _here(own.config)
    # A setting's value is YAML, which may hold a semicolon only in quotes; none of ours does.
    settings = [part.strip() for part in own.settings.split(";") if part.strip()]
    dataset = str(read_yaml(path).get("dataset"))
    make(dataset, path, own.out, settings, 1, own.slice, "", beam_options)


def _here(config: str) -> str:
    """The configuration as a local file."""
    if not paths.is_remote(config):
        inside = os.path.join(HOME, config)
        return inside if os.path.exists(inside) else config
    try:
        data = paths.read_bytes(config)
    except OSError as error:
        raise InputError(f"{config}: cannot be read ({error.strerror or error}); correct --config") from error
    copy = os.path.join(tempfile.mkdtemp(), os.path.basename(config))
    with open(copy, "wb") as file:
        file.write(data)
    return copy


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except PlumblineError as error:
        print(f"plumbline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
