"""Balls in bins of unequal size: how uneven chance makes what is uneven by design.

Under externalTrafficPolicy Local a node's own pods share what enters it, so pods are offered unequal shares
(`balance.local_shares`); on top of that comes chance. With equal shares everything here is `balance`'s.

Source: Levin 1981, doi:10.1214/aos/1176345593 (a multinomial is Poisson counts given their sum).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.theory import domain

if TYPE_CHECKING:
    from collections.abc import Sequence

RARE = 1e-8  # Below it 1 - probability loses its digits, and the union bound is exact to as many.


def band_probability(connections: int, shares: Sequence[float], low: int, high: int) -> float:
    """P(every pod holds from `low` to `high` connections), each choosing pod i with chance `shares[i]`.

    As `balance.band_probability`, with one transform for each distinct share.
    """
    from scipy.special import gammaln, xlogy

    _throw(connections, shares)
    domain.count(0, low=low)
    high = min(high, connections)
    if low * len(shares) > connections or high * len(shares) < connections or high < low:
        return 0.0
    load = np.arange(low, high + 1)
    period = 60 + 10 * math.isqrt(connections)
    together = np.exp(2j * np.pi * ((connections % period) * np.arange(period) % period) / period)
    for share, pods in Counter(shares).items():
        mean = connections * share
        masses = np.exp(xlogy(load, mean) - mean - gammaln(load + 1))
        together *= np.fft.fft(np.bincount(load % period, weights=masses, minlength=period)) ** pods
    of_sum = math.exp(float(xlogy(connections, connections) - connections - gammaln(connections + 1)))
    return min(max(float(np.mean(together).real) / of_sum, 0.0), 1.0)


def hottest_p_value(connections: int, shares: Sequence[float], load: int) -> float:
    """P(some pod holds `load` connections or more)."""
    from scipy.special import bdtrc

    _throw(connections, shares)
    if load <= 0:
        return 1.0
    p = 1 - band_probability(connections, shares, 0, load - 1)
    return p if p > RARE else min(float(np.sum(bdtrc(load - 1, connections, np.asarray(shares)))), RARE)


def coldest_p_value(connections: int, shares: Sequence[float], load: int) -> float:
    """P(some pod holds `load` connections or fewer)."""
    from scipy.special import bdtr

    _throw(connections, shares)
    p = 1 - band_probability(connections, shares, load + 1, connections)
    return p if p > RARE else min(float(np.sum(bdtr(load, connections, np.asarray(shares)))), RARE)


def _throw(connections: int, shares: Sequence[float]) -> None:
    """Refuse what cannot be thrown into bins."""
    domain.count(0, connections=connections)
    domain.require(len(shares) > 0, "must hold a pod", field="shares", got=list(shares))
    domain.require(min(shares) > 0, "must be above 0", field="shares", got=min(shares))
    whole = math.isclose(math.fsum(shares), 1.0)
    domain.require(whole, "must add up to 1", field="shares", got=math.fsum(shares))
