"""The numbers of `summary.json`, from the replications of one scenario.

Counts are totals over replications. Everything with an interval is {estimate, low, high} (95 %, see
`intervals`); what cannot be said is null, with a `reason`. Times are seconds. Numbers are rounded to
`DIGITS` significant digits, far beyond what any sample carries: libraries and processors may differ in
the last bit of a sum, the summary may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import balance, histogram, timeline
from nodeportsim.metrics.intervals import (
    POSITIVE,
    Estimate,
    failed_ratio,
    mean_interval,
    quantile_interval,
    ratio_interval,
)
from nodeportsim.metrics.programming import programming_s
from nodeportsim.metrics.recovery import recovery
from nodeportsim.metrics.replication import CAUSES, PHASES, STAGES
from nodeportsim.metrics.routes import routes
from nodeportsim.metrics.stages import splits
from nodeportsim.metrics.uncertainty import with_prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Row = dict[str, Any]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
DIGITS = 9
NONE_STOOD = Estimate(estimate=None, reason="no pod stood from the beginning to the end")


def summarise(
    replications: Sequence[Replication],
    *,
    nominal: Sequence[Replication] = (),
    causes: Sequence[str] = CAUSES,
    stages: Sequence[str] = STAGES,
    phases: Sequence[str] = PHASES,
) -> Row:
    """Build every part of the summary that comes from data, in the order of the file.

    Parameters
    ----------
    replications
        At least one; equal shapes but for the length of their timelines.
    nominal
        The same replications at the profile's values, where each had prices of its own: the intervals then
        hold what is not known of the prices (see `nodeportsim.metrics.uncertainty`).
    causes, stages, phases
        Names along the axes.

    Returns
    -------
    dict
        requests, attempts, errors, latency_s, first_packet_s, phases, stages_s, nodes, pods, balance, routes
        (see `routes.routes`), programming_s (see `programming.programming_s`; null where no endpoint moved),
        timeline, milestones, outage (see `timeline.outage_summary`; null where nothing failed), recovery (see
        `recovery.recovery`; null without a fault), saturation.
    """

    def whole(runs: Sequence[Replication]) -> Row:
        return _whole(runs, causes, stages, phases)

    found: Row = rounded(with_prices(whole, replications, nominal) if nominal else whole(replications))
    return found


def _whole(
    replications: Sequence[Replication], causes: Sequence[str], stages: Sequence[str], phases: Sequence[str]
) -> Row:
    latency = np.stack([r.latency for r in replications])
    sums_s = np.stack([r.latency_sum_ns for r in replications]) * np.float64(1e-9)
    tables = [r.timeline for r in replications]
    nodes, pods = [r.nodes for r in replications], [r.pods[r.lasting] for r in replications]
    measured = {"nodes": nodes, "pods": pods}
    stood = any(map(len, pods))  # Else all of them were replaced: who had more would only say who was there.
    return {
        "requests": _requests(replications),
        "attempts": sum(r.attempts for r in replications),
        "errors": _seen(causes, np.sum([r.errors for r in replications], axis=0)),
        "latency_s": times(latency.sum(axis=1), sums_s.sum(axis=1)),
        "first_packet_s": times(np.stack([r.first_packet for r in replications])),
        "phases": _phases(replications, phases, latency, sums_s),
        "stages_s": _stages(replications, stages),
        "nodes": _by_rank(balance.stacked(nodes)),
        "pods": _by_rank(balance.stacked(pods if stood else [r.pods for r in replications]), shared=stood),
        "balance": {
            kind: _dicts(balance.balance([m[:, 0] for m in members])) for kind, members in measured.items()
        },
        "routes": routes(replications),
        "programming_s": programming_s(replications),
        "timeline": _timeline(timeline.merge(tables), causes),
        "milestones": timeline.milestone_summary([r.milestones for r in replications]),
        "outage": timeline.outage_summary(tables),
        "recovery": recovery(replications),
        "saturation": _saturation(replications),
    }


def times(histograms: Counts, sums_s: NDArray[np.float64] | None = None) -> Row:
    """Return the quantiles and the mean of times, each with its interval.

    Parameters
    ----------
    histograms
        Shape (replications, buckets).
    sums_s
        Exact sums, shape (replications,); None takes every time at the middle of its bucket (0.2 %).
    """
    sums = histograms @ histogram.midpoints_s() if sums_s is None else sums_s
    row = {name: quantile_interval(histograms, q) for name, q in QUANTILES.items()}
    return _dicts(row | {"mean": ratio_interval(sums, histograms.sum(axis=1))})


def _requests(replications: Sequence[Replication]) -> Row:
    names = ("offered", "succeeded", "failed", "in_flight")
    counts = {name: int(sum(getattr(r, name) for r in replications)) for name in names}
    return counts | {"replications": len(replications)}


def _phases(
    replications: Sequence[Replication], names: Sequence[str], latency: Counts, sums_s: NDArray[np.float64]
) -> Row:
    rows = {}
    for phase, name in enumerate(names):
        offered, succeeded, failed = np.stack([r.phases[phase] for r in replications], axis=1)
        if offered.any():
            rows[name] = {
                "offered": int(offered.sum()),
                "succeeded": int(succeeded.sum()),
                "failed": int(failed.sum()),
                "failed_ratio": failed_ratio(failed, offered).as_dict(),
                "latency_s": times(latency[:, phase], sums_s[:, phase]),
            }
    return rows


def _stages(replications: Sequence[Replication], names: Sequence[str]) -> Row:
    columns = splits(replications)
    return {
        stage: {name: None if column is None else float(column[at]) for name, column in columns.items()}
        for at, stage in enumerate(names)
    }


def _by_rank(members: Counts, *, shared: bool = True) -> list[Row]:
    totals = balance.ranked(members).sum(axis=0).tolist()
    shares = balance.shares_by_rank(members) if shared else [NONE_STOOD] * len(totals)
    return [
        {"rank": rank, "share": share.as_dict(), "connections": connections, "requests": requests}
        for rank, (share, (connections, requests)) in enumerate(zip(shares, totals, strict=True), start=1)
    ]


def _timeline(table: Counts, causes: Sequence[str]) -> list[Row]:
    return [
        {"second": second, "offered": int(row[0]), "succeeded": int(row[1]), "failed": _seen(causes, row[2:])}
        for second, row in enumerate(table)
    ]


def _saturation(replications: Sequence[Replication]) -> Row:
    """Sum up what ran out: work over what pods (nodes' CPUs) can do in the run, of all and of the hottest.

    Above 1 more work was accepted than could be done before the arrivals ended.
    """
    shares = {
        "pods": [r.pod_utilisation for r in replications],
        "nodes": [r.node_utilisation for r in replications],
    }
    rows: Row = {
        kind: {
            "mean": mean_interval([part.mean() for part in parts if part.size], POSITIVE).as_dict(),
            "hottest": mean_interval([part.max() for part in parts if part.size], POSITIVE).as_dict(),
        }
        for kind, parts in shares.items()
    }
    counts = ("conntrack_drops", "backlog_drops", "snat_drops", "retransmissions")
    return rows | {name: sum(int(getattr(r, name)) for r in replications) for name in counts}


def _seen(names: Sequence[str], counts: Counts) -> dict[str, int]:
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}


def _dicts(row: dict[str, Estimate]) -> Row:
    return {name: value.as_dict() for name, value in row.items()}


def rounded(value: Any) -> Any:
    """Round every float inside to `DIGITS` significant digits; JSON has neither nan nor infinity."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
