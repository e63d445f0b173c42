"""Nodes that die: when it is noticed, how long clients suffer, how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.shipped.mixture import places
from nodeportsim.calibrate.validating.predictors.rule import Rule, simulated
from nodeportsim.metrics import histogram
from nodeportsim.metrics.timeline import CAUSES

if TYPE_CHECKING:
    import pandas as pd

ENDS = {"min": 0.05, "max": 0.95}
"""What the ends of a range are compared with: quantiles of replications, for few trials see no extremes."""
SYN_AGAIN_S = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0)
"""When kernels before 6.5 send a SYN again: docs/models/network.md."""
LUMPS_S = ((0.5, 2.0), (2.0, 5.0))
"""Where the first and the second repetition of a SYN lie."""


def _since_fault_s(milestone: str, *sets: str) -> np.ndarray:
    """Measure, in each replication, the time from the fault to the first milestone of that name."""
    found = simulated("node-lost", *sets)
    at_s = found.scenario.events[0].at_s
    firsts = [[t for t, name, _ in r.milestones if name == milestone][:1] for r in found.replications]
    return np.array([first[0] - at_s for first in firsts if first])


def detected(rows: pd.DataFrame) -> list[float]:
    """Predict the mean time (s) until a silent node is found lost; grace 40 s."""
    return [float(_since_fault_s("node not ready").mean())] * len(rows)


def patient(rows: pd.DataFrame) -> list[float]:
    """Predict the same with a grace period of 120 s."""
    sets = ("nodeMonitorGracePeriod=120s", "run.duration=160s", "run.replications=50")
    return [float(_since_fault_s("node not ready", *sets).mean())] * len(rows)


def announced(rows: pd.DataFrame) -> list[float]:
    """Predict when a speaker that watches endpoints moves the address: all know of the lost endpoints."""
    times_s = _since_fault_s("rules updated everywhere")
    return [float(np.quantile(times_s, ENDS[end])) for end in rows["percentile"]]


def evicted(rows: pd.DataFrame) -> list[float]:
    """Predict when the lost node's pods are evicted, which that speaker waited for."""
    sets = ("run.duration=420s", "run.replications=20", "clients.rate=0.1/s")
    return [float(_since_fault_s("pod evicted", *sets).mean())] * len(rows)


def extra_waits(rows: pd.DataFrame) -> list[float]:
    """Predict how much longer those wait that began to connect during the outage: the middle half of them.

    They begin at any moment of it, and come through with their first SYN after its end. Not simulated: there
    a SYN that is sent again goes to the node that held the address when the first one was sent.
    """
    outage_s = float(_since_fault_s("rules updated everywhere").mean())
    ages_s = outage_s * places()
    sent_s = np.array(SYN_AGAIN_S)
    extra_s = sent_s[np.searchsorted(sent_s, ages_s)] - ages_s
    quarter = {"min": 0.25, "max": 0.75}
    return [float(np.quantile(extra_s, quarter[end])) for end in rows["percentile"]]


def keepalived(rows: pd.DataFrame) -> list[float]:
    """Predict how long after the fault the last request fails: the median, and what 95 % do not exceed."""
    found = simulated("keepalived")
    last = [np.flatnonzero(r.timeline[:, CAUSES:].sum(axis=1))[-1] + 1 for r in found.replications]
    lengths_s = np.array(last) - found.scenario.events[0].at_s
    share = {"typ": 0.5, "max": ENDS["max"]}
    return [float(np.quantile(lengths_s, share[end])) for end in rows["percentile"]]


def failing_share(rows: pd.DataFrame) -> list[float]:
    """Predict the failing share while one of three endpoints is dead and nobody knows."""
    during = simulated("dead-endpoint").summary["phases"]["during"]
    return [float(during["failed_ratio"]["estimate"])] * len(rows)


def local_share(rows: pd.DataFrame) -> list[float]:
    """Predict the failing share behind a balancer that asks nobody."""
    counted = simulated("local-no-check").summary["requests"]
    return [float(counted["failed"]) / float(counted["offered"])] * len(rows)


def lump(rows: pd.DataFrame) -> list[float]:
    """Predict the median connect time of those whose SYN was lost once (or twice, for a maximum)."""
    found = simulated("syn-lost")
    counts = sum(r.first_packet for r in found.replications)
    times_s = histogram.midpoints_s()
    predicted = []
    for metric, unit in zip(rows["metric"], rows["unit"], strict=True):
        low, high = LUMPS_S[metric.endswith("max")]
        inside = np.where((times_s > low) & (times_s < high), counts, 0)
        predicted += [histogram.quantile(inside, 0.5) * (1e3 if unit == "ms" else 1.0)]
    return predicted


RULES = (
    Rule(
        source="K8S-13258",
        tolerance="outage",
        predict=detected,
        how="simulated: node-lost.yaml, mean of 200",
    ),
    Rule(
        source="GARDENER-7688",
        tolerance="outage",
        predict=patient,
        how="simulated: node-lost.yaml, grace 120 s",
    ),
    Rule(
        source="METALLB-I524",
        metric="failover_outage",
        tolerance="outage",
        predict=announced,
        how="simulated: node-lost.yaml, 5th and 95th of 100",
    ),
    Rule(
        source="METALLB-I524",
        metric="extra_wait_for_inflight_connect",
        tolerance="outage",
        predict=extra_waits,
        how="the SYN's clock over the simulated outage, middle half",
        reason=(
            "the source gives a range without saying of which clients; waits go from 0 to 32 s by the"
            " doubling of the SYN clock"
        ),
    ),
    Rule(
        source="METALLB-I298",
        tolerance="outage",
        predict=evicted,
        how="simulated: node-lost.yaml, eviction",
        reason="'about 5 minutes'; the source's own sum is almost 6: grace 40 s and eviction 5 min",
    ),
    Rule(
        source="KEEPALIVED-78",
        tolerance="outage",
        predict=keepalived,
        how="simulated: keepalived.yaml, median and 95th of 100",
        reason=(
            "the source does not say what its client did; here the last failure counts, of a client "
            "that asks every second"
        ),
    ),
    Rule(
        source="HYPERSHIFT-9279",
        metric="share_connections_to_dead_endpoint|failed_request_share",
        tolerance="share",
        within=True,
        predict=failing_share,
        how="simulated: dead-endpoint.yaml",
    ),
    Rule(
        source="INGRESS-4121",
        tolerance="share",
        predict=local_share,
        how="simulated: local-no-check.yaml",
    ),
    Rule(
        source="K8S-PR71114|KUBEROUTER-544|K3S-1542|CILIUM-13333",
        metric="connect_median|connect_max|connect_time_reused_port|nodeport_connect_time|connect_time_mode1",
        tolerance="time",
        predict=lump,
        how="simulated: syn-lost.yaml, the SYN's clock",
    ),
)
