"""Where requests go: from the node they enter to the pod that answers, by node and by zone.

Who entered where and was answered by whom is kept of the first requests of a replication only (its `trace`);
what each node let in and each pod took is counted over the whole run. So the shares of hops, and what a hop
costs, are those of the first requests; loads by zone are those of the run.
"""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import ANY, POSITIVE, SHARE, Estimate, mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Row = dict[str, Any]

MEASURES = {"other_node_ratio": SHARE, "hop_s": ANY, "other_zone_ratio": SHARE, "hottest_zone": POSITIVE}
"""What is measured in each replication, and where it can lie; the last two where there are several zones."""
CROSSED = Estimate(estimate=None, reason="no replication answered both with and without a hop between nodes")


def answered(r: Replication) -> tuple[Counts, Counts, NDArray[np.float64]]:
    """Give entry node, pod and time taken (s) of every traced request that was answered."""
    rows = r.trace[r.trace["pod"] >= 0]
    return rows["node"], rows["pod"], rows["ended_s"] - rows["born_s"]


def matrix(r: Replication) -> Counts:
    """Count traced requests by entry node and pod, shape (nodes, pods)."""
    node, pod, _ = answered(r)
    counts = np.zeros((len(r.node_names), len(r.pod_nodes)), np.int64)
    np.add.at(counts, (node, pod), 1)
    return counts


def zone_matrix(r: Replication) -> tuple[list[str], Counts]:
    """Count traced requests by zone of entry and zone of the pod; pods outside the cluster are in none."""
    names, of_node = _zones(r)
    node, pod, _ = answered(r)
    inside = r.pod_nodes[pod] < len(of_node)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (of_node[node[inside]], of_node[r.pod_nodes[pod[inside]]]), 1)
    return names, counts


def _zones(r: Replication) -> tuple[list[str], Counts]:
    """Name the zones in the order of their first nodes; number each node's."""
    names = list(dict.fromkeys(r.node_zones))
    return names, np.array([names.index(zone) for zone in r.node_zones])


def routes(replications: Sequence[Replication]) -> Row | None:
    """Sum up where requests go; None where no request was answered.

    Returns
    -------
    dict
        requests (traced ones, of all replications), other_node_ratio (answered by a pod of another node than
        they entered), hop_s (how much longer these took on average), and with several zones other_zone_ratio,
        hottest_zone (load of a pod there over the mean pod's) and zones: nodes, pods, entered_ratio,
        served_ratio, pod_over_mean of each.
    """
    runs = [r for r in replications if len(answered(r)[0])]
    if not runs:
        return None
    each = [measures(r) for r in runs]
    row: Row = {"requests": sum(len(answered(r)[0]) for r in runs)}
    for name, within in MEASURES.items():
        values = [one[name] for one in each if not isnan(one[name])]
        if values or name == "hop_s":
            row[name] = (mean_interval(values, within) if values else CROSSED).as_dict()
    if len(set(runs[0].node_zones)) > 1:
        row["zones"] = _by_zone(runs)
    return row


def measures(r: Replication) -> dict[str, float]:
    """Give each of `MEASURES` in one replication; nan where it has none."""
    node, pod, took_s = answered(r)
    crossing = r.pod_nodes[pod] != node
    row = dict.fromkeys(MEASURES, nan)
    if len(node):
        row["other_node_ratio"] = float(crossing.mean())
    if crossing.any() and not crossing.all():
        row["hop_s"] = float(took_s[crossing].mean() - took_s[~crossing].mean())
    if len(set(r.node_zones)) > 1 and len(node):
        counts = zone_matrix(r)[1]
        row["other_zone_ratio"] = float(1 - np.trace(counts) / max(counts.sum(), 1))
        loads = _loads(r)
        row["hottest_zone"] = nan if np.isnan(loads).all() else float(np.nanmax(loads))
    return row


def _loads(r: Replication) -> NDArray[np.float64]:
    """Give the load of a pod in each zone over the mean pod's; nan where none stands."""
    names, of_node = _zones(r)
    served = _of_pods(r, r.pods[:, 0], of_node, len(names))
    pods = _of_pods(r, np.ones(len(r.pods)), of_node, len(names))
    return np.divide(served, pods, out=np.full_like(served, np.nan), where=pods > 0)


def _by_zone(runs: Sequence[Replication]) -> list[Row]:
    """Load of each zone: what enters it, what its pods serve, what that is for one of them."""
    names, of_node = _zones(runs[0])
    entered = np.array([_shares(r.nodes[:, 0], of_node, len(names)) for r in runs])
    served = np.array([_of_pods(r, r.pods[:, 0], of_node, len(names)) for r in runs])
    pods = np.array([_of_pods(r, np.ones(len(r.pods)), of_node, len(names)) for r in runs])
    each = np.array([_loads(r) for r in runs])
    return [
        {
            "zone": name,
            "nodes": int((of_node == z).sum()),
            "pods_ratio": float(pods[:, z].mean()),
            "entered_ratio": mean_interval(entered[:, z], SHARE).as_dict(),
            "served_ratio": mean_interval(served[:, z], SHARE).as_dict(),
            "pod_over_mean": _loaded(each[:, z]).as_dict(),
        }
        for z, name in enumerate(names)
    ]


def _loaded(each: NDArray[np.float64]) -> Estimate:
    if np.isnan(each).any():
        return Estimate(estimate=None, reason="no pod stands there")
    return mean_interval(each, POSITIVE)


def _of_pods(r: Replication, counts: Any, of_node: Counts, zones: int) -> NDArray[np.float64]:
    """Sum over the pods of each zone, as shares of all in the cluster that stood throughout."""
    inside = (r.pod_nodes < len(of_node)) & r.lasting
    return _shares(counts[inside], of_node[r.pod_nodes[inside]], zones)


def _shares(counts: Any, zone: Counts, zones: int) -> NDArray[np.float64]:
    sums = np.bincount(zone, weights=counts, minlength=zones)
    shares: NDArray[np.float64] = sums / max(sums.sum(), 1.0)
    return shares
