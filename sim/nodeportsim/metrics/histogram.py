"""A histogram of times that merges exactly: integer counts in logarithmic buckets.

Percentiles of a run are percentiles of all its requests, in all its replications, so they need a
summary that is small, merges in any order to the same bytes, and keeps lumps (a SYN sent again
after 1 s) where they are. Rank-error sketches fail the last point; a plain array of counts does not.

The bucket of `x` seconds is the upper part of the bits of the double `x`: its exponent and the first
`SUB` bits of its fraction. That is 256 buckets of equal width in every octave from 2**-24 s (60 ns)
to 2**12 s (4096 s), so a bucket is at most 1/256 of its value wide. Shorter and longer times are
counted in the first and the last bucket. HdrHistogram (http://hdrhistogram.org) uses the same idea.

Between its edges a bucket is taken as uniformly filled. A quantile is the inverse of the distribution
function that this makes: within its bucket it moves on a straight line. It stands in the same bucket
as the observation of rank ceil(q n), hence within 1/256 (0.4 %) of it at worst, and within half of that
for any value reported from the middle of its bucket. The engine shares the bucket rule
(`engine/records.py`); a test says that they are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

SUB = 8
BASE = (1023 - 24) << SUB  # 1023 is the exponent bias of IEEE 754 doubles.
BUCKETS = 36 << SUB
BEYOND = 10  # Fewer observations beyond a quantile than this say next to nothing about it.
_SHIFT = 52 - SUB  # A double has 52 bits of fraction.


def bucket(times_s: ArrayLike) -> Counts:
    """Return the bucket of each time.

    Parameters
    ----------
    times_s
        Times at or above 0, any shape.

    Returns
    -------
    ndarray of int64, the same shape
    """
    bits = np.asarray(times_s, dtype=np.float64).view(np.int64)
    return np.asarray(np.clip((bits >> _SHIFT) - BASE, 0, BUCKETS - 1))


def edges_s() -> Floats:
    """Return the `BUCKETS` + 1 edges, in seconds; bucket k holds edge k up to, not including, edge k + 1."""
    return (np.arange(BASE, BASE + BUCKETS + 1, dtype=np.int64) << _SHIFT).view(np.float64)


def midpoints_s() -> Floats:
    """Return the middle of each bucket, in seconds: at most 1/512 (0.2 %) from any time in it."""
    edges = edges_s()
    return (edges[:-1] + edges[1:]) / 2


def count(times_s: ArrayLike) -> Counts:
    """Count times into a new histogram, shape (`BUCKETS`,)."""
    return np.bincount(bucket(times_s).ravel(), minlength=BUCKETS).astype(np.int64)


def merge(histograms: Iterable[Counts]) -> Counts:
    """Add histograms; integers, so that order and grouping do not matter."""
    return sum(histograms, start=np.zeros(BUCKETS, dtype=np.int64))


def quantile(counts: Counts, q: float) -> float:
    """Return the time below which the share `q` of the observations lies.

    Parameters
    ----------
    counts
        One histogram, shape (`BUCKETS`,), not empty.
    q
        From 0 to 1.

    Returns
    -------
    float
        Seconds. With `b` the first bucket whose cumulative count reaches q n, `before` the count in the
        buckets below it and `c` its own: edge[b] + (q n - before) / c * (edge[b + 1] - edge[b]).

    Raises
    ------
    ValueError
        The histogram is empty.
    """
    filled = np.flatnonzero(counts)
    if not filled.size:
        raise ValueError("an empty histogram has no quantiles")
    cumulative = np.cumsum(counts[filled])
    target = q * cumulative[-1]
    position = min(int(np.searchsorted(cumulative, target)), filled.size - 1)
    inside = counts[filled[position]]
    fraction = (target - (cumulative[position] - inside)) / inside
    low, high = edges_s()[filled[position] : filled[position] + 2]
    return float(low + fraction * (high - low))


def why_not(observations: int, q: float) -> str | None:
    """Say why a sample of this size cannot carry the quantile `q`, or None where it can."""
    if observations == 0:
        return "there are no observations"
    beyond = int(observations - np.ceil(q * observations))
    if beyond >= BEYOND:
        return None
    return f"{beyond} of {observations} observations lie beyond it, {BEYOND} are needed"


def quantile_or_reason(counts: Counts, q: float) -> tuple[float | None, str | None]:
    """Return (the quantile in seconds, None), or (None, why the sample cannot carry it)."""
    reason = why_not(int(counts.sum()), q)
    return (None, reason) if reason else (quantile(counts, q), None)


def mean_s(counts: Counts) -> float:
    """Return the mean of a histogram in seconds, every observation taken at its bucket's midpoint (0.2 %)."""
    return float(counts @ midpoints_s() / counts.sum())


def ccdf(counts: Counts) -> tuple[Floats, Floats]:
    """Return the complementary distribution function.

    Returns
    -------
    times_s, shares
        At the lower edge of every non-empty bucket and the upper edge of the last: the share of the
        observations at or above it. Exact, since no bucket is cut; from 1 down to 0.
    """
    filled = np.flatnonzero(counts)
    if not filled.size:
        return np.empty(0), np.empty(0)
    edges = edges_s()
    below = np.concatenate(([0], np.cumsum(counts[filled])))
    return edges[np.append(filled, filled[-1] + 1)], 1 - below / below[-1]
