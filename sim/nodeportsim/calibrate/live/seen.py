"""What was seen of a run, live or simulated, in one form, and the numbers both are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics import histogram
from nodeportsim.metrics.timeline import CAUSES, OFFERED, SUCCEEDED, outage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.calibrate.live.lab import Answer
    from nodeportsim.metrics.replication import Replication
    from nodeportsim.scenario.spec import Scenario

    Counts = NDArray[np.int64]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
LUMPS_S = (1, 2, 3)
LUMP_BEGINS_S, LUMP_ENDS_S = -0.1, 0.25
"""A SYN sent again after k seconds connects about then: the kernel rounds its timers up."""
SLOW_S = 0.5
"""A connect that takes longer has lost its first SYN."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run without its warm-up: histograms, seconds (as in `metrics.timeline`), pods, mean stages."""

    latency: Counts
    connect: Counts
    timeline: Counts
    pods: Counts
    queue_s: float
    work_s: float


def of_answers(answers: Sequence[Answer], scenario: Scenario) -> Seen:
    """Count a live run."""
    counted = [row for row in answers if row.born_s >= (scenario.run.warmup_s or 0.0)]
    good = [row for row in counted if row.cause is None]
    timeline = np.zeros((ceil(scenario.run.duration_s), CAUSES + 1), np.int64)
    for row in counted:
        column = SUCCEEDED if row.cause is None else CAUSES
        timeline[int(row.born_s), [OFFERED, column]] += 1
    connects_s = [row.connected_s - row.begun_s for row in counted if row.connected_s is not None]
    worked = [
        (row.work_begun_s - row.connected_s, row.work_ended_s - row.work_begun_s)
        for row in good
        if row.connected_s is not None and row.work_begun_s is not None and row.work_ended_s is not None
    ]
    queue_s, work_s = np.array(worked, np.float64).mean(axis=0)
    return Seen(
        latency=histogram.count([row.latency_s for row in good]),
        connect=histogram.count(connects_s),
        timeline=timeline,
        pods=np.bincount(
            [row.pod for row in good if row.pod is not None], minlength=scenario.service.replicas
        ),
        queue_s=float(queue_s),
        work_s=float(work_s),
    )


def of_replication(replication: Replication, stages: Sequence[str]) -> Seen:
    """Take what is compared from a simulated run."""
    spent_s = replication.stage_sum_ns.sum(axis=0) * 1e-9 / max(1, replication.succeeded)
    table = replication.timeline
    return Seen(
        latency=replication.latency.sum(axis=0),
        connect=replication.first_packet,
        timeline=np.column_stack([table[:, :CAUSES], table[:, CAUSES:].sum(axis=1)]),
        pods=replication.pods[:, 1],
        queue_s=float(spent_s[stages.index("pod_queue")]),
        work_s=float(spent_s[stages.index("service")]),
    )


def measures(seen: Seen, scenario: Scenario) -> dict[str, float]:
    """Give the numbers by name.

    ``latency.*`` and ``stage.*`` in seconds, of answered requests. ``failed.outage``: share of the requests
    wanted in the whole seconds between a cut and the change of the rules. ``failed.else``: of all others.
    ``recovered``: the second from which on 99 % succeed, or the end. ``connects.slow``: share of connects
    that needed a second SYN; ``connects.Ns``: which part of those took N seconds.
    """
    found = {f"latency.{name}": histogram.quantile(seen.latency, q) for name, q in QUANTILES.items()}
    found |= {"stage.pod_queue": seen.queue_s, "stage.service": seen.work_s}
    if not scenario.events:
        return found
    return found | _failures(seen, scenario) | _connects(seen)


def _failures(seen: Seen, scenario: Scenario) -> dict[str, float]:
    event, noticed_s = scenario.events[0], scenario.cluster.control_plane.node_monitor_grace_period_s
    failed, offered = seen.timeline[:, CAUSES], seen.timeline[:, OFFERED]
    if noticed_s is None:
        return {"failed.else": float(failed.sum() / offered.sum())}
    within = np.zeros(len(offered), bool)
    within[ceil(event.at_s) : int(event.at_s + noticed_s)] = True
    found = {
        "failed.outage": float(failed[within].sum() / offered[within].sum()),
        "failed.else": float(failed[~within].sum() / offered[~within].sum()),
    }
    window = outage(seen.timeline)
    good_s = window.recovered_99_s if window else 0
    return found | {"recovered": float(len(offered) if good_s is None else good_s)}


def _connects(seen: Seen) -> dict[str, float]:
    times_s = histogram.midpoints_s()
    slow = int(seen.connect[times_s > SLOW_S].sum())
    found = {"connects.slow": slow / int(seen.connect.sum())}
    for lump_s in LUMPS_S:
        inside = (times_s > lump_s + LUMP_BEGINS_S) & (times_s < lump_s + LUMP_ENDS_S)
        found[f"connects.{lump_s}s"] = float(seen.connect[inside].sum() / max(1, slow))
    return found
