"""Two variants of a scenario, compared replication by replication.

Variants share arrivals and demands, so their replications are pairs and the interval is that of the
differences. Only totals, fixed windows and quantiles of whole runs are compared: a window that depends
on what happened ("the outage") would be another one in each variant.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import histogram
from nodeportsim.metrics.intervals import ANY, paired_difference, paired_quantile_difference
from nodeportsim.metrics.recovery import recovered_ratio
from nodeportsim.metrics.timeline import CAUSES, OFFERED
from nodeportsim.metrics.uncertainty import moved, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nodeportsim.metrics.intervals import Estimate
    from nodeportsim.metrics.replication import Replication

    Measure = Callable[[Replication], float]
    Pair = tuple[Sequence[Replication], Sequence[Replication]]
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


def compare(
    first: Sequence[Replication],
    second: Sequence[Replication],
    *,
    windows: Sequence[Window] = (),
    nominal: Pair | None = None,
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
    rows = [_mean_row(name, measure, (first, second), nominal) for name, measure in totals.items()]
    return rows + [_quantile_row(name, q, (first, second), nominal) for name, q in QUANTILES.items()]


def _lost(start: int, stop: int) -> Measure:
    def measure(replication: Replication) -> float:
        window = replication.timeline[start:stop]
        return float(window[:, CAUSES:].sum() / max(int(window[:, OFFERED].sum()), 1))

    return measure


def _mean_row(name: str, measure: Measure, runs: Pair, nominal: Pair | None) -> dict[str, Any]:
    a, b = (np.array([measure(r) for r in side]) for side in runs)
    found = paired_difference(a, b)
    if nominal:
        plain_a, plain_b = (np.array([measure(r) for r in side]) for side in nominal)
        found = widened(found, (b - a) - (plain_b - plain_a), ANY)
    return _row(name, float(a.mean()), float(b.mean()), found)


def _quantile_row(name: str, q: float, runs: Pair, nominal: Pair | None) -> dict[str, Any]:
    # With prices of their own, replications are no sample of one distribution: see `metrics.uncertainty`.
    a, b = (np.stack([r.latency.sum(axis=0) for r in side]) for side in nominal or runs)
    values = [histogram.quantile_or_reason(side.sum(axis=0), q)[0] for side in (a, b)]
    found = paired_quantile_difference(a, b, q)
    if nominal:
        effects = np.array([_effects(q, *sides) for sides in zip(runs, nominal, strict=True)])
        known = effects[:, np.isfinite(effects).all(axis=0)]
        shifts = known.mean(axis=1) if known.size else (0.0, 0.0)
        values = [None if v is None else v + float(by) for v, by in zip(values, shifts, strict=True)]
        found = moved(found, known[1] - known[0], ANY)
    return _row(name, values[0], values[1], found)


def _effects(q: float, own: Sequence[Replication], plain: Sequence[Replication]) -> list[float]:
    """What the prices of each replication do to its quantile; nan where it is too small to have one."""
    each = [
        [histogram.quantile_or_reason(r.latency.sum(axis=0), q)[0] for r in side] for side in (own, plain)
    ]
    return [nan if a is None or b is None else a - b for a, b in zip(*each, strict=True)]


def _row(name: str, a: float | None, b: float | None, difference: Estimate) -> dict[str, Any]:
    found = difference.as_dict()
    return {"metric": name, "a": a, "b": b, "difference": found.pop("estimate"), **found}
