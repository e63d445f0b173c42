"""Quantiles of many prices with one spread: limits, scaling, and the engine's law by drawing."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.calibrate.shipped.mixture import places, quantiles

SHARES = [0.01, 0.5, 0.9, 0.99]


def test_without_spread_the_quantiles_are_those_of_the_prices() -> None:
    """Prices uniform on 0..1: the quantile is the share, to half a place."""
    assert quantiles(places(), 0.0, SHARES) == pytest.approx(SHARES, abs=1 / len(places()))


@given(st.floats(0.05, 1.0), st.floats(0.1, 1000.0))
def test_one_price_gives_a_log_normal_law_whose_mean_is_the_price(spread: float, price: float) -> None:
    """ln T ~ N(ln price - s^2/2, s^2)."""
    expected = [price * math.exp(spread * NormalDist().inv_cdf(share) - spread**2 / 2) for share in SHARES]
    assert quantiles([price], spread, SHARES) == pytest.approx(expected, rel=1e-6)


def test_many_prices_give_what_drawing_gives() -> None:
    """A quantile of n draws lies within 5 sqrt(p (1 - p) / n) in share: checked as the share below it."""
    prices, spread, n = 15.0 + 500.0 * places(), 0.3, 200_000
    rng = np.random.default_rng(1)
    drawn = rng.choice(prices, n) * np.exp(spread * rng.standard_normal(n) - spread**2 / 2)
    for share, value in zip(SHARES, quantiles(prices, spread, SHARES), strict=True):
        assert abs(np.mean(drawn <= value) - share) < 5 * math.sqrt(share * (1 - share) / n)
