"""What a trainer asks a reward server with: batches of images in, an array of rewards out, NaN where one is masked.

Standard library and NumPy alone; JSON and base64, no pickle. `plumbline serve rewards CONFIG` is the other end.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rewards.arrays import Array

_FIRST_PAUSE, _LAST_PAUSE = 0.5, 30.0  # seconds
_PATH = "/v1/rewards"
_RETRIED = (429, 502, 503, 504)


class RewardServerError(Exception):
    """The server does not answer this. `status`: of HTTP, 0 where there was no answer; the message is its line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(f"{line} (HTTP {status})" if status else line)
        self.status, self.line = status, line


class Picture(Protocol):
    """An image that can write itself as a file, such as Pillow's."""

    def save(self, fp: io.BytesIO, format: str) -> object: ...


@dataclass(frozen=True)
class Rewarded:
    """What came of n samples, in their order.

    Attributes:
        rewards: float64 [n], NaN where a sample could not be scored: mask it, never score it.
        scores: by dimension, raw; None where an answer did not parse.
        reasonings: by dimension, what the critic said.
        errors: why a reward is NaN; None where it is not.
    """

    rewards: Array
    scores: tuple[Mapping[str, float | None], ...]
    reasonings: tuple[Mapping[str, str], ...]
    errors: tuple[str | None, ...]

    def raw(self, dimension: str) -> Array:
        """The raw scores of one dimension, float64 [n], NaN where an answer did not parse."""
        return np.array([_number(one.get(dimension)) for one in self.scores], dtype=np.float64)


class RewardClient:
    """Asks one server; may be shared by threads, and holds no connection.

    Args:
        url: such as `http://host:8100`.
        reward: `cme`, `qma` or `clip_surrogate`: another server's answer is then refused; None takes any.
        token: sent as `Authorization: Bearer TOKEN`, where the server asks for one.
        batch: samples in one request.
        threads: requests at once.
        timeout: seconds for one request; more than the server's own.
        patience: seconds for which a server that is busy, stopped for now or not there is asked again.

    Example:
        client = RewardClient("http://judge:8100", reward="cme")
        rewards = client.edits(sources, edits, instructions).rewards
    """

    def __init__(
        self,
        url: str,
        *,
        reward: str | None = None,
        token: str | None = None,
        batch: int = 64,
        threads: int = 4,
        timeout: float = 360.0,
        patience: float = 600.0,
    ) -> None:
        if batch < 1 or threads < 1:
            raise ValueError(f"batch is {batch} and threads is {threads}: 1 is the least")
        self._url, self._reward, self._token = url.rstrip("/"), reward, token
        self._batch, self._threads = batch, threads
        self._timeout, self._patience = timeout, patience

    def edits(self, sources: Sequence[Any], edited: Sequence[Any], instructions: Sequence[str]) -> Rewarded:
        """Of edits: each source with its edit and its instruction. Images as for `ask`."""
        rows = zip(sources, edited, instructions, strict=True)
        return self.ask([{"images": [source, edit], "instruction": text} for source, edit, text in rows])

    def generated(self, images: Sequence[Any], prompts: Sequence[str]) -> Rewarded:
        """Of generated images and their prompts."""
        return self.ask([{"images": [image], "prompt": text} for image, text in zip(images, prompts, strict=True)])

    def captioned(self, images: Sequence[Any], captions: Sequence[str | None]) -> Rewarded:
        """Of images and the captions of their own reasonings; None for a reasoning that did not parse."""
        return self.ask([{"images": [image], "caption": text} for image, text in zip(images, captions, strict=True)])

    def ask(self, samples: Sequence[Mapping[str, Any]]) -> Rewarded:
        """Of samples as the server takes them, except that images are bytes of a file, a path, or a Pillow image.

        Raises:
            RewardServerError: the server refuses a request, or is not to be had within `patience`.
            OSError: a path that cannot be read.
        """
        parts = [samples[start : start + self._batch] for start in range(0, len(samples), self._batch)]
        with ThreadPoolExecutor(min(self._threads, max(1, len(parts))), "reward-client") as pool:
            answers = list(pool.map(self._part, parts))
        return Rewarded(
            np.array([_number(one) for answer in answers for one in answer["rewards"]], dtype=np.float64),
            tuple(one for answer in answers for one in answer["scores"]),
            tuple(one for answer in answers for one in answer["reasonings"]),
            tuple(one for answer in answers for one in answer["errors"]),
        )

    def health(self) -> dict[str, Any]:
        """What the server says of itself, whether ready or not.

        Raises:
            RewardServerError: it is not there.
        """
        status, body, _ = self._sent("/healthz", None)
        if status not in (200, 503) or "status" not in body:
            raise RewardServerError(status, str(body.get("error", "no reward server answers there")))
        return body

    def _part(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [{**one, "images": [_encoded(image) for image in one.get("images", ())]} for one in samples]
        body = json.dumps({"samples": rows, **({"reward": self._reward} if self._reward else {})}).encode()
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            status, answer, wait = self._sent(_PATH, body)
            if status == 200:
                if len(answer.get("rewards", ())) != len(samples):
                    raise RewardServerError(status, f"{self._url} did not answer with {len(samples)} rewards")
                return answer
            error = RewardServerError(status, str(answer.get("error", "no reward server answers there")))
            # A 503 that names no time is one that time does not mend: a wrong key, a spent budget.
            if status not in (0, *_RETRIED) or (status == 503 and wait is None):
                raise error
            wait = max(wait or 0.0, pause) * random.uniform(1.0, 1.25)
            if time.monotonic() + wait > until:
                raise error
            time.sleep(wait)
            pause = min(_LAST_PAUSE, 2 * pause)

    def _sent(self, path: str, body: bytes | None) -> tuple[int, dict[str, Any], float | None]:
        """(status, answer, seconds to wait); status 0 where there was none."""
        request = urllib.request.Request(self._url + path, body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as reply:
                return reply.status, _object(reply.read()), None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _object(error.read()), _seconds(error.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            return 0, {"error": f"{self._url} cannot be reached: {reason}"}, None


def _encoded(image: bytes | str | os.PathLike[str] | Picture) -> str:
    if isinstance(image, (str, os.PathLike)):
        with open(image, "rb") as file:
            data = file.read()
    elif isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
    elif hasattr(image, "save"):
        out = io.BytesIO()
        image.save(out, format="PNG")
        data = out.getvalue()
    else:
        raise TypeError(f"an image is {type(image).__name__}: bytes, a path or a Pillow image is wanted")
    return base64.b64encode(data).decode("ascii")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
