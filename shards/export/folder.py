"""The folder an export becomes: built beside its place under another name, and renamed when it is whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from schemas.errors import InputError
from shards.export.source import ImageBytes
from storage import paths
from storage.temporaries import alive

_BUFFER = 1 << 20


class Folder:
    """Files under construction, and how many rows each has.

    Attributes:
        root: where they lie for now.
        final: the absolute path they will have.
        rows: by file name.
        left_out: samples by the reason why the format does not hold them.
        notes: what else a user wants to know of it, each a few words.
    """

    def __init__(self, root: str, final: str) -> None:
        self.root, self.final = root, final
        self.rows: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self._made: set[str] = set()

    def path(self, name: str) -> str:
        """Where to write the file `name`; its folder exists."""
        found = os.path.join(self.root, name)
        folder = os.path.dirname(found)
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        return found

    def leave_out(self, reason: str) -> None:
        """Count a sample that the format does not hold."""
        self.left_out[reason] += 1

    def image(self, image: ImageBytes) -> str:
        """Keep an image as a file, once however often it comes; returns its name."""
        name = f"images/{image.sha256[:2]}/{image.sha256[:32]}.jpg"
        path = self.path(name)
        # The disk remembers which are there: a set of names would grow with the export.
        with suppress(FileExistsError), open(path, "xb") as file:
            file.write(image.data)
        return name

    @contextmanager
    def lines(self, name: str) -> Iterator[Lines]:
        """A file of JSON lines."""
        with open(self.path(name), "wb", buffering=_BUFFER) as file:
            yield Lines(file, self.rows, name)

    def text(self, name: str, content: str) -> None:
        """A small file that is no data."""
        with open(self.path(name), "w", encoding="utf-8", newline="\n") as file:
            file.write(content)


class Lines:
    """Writes one object per line, keys in the order given, and counts."""

    def __init__(self, file: IO[bytes], rows: Counter[str], name: str) -> None:
        self._file, self._rows, self._name = file, rows, name
        self.count = 0

    def write(self, row: Mapping[str, Any]) -> None:
        import orjson

        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._rows[self._name] += 1
        self.count += 1


@contextmanager
def new_folder(dest: str) -> Iterator[Folder]:
    """A folder that takes the name `dest` only when the block ends without an exception.

    Raises:
        InputError: `dest` is a bucket, holds something already, or cannot be written.
    """
    if paths.is_remote(dest):
        raise InputError(f"{dest}: is on a bucket; export to a local folder and copy it there")
    final = os.path.abspath(dest.removeprefix("file://"))
    if os.path.lexists(final) and (not os.path.isdir(final) or os.listdir(final)):
        raise InputError(f"{dest}: is there already; remove it or choose another --out")
    parent, name = os.path.split(final)
    root = os.path.join(parent, f".{name}.{os.getpid()}.exporting")
    try:
        os.makedirs(parent, exist_ok=True)
        _sweep(parent, name)
        os.mkdir(root)
    except OSError as error:
        raise InputError(f"{dest}: cannot be written ({error.strerror or error}); choose another --out") from error
    try:
        yield Folder(root, final)
        os.replace(root, final)
    except OSError as error:
        # What failed to be read is named by the reader; here it is the writing.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not str(error.filename).startswith(root):
            raise
        raise InputError(f"{dest}: cannot be written ({error.strerror or error}); choose another --out") from error
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _sweep(parent: str, name: str) -> None:
    """Remove what killed exports to this place left behind."""
    pattern = re.compile(rf"\.{re.escape(name)}\.(\d+)\.exporting")
    for entry in os.listdir(parent):
        if (match := pattern.fullmatch(entry)) and not _alive(int(match.group(1))):
            shutil.rmtree(os.path.join(parent, entry), ignore_errors=True)


def _alive(pid: int) -> bool:
    return pid != os.getpid() and alive(pid)
