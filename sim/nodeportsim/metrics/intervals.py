"""Estimates with 95 % intervals, from independent replications.

Requests of one run depend on each other (a dead node hurts all of its second), replications do not.
So the replication is the unit of every interval here, never the request:

* a mean or a share over replications: Student's t (Law, Simulation Modeling and Analysis, 9.4);
* a ratio of totals (mean latency, failed share): t of the linearised residuals (Cochran, Sampling
  Techniques, 6.3), so that the estimate is exactly total over total;
* a quantile of the merged histogram: bootstrap of whole replications. The interval is the *expanded*
  percentile interval (Hesterberg 2015, doi:10.1080/00031305.2015.1089789): the plain one is too
  narrow by sqrt(1 - 1/n) * z/t. BCa was not taken: its acceleration comes from n jackknife values,
  noise at n = 20, and it does not repair the width.

Under `FEWEST` replications there is no interval: its coverage could not be trusted. The bootstrap draws
come from a constant key, so equal inputs give equal intervals, whatever else was computed before.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics import histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST = 10
RESAMPLES = 1000
ANY = (-math.inf, math.inf)
POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
_KEY = 0x6E6F6465  # "node": any constant will do, as long as it stays.


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval; what cannot be said is None, and `reason` says why."""

    estimate: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, float | str | None]:
        """Return the form that stands in `summary.json`: `reason` only where there is one."""
        row: dict[str, float | str | None] = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return row if self.reason is None else row | {"reason": self.reason}


def too_few(replications: int) -> str:
    """Say why there is no interval."""
    return f"{replications} replications; an interval needs {FEWEST}"


def t_factor(replications: int) -> float:
    """Return the quantile of Student's t that makes a two-sided 95 % interval."""
    from scipy.special import stdtrit  # scipy takes 0.15 s to import.

    return float(stdtrit(replications - 1, (1 + CONFIDENCE) / 2))


def mean_intervals(values: ArrayLike, within: tuple[float, float] = ANY) -> list[Estimate]:
    """Return the t interval of the mean of each column.

    Parameters
    ----------
    values
        Shape (replications, quantities).
    within
        Limits that the quantity has by nature; the interval is cut there.
    """
    table = np.asarray(values, dtype=np.float64)
    replications = len(table)
    if not replications:
        return [Estimate(estimate=None, reason="no replication has one")] * table.shape[1]
    means = table.mean(axis=0).tolist()
    if replications < FEWEST:
        return [Estimate(estimate=mean, reason=too_few(replications)) for mean in means]
    halves = t_factor(replications) * table.std(axis=0, ddof=1) / math.sqrt(replications)
    return [_around(mean, half, within) for mean, half in zip(means, halves.tolist(), strict=True)]


def mean_interval(values: ArrayLike, within: tuple[float, float] = ANY) -> Estimate:
    """Return the t interval of the mean of one value per replication."""
    return mean_intervals(np.asarray(values, dtype=np.float64)[:, np.newaxis], within)[0]


def ratio_interval(parts: ArrayLike, wholes: ArrayLike, within: tuple[float, float] = POSITIVE) -> Estimate:
    """Return sum(parts) / sum(wholes) with the t interval of a ratio estimator.

    Parameters
    ----------
    parts, wholes
        One value per replication each, as failed and offered requests, or seconds and requests.
    within
        Limits that the ratio has by nature.
    """
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    replications, total = len(whole), float(whole.sum())
    if total == 0:
        return Estimate(estimate=None, reason="there were none to take the ratio of")
    ratio = float(part.sum()) / total
    if replications < FEWEST:
        return Estimate(estimate=ratio, reason=too_few(replications))
    spread = float((part - ratio * whole).std(ddof=1)) / (total / replications)
    return _around(ratio, t_factor(replications) * spread / math.sqrt(replications), within)


def failed_ratio(failed: ArrayLike, offered: ArrayLike) -> Estimate:
    """Return the failed share of the offered requests.

    Where no replication saw a failure, a t interval would claim [0, 0]. Then `high` is None and the
    reason states what the replications do bound (`zero_bound`).
    """
    seen = ratio_interval(failed, offered, SHARE)
    replications = len(np.asarray(failed))
    if seen.estimate != 0.0:
        return seen
    bound = f"{100 * zero_bound(replications):.2g} %"
    reason = f"no failure in {replications} replications: at most {bound} of such runs hold one (95 %)"
    return Estimate(estimate=0.0, low=0.0, reason=reason)


def zero_bound(replications: int) -> float:
    """Bound the probability that a replication holds any failure when none of them did.

    The exact one-sided 95 % bound, 1 - 0.05**(1/n), for large n the rule of three 3/n (Hanley and
    Lippman-Hand 1983, doi:10.1001/jama.1983.03330370053031). n counts replications: a million requests
    of one run are one look at what faults and timing can do, not a million.
    """
    return float(1 - (1 - CONFIDENCE) ** (1 / replications))


