"""Network programming latency: how long a change of the endpoints takes into the rules of every node.

A quantile is that of all (change, node) pairs of a replication, which are all there are and no sample; its
interval comes from the replications. So p99 is the time by which 99 of 100 nodes know, and `slowest` when
the last of them does.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import POSITIVE, mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.metrics.replication import Replication

DELAY = 2  # Column of `Replication.programming`.
QUANTILES = {"p50": 0.5, "p99": 0.99, "slowest": 1.0}


def programming_s(replications: Sequence[Replication]) -> dict[str, Any] | None:
    """Sum up the delays of all changes on all nodes; None where no endpoint changed."""
    each = [measures(r) for r in replications if len(r.programming)]
    if not each:
        return None
    return {name: mean_interval([one[name] for one in each], POSITIVE).as_dict() for name in QUANTILES}


def measures(r: Replication) -> dict[str, float]:
    """Give each of `QUANTILES` in one replication; nan where no endpoint changed."""
    if not len(r.programming):
        return dict.fromkeys(QUANTILES, nan)
    delays = r.programming[:, DELAY]
    return {name: float(np.quantile(delays, q, method="inverted_cdf")) for name, q in QUANTILES.items()}
