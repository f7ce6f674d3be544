"""The trainers' client: order, batches, what it waits for and what it gives up on."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plumbline import RewardClient, RewardServerError
from tests.servers.scripted import Got, Says, Scripted, scripted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        running.reply = echo
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewards.client._FIRST_PAUSE", 0.01)


def echo(got: Got) -> Says:
    """Each sample's reward is the number that its prompt is; none for a negative one."""
    numbers = [float(sample["prompt"]) for sample in got.json["samples"]]
    body = {
        "rewards": [None if n < 0 else n for n in numbers],
        "scores": [{"quality": None if n < 0 else n} for n in numbers],
        "reasonings": [{}] * len(numbers),
        "errors": ["quality: judge: schema" if n < 0 else None for n in numbers],
    }
    return Says(body=body)


def samples(*numbers: int) -> list[dict[str, Any]]:
    return [{"images": [b"bytes"], "prompt": str(n)} for n in numbers]


def test_batches_come_back_in_order_and_null_is_nan(server: Scripted) -> None:
    got = RewardClient(server.home, batch=3).ask(samples(0, 1, 2, -3, 4, 5, 6, 7))
    assert np.array_equal(got.rewards, [0, 1, 2, np.nan, 4, 5, 6, 7], equal_nan=True)
    assert np.array_equal(got.raw("quality"), got.rewards, equal_nan=True)
    assert got.errors[3] == "quality: judge: schema" and got.errors[4] is None
    assert sorted(len(asked.json["samples"]) for asked in server.asked) == [2, 3, 3]
    assert RewardClient(server.home).ask([]).rewards.shape == (0,)


def test_bytes_paths_and_pillow_images_are_sent_as_base64(server: Scripted, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "red")
    file = tmp_path / "a.png"
    image.save(file)
    RewardClient(server.home).generated([file, str(file), file.read_bytes(), image], ["1", "2", "3", "4"])
    sent = [base64.b64decode(sample["images"][0]) for sample in server.asked[0].json["samples"]]
    assert sent[:3] == [file.read_bytes()] * 3
    assert Image.open(io.BytesIO(sent[3])).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(TypeError, match="ndarray"):
        RewardClient(server.home).generated([np.zeros((8, 8, 3))], ["1"])
    with pytest.raises(FileNotFoundError):
        RewardClient(server.home).generated([tmp_path / "gone.png"], ["1"])


def test_each_kind_has_its_fields(server: Scripted) -> None:
    def reply(got: Got) -> Says:
        n = len(got.json["samples"])
        return Says(body={"rewards": [1] * n, "scores": [{}] * n, "reasonings": [{}] * n, "errors": [None] * n})

    server.reply = reply
    client = RewardClient(server.home, reward="cme", token="a token")
    client.edits([b"s"], [b"e"], ["make it red"])
    client.captioned([b"i"], [None])
    edits, captioned = server.asked
    assert edits.json["reward"] == "cme" and edits.headers["authorization"] == "Bearer a token"
    assert edits.json["samples"][0]["instruction"] == "make it red" and len(edits.json["samples"][0]["images"]) == 2
    assert captioned.json["samples"][0]["caption"] is None
    with pytest.raises(ValueError, match="argument"):
        client.edits([b"s"], [b"e", b"f"], ["make it red"])


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int, server: Scripted) -> None:
    replies = [Says(status, {"error": "busy"}, {"Retry-After": "0"})] * 3

    server.reply = lambda got: replies.pop() if replies else echo(got)
    assert RewardClient(server.home).ask(samples(5)).rewards.tolist() == [5.0]
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("says", "line"),
    [
        (Says(400, {"error": "samples[0].caption is missing"}), r"caption is missing \(HTTP 400\)"),
        (Says(413, {"error": "too large"}), "too large"),
        (Says(503, {"error": "budget.usd: spent"}), "budget.usd"),
        (Says(200, {"rewards": [1, 2]}), "did not answer with 1 rewards"),
        (Says(500, b"Internal"), "HTTP 500"),
    ],
)
def test_what_time_does_not_mend_is_raised_at_once(says: Says, line: str, server: Scripted) -> None:
    server.reply = lambda got: says
    with pytest.raises(RewardServerError, match=line):
        RewardClient(server.home).ask(samples(1))
    assert len(server.asked) == 1


def test_a_server_that_breaks_off_or_is_not_there_is_asked_until_patience_ends(server: Scripted) -> None:
    replies = [Says(then="break"), Says(200, b"{", length=100, then="reset")]
    server.reply = lambda got: replies.pop() if replies else echo(got)
    assert RewardClient(server.home).ask(samples(5)).rewards.tolist() == [5.0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RewardServerError, match=f"{port} cannot be reached") as caught:
        RewardClient(f"http://127.0.0.1:{port}/", patience=0.1).ask(samples(1))
    assert caught.value.status == 0


def test_it_loads_nothing_heavy() -> None:
    heavy = ["torch", "aiohttp", "pydantic", "PIL", "pandas", "apache_beam"]
    code = f"import sys, rewards.client; sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
