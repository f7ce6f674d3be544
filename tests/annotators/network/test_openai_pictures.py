"""The openai provider paints: edits, generations and chats, and what may be wrong with a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from annotators.config import ModelConfig
from annotators.errors import FinalError, ProviderError, RepairableError, RetryableError, StopRun
from annotators.interface import RawAnswer
from schemas.references import ImageRef
from tests.annotators.network.openai_server import (
    KEY,
    _key,
    always,
    completion,
    image,
    only,
    request,
    setup,
    showing,
)
from tests.servers.scripted import Got, Says, Scripted

__all__ = ["_key"]


# -- pictures -------------------------------------------------------------------------------------------------------

PICTURE = io.BytesIO()

Image.new("RGB", (16, 16), (1, 2, 3)).save(PICTURE, "PNG")

PICTURE_BYTES = PICTURE.getvalue()

CODED = base64.b64encode(PICTURE_BYTES).decode()

IMAGES = {"created": 1, "data": [{"b64_json": CODED}], "usage": {"input_tokens": 7, "output_tokens": 1000}}


def paint(config: ModelConfig, *images: tuple[str, ImageRef], **given: Any) -> Any:
    return only(config, request(config, showing(*images), modality="image", **given), where="models.painter")


def test_an_edit_shows_its_images_as_files_in_order(server: Scripted, tmp_path: Path) -> None:
    server.reply = always(IMAGES)
    first, _ = image(tmp_path, "first.jpg")
    second, second_bytes = image(tmp_path, "second.png", "PNG")
    config = setup(server, model="Qwen-Image-Edit-2511", temperature=0.3, extra={"num_inference_steps": 20})
    raw = paint(config, ("Image 1 (base):", first), ("Image 2 (donor):", second), size=(1023, 769), draw=1)
    assert raw == RawAnswer(image=PICTURE_BYTES, tokens_in=7, tokens_out=1000)
    got = server.asked[0]
    assert (got.method, got.path) == ("POST", "/v1/images/edits")
    assert got.headers["authorization"] == f"Bearer {KEY}"
    texts = {name: data.decode() for name, file, _, data in got.parts if not file}
    assert texts == {
        "model": "Qwen-Image-Edit-2511",
        "prompt": "You write.\nImage 1 (base):\nImage 2 (donor):\nMake it night.",
        "n": "1",
        "size": "1024x768",
        "seed": "1",
        "num_inference_steps": "20",
    }
    files = [(name, file, kind, data) for name, file, kind, data in got.parts if file]
    assert [file[:3] for file in files] == [
        ("image[]", "image_1.jpg", "image/jpeg"),
        ("image[]", "image_2.png", "image/png"),
    ]
    assert files[1][3] == second_bytes


def test_a_generation_shows_none(server: Scripted) -> None:
    server.reply = always(IMAGES)
    config = setup(server, sizes=["512x512"])
    raw = only(config, request(config, modality="image"), where="models.painter")
    assert raw.image == PICTURE_BYTES
    assert server.asked[0].path == "/v1/images/generations"
    assert server.asked[0].json == {"model": "m-1", "prompt": "You write.\nWrite one.", "n": 1, "size": "512x512"}


def test_a_chat_that_paints(server: Scripted, tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{CODED}"}}
    server.reply = always(completion([part]))
    ref, _ = image(tmp_path, "a.jpg")
    raw = paint(setup(server, paints_by="chat"), ("Image 1:", ref), size=(640, 480))
    assert (raw.image, raw.media_type, raw.tokens_out) == (PICTURE_BYTES, "image/png", 5)
    body = server.asked[0].json
    assert body["modalities"] == ["image", "text"]
    assert "640 x 480" in body["messages"][1]["content"][-1]["text"]


def at_an_address(server: Scripted, answer: Callable[[Got], Says], host: str = "127.0.0.1") -> Callable[[Got], Says]:
    place = f"http://{host}:{server.port}/files/x.png?signature=s3cret"
    return lambda got: answer(got) if got.path.startswith("/files") else Says(200, {"data": [{"url": place}]})


def test_a_picture_at_an_address_is_fetched_with_the_key_only_at_home(server: Scripted) -> None:
    config = setup(server)
    for host, keyed in (("127.0.0.1", True), ("localhost", False)):
        server.asked.clear()
        server.reply = at_an_address(server, always(PICTURE_BYTES), host)
        assert only(config, request(config, modality="image")).image == PICTURE_BYTES
        assert ("authorization" in server.asked[-1].headers) is keyed


def test_a_fetch_that_fails_is_tried_again_before_the_whole_request_is(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.network.fetching._PAUSES", (0.0, 0.0, 0.0))
    answers = iter([Says(503), Says(then="break"), Says(404), Says(200, PICTURE_BYTES)])
    server.reply = at_an_address(server, lambda got: next(answers))
    config = setup(server)
    assert only(config, request(config, modality="image")).image == PICTURE_BYTES
    for says, reason, fetches in (
        (Says(403), "server", 1),
        (Says(500), "server", 4),
        (Says(then="break"), "connection", 4),
    ):
        server.asked.clear()
        server.reply = at_an_address(server, lambda got, says=says: says)  # type: ignore[misc]
        error = only(config, request(config, modality="image"))
        assert isinstance(error, RetryableError)
        assert error.reason == reason
        assert "s3cret" not in str(error)
        # aiohttp itself repeats a fetch whose kept connection broke
        assert 1 + fetches <= len(server.asked) <= 1 + 2 * fetches


def test_what_the_images_endpoints_refuse_is_told_apart_too(server: Scripted) -> None:
    config = setup(server)
    painting = request(config, modality="image")
    cases: list[tuple[Says, type[ProviderError], str]] = [
        (
            Says(400, {"error": {"message": "rejected by the safety system", "code": "moderation_blocked"}}),
            FinalError,
            "safety",
        ),
        (Says(429, {"error": {"message": "slow"}}, {"Retry-After": "4"}), RetryableError, "throttled"),
        (Says(500, b"boom"), RetryableError, "server"),
        (Says(then="break"), RetryableError, "connection"),
        (Says(200, b'{"data"', length=900, then="close"), RetryableError, "connection"),
        (Says(200, b"no json"), RetryableError, "malformed"),
        (Says(200, {"data": []}), RepairableError, "no_image"),
        (Says(200, {"data": [{"b64_json": "?"}]}), RepairableError, "bad_image"),
    ]
    for says, kind, reason in cases:
        server.reply = lambda got, says=says: says  # type: ignore[misc]
        error = only(config, painting)
        assert isinstance(error, kind), says
        assert error.reason == reason  # type: ignore[attr-defined]
        if reason == "throttled":
            assert error.retry_after == 4.0  # type: ignore[attr-defined]
    server.reply = always({"error": {"message": f"bad key {KEY}"}}, 401)
    error = only(config, painting)
    assert isinstance(error, StopRun)
    assert KEY not in error.line
    server.reply = always(b"", 308, headers={"Location": "https://elsewhere.example/"})
    assert isinstance(only(config, painting), StopRun)


def test_a_painter_that_never_answers_or_never_ends_is_given_up(server: Scripted) -> None:
    config = setup(server, read_timeout=0.3)
    for says in (Says(then="silence"), Says(200, b"{", length=10, then="hang")):
        server.reply = lambda got, says=says: says  # type: ignore[misc]
        error = only(config, request(config, modality="image"))
        assert isinstance(error, RetryableError)
        assert error.reason == "timeout"


def test_a_painter_of_more_than_the_cap_is_not_read_on(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotators.network.openai_images.MOST_BYTES", 1 << 20)
    server.reply = always(b"x" * (3 << 20))
    config = setup(server)
    error = only(config, request(config, modality="image"))
    assert isinstance(error, FinalError)
    assert error.reason == "too_large"
