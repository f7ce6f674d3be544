"""The reward server over HTTP: the CLIP surrogate's rewards, what it refuses and how, and how it ends."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluation.reward_server.config import Limits
from evaluation.reward_server.samples import Refused, checked_samples, raw_samples
from evaluation.reward_server.serving import load
from filters.clip_model import ClipModel
from plumbline import RewardClient, RewardServerError, clip_surrogate
from schemas.errors import InputError
from tests.servers.reward_server import Served, coded, file_of, serving
from toyworld.captions import caption
from toyworld.render import render
from toyworld.world import COLOURS, OBJECTS, SCENES, Picture, Thing

ROOT = Path(__file__).resolve().parents[2]
PICTURES = [
    Picture((Thing(OBJECTS[i % 8], list(COLOURS)[i % 9], "big", "middle", i),), SCENES[i % 9], "clear", i)
    for i in range(12)
]
CLIP = {"reward": {"kind": "clip_surrogate"}, "clip": {"weights": "toy", "device": "cpu"}}
SMALL = {
    "max_batch": 4,
    "queue": 4,
    "max_image_bytes": 200_000,
    "max_pixels": 600 * 600,
    "max_text": 300,
    "max_body_bytes": 2_000_000,
    "held_bytes": 3_000_000,
}
SHOWN = coded(render(PICTURES[0]))


def sample(i: int, **more: Any) -> dict[str, Any]:
    return {"images": [coded(render(PICTURES[i]))], "caption": caption(PICTURES[i]), **more}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(**CLIP) as server:
        yield server


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    with serving(**CLIP, limits=SMALL) as server:
        yield server


def in_process(metric: str = "cosine") -> Any:
    """The rewards of all pictures with their own captions, without any server."""
    model = ClipModel.load("toy", "cpu")
    images = [render(picture) for picture in PICTURES]
    seen = model.image_embeddings([(hashlib.sha256(file_of(i)).hexdigest(), lambda i=i: i) for i in images])
    said = model.text_embeddings([caption(picture) for picture in PICTURES])
    return clip_surrogate(seen, said, metric=metric)


def test_the_surrogate_is_what_it_is_in_process(served: Served) -> None:
    reply = served.ask(*(sample(i, id=f"rollout {i}") for i in range(12)))
    assert reply.status == 200
    assert reply.json["rewards"] == in_process().tolist(), "to the last bit, whatever it was batched with"
    assert reply.json["ids"] == [f"rollout {i}" for i in range(12)]
    assert reply.json["scores"][3] == {"clip": reply.json["rewards"][3]} and reply.json["errors"] == [None] * 12


def test_the_other_metric_ranks_alike() -> None:
    with serving(**{**CLIP, "reward": {"kind": "clip_surrogate", "metric": "l2"}}) as server:
        rewards = server.ask(*(sample(i) for i in range(12))).json["rewards"]
    assert rewards == in_process("l2").tolist()
    assert np.argsort(rewards).tolist() == np.argsort(in_process()).tolist()


def test_a_rollout_without_a_readable_caption_is_masked(served: Served) -> None:
    reply = served.ask(sample(0), sample(1, caption=None), sample(2, caption="a helicopter"))
    assert reply.status == 200
    assert reply.json["rewards"][0] is not None and reply.json["rewards"][1:] == [None, None]
    assert reply.json["errors"][0] is None and "helicopter" in reply.json["errors"][2]


def test_requests_of_several_clients_share_forward_passes() -> None:
    clip = {"weights": "toy", "device": "cpu", "window": 0.5}
    with serving(**{**CLIP, "clip": clip}) as server:
        before = server.scorer.passes
        found: dict[int, Any] = {}

        def ask(i: int) -> None:
            found[i] = server.ask(sample(i)).json["rewards"][0]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert [found[i] for i in range(8)] == in_process().tolist()[:8], "each has its own"
        assert server.scorer.passes - before < 8


def test_a_failed_forward_pass_is_no_reward_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(**CLIP) as server:
        with monkeypatch.context() as patch:
            patch.setattr(server.scorer, "_cosines", lambda samples: 1 / 0)
            reply = server.ask(sample(0))
            assert reply.status == 503 and "ZeroDivisionError" in reply.json["error"]
            assert "Retry-After" in reply.headers
        assert server.ask(sample(0)).json["rewards"] == in_process().tolist()[:1]


def png_of(width: int, height: int) -> bytes:
    """A PNG's head that claims a size, with a body of a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


