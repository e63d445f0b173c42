"""What is measured in one replication, by name: the columns of everything that compares runs.

Names are those of ``summary.json``: ``latency_s.p99``, ``balance.pods.max_over_mean``,
``saturation.pods.hottest``; a threshold, a table and a limit call the same thing the same. A value is of one
replication alone, so counts are per replication, where the summary has totals. NaN says that this replication
cannot carry it: a quantile with fewer than ten observations beyond it, a phase that did not occur. Quantiles
of many replications together are not means of these: see `nodeportsim.metrics.intervals`.
"""

from __future__ import annotations

import difflib
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics import balance, histogram, programming, routes, timeline
from nodeportsim.metrics.compare import TOTALS
from nodeportsim.metrics.recovery import before_ratio
from nodeportsim.metrics.replication import CAUSES, PHASES, STAGES
from nodeportsim.metrics.summarise import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Row = dict[str, float]

MEMBERS = ("nodes", "pods")
DROPS = ("conntrack_drops", "backlog_drops", "snat_drops", "retransmissions")
COUNTS = ("offered", "succeeded", "failed", "in_flight")
OUTAGE = ("first_s", "last_s", "lost", "recovered_99_s", "recovered_999_s")
RATES: Mapping[str, Callable[[Replication], float]] = {
    name: measure for name, measure in TOTALS.items() if name != "latency_mean_s"
}
"""Those of `compare` but for the mean latency, which is ``latency_s.mean`` here."""


def observe(replication: Replication, *, counted_s: float | None = None) -> Row:
    """Measure a replication.

    Parameters
    ----------
    counted_s
        Length of the time in which requests count: the duration less the warm-up; by default the seconds of
        the timeline from the first one with a request on.

    Returns
    -------
    dict
        A value for each of `NAMES`, in that order; NaN where this replication has none.
    """
    r = replication
    row = {name: measure(r) for name, measure in RATES.items()}
    row["throughput_rps"] = r.succeeded / (counted_s or _seconds(r.timeline))
    row |= {f"requests.{name}": float(getattr(r, name)) for name in COUNTS}
    row |= {f"errors.{cause}": float(n) for cause, n in zip(CAUSES, r.errors.tolist(), strict=True)}
    row |= _times("latency_s", r.latency.sum(axis=0), float(r.latency_sum_ns.sum()) * 1e-9)
    row |= _times("first_packet_s", r.first_packet)
    row |= _phases(r)
    row |= _stages(r)
    row |= _members("nodes", r.nodes) | _members("pods", r.pods[r.lasting])
    row |= _saturation(r)
    row |= _outage(r)
    row |= {f"routes.{name}": value for name, value in routes.measures(r).items()}
    row |= {f"programming_s.{name}": value for name, value in programming.measures(r).items()}
    return {name: row[name] for name in NAMES}


def _seconds(table: Counts) -> int:
    offered = np.flatnonzero(table[:, timeline.OFFERED])
    return len(table) - int(offered[0]) if offered.size else max(len(table), 1)


def _times(name: str, counts: Counts, sum_s: float | None = None) -> Row:
    total = int(counts.sum())
    sums = float(counts @ histogram.midpoints_s()) if sum_s is None else sum_s
    found = {key: histogram.quantile_or_reason(counts, q)[0] for key, q in QUANTILES.items()}
    row = {f"{name}.{key}": nan if value is None else value for key, value in found.items()}
    return row | {f"{name}.mean": sums / total if total else nan}


def _phases(r: Replication) -> Row:
    row: Row = {}
    for at, (phase, (offered, _, failed)) in enumerate(zip(PHASES, r.phases.tolist(), strict=True)):
        row[f"phases.{phase}.failed_ratio"] = failed / offered if offered else nan
        row |= _times(f"phases.{phase}.latency_s", r.latency[at], float(r.latency_sum_ns[at]) * 1e-9)
    return row


