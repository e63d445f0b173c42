"""What a figure over time draws of a cell: a share or a mean, second by second, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import SHARE, Estimate, ratio_interval
from nodeportsim.metrics.uncertainty import with_prices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodeportsim.engine.simulate import Replication
    from nodeportsim.study.run import Outcome

    Row = dict[str, Any]


def _failed_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    tables = [r.timeline for r in replications]
    return [
        ratio_interval([t[second, 2:].sum() for t in tables], [t[second, 0] for t in tables], SHARE)
        for second in range(min(map(len, tables)))
    ]


def _latency_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    runs = list(replications)
    return [
        ratio_interval(
            [r.second_latency_ns[second] * np.float64(1e-9) for r in runs],
            [r.timeline[second, 1] for r in runs],
        )
        for second in range(min(len(r.timeline) for r in runs))
    ]


def _newborns_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    tables = [r.newborns for r in replications]
    return [
        ratio_interval([t[second, 0] for t in tables], [t[second, 1] for t in tables], SHARE)
        for second in range(min(map(len, tables)))
    ]


def _even_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    tables = [r.newborns for r in replications]
    return [
        ratio_interval([t[second, 2] for t in tables], [t[second, 3] for t in tables], SHARE)
        for second in range(min(map(len, tables)))
    ]


BY_SECOND = {
    "failed_ratio": _failed_by_second,
    "latency_mean_s": _latency_by_second,
    "newborns_ratio": _newborns_by_second,
    "newborns_ratio.even": _even_by_second,
}
"""Metrics over the second of intended arrival: failed share of the offered requests, mean latency of those
that succeeded. By the second of the answer: share of pods made within the run, and of the ready pods which
are such, where a planned change makes some."""


def by_second(name: str, outcome: Outcome) -> list[Estimate]:
    """Give a metric of `BY_SECOND`; where prices were drawn its intervals hold what is not known of them."""

    def rows(runs: Any) -> list[Row]:
        return [{name: value.as_dict()} for value in BY_SECOND[name](runs)]

    if not outcome.nominal:
        return BY_SECOND[name](outcome.replications)
    return [Estimate(**row[name]) for row in with_prices(rows, outcome.replications, outcome.nominal)]