CUT = coded(file_of(render(PICTURES[0]), "JPEG")[:-2000])
GOOD = {"images": [SHOWN], "caption": "a red star"}
BAD = {
    "not base64": ({**GOOD, "images": ["%%%"]}, 400, ("samples[1].images[0]", "base64")),
    "line breaks": ({**GOOD, "images": [SHOWN[:76] + "\n" + SHOWN[76:]]}, 400, ("samples[1].images[0]", "line breaks")),
    "not an image": ({**GOOD, "images": [coded(b"hello there")]}, 400, ("samples[1].images[0]", "no image")),
    "empty": ({**GOOD, "images": [""]}, 400, ("samples[1].images[0]",)),
    "a pickle": ({**GOOD, "images": [coded(pickle.dumps([1]))]}, 400, ("samples[1].images[0]", "no image")),
    "cut short": ({**GOOD, "images": [CUT]}, 400, ("samples[1].images[0]", "cannot be read")),
    "a bomb": ({**GOOD, "images": [coded(png_of(50_000, 50_000))]}, 400, ("samples[1].images[0]", "bomb")),
    "over max_pixels": ({**GOOD, "images": [coded(png_of(700, 700))]}, 400, ("700 x 700", "360,000")),
    "over max_image_bytes": ({**GOOD, "images": ["A" * 400_000]}, 413, ("samples[1].images[0]", "200,000")),
    "no images": ({"caption": "a"}, 400, ("samples[1].images is missing",)),
    "two images": ({**GOOD, "images": [SHOWN, SHOWN]}, 400, ("has 2", "wants 1")),
    "images is text": ({**GOOD, "images": SHOWN}, 400, ("samples[1].images", "a list")),
    "a number for an image": ({**GOOD, "images": [7]}, 400, ("samples[1].images[0] is a number",)),
    "no caption": ({"images": [SHOWN]}, 400, ("samples[1].caption is missing",)),
    "a blank caption": ({**GOOD, "caption": " \n"}, 400, ("samples[1].caption is blank",)),
    "a caption too long": ({**GOOD, "caption": "a" * 301}, 413, ("samples[1].caption", "301", "300")),
    "a prompt": ({"images": [SHOWN], "prompt": "a"}, 400, ('"prompt" is no field', "clip_surrogate")),
    "misspelt": ({**GOOD, "captoin": "a"}, 400, ("did you mean caption?",)),
    "no object": ([SHOWN], 400, ("samples[1] is a list",)),
    "a number for an id": ({**GOOD, "id": 7}, 400, ("samples[1].id is 7",)),
    "its id is named": ({"id": "rollout 9", "images": [SHOWN]}, 400, ('samples[1] ("rollout 9").caption',)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sample_is_refused_in_one_line_that_names_it(name: str, small: Served) -> None:
    bad, status, says = BAD[name]
    reply = small.ask(sample(0), bad)  # type: ignore[arg-type]
    assert reply.status == status
    assert "\n" not in reply.json["error"] and len(reply.json["error"]) < 400
    for word in says:
        assert word in reply.json["error"]
    assert small.get("/healthz").json["queue"]["samples"] == 0, "what is refused leaves no place taken"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"not json", 400, "not JSON"),
        (b"[1]", 400, "must be an object"),
        (b"{}", 400, "samples is missing"),
        (b'{"samples": []}', 400, "samples is missing or empty"),
        (b'{"sample": []}', 400, "did you mean samples?"),
        (b'{"samples": [1, 2, 3, 4, 5]}', 413, "4 are the most"),
        (b'{"reward": "cme", "samples": [1]}', 400, "this server answers clip_surrogate"),
        (b"\xff\xfe", 400, "not JSON"),
        (pickle.dumps({"samples": []}), 400, "not JSON"),
    ],
)
def test_a_bad_body_is_refused_in_one_line(body: bytes, status: int, says: str, small: Served) -> None:
    reply = small.post(body)
    assert (reply.status, says in reply.json["error"]) == (status, True), reply.json


class Loaded:
    """What would tell that it was unpickled."""

    told: list[str] = []

    def __reduce__(self) -> Any:
        return Loaded.told.append, ("unpickled",)


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-pickle", "text/plain", "application/json"])
def test_pickle_is_never_accepted(kind: str, small: Served) -> None:
    reply = small.post(pickle.dumps({"samples": [Loaded()]}), **{"Content-Type": kind})
    assert reply.status == (400 if kind == "application/json" else 415)
    assert Loaded.told == []


def test_a_packed_body_is_not_unpacked(small: Served) -> None:
    body = gzip.compress(json.dumps({"samples": [GOOD]}).encode())
    reply = small.post(body, **{"Content-Encoding": "gzip"})
    assert reply.status == 415 and "gzip" in reply.json["error"]


