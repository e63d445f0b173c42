"""How sure a difference is: p-values of intervals, many of them at once, and which variant is best.

An interval of a difference comes from `intervals` (t of paired differences, or the bootstrap of a quantile).
Its p-value is that of a t test whose standard error is the interval's length from the estimate to the end
that faces zero, over t. So an interval holds zero exactly where p is above 5 %, whatever made the interval.

A table of k independent differences says something wrong in 1 - 0.95**k of the cases where nothing differs.
Holm's step-down procedure (Holm 1979, Scand. J. Statist. 6, 65-70) keeps that at 5 % for the whole table,
whatever the dependence of its rows: common random numbers make them dependent, and Dunnett's many-to-one
test (1955, doi:10.1080/01621459.1955.10501294) assumes variants that are independent and spread alike.

The best of many is found by screening (Nelson, Swann, Goldsman and Song 2001,
doi:10.1287/opre.49.6.950.10019), with the variance of each paired difference in place of the sum of two
variances, as common random numbers ask for (Kim and Nelson 2001, doi:10.1145/502109.502111): a variant
is out when it is worse than another one at the level alpha / (variants - 1), one-sided. The best one is
screened out only if one of its variants - 1 comparisons errs: with probability of at most alpha (Bonferroni).
Left out: a second stage that would run the survivors on until one is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.intervals import CONFIDENCE, Estimate, t_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ALPHA = 1 - CONFIDENCE
VERY = 0.001
"""Below this adjusted p-value a difference is "very sure"."""
POWER = 0.8
"""Chance that a difference as large as the observed one is found, in `replications_for`."""
MOST_REPLICATIONS = 10_000
"""More are not advised: the difference is too small for its noise to be worth it."""


def p_value(difference: Estimate, replications: int) -> float | None:
    """Return the two-sided p-value of "no difference" that belongs to an interval.

    Parameters
    ----------
    difference
        With a 95 % interval; without one there is no p-value, hence None.
    replications
        Pairs behind it: the degrees of freedom plus one.
    """
    error = _error(difference, replications)
    if error is None or difference.estimate is None:
        return None
    if error == 0.0:
        return 1.0 if difference.estimate == 0.0 else 0.0
    from scipy.special import stdtr  # scipy takes 0.15 s to import.

    return float(2 * stdtr(replications - 1, -abs(difference.estimate) / error))


def _error(difference: Estimate, replications: int) -> float | None:
    """Standard error of a difference, on the side of its interval that faces zero."""
    if difference.estimate is None or difference.low is None or difference.high is None:
        return None
    below, above = difference.estimate - difference.low, difference.high - difference.estimate
    facing = below if difference.estimate > 0 else above if difference.estimate < 0 else max(below, above)
    return facing / t_factor(replications)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for being looked at together; None stays None and does not count."""
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, k) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * p))
        adjusted[k] = largest
    return adjusted


def word(difference: Estimate, adjusted: float | None) -> str:
    """Say in words how sure a difference is."""
    if adjusted is None:
        return "cannot tell"
    if difference.estimate == difference.low == difference.high == 0.0:
        return "none seen"
    return "very sure" if adjusted <= VERY else "sure" if adjusted <= ALPHA else "cannot tell"


def replications_for(difference: Estimate, replications: int, rows: int) -> int | None:
    """Estimate how many replications would find a difference as large as the observed one.

    The sample size of a z test of level alpha / rows (Holm's first step) with `POWER`. Rough: it takes the
    observed difference and spread for the true ones.

    Returns
    -------
    int or None
        None where there is no interval, no difference, or more than `MOST_REPLICATIONS` would be needed.
    """
    error = _error(difference, replications)
    if not error or not difference.estimate:
        return None
    from scipy.special import ndtri

    reach = -float(ndtri(ALPHA / (2 * max(rows, 1)))) + float(ndtri(POWER))
    needed = math.ceil(replications * (reach * error / abs(difference.estimate)) ** 2)
    return needed if needed <= MOST_REPLICATIONS else None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which variant is best in one metric.

    Parameters
    ----------
    best
        Has the best estimate; None where nothing can be compared.
    survivors
        Numbers of the variants that screening leaves: the best one is among them with 95 % confidence.
    confidence
        Largest level at which screening leaves `best` alone; None below a half, where it says nothing.
    """

    best: int | None
    survivors: tuple[int, ...]
    confidence: float | None


def select(
    estimates: Sequence[float | None],
    difference: Callable[[int, int], Estimate],
    replications: int,
    *,
    highest: bool = False,
) -> Selection:
    """Screen variants to those that may be the best one.

    Parameters
    ----------
    estimates
        One a variant; variants without one are left out.
    difference
        Of (i, j): the value of j minus that of i, with its interval over pairs of replications.
    replications
        Pairs behind every difference.
    highest
        Whether the highest is the best one, not the lowest.
    """
    known = [k for k, value in enumerate(estimates) if value is not None]
    sign = -1.0 if highest else 1.0
    if not known:
        return Selection(best=None, survivors=(), confidence=None)
    worse = np.ones((len(estimates), len(estimates)))
    for i in known:
        for j in known:
            if i != j:
                worse[i, j] = _worse(difference(j, i), sign, replications)
    best = min(known, key=lambda k: sign * float(estimates[k] or 0.0))
    rivals = max(len(known) - 1, 1)
    survivors = tuple(i for i in known if i == best or worse[i].min() * rivals > ALPHA)
    others = [worse[i, best] for i in known if i != best]
    confidence = 1.0 - rivals * max(others, default=1.0)
    return Selection(best=best, survivors=survivors, confidence=confidence if confidence >= 0.5 else None)  # noqa: PLR2004  (a half)


def _worse(difference: Estimate, sign: float, replications: int) -> float:
    """One-sided p-value of "not worse"; 1 where the difference points the other way or cannot be told."""
    p = p_value(difference, replications)
    return p / 2 if p is not None and sign * (difference.estimate or 0.0) > 0 else 1.0
