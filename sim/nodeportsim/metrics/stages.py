"""Where the time went: the stages of a request, on average and at a percentile.

Time adds up over stages, percentiles do not: the p99 of the queue and the p99 of the wire belong to
different requests. So the split at a percentile is the mean split of the requests *around* it: those
of rank (q - 0.5 %) n to (q + 0.5 %) n by latency. p50 speaks of the requests between p49.5 and p50.5,
p99 of those between p98.5 and p99.5. A bucket that the band cuts takes part with the share of it inside.
The sums per bucket are integer nanoseconds; the stages of a split add up to the mean latency of its band.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.histogram import merge, why_not

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

HALF_BAND = 0.005
SPLITS = {"mean": None, "at_p50": 0.5, "at_p99": 0.99}


def band(counts: Counts, low: float, high: float) -> Floats:
    """Return how many requests of each bucket have a rank between low * n and high * n.

    Parameters
    ----------
    counts
        Latency histogram, shape (buckets,).
    low, high
        From 0 to 1.
    """
    upper = np.cumsum(counts)
    total = upper[-1]
    inside = np.minimum(upper, high * total) - np.maximum(upper - counts, low * total)
    return np.asarray(np.maximum(inside, 0.0))


def split(counts: Counts, stage_sum_ns: Counts, q: float | None = None) -> Floats | None:
    """Return the mean seconds in each stage, of all requests or of those around the quantile `q`.

    Parameters
    ----------
    counts
        Latency histogram, shape (buckets,).
    stage_sum_ns
        Sums over the requests of each bucket, shape (buckets, stages).
    q
        Quantile; None for all requests.

    Returns
    -------
    ndarray, shape (stages,), or None where the sample cannot carry it
    """
    total = int(counts.sum())
    if total == 0 or (q is not None and why_not(total, q)):
        return None
    if q is None:
        return np.asarray(stage_sum_ns.sum(axis=0) / total * 1e-9)
    inside = band(counts, max(q - HALF_BAND, 0.0), min(q + HALF_BAND, 1.0))
    filled = np.flatnonzero(inside)
    taken = inside[filled] / counts[filled]
    # Not a matrix product: its order of summation depends on the machine.
    sums_ns = (taken[:, np.newaxis] * stage_sum_ns[filled]).sum(axis=0)
    return np.asarray(sums_ns / inside.sum() * 1e-9)


def splits(replications: Sequence[Replication]) -> dict[str, Floats | None]:
    """Return the splits of `SPLITS` over all requests of all replications, by name."""
    counts = merge(r.latency.sum(axis=0) for r in replications)
    sums_ns = np.sum([r.stage_sum_ns for r in replications], axis=0)
    return {name: split(counts, sums_ns, q) for name, q in SPLITS.items()}