def _stages(r: Replication) -> Row:
    """Mean time of a succeeded request in each stage; that in the rules has a short name, too."""
    sums = r.stage_sum_ns.sum(axis=0).tolist()
    row = {
        f"stages_s.{stage}.mean": total * 1e-9 / r.succeeded if r.succeeded else nan
        for stage, total in zip(STAGES, sums, strict=True)
    }
    return row | {"rules_s": row["stages_s.rules.mean"]}


def _members(kind: str, members: Counts) -> Row:
    connections = members[:, 0]
    found = balance.measures(connections[np.newaxis])[0].tolist() if connections.any() else [nan] * 4
    return {f"balance.{kind}.{name}": x for name, x in zip(balance.MEASURES, found, strict=True)}


def _saturation(r: Replication) -> Row:
    row: Row = {}
    for kind, parts in (("pods", r.pod_utilisation), ("nodes", r.node_utilisation)):
        row[f"saturation.{kind}.mean"] = float(parts.mean()) if parts.size else nan
        row[f"saturation.{kind}.hottest"] = float(parts.max()) if parts.size else nan
    row |= {f"saturation.{name}": float(getattr(r, name)) for name in DROPS}
    return row | {"conntrack_peak": float(r.conntrack_peak.max()), "before_ratio": before_ratio(r)}


def _outage(r: Replication) -> Row:
    found = timeline.outage(r.timeline)
    values = {name: getattr(found, name) if found else None for name in OUTAGE}
    return {f"outage.{name}": nan if value is None else float(value) for name, value in values.items()}


def _names() -> tuple[str, ...]:
    times = (*QUANTILES, "mean")
    latencies = [f"{name}.{time}" for name in ("latency_s", "first_packet_s") for time in times]
    phases = [
        f"phases.{phase}.{name}"
        for phase in PHASES
        for name in ("failed_ratio", *(f"latency_s.{time}" for time in times))
    ]
    return (
        *RATES,
        "throughput_rps",
        "rules_s",
        "conntrack_peak",
        "before_ratio",
        *latencies,
        *(f"balance.{kind}.{name}" for kind in MEMBERS for name in balance.MEASURES),
        *(f"saturation.{kind}.{name}" for kind in MEMBERS for name in ("mean", "hottest")),
        *(f"saturation.{name}" for name in DROPS),
        *(f"requests.{name}" for name in COUNTS),
        *(f"errors.{cause}" for cause in CAUSES),
        *phases,
        *(f"stages_s.{stage}.mean" for stage in STAGES),
        *(f"outage.{name}" for name in OUTAGE),
        *(f"routes.{name}" for name in routes.MEASURES),
        *(f"programming_s.{name}" for name in programming.QUANTILES),
    )


NAMES = _names()
"""Every measure, in the order of the tables."""

MAIN = (
    *RATES,
    "throughput_rps",
    "rules_s",
    "latency_s",
    "first_packet_s",
    "balance",
    "saturation.pods",
    "saturation.nodes",
    "conntrack_peak",
)
"""What a table shows of them unless told otherwise."""


def chosen(metrics: Sequence[str]) -> tuple[str, ...]:
    """Give the measures that some names mean: whole ones, or beginnings that end before a dot.

    Parameters
    ----------
    metrics
        As ``latency_s`` or ``balance.pods.jain``; none is every measure.

    Raises
    ------
    InputError
        There is no such measure.
    """
    for metric in metrics:
        if not any(_means(metric, name) for name in NAMES):
            raise InputError("is not a metric", field=metric, hint=_hint(metric))
    return tuple(name for name in NAMES if not metrics or any(_means(metric, name) for metric in metrics))


def _means(metric: str, name: str) -> bool:
    return name == metric or name.startswith(f"{metric}.")


def _hint(metric: str) -> str:
    near = difflib.get_close_matches(metric[:80], NAMES, n=1)
    families = ", ".join(dict.fromkeys(name.split(".")[0] for name in NAMES))
    return f"did you mean {near[0]}?" if near else f"metrics begin with {families}"
