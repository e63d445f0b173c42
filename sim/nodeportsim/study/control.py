"""Inputs of a run whose expectation its scenario states: arrivals, and the work they bring.

Used where they are exact: clients that arrive by Poisson processes, and nothing that makes a request be
served twice, or not at all, or longer: no events, no slow start, no drawn prices, and no replication with a
failure, a retry or a request left open. A replication carries the number of requests after the warm-up, and
the work that its pods accepted over the whole run; both have the mean that the declared rates and the service
time give. It does not carry the work of the counted requests alone, which would explain more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.control import controlled_mean, independent, linearised
from nodeportsim.metrics.intervals import Estimate, mean_interval, ratio_interval
from nodeportsim.metrics.summarise import rounded
from nodeportsim.scenario.spec import SlowStart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.engine.simulate import Replication
    from nodeportsim.scenario.spec import Scenario

    Floats = NDArray[np.float64]


def controls(scenario: Scenario, replications: Sequence[Replication], warmup_s: float) -> Floats | None:
    """Give arrivals and work of each replication less their expectation; None where it is not exact."""
    if not (_plain(scenario) and all(_once(r) for r in replications)):
        return None
    rate_rps = sum(group.rate_rps for group in scenario.clients)
    duration_s, workers = scenario.run.duration_s, scenario.pods.workers
    counted = [r.offered - rate_rps * (duration_s - warmup_s) for r in replications]
    expected_s = rate_rps * duration_s * scenario.pods.service_time.mean_s
    work_s = [float(r.pod_utilisation.sum()) * workers * duration_s - expected_s for r in replications]
    return np.stack([counted, work_s], axis=1)


def _plain(scenario: Scenario) -> bool:
    open_loop = all(group.loop == "open" and group.arrivals == "poisson" for group in scenario.clients)
    return (
        open_loop
        and not scenario.events
        and not scenario.run.uncertainty
        and scenario.pods.slow_start == SlowStart()
    )


def _once(r: Replication) -> bool:
    return r.offered == r.succeeded == r.attempts > 0


def controlled_latency(
    scenario: Scenario, replications: Sequence[Replication], warmup_s: float
) -> dict[str, Any]:
    """Estimate the mean latency less what arrivals and work explain.

    Returns
    -------
    dict
        ``control_variates``: ``latency_s.mean`` with estimate, low, high, the number of controls, and the
        width over that without them. Empty where the controls are not exact or do not help.
    """
    x = controls(scenario, replications, warmup_s)
    if x is None:
        return {}
    sums_s = np.array([int(r.latency_sum_ns.sum()) for r in replications]) * 1e-9
    counts = np.array([r.succeeded for r in replications])
    found = narrower(linearised(sums_s, counts), x, ratio_interval(sums_s, counts))
    return {"control_variates": {"latency_s.mean": found}} if found else {}


def controlled_difference(before: Floats, after: Floats, x: Floats) -> dict[str, Any]:
    """Compare two variants less what the controls of both explain; empty where that is no help."""
    difference = after - before
    return narrower(difference, x, mean_interval(difference))


def narrower(values: Floats, x: Floats, plain: Estimate) -> dict[str, Any]:
    """Give estimate, low, high, controls used, width over the plain one's; empty where not below 1."""
    used = independent(x)
    found = controlled_mean(values, used)
    if found.low is None or found.high is None or plain.low is None or plain.high is None:
        return {}
    ratio = (found.high - found.low) / (plain.high - plain.low) if plain.high > plain.low else 1.0
    if ratio >= 1:
        return {}
    return dict(rounded(found.as_dict() | {"controls": used.shape[1], "width_ratio": ratio}))
