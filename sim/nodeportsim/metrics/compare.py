"""Two variants of a scenario, compared replication by replication.

Variants share arrivals and demands, so their replications are pairs and the interval is that of the
differences. Only totals, fixed windows and quantiles of whole runs are compared: a window that depends
on what happened ("the outage") would be another one in each variant.

What the pairing is worth is its variance ratio: the variance that the difference of two independent samples
would have, over that of the pairs (common random numbers; Law, Simulation Modeling and Analysis, 11.2).
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nodeportsim.metrics import histogram
from nodeportsim.metrics.intervals import (
    ANY,
    FEWEST,
    Estimate,
    paired_difference,
    paired_quantile_difference,
    resampled_quantiles,
)
from nodeportsim.metrics.recovery import recovered_ratio
from nodeportsim.metrics.timeline import CAUSES, OFFERED
from nodeportsim.metrics.uncertainty import moved, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Measure = Callable[[Replication], float]
    Window = tuple[int, int]

QUANTILES = {"latency_p50_s": 0.5, "latency_p99_s": 0.99}
TOTALS: dict[str, Measure] = {
    "failed_ratio": lambda r: r.failed / max(r.offered, 1),
    "failed_requests": lambda r: float(r.failed),
    "attempts_per_request": lambda r: r.attempts / max(r.offered, 1),
    "orphans_per_request": lambda r: r.orphans / max(r.offered, 1),
    "recovered_ratio": recovered_ratio,
    "latency_mean_s": lambda r: float(r.latency_sum_ns.sum()) * 1e-9 / max(r.succeeded, 1),
}


class Pair(NamedTuple):
    """One measure of two variants.

    Parameters
    ----------
    before, after
        Its value in each; None where the sample cannot carry it.
    difference
        After minus before.
    variance_ratio
        What the pairing is worth; None where nothing varies or the interval is missing.
    """

    before: float | None
    after: float | None
    difference: Estimate
    variance_ratio: float | None = None


def compare(
    first: Sequence[Replication],
    second: Sequence[Replication],
    *,
    windows: Sequence[Window] = (),
    nominal: tuple[Sequence[Replication], Sequence[Replication]] | None = None,
) -> list[dict[str, Any]]:
    """Compare two variants.

    Parameters
    ----------
    first, second
        The same numbers of replications of the same seed, in order.
    windows
        (start, stop) in seconds: the failed share of the requests that were to arrive in start .. stop - 1.
    nominal
        Both sides at the profile's values, where their replications had prices of their own: an interval then
        says where the difference lies on one node whose prices are somewhere in their errors.

    Returns
    -------
    list of dict
        metric, a, b, difference (b - a), low, high, and a reason where something is None.
    """
    totals = TOTALS | {f"failed_ratio {start}s-{stop}s": _lost(start, stop) for start, stop in windows}
    sides = (first, second, *(nominal or ()))
    rows = []
    for name, measure in totals.items():
        a, b, *plain = (np.array([measure(r) for r in side]) for side in sides)
        rows.append(_row(name, paired_mean(a, b, tuple(plain))))
    for name, q in QUANTILES.items():
        a, b, *plain = (np.stack([r.latency.sum(axis=0) for r in side]) for side in sides)
        rows.append(_row(name, paired_quantile(a, b, q, tuple(plain))))
    return rows


def _lost(start: int, stop: int) -> Measure:
    def measure(replication: Replication) -> float:
        window = replication.timeline[start:stop]
        return float(window[:, CAUSES:].sum() / max(int(window[:, OFFERED].sum()), 1))

    return measure


def paired_mean(a: Floats, b: Floats, nominal: tuple[Floats, ...] = ()) -> Pair:
    """Compare the mean of one value per replication.

    Parameters
    ----------
    a, b
        Shape (replications,). A pair with a NaN says nothing and is left out.
    nominal
        Both sides at the profile's values, where `a` and `b` have prices of their own.
    """
    known = np.isfinite(a) & np.isfinite(b)
    a, b, *plain = (side[known] for side in (a, b, *nominal))
    if not known.any():
        return Pair(None, None, Estimate(estimate=None, reason="no replication has both values"))
    found = paired_difference(a, b)
    ratio = _variance_ratio(a, b) if len(a) >= FEWEST else None
    if plain:
        found = widened(found, (b - a) - (plain[1] - plain[0]), ANY)
    return Pair(float(a.mean()), float(b.mean()), found, ratio)


def _variance_ratio(a: Floats, b: Floats) -> float | None:
    """Variance of the difference of independent samples over that of pairs."""
    paired = float((b - a).var(ddof=1))
    return float(a.var(ddof=1) + b.var(ddof=1)) / paired if paired > 0 else None


def paired_quantile(a: Counts, b: Counts, q: float, nominal: tuple[Counts, ...] = ()) -> Pair:
    """Compare a quantile of the merged histograms.

    Parameters
    ----------
    a, b
        Shape (replications, buckets).
    q
        Strictly between 0 and 1.
    nominal
        As in `paired_mean`. With prices of their own, replications are no sample of one distribution: see
        `metrics.uncertainty`.
    """
    base = nominal or (a, b)
    values = [histogram.quantile_or_reason(side.sum(axis=0), q)[0] for side in base]
    found = paired_quantile_difference(base[0], base[1], q)
    ratio = None
    if found.low is not None:
        both = base[0].any(axis=1) & base[1].any(axis=1)
        ratio = _variance_ratio(*(resampled_quantiles(side[both], q) for side in base[:2]))
    if nominal:
        effects = np.array([_effects(q, *sides) for sides in zip((a, b), nominal, strict=True)])
        known = effects[:, np.isfinite(effects).all(axis=0)]
        shifts = known.mean(axis=1) if known.size else (0.0, 0.0)
        values = [None if v is None else v + float(by) for v, by in zip(values, shifts, strict=True)]
        found = moved(found, known[1] - known[0], ANY)
    return Pair(values[0], values[1], found, ratio)


def _effects(q: float, own: Counts, plain: Counts) -> list[float]:
    """What the prices of each replication do to its quantile; nan where it is too small to have one."""
    each = [[histogram.quantile_or_reason(row, q)[0] for row in side] for side in (own, plain)]
    return [nan if a is None or b is None else a - b for a, b in zip(*each, strict=True)]


def _row(name: str, pair: Pair) -> dict[str, Any]:
    found = pair.difference.as_dict()
    return {
        "metric": name,
        "a": pair.before,
        "b": pair.after,
        "difference": found.pop("estimate"),
        **found,
    }
