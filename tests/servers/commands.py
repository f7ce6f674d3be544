"""`plumbline ...` within this process: the same command line, without Python and Beam being loaded once more."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def plumbline(*words: str) -> subprocess.CompletedProcess[str]:
    """The command with these words, from the checkout's folder: its exit code and what it said.

    Whatever the command line does not turn into a line and an exit code is raised.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        with (
            mock.patch.object(sys, "argv", ["plumbline", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    finally:
        os.chdir(before)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(list(words), code, *said)
