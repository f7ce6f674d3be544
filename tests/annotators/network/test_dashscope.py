"""DashScope's painters against servers on loopback: its own protocol, its sizes, its errors."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annotators import registry
from annotators.config import ModelConfig
from annotators.errors import FinalError, ProviderError, RepairableError, RetryableError, StopRun
from annotators.interface import RawAnswer, Request
from annotators.network.dashscope import generation_body, make, read_generation, size_word
from annotators.network.showing import Shown, ShownMessage
from schemas.errors import InputError
from schemas.messages import ImagePart, Message, TextPart
from schemas.references import ImageRef
from storage.images import probe
from tests.servers.running import PracticeServer
from tests.servers.scripted import Got, Says, Scripted

KEY = "sk-secret-of-this-test"
PNG = io.BytesIO()
Image.new("RGB", (16, 16), (1, 2, 3)).save(PNG, "PNG")
PICTURE = PNG.getvalue()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    monkeypatch.setattr("annotators.network.fetching._PAUSES", (0.0, 0.0, 0.0))


def setup(base_url: str | None = "http://h/api/v1", **given: Any) -> ModelConfig:
    base = {"provider": "dashscope", "model": "qwen-image-edit-plus", "base_url": base_url, "api_key_env": "A_KEY"}
    return ModelConfig.model_validate({**base, **given})


def photo(folder: Path, name: str, size: tuple[int, int] = (640, 480)) -> tuple[ImageRef, bytes]:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 10 * len(name), 30)).save(out, "JPEG")
    path = folder / name
    path.write_bytes(out.getvalue())
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    return ImageRef(
        uri=str(path), sha256=digest, width=size[0], height=size[1], media_type="image/jpeg"
    ), out.getvalue()


def request(config: ModelConfig, *images: tuple[str, ImageRef], **given: Any) -> Request:
    parts = [ImagePart(label=label, image=ref) for label, ref in images]
    message = Message(speaker="user", parts=(*parts, TextPart(text="Make it night.")))
    return Request("painter", config.model, (message,), modality="image", sampling=config.sampling, **given)


def paint(config: ModelConfig, one: Request | None = None) -> Any:
    async def run() -> RawAnswer | ProviderError:
        provider = registry.make(config, "models.painter")
        try:
            return await asyncio.wait_for(provider.answer(one or request(config)), 20)
        except ProviderError as error:
            return error
        finally:
            await provider.close()

    return asyncio.run(run())


def painted(server: Scripted, picture: Says | None = None, host: str = "127.0.0.1") -> None:
    place = f"http://{host}:{server.port}/result/x.png?Expires=1&Signature=s3cret"
    content = {"content": [{"image": place}], "role": "assistant"}
    body = {"output": {"choices": [{"finish_reason": "stop", "message": content}]}, "request_id": "r"}

    def reply(got: Got) -> Says:
        return (picture or Says(200, PICTURE)) if got.path.startswith("/result") else Says(200, body)

    server.reply = reply


def test_an_edit_shows_its_images_in_order_then_one_text_and_always_says_the_size(
    server: Scripted, tmp_path: Path
) -> None:
    painted(server)
    base, base_bytes = photo(tmp_path, "base.jpg", (641, 479))
    donor, donor_bytes = photo(tmp_path, "donor.jpg", (200, 600))
    config = setup(f"{server.home}/api/v1", extra={"negative_prompt": "blur"})
    one = request(config, ("Image 1 (base):", base), ("Image 2 (donor):", donor), size=(641, 479), draw=1)
    assert paint(config, one) == RawAnswer(image=PICTURE)
    asked, fetched = server.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/services/aigc/multimodal-generation/generation")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    urls = [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in (base_bytes, donor_bytes)]
    text = "Image 1 (base):\nImage 2 (donor):\nMake it night."
    assert asked.json == {
        "model": "qwen-image-edit-plus",
        "input": {"messages": [{"role": "user", "content": [{"image": urls[0]}, {"image": urls[1]}, {"text": text}]}]},
        "parameters": {
            "n": 1,
            "size": "688*512",  # of the base, not of the last image, and no side below 512
            "prompt_extend": False,
            "watermark": False,
            "seed": 1,
            "negative_prompt": "blur",
        },
    }
    assert fetched.path.startswith("/result/x.png?Expires=1")


def test_a_picture_elsewhere_is_fetched_without_the_key(server: Scripted) -> None:
    painted(server, host="localhost")
    assert paint(setup(f"{server.home}/api/v1")).image == PICTURE
    assert "authorization" not in server.asked[1].headers


@pytest.mark.parametrize(
    ("model", "size", "word"),
    [
        ("qwen-image-edit-plus", (1024, 768), "1024*768"),
        ("qwen-image-edit-plus-2025-12-15", (4000, 3000), "2048*1536"),
        ("qwen-image-edit-max", (3000, 300), "2048*512"),
        ("qwen-image-edit-plus", (100, 100), "512*512"),
        ("qwen-image-edit-plus", None, ""),
        ("qwen-image-edit", (1024, 768), ""),
        ("qwen-image-edit-2025-08-19", (1024, 768), ""),
        ("qwen-image-2.0-pro", (3000, 1000), "3024*1008"),
        ("qwen-image-plus", (1000, 1010), "1328*1328"),
        ("qwen-image", (1000, 700), "1472*1104"),
        ("qwen-image-plus-2026-01-09", (700, 1300), "928*1664"),
    ],
)
def test_the_size_is_one_that_the_model_takes(model: str, size: Any, word: str) -> None:
    assert size_word(setup(model=model), size) == word


def test_a_configs_sizes_go_before_the_familys() -> None:
    assert size_word(setup(sizes=["1024x1024", "1280x720"]), (1920, 1080)) == "1280*720"
    assert size_word(setup(sizes=["1024x1024", "1280x720"]), None) == "1024*1024"


@given(size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)))
def test_every_size_of_an_edit_lies_in_bounds(size: tuple[int, int]) -> None:
    width, height = map(int, size_word(setup(), size).split("*"))
    assert 512 <= min(width, height) <= max(width, height) <= 2048
    assert width % 16 == height % 16 == 0


def test_what_it_can_is_declared() -> None:
    can = make(setup(), "models.painter").capabilities
    assert (can.images_out, can.max_images, can.roles, can.sizes) == (True, 3, ("painter",), None)
    # This one paints in the form of its last image, whatever is asked: with one image that is the right form.
    assert make(setup(model="qwen-image-edit"), "models.painter").capabilities.max_images == 1
    assert make(setup(model="qwen-image-edit", max_images=3), "models.painter").capabilities.max_images == 3


def test_extra_goes_over_what_is_set_here() -> None:
    config = setup(extra={"prompt_extend": True, "watermark": None}, seed=2**31)
    shown = [ShownMessage("user", (Shown("Image 1:", b"x", "image/png"), "Night."))]
    parameters = generation_body(config, request(config), shown)["parameters"]
    assert parameters == {"n": 1, "prompt_extend": True, "seed": 0}


@pytest.mark.parametrize(
    ("given", "where", "words"),
    [
        (
            {},
            "models.writer",
            "use provider openai with base_url https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        ),
        ({"extra": {"size": "1*1"}}, "models.painter", "models.painter.extra.size"),
        ({"base_url": "nowhere"}, "models.painter", "models.painter.base_url: 'nowhere' is no address"),
        ({"base_url": None, "api_key_env": None}, "models.painter", "set DASHSCOPE_API_KEY"),
    ],
)
def test_a_config_that_cannot_work_is_refused(given: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.make(setup(**given), where)
    assert words in str(caught.value)


def said(code: str, message: str = "no") -> dict[str, str]:
    return {"code": code, "message": message, "request_id": "r-1"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "word"),
    [
        (429, said("Throttling.RateQuota", "Requests rate limit exceeded."), RetryableError, "throttled"),
        (429, said("Throttling.AllocationQuota", "Allocated quota exceeded, ..."), RetryableError, "throttled"),
        (200, said("Throttling", "Requests throttling triggered."), RetryableError, "throttled"),
        (500, said("InternalError", "An internal error has occured"), RetryableError, "server"),
        (200, said("InternalError.Algo", "An internal error has occured"), RetryableError, "server"),
        (408, said("RequestTimeOut"), RetryableError, "server"),
        (400, said("DataInspectionFailed", "Output data may contain inappropriate content."), FinalError, "safety"),
        (200, said("DataInspectionFailed", "Input data may contain inappropriate content."), FinalError, "safety"),
        (400, said("InvalidParameter", "num of images must be in [0, 3]"), FinalError, "bad_request"),
        (401, said("InvalidApiKey", "Invalid API-key provided."), StopRun, "the key in A_KEY is not accepted"),
        (200, said("InvalidApiKey", "Invalid API-key provided."), StopRun, "the key in A_KEY is not accepted"),
        (400, said("Arrearage", "Access denied, please make sure ..."), StopRun, "no credit"),
        (403, said("AccessDenied.Unpurchased", "Access to model denied."), StopRun, "no credit"),
        (403, said("Model.AccessDenied", "Model access denied."), StopRun, "has no right to it"),
        (404, said("ModelNotFound", "Model can not be found."), StopRun, "does not know this model"),
        (200, b"<html>", RetryableError, "malformed"),
        (200, b"\xff\xfe", RetryableError, "malformed"),
        (200, {"output": None}, RetryableError, "malformed"),
        (200, {"output": {"choices": []}}, RepairableError, "no_image"),
        (200, {"output": {"choices": [{"message": {"content": [{"text": "No."}]}}]}}, RepairableError, "no_image"),
    ],
)  # fmt: skip
def test_dashscopes_own_errors_become_the_engines_classes(
    server: Scripted, status: int, body: Any, kind: type[ProviderError], word: str
) -> None:
    server.reply = lambda got: Says(status, body)
    error = paint(setup(f"{server.home}/api/v1"))
    assert isinstance(error, kind), error
    if isinstance(error, StopRun):
        assert error.exit_code == 2
        assert error.line.startswith("models.painter (qwen-image-edit-plus): ")
        assert word in error.line
    else:
        assert error.reason == word


@pytest.mark.parametrize(
    ("picture", "kind", "reason"),
    [
        (Says(403, b"<Error>AccessDenied</Error>"), RetryableError, "server"),
        (Says(404), RetryableError, "server"),
        (Says(then="break"), RetryableError, "connection"),
        (Says(200, PICTURE[:10], length=5000, then="close"), RetryableError, "connection"),
        (Says(200, b""), RepairableError, "bad_image"),
    ],
)
def test_a_picture_that_cannot_be_had_is_no_crash_and_its_signature_is_in_no_line(
    server: Scripted, picture: Says, kind: type[ProviderError], reason: str
) -> None:
    painted(server, picture)
    error = paint(setup(f"{server.home}/api/v1"))
    assert isinstance(error, kind)
    assert error.reason == reason  # type: ignore[attr-defined]
    assert "s3cret" not in str(error)
    # It was painted, and is priced as a picture; nothing of it is kept.
    assert error.raw == RawAnswer(image=b"")  # type: ignore[attr-defined]


def test_a_picture_too_large_to_read_was_paid(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    painted(server, Says(200, PICTURE * 20))
    config = setup(f"{server.home}/api/v1")
    provider = make(config, "models.painter")
    monkeypatch.setattr(provider._transport, "_most", 500)

    async def run() -> None:
        try:
            await provider.answer(request(config))
        finally:
            await provider.close()

    with pytest.raises(FinalError, match="too_large") as caught:
        asyncio.run(run())
    assert caught.value.raw == RawAnswer(image=b"")


def test_what_is_no_picture_is_handed_on_for_the_engine_to_look_at(server: Scripted) -> None:
    painted(server, Says(200, b"<html>not a picture</html>"))
    assert paint(setup(f"{server.home}/api/v1")).image == b"<html>not a picture</html>"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["output", "choices", "message", "content", "image", "text", "code"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(payload=anything)
def test_any_json_is_a_picture_or_one_of_the_classes(payload: Any) -> None:
    try:
        found = read_generation(json.loads(json.dumps(payload)), request(setup()))
    except (RetryableError, RepairableError):
        return
    assert found.url.startswith("http")


# -- against the practice server ------------------------------------------------------------------------------------


def test_the_practice_server_paints_what_was_asked_in_the_size_asked_for(
    practice_server: PracticeServer, tmp_path: Path
) -> None:
    base, _ = photo(tmp_path, "base.jpg", (640, 480))
    donor, _ = photo(tmp_path, "donor.jpg", (300, 600))
    config = setup(practice_server.dashscope)
    raw = paint(config, request(config, ("Image 1 (base):", base), ("Image 2 (donor):", donor), size=(640, 480)))
    assert isinstance(raw, RawAnswer)
    assert raw.image is not None
    seen = probe(raw.image)
    assert (seen.width, seen.height) == (688, 512)
    assert practice_server.stats()["downloads"] == 1


@pytest.mark.parametrize(
    ("faults", "kind", "reason"),
    [
        ("429_after", RetryableError, "throttled"),
        ("429_date", RetryableError, "throttled"),
        ("429_ms", RetryableError, "throttled"),
        ("500", RetryableError, "server"),
        ("reset", RetryableError, "connection"),
        ("reset_body", RetryableError, "connection"),
        ("truncated", RetryableError, "connection"),
        ("hang", RetryableError, "timeout"),
        ("hang_body", RetryableError, "timeout"),
        ("not_utf8", RetryableError, "malformed"),
        ("truncated_json", RetryableError, "malformed"),
        ("text_for_image", RepairableError, "no_image"),
        ("safety", FinalError, "safety"),
        ("bad_request", FinalError, "bad_request"),
        ("too_large", FinalError, "too_large"),
    ],
)
def test_every_fault_has_its_class(
    practice_server: PracticeServer, faults: str, kind: type[ProviderError], reason: str
) -> None:
    practice_server.configure(faults={faults: 1.0}, fail_attempts=None)
    error = paint(setup(practice_server.dashscope, read_timeout=0.4))
    assert isinstance(error, kind), error
    assert error.reason == reason  # type: ignore[attr-defined]
    assert practice_server.stats()["requests"] == 1
    if faults in ("429_after", "429_ms"):
        assert error.retry_after == pytest.approx(1.0)  # type: ignore[attr-defined]