def sent(server: Served, head: str, body: bytes = b"") -> tuple[bytes, int]:
    """(what came back, how many bytes of `body` went out): `body` is sent over and over until the server answers."""
    lines = ["POST /v1/rewards HTTP/1.1", "Host: x", "Content-Type: application/json", *head.split("\n"), "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as to:
        to.sendall("\r\n".join(lines).encode())
        out = 0
        to.settimeout(0.05 if body else 20)
        while True:
            try:
                return to.recv(4096), out
            except TimeoutError:
                to.sendall(body)
                out += len(body)


def test_a_body_over_the_limit_is_refused_by_its_head_alone(small: Served) -> None:
    answer, _ = sent(small, "Content-Length: 999999999999")
    assert answer.startswith(b"HTTP/1.1 413") and b"999,999,999,999" in answer


def test_who_asks_before_sending_is_told_before_sending(small: Served) -> None:
    assert sent(small, "Content-Length: 2000001\nExpect: 100-continue")[0].startswith(b"HTTP/1.1 413")
    assert sent(small, "Content-Length: 100\nExpect: 100-continue")[0].startswith(b"HTTP/1.1 100")


def test_a_body_without_a_length_is_read_no_further_than_the_limit(small: Served) -> None:
    chunk = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    answer, out = sent(small, "Transfer-Encoding: chunked", chunk)
    assert answer.startswith(b"HTTP/1.1 413")
    assert out <= 16 * len(chunk), "2 MB are the most, and what the sockets hold"


def held(server: Served) -> threading.Event:
    """From now on no sample of this server ends before the event is set."""
    event, scored = threading.Event(), server.scorer._scored

    def slowly(samples: Any) -> Any:
        event.wait(30)
        return scored(samples)

    server.scorer._scored = slowly
    return event


def until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_a_full_queue_is_said_with_when_to_come_again() -> None:
    with serving(**CLIP, limits=SMALL) as server:
        event = held(server)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(server.ask(*(sample(i) for i in range(3)))))
        thread.start()
        until(lambda: server.get("/healthz").json["queue"]["samples"] == 3)
        full = server.ask(sample(3), sample(4))
        assert full.status == 429 and int(full.headers["Retry-After"]) >= 1
        assert "3 samples are waiting" in full.json["error"]
        one = threading.Thread(target=lambda: found.append(server.ask(sample(5))))
        one.start()
        until(lambda: server.get("/healthz").json["queue"]["samples"] == 4)
        event.set()
        thread.join(), one.join()
        assert [reply.status for reply in found] == [200, 200]
        assert server.ask(sample(3), sample(4)).status == 200
        assert 'plumbline_reward_refused_total{status="429"} 1.0' in server.get("/metrics").json


def test_bodies_under_way_are_bounded_together() -> None:
    with serving(**CLIP, limits={**SMALL, "held_bytes": 2_000_000}) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            head = "POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1999999"
            slow.sendall(head.encode() + b"\r\n\r\n{")
            until(lambda: server.get("/healthz").json["queue"]["requests"] == 1)
            reply = server.ask(sample(0))
            assert reply.status == 429 and "1,999,999 bytes" in reply.json["error"]
        until(lambda: server.get("/healthz").json["queue"]["requests"] == 0)
        assert server.ask(sample(0)).status == 200, "whoever hangs up gives its place back"


def test_what_is_late_is_null_and_still_counted() -> None:
    with serving(**CLIP, limits={**SMALL, "timeout": 0.2}) as server:
        event = held(server)
        reply = server.ask(sample(0))
        assert reply.status == 200 and reply.json["rewards"] == [None]
        assert reply.json["errors"][0].startswith("timeout")
        assert server.get("/healthz").json["queue"]["samples"] == 1
        event.set()
        until(lambda: server.get("/healthz").json["queue"]["samples"] == 0)


def test_a_token_is_asked_for_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_TOKEN", "a secret")
    with serving(**CLIP, token_env="REWARD_TOKEN") as server:
        assert server.ask(sample(0)).status == 401
        assert server.post({"samples": [sample(0)]}, Authorization="Bearer another").status == 401
        assert server.post({"samples": [sample(0)]}, Authorization="Bearer a secret").status == 200
        health = server.get("/healthz")
        assert health.status == 200 and "a secret" not in json.dumps(health.json)
        assert RewardClient(server.url, token="a secret").ask([sample_of(0)]).rewards.shape == (1,)
        with pytest.raises(RewardServerError, match="401"):
            RewardClient(server.url).ask([sample_of(0)])
    monkeypatch.delenv("REWARD_TOKEN")
    with (
        pytest.raises(InputError, match="token_env: REWARD_TOKEN is not set"),
        serving(**CLIP, token_env="REWARD_TOKEN"),
    ):
        pass


