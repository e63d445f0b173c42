"""Balls in bins of unequal size against every way to choose, and against the equal case."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import balance, weighted

SHARES = (0.5, 0.25, 0.25)


def ways(connections: int, shares: tuple[float, ...]) -> list[tuple[float, list[int]]]:
    """Every way to choose, with its chance."""
    found = []
    for way in itertools.product(range(len(shares)), repeat=connections):
        counts = Counter(way)
        found.append((math.prod(shares[pod] for pod in way), [counts[pod] for pod in range(len(shares))]))
    return found


@pytest.mark.parametrize("shares", [SHARES, (0.1, 0.2, 0.3, 0.4), (1 / 3,) * 3, (1.0,)])
@pytest.mark.parametrize("connections", [0, 1, 5])
def test_the_band_holds_the_chance_of_all_ways_to_choose(shares: tuple[float, ...], connections: int) -> None:
    every = ways(connections, shares)
    for low, high in itertools.product(range(3), range(6)):
        inside = sum(chance for chance, counts in every if all(low <= count <= high for count in counts))
        found = weighted.band_probability(connections, shares, low, high)
        assert found == pytest.approx(inside, abs=1e-12)


@pytest.mark.parametrize("load", range(7))
def test_the_ends_are_those_of_all_ways_to_choose(load: int) -> None:
    every = ways(6, SHARES)
    hot = sum(chance for chance, counts in every if max(counts) >= load)
    cold = sum(chance for chance, counts in every if min(counts) <= load)
    assert weighted.hottest_p_value(6, SHARES, load) == pytest.approx(hot, abs=1e-12)
    assert weighted.coldest_p_value(6, SHARES, load) == pytest.approx(cold, abs=1e-12)


@given(connections=st.integers(0, 400), pods=st.integers(1, 20), load=st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_equal_shares_are_the_equal_case(connections: int, pods: int, load: int) -> None:
    found = weighted.band_probability(connections, (1 / pods,) * pods, 0, load)
    assert found == pytest.approx(balance.band_probability(connections, pods, 0, load), abs=1e-9)


def test_rare_ends_keep_their_digits() -> None:
    # One pod of share a half alone matters: a binomial tail, which 1 - band would lose.
    tail = sum(math.comb(200, k) for k in range(180, 201)) / 2.0**200
    assert weighted.hottest_p_value(200, SHARES, 180) == pytest.approx(tail, rel=1e-6, abs=0)
    assert weighted.coldest_p_value(400, SHARES, 0) == pytest.approx(2 * 0.75**400, rel=1e-6, abs=0)


@pytest.mark.parametrize("shares", [(), (0.5, 0.6), (0.0, 1.0), (-1.0, 2.0)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError) as refusal:
        weighted.band_probability(3, shares, 0, 3)
    assert refusal.value.field == "shares"
