"""The ways a run may end early, each with the exit code the command line gives it."""

from __future__ import annotations


class PlumblineError(Exception):
    """Base of every error whose message is one line meant for the user."""

    exit_code = 1


class InputError(PlumblineError):
    """Bad usage, configuration, input, key or model: names the file, the key or line, and the mend."""

    exit_code = 2


class StoppedError(PlumblineError):
    """The run stopped before its end and can be resumed by the same command."""

    exit_code = 3


class DamageError(PlumblineError):
    """`verify` found files that are not what the manifest says."""

    exit_code = 4


class InterruptedRun(PlumblineError):
    """Ctrl-C: what was committed stays, and the same command resumes."""

    exit_code = 130


class ImageError(Exception):
    """An image that cannot be used.

    Attributes:
        reason: one word for counting: `unreadable`, `tiny`, `bomb`, `missing`.
        detail: the sentence behind it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def error_of(exit_code: int, line: str) -> PlumblineError:
    """The error that ends the command with this exit code and this line."""
    kinds = {kind.exit_code: kind for kind in (InputError, StoppedError, DamageError, InterruptedRun)}
    return kinds.get(exit_code, PlumblineError)(line)
