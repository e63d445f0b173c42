"""What many replications of one scenario say together, a number and its interval for each measure.

The names are those of `nodeportsim.metrics.observables`. Quantiles are those of the merged histogram and
their intervals resample whole replications; mean times and failed shares are ratios of totals; everything
else is the mean over the replications that have it. Counts are therefore per replication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import POSITIVE, Estimate, failed_ratio, mean_interval
from nodeportsim.metrics.observables import NAMES
from nodeportsim.metrics.replication import PHASES
from nodeportsim.metrics.summarise import times
from nodeportsim.metrics.uncertainty import with_prices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nodeportsim.metrics.replication import Replication

    Row = dict[str, Any]

NOT_SEEN = "no replication has one"


def estimates(
    replications: Sequence[Replication],
    observed: Sequence[Mapping[str, float]],
    *,
    nominal: Sequence[Replication] = (),
    nominal_observed: Sequence[Mapping[str, float]] = (),
) -> dict[str, Estimate]:
    """Sum up the replications of a scenario.

    Parameters
    ----------
    replications, observed
        At least one, and what `observables.observe` says of each.
    nominal, nominal_observed
        The same at the profile's values, where each replication had prices of its own: the intervals then
        hold what is not known of the prices.

    Returns
    -------
    dict
        An estimate for each of `observables.NAMES`, in that order.
    """
    everything = zip((*replications, *nominal), (*observed, *nominal_observed), strict=True)
    seen = {id(r): row for r, row in everything}

    def of(runs: Sequence[Replication]) -> Row:
        return _of(runs, [seen[id(r)] for r in runs])

    tree = with_prices(of, replications, nominal) if nominal else of(replications)
    return {name: Estimate(**_at(tree, name)) for name in NAMES}


def _at(tree: Row, name: str) -> Row:
    """Find a measure: itself, or a time of a group."""
    group, _, time = name.rpartition(".")
    found: Row = tree[name] if name in tree else tree[group][time]
    return found


def _of(runs: Sequence[Replication], observed: Sequence[Mapping[str, float]]) -> Row:
    latency = np.stack([r.latency for r in runs])
    sums_s = np.stack([r.latency_sum_ns for r in runs]) * np.float64(1e-9)
    tree: Row = {
        "latency_s": times(latency.sum(axis=1), sums_s.sum(axis=1)),
        "first_packet_s": times(np.stack([r.first_packet for r in runs])),
        "failed_ratio": failed_ratio([r.failed for r in runs], [r.offered for r in runs]).as_dict(),
    }
    for at, phase in enumerate(PHASES):
        tree[f"phases.{phase}.latency_s"] = times(latency[:, at], sums_s[:, at])
        offered, _, failed = np.stack([r.phases[at] for r in runs], axis=1)
        tree[f"phases.{phase}.failed_ratio"] = failed_ratio(failed, offered).as_dict()
    rest = [name for name in NAMES if name not in tree and name.rpartition(".")[0] not in tree]
    return tree | {name: _mean([row[name] for row in observed]) for name in rest}


def _mean(values: Sequence[float]) -> Row:
    """Average what there is."""
    there = [value for value in values if not np.isnan(value)]
    found = mean_interval(there, POSITIVE) if there else Estimate(estimate=None, reason=NOT_SEEN)
    return found.as_dict()
