"""How `plumbline serve rewards` ends: running requests are finished, new ones refused, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from plumbline import RewardClient, RewardServerError
from tests.servers.reward_server import file_of
from tests.servers.scripted import Got, Says, Scripted, scripted

ROOT = Path(__file__).resolve().parents[2]
IMAGES = [file_of(Image.new("RGB", (32, 32), colour)) for colour in ("red", "blue")]


@pytest.fixture
def judge() -> Iterator[tuple[Scripted, threading.Event]]:
    """A judge that gives 4 to everything, once the event is set."""
    going = threading.Event()
    message = {"role": "assistant", "content": '{"reasoning": "Seen.", "score": [4]}'}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}

    def reply(got: Got) -> Says:
        going.wait(30)
        return Says(body=body, headers={"Content-Type": "application/json"})

    with scripted() as server:
        server.reply = reply
        yield server, going
        going.set()


@contextmanager
def command(judge: Scripted, folder: Path) -> Iterator[tuple[subprocess.Popen[str], RewardClient]]:
    """The command in a process of its own, and a client that waits for nothing."""
    model = f"models.judge={{provider: openai, model: m, base_url: '{judge.home}/v1'}}"
    words = [sys.executable, "-m", "cli.main", "serve", "rewards", "configs/rewards.yaml"]
    words += [part for one in ("port=0", model, "ledger=false") for part in ("--set", one)]
    env = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        yield process, RewardClient(process.stdout.readline().split()[-1], reward="cme", patience=0)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_running_requests_finish(
    sign: signal.Signals, code: int, judge: tuple[Scripted, threading.Event], tmp_path: Path
) -> None:
    server, going = judge
    with command(server, tmp_path) as (process, client):
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(client.edits(IMAGES[:1], IMAGES[1:], ["make it blue"])))
        thread.start()
        until(lambda: client.health()["queue"]["samples"] == 1)
        os.kill(process.pid, sign)
        until(lambda: client.health()["status"] == "stopping")
        with pytest.raises(RewardServerError, match="stopping"):
            client.edits(IMAGES[:1], IMAGES[1:], ["make it green"])
        going.set()
        thread.join(30)
        assert found[0].rewards.tolist() == pytest.approx([0.675])
        assert process.wait(30) == code
        lines = said(process)
        assert "Traceback" not in lines and "1 requests are being finished" in lines
        assert ("plumbline: the reward server was stopped by Ctrl-C" in lines) == (code == 130)
    assert list(tmp_path.iterdir()) == [], "a ledger of its own is gone with the server"


def test_a_second_signal_ends_what_runs(judge: tuple[Scripted, threading.Event], tmp_path: Path) -> None:
    with command(judge[0], tmp_path) as (process, client):
        with socket.create_connection(("127.0.0.1", int(client._url.rpartition(":")[2])), timeout=20) as slow:
            head = "POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999"
            slow.sendall(head.encode() + b"\r\n\r\n{")  # a body that never ends
            until(lambda: client.health()["queue"]["requests"] == 1)
            os.kill(process.pid, signal.SIGTERM)
            until(lambda: client.health()["status"] == "stopping")
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(30) == 0
        assert "Traceback" not in said(process)
    assert list(tmp_path.iterdir()) == []
