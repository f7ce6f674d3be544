"""The openai provider against servers on loopback: what goes over the wire, and what comes of every kind of answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from annotators.config import ModelConfig
from annotators.errors import FinalError, ProviderError, RetryableError, StopRun
from annotators.interface import RawAnswer
from annotators.network.openai import make
from annotators.network.transport import Transport
from schemas.messages import Message, TextPart
from tests.annotators.network.openai_server import (
    KEY,
    _key,
    always,
    ask,
    completion,
    image,
    only,
    request,
    setup,
    showing,
)
from tests.servers.scripted import Got, Says, Scripted

__all__ = ["_key"]


class Word(BaseModel):
    word: str


# -- chat -----------------------------------------------------------------------------------------------------------


def test_a_question_arrives_with_the_key_and_comes_back_as_text_and_tokens(server: Scripted) -> None:
    server.reply = always(completion())
    assert only(setup(server, temperature=0.5)) == RawAnswer("Add an apple.", tokens_in=11, tokens_out=5)
    got = server.asked[0]
    assert (got.method, got.path) == ("POST", "/v1/chat/completions")
    assert got.headers["authorization"] == f"Bearer {KEY}"
    assert got.headers["content-type"] == "application/json"
    assert got.json["messages"][1] == {"role": "user", "content": "Write one."}
    assert got.json["temperature"] == 0.5


def test_one_connection_serves_one_call_after_the_other(server: Scripted) -> None:
    ends = []

    def reply(got: Got) -> Says:
        ends.append(got)
        return Says(200, completion())

    server.reply = reply
    config = setup(server)
    ask(config, *[request(config)] * 5)
    assert len(ends) == 5
    assert server.connections == 1


def test_images_are_sent_in_their_own_bytes_each_after_its_label(server: Scripted, tmp_path: Path) -> None:
    server.reply = always(completion())
    first, first_bytes = image(tmp_path, "first.jpg")
    second, second_bytes = image(tmp_path, "second.png", "PNG")
    config = setup(server)
    only(config, request(config, showing(("Image 1 (base):", first), ("Image 2 (donor):", second))))
    content = server.asked[0].json["messages"][1]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["text"] for part in content if part["type"] == "text"] == [
        "Image 1 (base):",
        "Image 2 (donor):",
        "Make it night.",
    ]
    sent = [part["image_url"]["url"].split(",") for part in content if part["type"] == "image_url"]
    assert [head for head, _ in sent] == ["data:image/jpeg;base64", "data:image/png;base64"]
    assert [base64.b64decode(coded) for _, coded in sent] == [first_bytes, second_bytes]


def test_no_key_is_sent_where_none_is_named(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-only")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-9")
    server.reply = lambda got: Says(200, completion() if "chat" in got.path else {"data": [{"b64_json": "AAAA"}]})
    config = setup(server, api_key_env=None)
    only(config)
    only(config, request(config, modality="image"))
    assert [got.path for got in server.asked] == ["/v1/chat/completions", "/v1/images/generations"]
    for got in server.asked:
        assert "authorization" not in got.headers
        assert not {name for name in got.headers if name.startswith("openai-")}
        assert "sk-for" not in str(got.headers)


def test_a_large_question_arrives_whole(server: Scripted) -> None:
    server.reply = always(completion())
    text = "märchen " * 400_000
    message = (Message(speaker="user", parts=(TextPart(text=text),)),)
    config = setup(server)
    assert isinstance(only(config, request(config, message)), RawAnswer)
    assert server.asked[0].json["messages"][0]["content"] == text


def test_a_packed_answer_is_read(server: Scripted) -> None:
    packed = gzip.compress(json.dumps(completion()).encode())
    server.reply = always(packed, headers={"Content-Encoding": "gzip"})
    assert only(setup(server)).text == "Add an apple."


# -- how the schema is told -----------------------------------------------------------------------------------------


def knows(*ways: str) -> Callable[[Got], Says]:
    """A server that takes a schema only in these ways, each refused one in words of its own."""

    def reply(got: Got) -> Says:
        body = got.json
        kind = body.get("response_format", {}).get("type", "guided_json" if "guided_json" in body else "prompt")
        if kind in ways:
            return Says(200, completion('{"word": "night"}'))
        wrong = {
            "json_schema": {"error": {"message": "Unsupported value: 'json_schema'", "param": "response_format.type"}},
            "guided_json": {"detail": [{"loc": ["body", "guided_json"], "msg": "Extra inputs are not permitted"}]},
            "json_object": {"object": "error", "message": "response_format is not supported", "code": 400},
        }
        return Says(422 if kind == "guided_json" else 400, wrong[kind])

    return reply


@pytest.mark.parametrize(
    ("ways", "requests"),
    [(("json_schema",), 1), (("guided_json",), 2), (("json_object", "prompt"), 3), (("prompt",), 4)],
)
def test_a_server_without_one_way_of_telling_the_schema_is_told_it_in_another(
    server: Scripted, ways: tuple[str, ...], requests: int
) -> None:
    server.reply = knows(*ways)
    config = setup(server)
    asked = request(config, answer=Word)
    first, second = ask(config, asked, asked)
    assert isinstance(first, RawAnswer)
    assert isinstance(second, RawAnswer)
    assert len(server.asked) == requests + 1  # the second request is sent in the way that was learnt
    last = json.dumps(server.asked[-1].json["messages"])
    assert ("JSON schema" in last) is (ways[0] in ("json_object", "prompt"))


def test_a_pinned_way_is_kept_to(server: Scripted) -> None:
    server.reply = knows("prompt")
    config = setup(server, structured="guided_json")
    error = only(config, request(config, answer=Word))
    assert isinstance(error, FinalError)
    assert error.reason == "bad_request"
    assert len(server.asked) == 1


def test_many_at_once_learn_the_way_together(server: Scripted) -> None:
    server.reply = knows("json_object")
    config = setup(server)

    async def run() -> list[RawAnswer]:
        provider = make(config, "models.writer")
        found = await asyncio.gather(*[provider.answer(request(config, answer=Word)) for _ in range(20)])
        await provider.close()
        return found

    assert len(asyncio.run(run())) == 20
    assert len(server.asked) <= 60


def test_a_seed_that_nobody_asked_for_is_left_out_where_the_server_knows_none(server: Scripted) -> None:
    def reply(got: Got) -> Says:
        if "seed" in got.json:
            return Says(400, {"error": {"message": "Unknown parameter: 'seed'.", "param": "seed"}})
        return Says(200, completion())

    server.reply = reply
    config = setup(server)
    answers = ask(config, request(config, draw=1), request(config, draw=2))
    assert all(isinstance(answer, RawAnswer) for answer in answers)
    assert len(server.asked) == 3
    server.asked.clear()
    seeded = setup(server, seed=3)
    assert isinstance(only(seeded, request(seeded)), FinalError)  # this one the config asked for


# -- what can be wrong with an answer -------------------------------------------------------------------------------


def test_statuses_become_the_engines_classes(server: Scripted) -> None:
    answers = {
        429: (RetryableError, "throttled"),
        503: (RetryableError, "server"),
        400: (FinalError, "bad_request"),
        413: (FinalError, "too_large"),
    }
    for status, (kind, reason) in answers.items():
        server.reply = always({"error": {"message": "no"}}, status, headers={"Retry-After": "2"})
        error = only(setup(server))
        assert isinstance(error, kind)
        assert error.reason == reason
        if status in (429, 503):
            assert error.retry_after == 2.0


def test_a_wrong_key_names_its_variable(server: Scripted) -> None:
    server.reply = always({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}, 401)
    error = only(setup(server))
    assert isinstance(error, StopRun)
    assert error.line == (
        f"models.writer (m-1): the key in A_KEY is not accepted by {server.home}/v1 "
        "(401: Incorrect API key provided: ***)"
    )


def test_a_model_that_cannot_see_is_named(server: Scripted, tmp_path: Path) -> None:
    server.reply = always({"error": {"message": "m-1 is not a multimodal model"}}, 400)
    config = setup(server)
    ref, _ = image(tmp_path, "a.jpg")
    error = only(config, request(config, showing(("Image 1:", ref))))
    assert isinstance(error, StopRun)
    assert error.exit_code == 2
    assert "m-1 cannot see images" in error.line


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (Says(200, b"<html>a proxy's page</html>"), "malformed"),
        (Says(200, b""), "malformed"),
        (Says(200, b"\xff\xfe\x00 not utf-8 \xc3\x28"), "malformed"),
        (Says(200, b'{"choices": [{"message": {"content": "\xff"}}]}'), "malformed"),
        (Says(200, json.dumps(completion()).encode()[:60]), "malformed"),
        (Says(200, [1, 2]), "malformed"),
        (Says(200, {"error": {"message": "overloaded", "code": 529}}), "server"),
        (Says(200, {"error": {"message": "busy", "code": 429}}), "throttled"),
        (Says(200, json.dumps(completion()).encode()[:40], length=900, then="close"), "connection"),
        (Says(200, json.dumps(completion()).encode()[:40], length=900, then="reset"), "connection"),
        (Says(then="break"), "connection"),
    ],
    ids=[
        "html",
        "empty",
        "no utf-8",
        "no utf-8 inside",
        "half",
        "list",
        "error 529",
        "error 429",
        "cut",
        "reset",
        "break",
    ],
)
def test_a_spoilt_answer_is_asked_for_once_more(server: Scripted, says: Says, reason: str) -> None:
    server.reply = lambda got: says
    error = only(setup(server))
    assert isinstance(error, RetryableError)
    assert error.reason == reason
    if reason == "connection":
        assert server.home in error.detail


def test_an_answer_that_never_comes_or_never_ends_is_given_up(server: Scripted) -> None:
    for says in (Says(then="silence"), Says(200, b"{", length=10, then="hang")):
        server.reply = lambda got, says=says: says  # type: ignore[misc]
        error = only(setup(server, read_timeout=0.2))
        assert isinstance(error, RetryableError)
        assert error.reason == "timeout"
        assert "silent for 0.2 s" in error.detail


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = only(ModelConfig(provider="openai", model="m-1", base_url=f"http://127.0.0.1:{port}/v1"))
    assert isinstance(error, RetryableError)
    assert error.reason == "connection"
    assert f"http://127.0.0.1:{port}/v1/chat/completions: no connection" in error.detail


def test_a_host_that_does_not_exist_is_named() -> None:
    error = only(ModelConfig(provider="openai", model="m-1", base_url="http://nowhere.invalid/v1"))
    assert isinstance(error, RetryableError)
    assert error.reason == "connection"
    assert "nowhere.invalid" in error.detail


def test_what_does_not_speak_http_is_no_crash(server: Scripted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:
        odd.settimeout(10)

        async def run() -> ProviderError | None:
            provider = make(setup(server, base_url=f"http://127.0.0.1:{odd.getsockname()[1]}/v1"), "models.writer")
            asking = asyncio.ensure_future(provider.answer(request(setup(server))))
            connection, _ = await asyncio.to_thread(odd.accept)
            connection.sendall(b"220 mail ready\r\n\r\n")
            connection.close()
            try:
                await asking
            except ProviderError as error:
                return error
            finally:
                await provider.close()
            return None

        error = asyncio.run(run())
    assert isinstance(error, RetryableError)
    assert error.reason == "connection"


def test_fifty_megabytes_are_read_and_left_to_the_engine_and_more_than_the_cap_is_not(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply = always(json.dumps(completion("x" * 50_000_000)).encode())
    assert len(only(setup(server)).text) == 50_000_000
    monkeypatch.setattr(Transport.__init__, "__defaults__", (1 << 20,))
    error = only(setup(server))
    assert isinstance(error, FinalError)
    assert error.reason == "too_large"
    packed = gzip.compress(b"0" * (3 << 20))  # small on the wire, too large unpacked
    server.reply = always(packed, headers={"Content-Encoding": "gzip"})
    assert only(setup(server)).reason == "too_large"


def test_a_huge_refusal_is_read_only_as_far_as_anyone_would(server: Scripted) -> None:
    server.reply = always(b"no " * 10_000_000, 400)
    error = only(setup(server))
    assert isinstance(error, FinalError)
    assert len(error.detail) < 400


def test_a_redirect_is_not_followed_and_says_where_it_leads(server: Scripted) -> None:
    server.reply = always(b"", 307, headers={"Location": "https://elsewhere.example/v1/chat/completions"})
    error = only(setup(server))
    assert isinstance(error, StopRun)
    assert "sends elsewhere (307): https://elsewhere.example" in error.line
    assert len(server.asked) == 1


def test_a_question_with_half_a_character_costs_one_plan(server: Scripted) -> None:
    server.reply = always(completion())
    config = setup(server)
    odd = (Message.model_construct(speaker="user", parts=(TextPart.model_construct(type="text", text="\ud800"),)),)
    error = only(config, request(config, odd))
    assert isinstance(error, FinalError)
    assert error.reason == "not_text"


def test_an_image_that_is_gone_costs_one_plan(server: Scripted, tmp_path: Path) -> None:
    ref, _ = image(tmp_path, "a.jpg")
    Path(ref.uri).unlink()
    config = setup(server)
    error = only(config, request(config, showing(("Image 1:", ref))))
    assert isinstance(error, FinalError)
    assert error.reason == "missing"
    assert not server.asked
