"""Objects of Google Cloud Storage: its JSON API, with the session and the credentials that gcsfs sets up.

Needs storage.objects.get, create, delete and list: the role Storage Object User.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import gcsfs.core
import gcsfs.retry
import google.auth.exceptions

from storage.objects import (
    CONNECT_TIMEOUT,
    PART,
    READ_TIMEOUT,
    ConditionError,
    Found,
    Listed,
    Objects,
    Page,
    StoreError,
    TransientError,
    UnsupportedError,
    read_part,
    split,
)

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BOUNDARY = "=====plumbline====="
_EMPTY = (
    f"--{_BOUNDARY}\r\nContent-Type: application/json\r\n\r\n%b\r\n"
    f"--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--{_BOUNDARY}--\r\n"
).encode()
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)


class GcsObjects(Objects):
    """See `storage.objects.Objects`. A version is a generation."""

    bulk = 100  # the most that one batch may hold

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._bucket, self._prefix = split(self.location)
        # An emulator knows no credentials, and looking for some takes seconds where there are none.
        token = {"token": "anon"} if os.environ.get("STORAGE_EMULATOR_HOST") else {}
        try:
            # Not the class of that name in `gcsfs`, which may be one that asks first what kind of bucket it is.
            self._fs = gcsfs.core.GCSFileSystem(skip_instance_cache=True, **token)
        except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
            raise StoreError(f"{self.location}: no credentials: {_line(error)}") from error

    async def _open(self) -> None:
        await self._fs._set_session()

    async def close(self) -> None:
        """Give connections back."""
        await self._fs.session.close()

    async def _get(self, name: str, start: int, length: int | None) -> Found | None:
        headers = {}
        if start or length is not None:
            headers["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        status, said, body = await self._send("GET", self._url(name), {"alt": "media"}, name, headers=headers)
        if status == 404:
            return None
        if status == 416:  # it ends before `start`
            return Found(b"", "")
        version = said.get("x-goog-generation")
        if version is None:  # An emulator may not say it; the bytes then stand for it, where they are all there are.
            version = "" if headers else hashlib.sha256(body).hexdigest()
        return Found(body, version)

    async def _stat(self, name: str) -> Listed | None:
        status, _, body = await self._send("GET", self._url(name), {"fields": _FIELDS}, name)
        return None if status == 404 else _listed(name, json.loads(body))

    async def _put(self, name: str, data: bytes, only_new: bool) -> str:
        params = {"uploadType": "media", "name": self._prefix + name}
        if only_new:
            params["ifGenerationMatch"] = "0"
        headers = {"Content-Type": "application/octet-stream"}
        if not data:  # the emulator takes an empty object only as a part beside its name
            data, params["uploadType"] = _EMPTY % json.dumps({"name": params["name"]}).encode(), "multipart"
            headers["Content-Type"] = f'multipart/related; boundary="{_BOUNDARY}"'
        url = f"{self._fs._location}/upload/storage/v1/b/{quote(self._bucket)}/o"
        status, _, body = await self._send("POST", url, params, name, headers=headers, data=data)
        if status == 404:
            raise self._no_bucket(name)
        return str(json.loads(body).get("generation", ""))

    async def _delete(self, name: str, version: str | None) -> None:
        params = {"ifGenerationMatch": version} if version is not None and self.conditional else {}
        status, _, _ = await self._send("DELETE", self._url(name), params, name)
        if status == 404 and version is not None:
            raise ConditionError(name)

    async def _delete_some(self, names: list[str]) -> None:
        if len(names) == 1:
            await self._delete(names[0], None)
            return
        part = "Content-Type: application/http\r\nContent-ID: <{number}>\r\n\r\nDELETE {path} HTTP/1.1\r\n\r\n\r\n"
        query = urlencode(self._fs._get_params({}))
        parts = [
            part.format(number=number, path=self._url(name)[len(self._fs._location) :] + (query and f"?{query}"))
            for number, name in enumerate(names, 1)
        ]
        body = "".join(f"--{_BOUNDARY}\r\n{one}" for one in parts) + f"--{_BOUNDARY}--\r\n"
        headers = {"Content-Type": f'multipart/mixed; boundary="{_BOUNDARY}"'}
        url = f"{self._fs._location}/batch/storage/v1"
        status, _, answer = await self._send("POST", url, {}, names[0], headers=headers, data=body.encode())
        found = [int(code) for code in re.findall(rb"^HTTP/[\d.]+ (\d{3})", answer, re.MULTILINE)]
        if status == 404 or not found:  # an emulator without batches
            self.bulk = 1
            await super()._delete_some(names)
        elif len(found) < len(names) or any(code in _PASSING for code in found):
            raise TransientError(f"{url}: {sorted(set(found))}")
        elif any(code in (401, 403) for code in found):
            raise StoreError(f"{self.location}: no permission to delete", here_only=True)

    async def _page(self, prefix: str, by_folder: bool, begin: str | None, most: int) -> Page:
        params = {"prefix": self._prefix + prefix, "maxResults": str(most)}
        params["fields"] = f"items(name,{_FIELDS}),prefixes,nextPageToken"
        params |= {"delimiter": "/"} if by_folder else {}
        params |= {"pageToken": begin} if begin is not None else {}
        url = f"{self._fs._location}/storage/v1/b/{quote(self._bucket)}/o"
        status, _, body = await self._send("GET", url, params, prefix)
        if status == 404:
            raise self._no_bucket(prefix)
        page = json.loads(body)
        found = [_listed(item["name"][len(self._prefix) :], item) for item in page.get("items", [])]
        folders = [folder[len(self._prefix) :] for folder in page.get("prefixes", [])]
        return Page(found, folders, page.get("nextPageToken") or None)

    async def _upload(self, name: str, path: str) -> None:
        """By a resumable upload: one part after the other; until the last there is nothing under the name."""
        size, at = os.path.getsize(path), 0
        url = f"{self._fs._location}/upload/storage/v1/b/{quote(self._bucket)}/o"
        params = {"uploadType": "resumable", "name": self._prefix + name}
        status, said, _ = await self._tried(lambda: self._send("POST", url, params, name, data=b""))
        if status == 404:
            raise self._no_bucket(name)
        session = said["Location"]
        while at < size:
            data = await asyncio.to_thread(read_part, path, at, PART)
            at = await self._tried(self._part(session, name, data, at, size))

    def _part(self, session: str, name: str, data: bytes, at: int, size: int) -> Callable[[], Awaitable[int]]:
        """Sends a part and gives how many bytes are there then; a part that got through unheard is not sent again."""
        tries = itertools.count()

        async def attempt() -> int:
            if next(tries) and (there := await self._there(session, name, b"", f"bytes */{size}", size)) != at:
                return there
            return await self._there(session, name, data, f"bytes {at}-{at + len(data) - 1}/{size}", size)

        return attempt

    async def _there(self, session: str, name: str, data: bytes, part: str, size: int) -> int:
        status, said, _ = await self._send("PUT", session, None, name, headers={"Content-Range": part}, data=data)
        if status == 404:
            raise StoreError(f"{self.location}/{name}: the store has forgotten this upload", away=True)
        if status != 308:
            return size
        return int(said["Range"].rpartition("-")[2]) + 1 if "Range" in said else 0

    def _no_bucket(self, name: str) -> StoreError:
        where = f"{self.location}/{name}".rstrip("/")
        return StoreError(f"{where}: there is no bucket {self._bucket}; make it, or name another", here_only=True)

    def _url(self, name: str) -> str:
        key = quote(self._prefix + name, safe="")
        return f"{self._fs._location}/storage/v1/b/{quote(self._bucket)}/o/{key}"

    async def _send(
        self,
        method: str,
        url: str,
        params: dict[str, str] | None,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        data: Any = None,
        renewed: bool = False,
    ) -> tuple[int, Any, bytes]:
        """(status, headers, body) of one request: a 2xx, 308, 404 or 416; without `params` the address is whole."""
        where = f"{self.location}/{name}".rstrip("/")
        try:
            async with self._fs.session.request(
                method,
                url,
                params=None if params is None else self._fs._get_params(params),
                headers=self._fs._get_headers(headers),
                data=data,
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as answer:
                status, said, body = answer.status, answer.headers, await answer.read()
        except google.auth.exceptions.TransportError as error:
            raise TransientError(f"{where}: {_line(error)}") from error
        except (google.auth.exceptions.GoogleAuthError, gcsfs.retry.HttpError, gcsfs.retry.NonRetryableError) as error:
            raise StoreError(f"{where}: the credentials are refused ({_line(error)}); renew them") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise TransientError(f"{where}: {self._fs._location}: {_line(error)}") from error
        self._heard(said.get("Date"))
        if status < 300 or status in (308, 404, 416):
            return status, said, body
        if status == 401 and not renewed and await asyncio.to_thread(self._renewed):
            return await self._send(method, url, params, name, headers=headers, data=data, renewed=True)
        raise self._meaning(status, where, f"{status} {_message(body)}".rstrip())

    def _meaning(self, status: int, where: str, said: str) -> Exception:
        if status == 412:
            return ConditionError(where)
        if status == 501:
            return UnsupportedError(where)
        if status in _PASSING:
            return TransientError(f"{where}: {said}")
        if status == 401:
            return StoreError(f"{where}: the credentials are refused ({said}); renew them")
        if status == 403:
            return StoreError(f"{where}: no permission ({said}); docs/buckets.md says what is needed", here_only=True)
        return StoreError(f"{where}: {said}")

    def _renewed(self) -> bool:
        """Whether there is another token now: one may have been withdrawn before its time."""
        credentials = self._fs.credentials.credentials
        if credentials is None:
            return False
        import google.auth.transport.requests

        try:
            credentials.refresh(google.auth.transport.requests.Request())
        except google.auth.exceptions.GoogleAuthError:
            return False
        return True


_FIELDS = "size,updated,generation"


def _listed(name: str, item: dict[str, Any]) -> Listed:
    modified = datetime.fromisoformat(item["updated"].replace("Z", "+00:00")).timestamp()
    return Listed(name, int(item["size"]), modified, str(item.get("generation", "")))


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(text.split())[:300]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
