"""Two variants of a scenario, compared replication by replication.

Variants share arrivals and demands, so their replications are pairs and the interval is that of the
differences. Only totals, fixed windows and quantiles of whole runs are compared: a window that depends
on what happened ("the outage") would be another one in each variant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import histogram
from nodeportsim.metrics.intervals import paired_difference, paired_quantile_difference
from nodeportsim.metrics.timeline import CAUSES, OFFERED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nodeportsim.metrics.intervals import Estimate
    from nodeportsim.metrics.replication import Replication

    Measure = Callable[[Replication], float]
    Window = tuple[int, int]

QUANTILES = {"latency_p50_s": 0.5, "latency_p99_s": 0.99}
TOTALS: dict[str, Measure] = {
    "failed_ratio": lambda r: r.failed / max(r.offered, 1),
    "attempts_per_request": lambda r: r.attempts / max(r.offered, 1),
    "latency_mean_s": lambda r: float(r.latency_sum_ns.sum()) * 1e-9 / max(r.succeeded, 1),
}


def compare(
    first: Sequence[Replication], second: Sequence[Replication], *, windows: Sequence[Window] = ()
) -> list[dict[str, Any]]:
    """Compare two variants.

    Parameters
    ----------
    first, second
        The same numbers of replications of the same seed, in order.
    windows
        (start, stop) in seconds: the failed share of the requests that were to arrive in start .. stop - 1.

    Returns
    -------
    list of dict
        metric, a, b, difference (b - a), low, high, and a reason where something is None.
    """
    totals = TOTALS | {f"failed_ratio {start}s-{stop}s": _lost(start, stop) for start, stop in windows}
    rows = [_mean_row(name, measure, first, second) for name, measure in totals.items()]
    return rows + [_quantile_row(name, q, first, second) for name, q in QUANTILES.items()]


def _lost(start: int, stop: int) -> Measure:
    def measure(replication: Replication) -> float:
        window = replication.timeline[start:stop]
        return float(window[:, CAUSES:].sum() / max(int(window[:, OFFERED].sum()), 1))

    return measure


def _mean_row(
    name: str, measure: Measure, first: Sequence[Replication], second: Sequence[Replication]
) -> dict[str, Any]:
    a, b = ([measure(r) for r in side] for side in (first, second))
    return _row(name, float(np.mean(a)), float(np.mean(b)), paired_difference(a, b))


def _quantile_row(
    name: str, q: float, first: Sequence[Replication], second: Sequence[Replication]
) -> dict[str, Any]:
    a, b = (np.stack([r.latency.sum(axis=0) for r in side]) for side in (first, second))
    value_a, value_b = (histogram.quantile_or_reason(side.sum(axis=0), q)[0] for side in (a, b))
    return _row(name, value_a, value_b, paired_quantile_difference(a, b, q))


def _row(name: str, a: float | None, b: float | None, difference: Estimate) -> dict[str, Any]:
    found = difference.as_dict()
    return {"metric": name, "a": a, "b": b, "difference": found.pop("estimate"), **found}