def sample_of(i: int) -> dict[str, Any]:
    """As a trainer gives it."""
    return {"images": [render(PICTURES[i])], "caption": caption(PICTURES[i])}


def test_unknown_places_are_told_what_there_is(small: Served) -> None:
    assert small.get("/").status == 404 and "/v1/rewards" in small.get("/").json["error"]
    reply = small.get("/v1/rewards")
    assert reply.status == 405 and "POST" in reply.headers["Allow"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("side", [None, 768])
def test_a_file_cut_short_is_found_before_a_judge_is_paid(form: str, side: int | None) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
    file = file_of(noise, form)
    for kept in (len(file) - 500, len(file) // 2, 100, 10):
        with pytest.raises(Refused, match=r"samples\[0\].images\[0\] cannot be read"):
            checked_samples([{"images": [coded(file[:kept])], "prompt": "a"}], "qma", Limits(), side)
    assert checked_samples([{"images": [coded(file)], "prompt": "a"}], "qma", Limits(), side)[0].images[0].width == 300


@given(body=st.binary(max_size=300))
def test_no_body_makes_anything_but_a_refusal(body: bytes) -> None:
    try:
        checked_samples(raw_samples(body, "cme", Limits()), "cme", Limits())
    except Refused as refused:
        assert refused.status in (400, 413) and "\n" not in refused.line


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["images", "id", "caption"]), inner),
    max_leaves=8,
)


@given(sample=JSON, kind=st.sampled_from(["cme", "qma", "clip_surrogate"]))
def test_no_sample_makes_anything_but_a_refusal(sample: Any, kind: Any) -> None:
    with pytest.raises(Refused) as caught:
        checked_samples(raw_samples(json.dumps({"samples": [sample]}).encode(), kind, Limits()), kind, Limits())
    assert "samples[0]" in caught.value.line and "\n" not in caught.value.line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["reward.kind=sum"], "reward: write {kind: ...} with one of cme, qma, clip_surrogate; 'sum' is none"),
        (["reward=null"], "reward: write {kind: ...}"),
        (["reward.blend=mix"], "unknown key"),
        (["ledger=true"], "null for the user's own"),
        (["reward={kind: clip_surrogate}"], "clip_surrogate needs a CLIP: add clip"),
        (["reward.way=aided"], "models.describer: no model is configured"),
        (["reward.w1=0", "reward.w2=0"], "w1 and w2 are both 0"),
        (["reward={kind: qma, blend: ins, w1: 1, w2: 1}"], "neither with blend: ins"),
        (["limits.queue=10"], "less than max_batch"),
        (["models.judge.mode=batch"], "use mode: online"),
        (["prot=1"], "did you mean port"),
        (["port=-1"], "port"),
    ],
)
def test_a_wrong_configuration_is_one_line(settings: list[str], says: str) -> None:
    with pytest.raises(InputError, match=r"configs/rewards\.yaml: |^--set [a-z.]+=") as caught:
        load(str(ROOT / "configs" / "rewards.yaml"), settings)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_not_there_are_one_line() -> None:
    gone = {"weights": "local-dir:/nowhere", "device": "cpu"}
    with pytest.raises(InputError, match=r"^clip.weights: .*nowhere"), serving(**{**CLIP, "clip": gone}):
        pass


def test_an_address_that_is_taken_is_one_line(small: Served) -> None:
    with pytest.raises(InputError, match=f"port {small.port}: cannot listen"), serving(**CLIP, port=small.port):
        pass


def test_alpha_and_orientation_are_seen_as_the_filter_sees_them(served: Served) -> None:
    clear = render(PICTURES[0]).convert("RGBA")
    clear.putalpha(0)
    white = Image.new("RGB", clear.size, "white")
    texts = {"caption": caption(PICTURES[0])}
    reply = served.ask({"images": [coded(clear)], **texts}, {"images": [coded(white)], **texts})
    assert reply.json["rewards"][0] == reply.json["rewards"][1]
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    upright = render(PICTURES[1])
    upright.transpose(Image.Transpose.ROTATE_180).save(out, "PNG", exif=exif)
    texts = {"caption": caption(PICTURES[1])}
    turned = served.ask({"images": [coded(out.getvalue())], **texts}, {"images": [coded(upright)], **texts})
    assert turned.json["rewards"][0] == turned.json["rewards"][1]
