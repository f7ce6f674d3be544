"""Buckets on this machine: moto's S3 server and the GCS emulator, each behind a proxy that counts, delays and fails.

The proxy also makes conditional requests what they are at the real stores. moto looks and writes in two steps, so
the proxy lets one conditional request through at a time. The GCS emulator knows no generations in requests, so the
proxy keeps `ifGenerationMatch`, says `x-goog-generation` and cuts listings into pages; with `generations=False` it
stays as it is, which is how tests see a store without conditions.

Fixtures: `s3` and `gs` (a `Bucket` each, empty, for one test), `bucket` (both in turn).
"""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

Fault = Callable[["Seen"], "int | str | tuple[int, bytes] | None"]
_NAMES = itertools.count(1)
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


@dataclass(frozen=True)
class Seen:
    """A request. `prefix` is that of a listing, None for any other request."""

    method: str
    path: str
    query: dict[str, list[str]]

    @property
    def prefix(self) -> str | None:
        listing = "list-type" in self.query or (self.method == "GET" and self.path.endswith("/o"))
        return self.query.get("prefix", [""])[0] if listing else None

    @property
    def name(self) -> str:
        """What the request is about, as text to look for a part of a name in."""
        return f"{self.path}?{self.query.get('name', [''])[0]}"


@dataclass
class Proxy:
    """A server before the server.

    Attributes:
        fault: gives a status to answer with, or (status, body), or "reset"; "unheard" passes the request on and loses
            the answer; None passes it on.
    """

    port: int
    generations: bool = False
    fault: Fault = lambda seen: None
    latency: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    # The emulator of GCS serves one connection at a time and lets five wait; more would be dropped for a second.
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(4))
    address: str = ""

    def listings(self) -> list[str]:
        """The prefixes of all listings seen."""
        return [one.prefix for one in self.seen if one.prefix is not None]

    def upstream(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        with self.slots, closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.items(), answer.read()

    def generation(self, bucket: str, name: str) -> str | None:
        path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        status, _, body = self.upstream("GET", path, None, {})
        return str(json.loads(body)["generation"]) if status == 200 else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        parts = urlsplit(self.path)
        seen = Seen(self.command, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True))
        self.proxy.seen.append(seen)
        if self.proxy.latency:
            time.sleep(self.proxy.latency)
        fault = self.proxy.fault(seen)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(fault, int | tuple):
            self._answer(*((fault, [], b"fault") if isinstance(fault, int) else (fault[0], [], fault[1])))
            return
        conditional = "ifGenerationMatch" in seen.query or any(h in self.headers for h in ("If-Match", "If-None-Match"))
        if conditional:
            with self.proxy.lock:
                answer = self._passed_on(seen, body)
        else:
            answer = self._passed_on(seen, body)
        if fault == "unheard":  # done at the server, but the answer never arrives
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(*answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _passed_on(self, seen: Seen, body: bytes | None) -> tuple[int, Any, bytes]:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
        if not self.proxy.generations:
            return self.proxy.upstream(self.command, self.path, body, headers)
        words = seen.path.split("/b/", 1)[-1].split("/o", 1)
        bucket, name = words[0], (words[1].lstrip("/") if len(words) > 1 else "") or seen.query.get("name", [""])[0]
        wanted = seen.query.get("ifGenerationMatch")
        if wanted and (self.proxy.generation(bucket, name) or "0") != wanted[0]:
            return 412, [], b'{"error": {"code": 412, "message": "conditionNotMet"}}'
        status, said, answer = self.proxy.upstream(self.command, self.path, body, headers)
        if seen.prefix is not None and status == 200:
            return status, said, _page(seen, answer)
        if seen.query.get("alt") == ["media"] and status < 300:
            said = [*said, ("x-goog-generation", self.proxy.generation(bucket, name) or "")]
        return status, said, answer

    def _answer(self, status: int, headers: Any, body: bytes) -> None:
        self.send_response(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                length = value
        self.send_header("Content-Length", length)
        with suppress(ConnectionError):  # a client that was killed no longer listens
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


def _page(seen: Seen, answer: bytes) -> bytes:
    """The part of a listing that was asked for: the emulator of GCS gives all of it, whatever `maxResults` says."""
    whole = json.loads(answer)
    begin, most = int(seen.query.get("pageToken", ["0"])[0]), int(seen.query.get("maxResults", ["1000"])[0])
    items = sorted(whole.get("items", []), key=lambda item: item["name"])
    more = {"nextPageToken": str(begin + most)} if len(items) > begin + most else {}
    return json.dumps({**whole, "items": items[begin : begin + most], **more}).encode()


@contextmanager
def proxied(port: int, generations: bool = False) -> Iterator[Proxy]:
    """A proxy before the server at `port`."""
    proxy = Proxy(port, generations)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.address = f"http://127.0.0.1:{server.server_port}"
    server.handle_error = lambda request, client: None  # type: ignore[method-assign]  # a client was killed
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def moto_server() -> Iterator[int]:
    """moto's S3, in this process; gives its port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@contextmanager
def gcs_server() -> Iterator[int]:
    """The emulator of GCS, in this process; gives its port."""
    from gcp_storage_emulator.server import create_server

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api.object").setLevel(logging.CRITICAL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        yield port
    finally:
        server.stop()


@dataclass
class Bucket:
    """A bucket of one test.

    Attributes:
        location: an address in it for a ledger, not made yet.
        environment: what a child process must be given to reach it.
    """

    name: str
    location: str
    proxy: Proxy
    environment: dict[str, str]

    def child(self) -> dict[str, str]:
        """The environment of a child process that is to reach the bucket."""
        return {**os.environ, **self.environment}


S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_proxy() -> Iterator[Proxy]:
    """moto's S3 behind a proxy, for all tests of a session."""
    with moto_server() as port, proxied(port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def gs_proxy() -> Iterator[Proxy]:
    """The GCS emulator behind a proxy that keeps generations, for all tests of a session."""
    with gcs_server() as port, proxied(port, generations=True) as proxy:
        yield proxy


def expired(seen: Seen) -> tuple[int, bytes]:
    """What the real stores answer to a token that has expired: S3 with a 400, GCS with a 401."""
    if seen.path.startswith(("/storage/", "/upload/", "/batch/")):
        return 401, b'{"error": {"code": 401, "message": "Invalid Credentials"}}'
    return 400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def denied(seen: Seen) -> tuple[int, bytes]:
    """What they answer to somebody without permission."""
    if seen.path.startswith(("/storage/", "/upload/", "/batch/")):
        return 403, b'{"error": {"code": 403, "message": "w@x.com does not have storage.objects.get access"}}'
    return 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


def _reset(proxy: Proxy) -> None:
    proxy.fault, proxy.latency = (lambda seen: None), 0.0
    proxy.seen.clear()


@pytest.fixture
def s3(s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty S3 bucket."""
    name = f"bucket-{next(_NAMES)}"
    environment = {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": s3_proxy.address}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    status, _, body = s3_proxy.upstream("PUT", f"/{name}", None, {"Host": "s3.amazonaws.com"})
    assert status == 200, body
    _reset(s3_proxy)
    yield Bucket(name, f"s3://{name}/ledgers/one", s3_proxy, environment)
    _reset(s3_proxy)


@pytest.fixture
def gs(gs_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty GCS bucket."""
    name = f"bucket-{next(_NAMES)}"
    environment = {"STORAGE_EMULATOR_HOST": gs_proxy.address, "NO_GCE_CHECK": "true"}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    made = json.dumps({"name": name}).encode()
    status, _, body = gs_proxy.upstream("POST", "/storage/v1/b", made, {"Content-Type": "application/json"})
    assert status == 200, body
    _reset(gs_proxy)
    yield Bucket(name, f"gs://{name}/ledgers/one", gs_proxy, environment)
    _reset(gs_proxy)


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """Both in turn."""
    found: Bucket = request.getfixturevalue(request.param)
    return found
