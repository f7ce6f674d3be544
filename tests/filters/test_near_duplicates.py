"""Near-duplicates: the hash index against brute force, and who is kept of whom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import near_hashes
from filters.near_duplicates import alike, near_by_embedding, near_by_hash
from filters.near_hashes import near_matches, near_pairs

# Hashes that differ in few bits from one of two, so that there is something to find at every distance.
HASH = st.builds(
    lambda base, bits: base ^ sum({1 << bit for bit in bits}),
    st.sampled_from([0, 0x9F3C00FF51D2E846]),
    st.lists(st.integers(0, 63), max_size=12),
)


def far(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


@settings(max_examples=60, deadline=None)
@given(st.lists(HASH, max_size=40), st.lists(HASH, max_size=20), st.integers(0, 15), st.sampled_from([1, 7, 1 << 18]))
def test_the_index_finds_what_brute_force_finds_each_pair_once(
    values: list[int], others: list[int], distance: int, at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(near_hashes, "_AT_ONCE", at_once)
        mine, theirs = np.array(values, np.uint64), np.array(others, np.uint64)
        within = [row for chunk in near_pairs(mine, distance) for row in zip(*(c.tolist() for c in chunk), strict=True)]
        across = [
            row
            for chunk in near_matches(mine, theirs, distance)
            for row in zip(*(c.tolist() for c in chunk), strict=True)
        ]
    n, m = range(len(values)), range(len(others))
    wanted = [(i, j, far(values[i], values[j])) for i in n for j in n if i < j]
    assert sorted(within) == [row for row in wanted if row[2] <= distance]
    wanted = [(i, j, far(values[i], others[j])) for i in n for j in m]
    assert sorted(across) == [row for row in wanted if row[2] <= distance]


@settings(max_examples=60, deadline=None)
@given(st.lists(HASH, max_size=30), st.integers(0, 12))
def test_what_is_kept_is_never_near_and_what_goes_is_near_a_kept_one_before_it(
    values: list[int], distance: int
) -> None:
    gone = near_by_hash([f"{value:016x}" for value in values], distance)
    kept = [number for number in range(len(values)) if number not in gone]
    assert all(far(values[i], values[j]) > distance for i in kept for j in kept if i < j)
    for number, leader in gone.items():
        assert leader in kept and leader < number and far(values[number], values[leader]) <= distance


def test_no_chain_of_small_steps_joins_what_is_unlike_and_no_hash_is_near_nothing() -> None:
    values = [0b0, 0b111, 0b111111]
    assert near_by_hash([f"{value:016x}" for value in values], 3) == {1: 0}
    assert near_by_hash(["", f"{0:016x}", "", f"{0:016x}"], 0) == {3: 1}
    assert near_by_hash([], 4) == {}


def test_a_distance_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        list(near_pairs(np.array([1], np.uint64), 16))


def test_many_equal_hashes_cost_no_pairs() -> None:
    assert near_by_hash([f"{7:016x}"] * 50_000, 8) == dict.fromkeys(range(1, 50_000), 0)


def test_embeddings_go_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.near_duplicates._ROWS", 3)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 16)).astype(np.float32)
    vectors[5] = vectors[1] + 0.01 * vectors[2]
    vectors[7] = vectors[5]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert near_by_embedding(vectors, 0.98) == {5: 1, 7: 1}
    found = [(row, column) for row, column, _ in alike(vectors, vectors[[4, 1]], 0.98)]
    assert found == [(1, 1), (4, 0), (5, 1), (7, 1)]
    assert list(alike(vectors, vectors[:0], 0.5)) == []
