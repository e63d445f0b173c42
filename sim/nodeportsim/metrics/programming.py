"""Network programming latency: how long a change of the endpoints takes into the rules of every node.

A quantile is that of all (change, node) pairs of a replication, which are all there are and no sample; its
interval comes from the replications. So p99 is the time by which 99 of 100 nodes know, and `slowest` when
the last of them does.
"""

from __future__ import annotations

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
    delays = [r.programming[:, DELAY] for r in replications if len(r.programming)]
    if not delays:
        return None
    return {
        name: mean_interval(
            [np.quantile(each, q, method="inverted_cdf") for each in delays], POSITIVE
        ).as_dict()
        for name, q in QUANTILES.items()
    }
