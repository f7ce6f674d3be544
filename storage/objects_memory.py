"""Objects in this process's memory, in fsspec's `memory://`: for tests of what is built on a store."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import fsspec

from storage.objects import ConditionError, Found, Listed, Objects, Page

_LOCK = threading.Lock()


class MemoryObjects(Objects):
    """See `storage.objects.Objects`."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._fs = fsspec.filesystem("memory")
        self._root = "/" + self.location.partition("://")[2].strip("/")

    async def _get(self, name: str, start: int, length: int | None) -> Found | None:
        try:
            data: bytes = self._fs.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        end = None if length is None else start + length
        return Found(data[start:end], hashlib.sha256(data).hexdigest())

    async def _stat(self, name: str) -> Listed | None:
        try:
            info = self._fs.info(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return Listed(name, int(info["size"]), _seconds(info["created"])) if info["type"] == "file" else None

    async def _put(self, name: str, data: bytes, only_new: bool) -> str:
        with _LOCK:
            if only_new and self._fs.exists(f"{self._root}/{name}"):
                raise ConditionError(name)
            self._fs.pipe_file(f"{self._root}/{name}", data)
        return hashlib.sha256(data).hexdigest()

    async def _delete(self, name: str, version: str | None) -> None:
        with _LOCK:
            found = await self._get(name, 0, None)
            if version is not None and (found is None or found.version != version):
                raise ConditionError(name)
            if found is not None:
                self._fs.rm_file(f"{self._root}/{name}")

    async def _page(self, prefix: str, by_folder: bool, begin: str | None, most: int) -> Page:
        folder = f"{self._root}/{prefix}".rpartition("/")[0]
        try:
            found = self._fs.find(folder, detail=True)
        except FileNotFoundError:
            return Page([], [], None)
        listed = [
            Listed(path[len(self._root) + 1 :], int(info["size"]), _seconds(info["created"]))
            for path, info in found.items()
        ]
        return Page([one for one in listed if one.name.startswith(prefix)], [], None)


def _seconds(stamp: Any) -> float:
    return float(stamp if isinstance(stamp, int | float) else stamp.timestamp())  # fsspec has said it in both ways
