"""Objects of S3 and of what speaks its protocol, through the client that s3fs sets up.

Needs s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on what lies under the address.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

import aiobotocore.session
import aiohttp
import s3fs
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from fsspec.config import conf

from schemas.version import VERSION
from storage.objects import (
    CONNECT_TIMEOUT,
    MOST_AT_ONCE,
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

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 509}
_PASSING_CODES = {"RequestTimeout", "SlowDown", "Throttling", "InternalError"}
_CREDENTIALS = {
    "AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_MOST_PARTS = 9000
_PARTS_AT_ONCE = 8
_UNREACHABLE = (
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    OSError,
)


class S3Objects(Objects):
    """See `storage.objects.Objects`. A version is an ETag."""

    bulk = 1000

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._bucket, self._prefix = split(self.location)
        given = conf.get("s3", {}).get("config_kwargs", {})
        config = {
            "max_pool_connections": MOST_AT_ONCE,
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "retries": {"total_max_attempts": 1},
            "user_agent": f"plumbline/{VERSION}",  # else put together anew for each request, an eighth of its cost
            # Checksums sent as trailers are more than many servers that speak this protocol understand.
            "request_checksum_calculation": "when_required",
            **given,
        }
        self._fs = s3fs.S3FileSystem(skip_instance_cache=True, session=_session(), config_kwargs=config)
        self._client: Any = None

    async def _open(self) -> None:
        async with self._errors(""):
            await self._fs.set_session()
            self._client = await self._fs.get_s3(self._bucket)

    async def close(self) -> None:
        """Give connections back."""
        if self._client is not None:
            await self._client.close()

    async def _get(self, name: str, start: int, length: int | None) -> Found | None:
        wanted = {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}
        async with self._errors(name):
            try:
                answer = await self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + name, **(wanted if start or length is not None else {})
                )
            except ClientError as error:
                if _absent(error):
                    return None
                if _said(error)[0] == 416:  # it ends before `start`
                    return Found(b"", "")
                raise
            self._answered(answer)
            async with answer["Body"] as body:
                return Found(await body.read(), answer["ETag"])

    async def _stat(self, name: str) -> Listed | None:
        async with self._errors(name):
            try:
                answer = await self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
            except ClientError as error:
                if _absent(error):
                    return None
                if _said(error)[0] in (400, 403):
                    await self._get(name, 0, 1)  # an answer without a body cannot say why; this one does
                raise
            self._answered(answer)
            return Listed(name, int(answer["ContentLength"]), answer["LastModified"].timestamp(), answer["ETag"])

    async def _put(self, name: str, data: bytes, only_new: bool) -> str:
        condition = {"IfNoneMatch": "*"} if only_new else {}
        async with self._errors(name):
            answer = await self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data, **condition)
            return str(answer["ETag"])

    async def _delete(self, name: str, version: str | None) -> None:
        condition = {"IfMatch": version} if version is not None else {}
        async with self._errors(name):
            try:
                await self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name, **condition)
            except ClientError as error:
                if not _absent(error):
                    raise
                if version is not None:
                    raise ConditionError(name) from error

    async def _delete_some(self, names: list[str]) -> None:
        if not names:
            return
        keys = [{"Key": self._prefix + name} for name in names]
        async with self._errors(names[0]):
            answer = await self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
        for failed in answer.get("Errors", []):
            if failed.get("Code") == "AccessDenied":
                where = f"{self._root}/{failed.get('Key')}"
                raise StoreError(f"{where}: no permission to delete: {failed.get('Message')}", here_only=True)
            raise TransientError(f"{failed.get('Key')}: {failed.get('Code')}: {failed.get('Message')}")

    async def _page(self, prefix: str, by_folder: bool, begin: str | None, most: int) -> Page:
        wanted: dict[str, Any] = {"Delimiter": "/"} if by_folder else {}
        wanted |= {"ContinuationToken": begin} if begin is not None else {}
        async with self._errors(prefix):
            answer = await self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + prefix, MaxKeys=most, **wanted
            )
        self._answered(answer)
        found = [
            Listed(one["Key"][len(self._prefix) :], int(one["Size"]), one["LastModified"].timestamp(), one["ETag"])
            for one in answer.get("Contents", [])
        ]
        folders = [one["Prefix"][len(self._prefix) :] for one in answer.get("CommonPrefixes", [])]
        return Page(found, folders, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None)

    async def _upload(self, name: str, path: str) -> None:
        """In parts, several at once; until the last request there is nothing under the name."""
        key = {"Bucket": self._bucket, "Key": self._prefix + name}
        size = os.path.getsize(path)
        each = max(PART, -(-size // _MOST_PARTS))
        upload = await self._tried(lambda: self._begun(key))
        at_once = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(number: int) -> dict[str, Any]:
            async with at_once:
                data = await asyncio.to_thread(read_part, path, (number - 1) * each, each)
                tag = await self._tried(lambda: self._part(key, upload, number, data))
            return {"PartNumber": number, "ETag": tag}

        parts = [asyncio.ensure_future(part(number)) for number in range(1, -(-size // each) + 1)]
        try:
            tags = await asyncio.gather(*parts)
            await self._tried(lambda: self._whole(name, key, upload, tags, size))
        except BaseException:
            for one in parts:
                one.cancel()
            with suppress(StoreError, TransientError):
                async with self._errors(name):
                    await self._client.abort_multipart_upload(**key, UploadId=upload)
            raise

    async def _begun(self, key: dict[str, str]) -> str:
        async with self._errors(key["Key"]):
            return str((await self._client.create_multipart_upload(**key))["UploadId"])

    async def _part(self, key: dict[str, str], upload: str, number: int, data: bytes) -> str:
        async with self._errors(key["Key"]):
            return str((await self._client.upload_part(**key, UploadId=upload, PartNumber=number, Body=data))["ETag"])

    async def _whole(self, name: str, key: dict[str, str], upload: str, parts: list[dict[str, Any]], size: int) -> None:
        async with self._errors(name):
            try:
                await self._client.complete_multipart_upload(**key, UploadId=upload, MultipartUpload={"Parts": parts})
            except ClientError as error:
                # An attempt before may have got through unheard.
                found = await self._stat(name) if _said(error)[1] == "NoSuchUpload" else None
                if found is None or found.size != size:
                    raise

    def _answered(self, answer: dict[str, Any]) -> None:
        self._heard(answer["ResponseMetadata"]["HTTPHeaders"].get("date"))

    @property
    def _root(self) -> str:
        return f"{self.location.partition('://')[0]}://{self._bucket}"

    @asynccontextmanager
    async def _errors(self, name: str) -> AsyncIterator[None]:
        where = f"{self.location}/{name}".rstrip("/")
        try:
            yield
        except ClientError as error:
            raise self._meaning(error, where) from error
        except (*_UNREACHABLE, CredentialRetrievalError) as error:
            raise TransientError(f"{where}: {_line(error)}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(f"{where}: no credentials: {_line(error)}") from error
        except ParamValidationError as error:
            said = _line(error).partition(": Bucket name must")[0]  # what follows is a screen of patterns
            raise StoreError(f"{where}: {said}; mend the address", here_only=True) from error
        except BotoCoreError as error:
            raise StoreError(f"{where}: {_line(error)}") from error

    def _meaning(self, error: ClientError, where: str) -> Exception:
        status, code, message = _said(error)
        said = f"{code}: {message}".removesuffix(": ")
        if status == 412:
            return ConditionError(where)
        if status == 501:
            return UnsupportedError(where)
        if code == "NoSuchBucket":
            return StoreError(f"{where}: there is no bucket {self._bucket}; make it, or name another", here_only=True)
        if status in _PASSING or code in _PASSING_CODES:
            return TransientError(f"{where}: {status} {said}")
        if code == "RequestTimeTooSkewed":
            return StoreError(f"{where}: this machine's clock is wrong, so the store refuses it ({said}); set it")
        if status == 401 or code in _CREDENTIALS:
            return StoreError(f"{where}: the credentials are refused ({said}); renew them")
        if status == 403:
            return StoreError(f"{where}: no permission ({said}); docs/buckets.md says what is needed", here_only=True)
        return StoreError(f"{where}: {status} {said}")


@cache
def _session() -> aiobotocore.session.AioSession:
    """One for the process: it has read the definition of the protocol, a fifth of a second's work."""
    return aiobotocore.session.AioSession(profile=conf.get("s3", {}).get("profile"))


def _said(error: ClientError) -> tuple[int, str, str]:
    found = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status, str(found.get("Code", "")), " ".join(str(found.get("Message", "")).split())


def _absent(error: ClientError) -> bool:
    status, code, _ = _said(error)
    return status == 404 and code != "NoSuchBucket"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
