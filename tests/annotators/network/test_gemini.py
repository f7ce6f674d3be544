"""The `gemini` provider: the real SDK against a server on loopback."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from annotators import registry
from annotators.errors import FinalError, RepairableError, RetryableError, StopRun
from annotators.interface import RawAnswer
from annotators.network import gemini
from annotators.network.gemini import GeminiProvider
from schemas.answers import WriterAnswer
from schemas.messages import ImagePart, TextPart
from schemas.references import ImageRef
from storage.images import probe
from tests.annotators.network.gemini_server import (
    KEY,
    Reply,
    Scripted,
    answered,
    asked_of,
    begins,
    config,
    question,
    says,
    scripted,
)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_KEY", KEY)
    return "MY_KEY"


@pytest.fixture
def photo(tmp_path: Path) -> ImageRef:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, "JPEG")
    path = tmp_path / "red.jpg"
    path.write_bytes(buffer.getvalue())
    seen = probe(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return ImageRef(uri=str(path), sha256=digest, width=seen.width, height=seen.height, media_type="image/jpeg")


# -- one request, one answer ----------------------------------------------------------------------------------------


def test_a_question_goes_through_the_sdk_once(key: str) -> None:
    found, server = asked_of(says(200, answered()), api_key_env=key, temperature=0.5, answer=WriterAnswer)
    assert isinstance(found, RawAnswer)
    assert (found.text, found.tokens_in, found.tokens_out) == ("Add one apple.", 11, 7)
    (head,) = server.heads
    assert head.startswith("POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\n")
    assert f"x-goog-api-key: {KEY}" in head and "google-genai-sdk/" in head
    (body,) = server.bodies
    assert body["generationConfig"]["temperature"] == 0.5
    assert list(body["generationConfig"]["responseJsonSchema"]["properties"]) == ["feasible", "reason", "instruction"]


def test_an_address_may_have_a_path() -> None:
    async def run() -> str:
        async with scripted(says(200, answered())) as server:
            settings = config(f"{server.address}/gateway/gemini/", model="models/gemini-2.5-pro")
            provider = GeminiProvider(settings, "models.writer", None)
            await provider.answer(question(settings))
            await provider.close()
            return server.heads[0].split(" ")[1]

    assert asyncio.run(run()) == "/gateway/gemini/v1beta/models/gemini-2.5-pro:generateContent"


def test_connections_are_kept() -> None:
    opened: list[asyncio.StreamWriter] = []

    async def reply(writer: asyncio.StreamWriter) -> None:
        if writer not in opened:
            opened.append(writer)
        await says(200, answered())(writer)

    _, server = asked_of(reply, calls=3)
    assert len(server.heads) == 3 and len(opened) == 1


def test_where_the_sdks_inner_path_is_gone_the_public_one_asks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found, inner = asked_of(says(200, answered()), answer=WriterAnswer, temperature=0.5)
    real = gemini._sender

    class Outside:
        def __init__(self, client: Any) -> None:
            self.aio = client.aio

    monkeypatch.setattr(gemini, "_sender", lambda client, model: real(Outside(client), model))  # type: ignore[arg-type]
    again, public = asked_of(says(200, answered()), answer=WriterAnswer, temperature=0.5)
    assert again == found and public.bodies == inner.bodies
    assert [head.split("\r\n")[0] for head in public.heads] == [head.split("\r\n")[0] for head in inner.heads]
    failed, server = asked_of(says(503, {}))
    assert isinstance(failed, RetryableError) and failed.reason == "server" and len(server.heads) == 1


@pytest.mark.parametrize("reply", [says(503, {}), says(429, {}), begins(then="close"), begins(then="reset")])
def test_the_sdk_never_asks_again_by_itself(reply: Reply) -> None:
    found, server = asked_of(reply)
    assert isinstance(found, RetryableError)
    assert len(server.heads) == 1


def test_no_key_of_the_environment_goes_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")

    async def run() -> Scripted:
        async with scripted(says(200, answered())) as server:
            settings = config(server.address)
            provider = registry.make(settings, "models.writer")
            assert provider.secrets == ()
            await provider.answer(question(settings))
            await provider.close()
            return server

    server = asyncio.run(run())
    assert KEY not in server.heads[0] and "x-goog-api-key" not in server.heads[0].lower()
    assert "/v1beta/models/" in server.heads[0]


def test_images_go_in_their_own_bytes_after_their_labels(photo: ImageRef) -> None:
    async def run() -> Any:
        async with scripted(says(200, answered())) as server:
            settings = config(server.address)
            provider = GeminiProvider(settings, "models.writer", None)
            part = ImagePart(label="Image 1 (base):", image=photo)
            await provider.answer(question(settings, TextPart(text="Look:"), part, TextPart(text="then write.")))
            await provider.close()
            return server.bodies[0]["contents"][0]["parts"]

    look, label, image, then = asyncio.run(run())
    assert (look["text"], label["text"], then["text"]) == ("Look:", "Image 1 (base):", "then write.")
    assert image["inlineData"]["mimeType"] == "image/jpeg"
    sent = base64.b64decode(image["inlineData"]["data"])
    assert sent[:2] == b"\xff\xd8" and probe(sent).width == 64


def test_many_at_once_share_one_client() -> None:
    async def run() -> tuple[int, int]:
        async with scripted(says(200, answered())) as server:
            settings = config(server.address)
            provider = GeminiProvider(settings, "models.writer", None)
            client = provider.client()
            answers = await asyncio.gather(*[provider.answer(question(settings)) for _ in range(50)])
            assert provider.client() is client
            await provider.close()
            await provider.close()
            return len(answers), len(server.heads)

    assert asyncio.run(run()) == (50, 50)


# -- what goes wrong on the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (begins(), "timeout"),
        (begins(b'{"cand'), "timeout"),
        (begins(then="reset"), "connection"),
        (begins(then="close"), "connection"),
        (begins(b'{"cand', "close"), "malformed"),
        (begins(b'{"cand', "reset"), "malformed"),
        (says(200, b'{"candidates": [{"content"'), "malformed"),
        (says(200, b'{"candidates": [{"content": "\xff\xfe"'), "malformed"),
        (says(200, b""), "malformed"),
        (says(200, b"[1, 2]"), "malformed"),
        (says(200, b"[" * 100_000), "malformed"),
        (says(204, b""), "malformed"),
        (says(500, b"<html>Bad gateway</html>"), "server"),
        (says(503, b"{half"), "server"),
        (says(504, b"\xff\xfe"), "server"),
        (says(200, {"error": {"code": 503, "message": "overloaded"}}), "server"),
    ],
)
def test_what_may_pass_is_asked_again(reply: Reply, reason: str) -> None:
    found, _ = asked_of(reply, read_timeout=0.3)
    assert isinstance(found, RetryableError), found
    assert found.reason == reason
    assert not found.throttled


def test_a_refused_address_is_in_the_line() -> None:
    async def run() -> RetryableError:
        async with scripted(says(200, answered())) as server:
            settings = config(server.address + "/gateway")
        provider = GeminiProvider(settings, "models.writer", None)
        with pytest.raises(RetryableError) as caught:
            await provider.answer(question(settings))
        await provider.close()
        assert caught.value.detail.startswith(f"{settings.base_url}: no connection")
        return caught.value

    assert asyncio.run(run()).reason == "connection"


def test_a_host_that_does_not_exist_is_in_the_line() -> None:
    async def run() -> str:
        settings = config("http://nobody.invalid", connect_timeout=20)
        provider = GeminiProvider(settings, "models.writer", None)
        with pytest.raises(RetryableError, match="connection") as caught:
            await provider.answer(question(settings))
        await provider.close()
        return caught.value.detail

    assert asyncio.run(run()).startswith("http://nobody.invalid: ")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_is_too_long_is_not_read_on(chunked: bool) -> None:
    async def pours(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:  # until the other side has had enough
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()

    found, _ = asked_of(pours if chunked else says(200, b"x" * 500_000), most_bytes=200_000)
    assert isinstance(found, FinalError) and found.reason == "too_large"


def test_an_attempt_that_is_given_up_leaves_the_client_usable() -> None:
    replies = iter([begins(b"{"), says(200, answered())])

    async def run() -> str:
        async with scripted(lambda writer: next(replies)(writer)) as server:
            settings = config(server.address)
            provider = GeminiProvider(settings, "models.writer", None)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(provider.answer(question(settings)), 0.2)
            text = (await provider.answer(question(settings))).text
            await provider.close()
            return text

    assert asyncio.run(run()) == "Add one apple."


def test_a_redirect_takes_no_key_along(key: str) -> None:
    found, server = asked_of(says(307, b"", "Location: http://127.0.0.1:1/elsewhere"), api_key_env=key)
    assert isinstance(found, StopRun) and found.exit_code == 2 and "base_url" in found.line
    assert len(server.heads) == 1


# -- refusals, by way of the SDK's exceptions -----------------------------------------------------------------------


def test_a_429_brings_its_delay_from_the_body_or_the_header() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]
    found, _ = asked_of(says(429, {"error": {"code": 429, "message": "Slow down.", "details": details}}))
    assert isinstance(found, RetryableError) and found.throttled and found.retry_after == 1.5
    found, _ = asked_of(says(429, {"error": {"code": 429, "message": "Slow down."}}, "Retry-After: 4"))
    assert isinstance(found, RetryableError) and found.retry_after == 4


def test_a_spent_day_stops_with_its_quota_and_its_renewal() -> None:
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel", "quotaValue": "250"}
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    found, _ = asked_of(says(429, {"error": {"code": 429, "message": "You exceeded it.", "details": details}}))
    assert isinstance(found, StopRun) and found.exit_code == 3
    assert found.line.startswith("models.writer (gemini-2.5-flash): the daily quota GenerateRequestsPerDay")
    assert "of 250 is spent" in found.line and "UTC" in found.line


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": 400, "message": f"API key not valid: {KEY}", "status": "INVALID_ARGUMENT"}}),
        (403, [{"error": {"code": 403, "message": f"{KEY} may not", "status": "PERMISSION_DENIED"}}]),
        (401, f"<html>who is {KEY}?</html>".encode()),
    ],
)
def test_a_wrong_key_names_its_variable_and_never_its_value(status: int, body: Any, key: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    found, _ = asked_of(says(status, body), api_key_env=key)
    assert isinstance(found, StopRun) and found.exit_code == 2
    assert "MY_KEY" in found.line and "***" in found.line
    chain: list[BaseException] = [found]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert KEY not in "".join(map(str, chain)) and KEY not in caplog.text


def test_a_blind_model_is_named() -> None:
    message = "Image input modality is not enabled for models/gemini-2.5-flash"
    found, _ = asked_of(says(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}))
    assert isinstance(found, StopRun) and "gemini-2.5-flash cannot see images" in found.line


def test_a_safety_block_keeps_what_it_cost() -> None:
    found, _ = asked_of(says(200, answered("Half", "SAFETY")))
    assert isinstance(found, FinalError) and found.reason == "safety"
    assert found.raw is not None and (found.raw.tokens_in, found.raw.tokens_out) == (11, 7)


def test_a_painter_that_only_talks_is_repaired() -> None:
    found, server = asked_of(
        says(200, answered("I would rather not.")), model="gemini-2.5-flash-image", modality="image", size=(512, 512)
    )
    assert isinstance(found, RepairableError) and found.reason == "no_image" and found.raw is not None
    assert server.bodies[0]["generationConfig"] == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "1:1"},
    }


def test_reasons_of_the_future_do_not_crash(recwarn: pytest.WarningsRecorder) -> None:
    found, _ = asked_of(says(200, answered(finish="ASKED_TO_STOP", modelStatus={"new": [1]})))
    assert isinstance(found, RawAnswer) and found.text == "Add one apple."
    assert not [w for w in recwarn if "ASKED_TO_STOP" in str(w.message)]
