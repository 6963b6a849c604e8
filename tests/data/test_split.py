"""The seeded split: disjoint, of the promised sizes, stratified, never changing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.splits import split


@given(
    n=st.integers(5, 300),
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**40),
)
def test_split_covers_everything_once_with_rounded_shares(n, shares, seed):
    parts = [share / sum(shares) for share in shares]
    if n * min(parts) < 1:
        n = 300
    found = split(n, parts, seed)
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(n))
    for index, part in zip(found, parts, strict=True):
        assert abs(len(index) - part * n) < 1


@given(
    labels=st.lists(st.integers(0, 3), min_size=20, max_size=200),
    seed=st.integers(0, 1000),
)
def test_stratified_split_holds_classes_in_proportion(labels, seed):
    y = np.array(labels)
    parts = (0.6, 0.2, 0.2)
    found = split(len(y), parts, seed, labels=y)
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(len(y)))
    for index, share in zip(found, parts, strict=True):
        assert abs(len(index) - share * len(y)) < 1
        for value in np.unique(y):
            # two cuts, each off by at most 1/2 + (share of the class) * (classes / 2)
            expected, spread = share * (y == value).sum(), (y == value).mean()
            assert abs((y[index] == value).sum() - expected) <= 2 * (0.5 + 2 * spread) + 1


def test_balanced_classes_stay_balanced():
    y = np.repeat(np.arange(10), 100)
    for index in split(1000, (0.6, 0.2, 0.2), 3, labels=y):
        counts = np.bincount(y[index])
        assert counts.max() - counts.min() <= 1


def test_split_is_pinned_for_ever():
    assert [part.tolist() for part in split(10, (0.7, 0.3), seed=0)] == [
        [3, 2, 1, 8, 6, 0, 7],
        [4, 5, 9],
    ]


def test_another_seed_is_another_split_and_order_within_parts_is_random():
    first, second = (split(1000, (0.5, 0.5), seed)[0] for seed in (0, 1))
    assert not np.array_equal(np.sort(first), np.sort(second))
    assert abs(np.corrcoef(np.arange(500), first)[0, 1]) < 4 / np.sqrt(500)  # four standard errors


@pytest.mark.parametrize(
    ("n", "parts", "labels", "words"),
    [
        (10, (0.5, 0.6), None, "sum to 1"),
        (10, (1.5, -0.5), None, "sum to 1"),
        (10, (), None, "sum to 1"),
        (3, (0.9, 0.1), None, "too few"),
        (4, (0.5, 0.5), np.zeros(3), "shape"),
    ],
)
def test_split_refuses(n, parts, labels, words):
    with pytest.raises(ValueError, match=words):
        split(n, parts, 0, labels=labels)
