"""Whom a failure hit: which share of the clients, how unevenly, by which nodes they came, in which group.

Clients that wanted nothing are not counted. Shares are taken within a replication and then averaged; the
unevenness is that over *all* clients, so that it tells few who lost much from many who lost a little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import POSITIVE, SHARE, mean_interval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Row = dict[str, Any]

GROUP, FAILED, CLIENTS, OFFERED = range(4)  # Columns of `Replication.clients`.
TOP = 0.01
NODES_LISTED = 10


def blast(runs: Sequence[Replication]) -> Row:
    """Sum up the blast radius of replications."""
    tables = [run.clients for run in runs]
    hurt = [table for table in tables if (table[:, FAILED] * table[:, CLIENTS]).sum()]
    most = [int(table[:, FAILED].max()) for table in tables if len(table)]
    return {
        "clients": mean_interval([table[:, CLIENTS].sum() for table in tables], POSITIVE).as_dict(),
        "hit_ratio": _hit(tables),
        "top_1_percent_ratio": mean_interval([top_ratio(table, TOP) for table in hurt], SHARE).as_dict(),
        "gini": mean_interval([gini(table) for table in hurt], SHARE).as_dict(),
        "most_failed": mean_interval(most, POSITIVE).as_dict(),
        "groups": _groups(runs),
        "nodes": _nodes(runs),
    }


def _hit(tables: Sequence[Counts]) -> Row:
    """Share of the clients that lost a request."""
    hit = [table[table[:, FAILED] > 0, CLIENTS].sum() for table in tables]
    return ratio_interval(hit, [table[:, CLIENTS].sum() for table in tables], SHARE).as_dict()


def spread(table: Counts) -> tuple[Counts, Counts]:
    """Failed requests per client, the most first, and how many clients had so many; groups together."""
    failed, place = np.unique(table[:, FAILED], return_inverse=True)
    clients = np.zeros(len(failed), np.int64)
    np.add.at(clients, place.ravel(), table[:, CLIENTS])
    return failed[::-1], clients[::-1]


def top_ratio(table: Counts, share: float) -> float:
    """Return the part of all failures that the hardest hit `share` of the clients had.

    Where that share is no whole number of clients the next one counts in part.
    """
    failed, clients = spread(table)
    room = share * clients.sum() - (np.cumsum(clients) - clients)
    return float((failed * np.clip(room, 0, clients)).sum() / (failed * clients).sum())


def gini(table: Counts) -> float:
    """Gini's coefficient of failed requests over clients: 0 all alike, near 1 one client has all.

    Twice the area between the diagonal and Lorenz's curve, by trapezoids, which are exact for counts.
    """
    failed, clients = (part[::-1] for part in spread(table))
    lost = np.concatenate([[0], np.cumsum(failed * clients)]) / (failed * clients).sum()
    return float(1 - ((lost[1:] + lost[:-1]) * clients).sum() / clients.sum())


def _groups(runs: Sequence[Replication]) -> Row:
    """Clients hit and requests failed, by group; only where there are several."""
    names = [name for name, _ in runs[0].groups]
    rows = {}
    for place, name in enumerate(names if len(names) > 1 else []):
        tables = [run.clients[run.clients[:, GROUP] == place] for run in runs]
        failed = [(table[:, FAILED] * table[:, CLIENTS]).sum() for table in tables]
        offered = [table[:, OFFERED].sum() for table in tables]
        key = name if name not in rows else f"{name} {place + 1}"
        rows[key] = {
            "hit_ratio": _hit(tables),
            "failed_ratio": ratio_interval(failed, offered, SHARE).as_dict(),
        }
    return rows


def _nodes(runs: Sequence[Replication]) -> list[Row]:
    """Entry nodes by the requests that failed there, of those that ended there; the worst first."""
    lost = np.sum([run.node_failed for run in runs], axis=0)
    order = np.argsort(-lost, kind="stable")[:NODES_LISTED]
    return [
        {
            "node": runs[0].node_names[place],
            "failed": int(lost[place]),
            "failed_ratio": ratio_interval(
                [run.node_failed[place] for run in runs],
                [run.node_failed[place] + run.nodes[place, 1] for run in runs],
                SHARE,
            ).as_dict(),
        }
        for place in order.tolist()
        if lost[place]
    ]
