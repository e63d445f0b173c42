"""Times of many first packets at once: each its own price, all the same spread around it.

A first packet costs what its walk costs, and that depends on where its Service stands in the chain; around
the price lies what a quiet laboratory does not show. The engine multiplies a price by exp(s z - s^2/2), z
normal, which keeps the mean; here the same law gives quantiles without drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

POSITIONS = 1000
"""Places in a chain that stand for all: a thousand halve no quantile's error any more."""
_STEPS = 60  # Halvings: far below the last digit that is kept.
_REACH = 6.0  # Standard deviations: 1e-9 lies outside.


def places() -> np.ndarray:
    """Where a Service stands, as a share of the chain: the middles of `POSITIONS` equal parts."""
    middles: np.ndarray = (np.arange(POSITIONS) + 0.5) / POSITIONS
    return middles


def quantiles(prices: ArrayLike, spread: float, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of a time that is one of `prices`, each as likely, times a log-normal of mean 1.

    Parameters
    ----------
    prices
        At least one, positive.
    spread
        Standard deviation of the logarithm of the factor; 0 gives the prices' own quantiles.
    shares
        Which quantiles: 0.5 is the median.
    """
    from scipy.special import ndtr

    priced = np.asarray(prices, dtype=float).reshape(-1)
    if not spread:
        return np.array(np.quantile(priced, shares))
    medians = np.log(priced) - spread**2 / 2
    found = []
    for share in shares:
        low, high = medians.min() - _REACH * spread, medians.max() + _REACH * spread
        for _ in range(_STEPS):
            middle = (low + high) / 2
            below = float(np.mean(ndtr((middle - medians) / spread)))
            low, high = (middle, high) if below < share else (low, middle)
        found.append(math.exp((low + high) / 2))
    return np.array(found)
