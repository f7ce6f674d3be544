"""A budget holds over all attempts at one output: stopped, killed, sliced, in workers, against a real HTTP server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from annotators.spending import spent
from cli.dataset import run as make_dataset
from cli.outputs import run_merge
from schemas.errors import InputError, StoppedError
from schemas.usage import Usage
from shards.manifest import read_manifest
from shards.verify import verify
from tests.servers.commands import plumbline
from tests.servers.running import PracticeServer

ROOT = Path(__file__).resolve().parents[2]
IN_FLIGHT = 4
# Dollars per million tokens: a call of the text roles costs about 0.01, a picture 0.0129.
TEXT, PICTURE = "{input: 5, output: 50}", "{input: 0, output: 10}"
SAMPLES, PER_SAMPLE = 12, 3

Words = Callable[..., list[str]]


@pytest.fixture
def words(practice_server: PracticeServer, tmp_path: Path) -> Words:
    """The settings of a run on the practice server, with a ledger of its own, and further settings after them."""

    def settings(*more: str, ledger: str = "ledger") -> list[str]:
        model = f"provider: openai, base_url: '{practice_server.openai}', in_flight: {IN_FLIGHT}"
        roles = {"writer": TEXT, "reasoner": TEXT, "painter": PICTURE}
        models = ", ".join(f"{role}: {{{model}, model: m-{role}, price: {price}}}" for role, price in roles.items())
        return [
            *(f"samples={SAMPLES}", "output.shard_samples=4", "reasonings=1", "filters={}", "tasks={add: 1}"),
            *(f"models={{{models}}}", f"ledger={tmp_path / ledger}", *more),
        ]

    return settings


def attempt(out: Path, settings: list[str], part: str = "1/1", workers: int = 1) -> str:
    """One attempt in this process; the line it was stopped with, or nothing where it came to its end."""
    try:
        make_dataset("realign", str(ROOT / "configs" / "toy.yaml"), str(out), settings, workers, part, "", [])
    except StoppedError as error:
        return str(error)
    return ""


def paid(out: Path) -> Usage:
    return sum(spent(str(out)).values(), Usage())


def digests(out: Path) -> dict[str, str]:
    manifest = read_manifest(str(out))
    assert manifest is not None
    return {name: file["sha256"] for name, file in manifest["files"].items() if name.startswith("shards/")}


def test_calls_are_counted_over_attempts_and_a_raised_budget_goes_on(
    practice_server: PracticeServer,
    words: Words,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    line = attempt(out, words("budget.calls=10"))
    assert line.startswith("budget.calls: the 10 calls are spent; raise budget.calls")
    assert practice_server.stats()["ok"] == 10 == paid(out).calls
    assert attempt(out, words("budget.calls=10")) and practice_server.stats()["requests"] == 10, "not one more"
    assert attempt(out, words("budget.calls=25")) and practice_server.stats()["ok"] == 25 == paid(out).calls
    assert attempt(out, words("budget.calls=36")) == "", "just enough"
    stats = practice_server.stats()
    assert stats["ok"] == SAMPLES * PER_SAMPLE == paid(out).calls and stats["repeats"] == 0
    assert verify(str(out)) == []
    manifest = read_manifest(str(out))
    assert manifest is not None and not any(".spent" in name for name in manifest["files"])

    unbounded = tmp_path / "unbounded"
    assert attempt(unbounded, words(ledger="another")) == ""
    assert digests(unbounded) == digests(out), "a budget does not shape the bytes"
    before = practice_server.stats()["requests"]
    assert attempt(tmp_path / "again", words("budget.calls=1")) == "", "what the ledger has costs nothing"
    assert practice_server.stats()["requests"] == before and not spent(str(tmp_path / "again"))


def test_dollars_are_counted_over_attempts(practice_server: PracticeServer, words: Words, tmp_path: Path) -> None:
    out, dearest = tmp_path / "out", 0.025
    for budget in (0.12, 0.12, 0.24):
        line = attempt(out, words(f"budget.usd={budget}"))
        assert f"budget.usd: the {budget:g} USD are spent" in line
        assert paid(out).usd <= budget + IN_FLIGHT * 3 * dearest
    assert paid(out).usd > 0.12
    assert attempt(out, words("budget.usd=50")) == ""
    manifest = read_manifest(str(out))
    assert manifest is not None
    by_model = manifest["usage"]
    assert sum(used["usd"] for used in by_model.values()) == pytest.approx(paid(out).usd)
    for model, price in (("m-writer", (5, 50)), ("m-reasoner", (5, 50)), ("m-painter", (0, 10))):
        used = by_model[model]
        dollars = (used["tokens_in"] * price[0] + used["tokens_out"] * price[1]) / 1e6
        assert used["usd"] == pytest.approx(dollars, abs=1e-6) and dollars > 0
    assert practice_server.stats()["repeats"] == 0


def test_slices_have_their_parts_and_what_they_paid_is_merged(
    practice_server: PracticeServer,
    words: Words,
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for left in (16, 0):
        line = attempt(first, words("budget.calls=31"), part="1/2")
        assert f"of the 31 calls that all share ({left} calls) is spent" in line and paid(first).calls == 16
    assert attempt(second, words("budget.calls=31"), part="2/2") == "", "its one shard of three needs 12 of its 15"
    assert practice_server.stats()["ok"] == 28
    assert attempt(first, words("budget.calls=100"), part="1/2") == ""
    run_merge([str(first), str(second)], str(first))
    assert paid(first).calls == SAMPLES * PER_SAMPLE == practice_server.stats()["ok"]
    assert set(spent(str(first))) == {(0, 2), (1, 2)}


def command(out: Path, settings: list[str], *more: str) -> list[str]:
    words = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "cli.main", "realign", "configs/toy.yaml", "--out", str(out), *words, *more]


def test_workers_never_spend_more_than_the_whole(
    practice_server: PracticeServer,
    words: Words,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    done = plumbline(*command(out, words("budget.calls=9"), "--workers", "2")[3:])
    assert done.returncode == 3 and "of the 9 calls that all share" in done.stderr, done.stderr
    assert practice_server.stats()["ok"] == paid(out).calls <= 9
    assert len(list((out / ".spent").iterdir())) <= 2
    assert attempt(out, words("budget.calls=12")) and practice_server.stats()["ok"] == paid(out).calls == 12


def test_what_a_killed_run_paid_is_known(practice_server: PracticeServer, words: Words, tmp_path: Path) -> None:
    out = tmp_path / "out"
    practice_server.configure(latency=0.15)
    process = subprocess.Popen(
        command(out, words("budget.calls=20")), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while practice_server.stats()["ok"] < 8 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # the server ends what it has begun
    practice_server.configure(latency=0.0)
    answered = practice_server.stats()["ok"]
    most = 3 * IN_FLIGHT
    assert 8 <= answered <= paid(out).calls + most, "all that is not noted was under way"
    assert "20 calls are spent" in attempt(out, words("budget.calls=20"))
    assert paid(out).calls == 20 and practice_server.stats()["ok"] <= 20 + most


def test_dollars_without_a_price_are_refused_before_anything_is_begun(
    practice_server: PracticeServer,
    words: Words,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    unknown = "models.writer={provider: gemini, model: gemini-99, api_key_env: SOME_KEY}"
    os.environ["SOME_KEY"] = "k"
    try:
        with pytest.raises(
            InputError, match=r"toy\.yaml: models\.writer\.model: gemini-99 is in no price list.*price:"
        ):
            make_dataset(
                "realign",
                str(ROOT / "configs" / "toy.yaml"),
                str(out),
                words(unknown, "budget.usd=5"),
                1,
                "1/1",
                "",
                [],
            )
    finally:
        del os.environ["SOME_KEY"]
    assert not out.exists()
    free = f"models.writer={{provider: openai, model: own, base_url: '{practice_server.openai}'}}"
    assert attempt(out, words(free, "budget.usd=50")) == ""
    said = capsys.readouterr().out
    assert "note: models.writer: own at 127.0.0.1 counts as a server of your own, which budget.usd does not" in said
    bad = words(f"prices={tmp_path / 'none.yaml'}")
    with pytest.raises(InputError, match=r"prices: .*none\.yaml: cannot be read"):
        make_dataset("realign", str(ROOT / "configs" / "toy.yaml"), str(tmp_path / "b"), bad, 1, "1/1", "", [])
