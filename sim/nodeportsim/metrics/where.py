"""Tidy tables of where traffic went: by node and pod, by zone; which rules knew when, what new pods got."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.intervals import SHARE, ratio_interval
from nodeportsim.metrics.recovery import fault_s
from nodeportsim.metrics.routes import matrix, zone_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from nodeportsim.metrics.replication import Replication

NEW_READY = 2  # Column of `Replication.newborns`.
CELLS_MAX = 2_000
"""So many nodes x pods are a table that people read."""


def where(replications: Sequence[Replication]) -> dict[str, pd.DataFrame]:
    """Return those of the tables that these runs carry.

    Returns
    -------
    dict of DataFrame
        routes (node and pod: requests of the first replication; with few of them), zones (zone of entry and
        of the pod: share of the requests; where there are several), programming (replication, change and
        node: delay; where endpoints changed), newborns (second: the new pods' share of the requests, and of
        the pods; after a planned change that makes pods).
    """
    first = replications[0]
    changed = [r for r in replications if len(r.programming)]
    grown = [r for r in replications if r.newborns[:, NEW_READY].any()]
    return {
        **({"routes": _routes(first)} if len(first.nodes) * len(first.pods) <= CELLS_MAX else {}),
        **({"zones": _zones(replications)} if len(set(first.node_zones)) > 1 else {}),
        **({"programming": _programming(changed)} if changed else {}),
        **({"newborns": _newborns(grown)} if grown else {}),
    }


def _routes(r: Replication) -> pd.DataFrame:
    """Count by name and number: pooled over replications every pod would look alike."""
    import pandas as pd

    counts = matrix(r)
    nodes, pods = counts.shape
    return pd.DataFrame(
        {
            "node": np.repeat(list(r.node_names), pods),
            "pod": np.tile(np.arange(pods), nodes),
            "requests": counts.ravel(),
        }
    )


def _zones(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    names, _ = zone_matrix(replications[0])
    counts = np.sum([zone_matrix(r)[1] for r in replications], axis=0)
    shares = counts / max(int(counts.sum()), 1)
    return pd.DataFrame(
        {
            "entry_zone": np.repeat(names, len(names)),
            "pod_zone": np.tile(names, len(names)),
            "share_ratio": shares.ravel(),
        }
    )


def _programming(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    rows = np.concatenate([r.programming for r in replications])
    names = np.array(replications[0].node_names)
    return pd.DataFrame(
        {
            "replication": np.repeat(
                [r.number for r in replications], [len(r.programming) for r in replications]
            ),
            "change_s": rows[:, 0],
            "node": names[rows[:, 1].astype(np.int64)],
            "delay_s": rows[:, 2],
        }
    )


def _newborns(replications: Sequence[Replication]) -> pd.DataFrame:
    """Give the new pods' share of the requests by second since the first event, beside that of the pods.

    The shape is that of curves: series, since_event_s, kind, estimate, low, high (%).
    """
    import pandas as pd

    tables = [r.newborns for r in replications]
    event_s = int(min((s for r in replications if (s := fault_s(r)) is not None), default=0))
    rows = []
    for second in range(min(map(len, tables))):
        new, served, ready, pods = np.array([t[second] for t in tables], np.float64).T
        share = ratio_interval(new, served, SHARE)
        rows.append(("new pods", second - event_s, "simulated", share.estimate, share.low, share.high))
        fair = ratio_interval(ready, pods, SHARE).estimate
        rows.append(("new pods", second - event_s, "closed form", fair, None, None))
    table = pd.DataFrame(rows, columns=["series", "since_event_s", "kind", "estimate", "low", "high"])
    numbers = ["estimate", "low", "high"]
    return table.assign(**{name: 100.0 * table[name].astype(float) for name in numbers}).dropna(
        subset=["estimate"]
    )