def quantile_interval(histograms: Counts, q: float) -> Estimate:
    """Return a quantile of the merged histogram with its bootstrap interval over replications.

    Parameters
    ----------
    histograms
        Shape (replications, buckets). Replications without observations say nothing and are left out.
    q
        Strictly between 0 and 1.
    """
    estimate, reason = histogram.quantile_or_reason(histograms.sum(axis=0), q)
    filled = histograms[histograms.any(axis=1)]
    if estimate is None:
        return Estimate(estimate=None, reason=reason)
    if len(filled) < FEWEST:
        return Estimate(estimate=estimate, reason=too_few(len(filled)))
    low, high = _expanded_percentiles(resampled_quantiles(filled, q), len(filled))
    return Estimate(estimate=estimate, low=low, high=high)


def paired_difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Return the mean of second - first, replication by replication, with its t interval.

    Replications of two variants share arrivals and demands, so the difference has far less noise
    than its terms.
    """
    return mean_interval(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64))


def paired_quantile_difference(first: Counts, second: Counts, q: float) -> Estimate:
    """Return quantile(second) - quantile(first), both resampled by the same draws of replications."""
    (a, why_a), (b, why_b) = (histogram.quantile_or_reason(h.sum(axis=0), q) for h in (first, second))
    if a is None or b is None:
        return Estimate(estimate=None, reason=why_a or why_b)
    both = first.any(axis=1) & second.any(axis=1)
    replications = int(both.sum())
    if replications < FEWEST:
        return Estimate(estimate=b - a, reason=too_few(replications))
    moved = resampled_quantiles(second[both], q) - resampled_quantiles(first[both], q)
    low, high = _expanded_percentiles(moved, replications)
    return Estimate(estimate=b - a, low=low, high=high)


def resampled_quantiles(histograms: Counts, q: float) -> Floats:
    """Return the quantile of the merged histogram in `RESAMPLES` bootstrap samples of replications.

    Every row of `histograms` (replications, buckets) holds an observation. All samples are searched
    at once: a binary search over the buckets needs the cumulative count of a sample at one bucket a
    step, which is its weights times one column; no resampled histogram is ever built. All counts are
    integers, so the result does not depend on the order of summation.
    """
    filled = np.flatnonzero(histograms.any(axis=0))
    cumulative = np.cumsum(histograms[:, filled], axis=1).T
    weights = _weights(len(histograms))
    target = q * (weights @ cumulative[-1])
    position = _first(lambda at: (weights * cumulative[at]).sum(axis=1) >= target, len(filled), len(weights))
    reached = (weights * cumulative[position]).sum(axis=1)
    inside = (weights * histograms[:, filled[position]].T).sum(axis=1)
    fraction = (target - (reached - inside)) / inside
    edges = histogram.edges_s()
    low, high = edges[filled[position]], edges[filled[position] + 1]
    return np.asarray(low + fraction * (high - low))


def _first(holds: Callable[[Counts], NDArray[np.bool_]], size: int, searches: int) -> Counts:
    """Return per search the first position in range(size) where a monotone condition holds."""
    low, high = np.zeros(searches, dtype=np.int64), np.full(searches, size - 1, dtype=np.int64)
    for _ in range(size.bit_length()):
        middle = (low + high) // 2
        found = holds(middle)
        low, high = np.where(found, low, np.minimum(middle + 1, high)), np.where(found, middle, high)
    return low


@functools.lru_cache(maxsize=4)
def _weights(replications: int) -> Counts:
    """How often each replication is drawn in each bootstrap sample, (resamples, replications).

    Taken from the raw 64-bit words of Philox, whose stream numpy guarantees for ever (NEP 19).
    """
    words = np.random.Philox(key=_KEY).random_raw(RESAMPLES * replications).reshape(RESAMPLES, replications)
    drawn = ((words >> np.uint64(32)) * np.uint64(replications)) >> np.uint64(32)
    sample = np.arange(RESAMPLES, dtype=np.int64)[:, np.newaxis] * replications
    flat = np.bincount((drawn.astype(np.int64) + sample).ravel(), minlength=RESAMPLES * replications)
    weights = flat.astype(np.int64).reshape(RESAMPLES, replications)
    weights.flags.writeable = False
    return weights


def _expanded_percentiles(samples: Floats, replications: int) -> tuple[float, float]:
    """Return the percentile interval at Hesterberg's level Phi(-t sqrt(n / (n - 1)))."""
    from scipy.special import ndtr  # scipy takes 0.15 s to import.

    tail = float(ndtr(-t_factor(replications) * math.sqrt(replications / (replications - 1))))
    low, high = np.quantile(samples, (tail, 1 - tail)).tolist()
    return low, high


def _around(centre: float, half: float, within: tuple[float, float]) -> Estimate:
    return Estimate(estimate=centre, low=max(centre - half, within[0]), high=min(centre + half, within[1]))
