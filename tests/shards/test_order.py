"""The order of an epoch and its division over ranks: nothing lost, nothing twice, the same everywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shards.order import BLOCK, epoch_order, share_of_rank

COUNTS = st.lists(st.integers(0, 200), min_size=1, max_size=6)
SEEDS = st.none() | st.integers(0, 2**63)
WINDOWS = st.none() | st.integers(1, 300)


@given(COUNTS, SEEDS, st.integers(0, 1000), WINDOWS)
def test_every_number_once(counts: list[int], seed: int | None, epoch: int, window: int | None) -> None:
    order = epoch_order(counts, seed, epoch, window)
    assert sorted(order.tolist()) == list(range(sum(counts)))


@given(COUNTS, SEEDS, WINDOWS, st.integers(1, 9), st.sampled_from(["no", "drop", "repeat"]))
def test_ranks_take_all_between_them(
    counts: list[int], seed: int | None, window: int | None, world: int, even: str
) -> None:
    order = epoch_order(counts, seed, 3, window)
    shares = [share_of_rank(order, rank, world, even).tolist() for rank in range(world)]  # type: ignore[arg-type]
    taken = sorted(number for share in shares for number in share)
    lengths = {len(share) for share in shares}
    whole = list(range(sum(counts)))
    if even == "no":
        assert taken == whole and max(lengths) - min(lengths) <= 1
    elif even == "drop":
        assert len(lengths) == 1 and set(taken) <= set(whole) and len(taken) == len(set(taken))
        assert len(whole) - len(taken) < world
    else:
        assert len(lengths) == 1 and set(taken) == set(whole) and len(taken) - len(whole) < world


@given(COUNTS, SEEDS, st.integers(1, 9), st.integers(0, 400))
def test_equal_steps_of_all_ranks_are_a_beginning_of_the_sequence(
    counts: list[int], seed: int | None, world: int, steps: int
) -> None:
    """What makes one number a position, whatever the world."""
    order = epoch_order(counts, seed, 0, None)
    given_out = [n for rank in range(world) for n in share_of_rank(order, rank, world)[:steps].tolist()]
    assert sorted(given_out) == sorted(order[: steps * world].tolist())


def test_the_order_is_of_seed_and_epoch_and_never_changes() -> None:
    """Saved positions mean an order: these numbers may not change with any version of anything."""
    assert epoch_order([5, 7], None, 4, None).tolist() == list(range(12))
    assert epoch_order([5, 7], 7, 0, None).tolist() == FIRST
    assert epoch_order([5, 7], 7, 1, None).tolist() == SECOND
    assert epoch_order([5, 7], 8, 0, None).tolist() not in (FIRST, SECOND)
    assert epoch_order([100, 100], 7, 0, 50).tolist()[:6] == WINDOWED


FIRST = [9, 2, 11, 7, 10, 8, 5, 3, 6, 1, 4, 0]
SECOND = [11, 4, 9, 1, 10, 3, 0, 6, 2, 7, 5, 8]
WINDOWED = [135, 136, 144, 112, 139, 143]


def test_orders_are_mixed_evenly() -> None:
    """Over many epochs each sample comes about as often in the first half as in the second."""
    firsts = np.zeros(64)
    for epoch in range(400):
        firsts[epoch_order([40, 24], 3, epoch, None)[:32]] += 1
    assert firsts.min() > 140 and firsts.max() < 260
    lead = [int(epoch_order([64], 3, epoch, None)[0]) for epoch in range(640)]
    assert max(lead.count(n) for n in range(64)) < 30 and len(set(lead)) == 64


@given(st.integers(0, 99))
def test_a_window_is_read_in_few_places(epoch: int) -> None:
    order = epoch_order([1024, 2048], 5, epoch, 4 * BLOCK)
    for at in range(0, 3072, 4 * BLOCK):
        part = order[at : at + 4 * BLOCK]
        assert len(set((part // BLOCK).tolist())) == 4
        assert part.tolist() != sorted(part.tolist())
