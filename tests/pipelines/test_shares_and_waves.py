"""How work is divided: shards into shares, shares into waves."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import waves
from pipelines.shares import Share
from pipelines.spec import planned_per_split, ranges
from schemas.errors import InputError


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 60))
def test_slices_and_their_workers_divide_the_shards_without_loss_or_repeat(
    slices: int, workers: int, shards: int
) -> None:
    parts = [Share(i, slices).divided(k, workers) for i in range(slices) for k in range(workers)]
    assert all(part.of == slices * workers for part in parts)
    assert sorted(x for part in parts for x in part.of_items(range(shards))) == list(range(shards))


def test_a_slice_is_written_as_i_of_n() -> None:
    assert Share.parse("2/3", "--slice") == Share(1, 3)
    assert str(Share(1, 3)) == "2/3"
    for text in ("0/3", "4/3", "3", "a/b", "-1/2", "1/0", ""):
        with pytest.raises(InputError, match="--slice"):
            Share.parse(text, "--slice")


@given(
    st.integers(1, 5000),
    st.dictionaries(st.sampled_from(["train", "test", "dev"]), st.floats(0.01, 5), min_size=1),
    st.integers(1, 900),
)
def test_ranges_cover_every_ordinal_of_every_split_once(samples: int, splits: dict[str, float], size: int) -> None:
    made = ranges(planned_per_split(samples, splits), size)
    assert sum(r.last - r.first for r in made) == samples
    for split, planned in planned_per_split(samples, splits).items():
        own = [r for r in made if r.name.split == split]
        assert [o for r in own for o in range(r.first, r.last)] == list(range(planned))
        assert all(r.name.of == len(own) for r in own)


def test_more_samples_leave_the_shards_before_as_they_were() -> None:
    few, many = ranges({"train": 250}, 100), ranges({"train": 450}, 100)
    assert [(r.first, r.last) for r in few[:2]] == [(r.first, r.last) for r in many[:2]]


def test_the_first_wave_is_one_shard_and_later_ones_follow_the_pace() -> None:
    dealt = waves.Waves(list(range(1000)), items=100)
    assert dealt.take() == [0]
    dealt.took(1, seconds=10.0)
    assert len(dealt.take()) == 12
    dealt.took(12, seconds=12 * 60.0)
    assert len(dealt.take()) == 2


def test_a_wave_holds_no_more_plans_than_memory_should() -> None:
    dealt = waves.Waves(list(range(10_000)), items=1000)
    dealt.take()
    dealt.took(1, seconds=0.01)
    assert len(dealt.take()) * 1000 <= waves.WAVE_ITEMS


def test_two_waves_are_under_way_and_every_shard_is_made_once() -> None:
    lock, under_way, most, made = threading.Lock(), 0, 0, []

    def make(wave: list[int]) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
            made.extend(wave)

    waves.run(waves.Waves(list(range(40)), items=1000), make, lambda: False)
    assert sorted(made) == list(range(40))
    assert most == waves.UNDER_WAY


def test_a_stop_deals_no_further_wave_and_a_failure_ends_both_lanes() -> None:
    made: list[int] = []
    waves.run(waves.Waves(list(range(40)), items=10_000), made.extend, lambda: len(made) >= 5)
    assert 5 <= len(made) < 40

    def fail(wave: list[int]) -> None:
        made.extend(wave)
        if len(made) > 3:
            raise OSError("disk")

    made.clear()
    with pytest.raises(OSError, match="disk"):
        waves.run(waves.Waves(list(range(400)), items=10_000), fail, lambda: False)
    assert len(made) < 20
