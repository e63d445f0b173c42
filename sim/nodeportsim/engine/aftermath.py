"""What a failure left behind, read from the world: seconds, clients, connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .codes import AS_USUAL, BALANCER, STANDING, VIRTUAL_IP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .records import World

    Counts = NDArray[np.int64]
    Columns = dict[str, NDArray[Any]]


def column(rows: Any, name: str) -> Any:
    """Read one field of all rows, from either shape."""
    return rows[name] if isinstance(rows, np.ndarray) else [getattr(row, name) for row in rows]


def columns(rows: Any, *names: str) -> Columns:
    """Read some fields of all rows, from either shape."""
    return {name: np.array(column(rows, name)) for name in names}


def by_second(rows: Any, least: int) -> Counts:
    """Give a table of seconds up to the last one in which something happened, `least` at least."""
    table = np.array(rows, np.int64)
    happened = np.flatnonzero(table.any(axis=1))
    return table[: max(least, int(happened[-1]) + 1 if happened.size else 0)]


def by_clients(w: World) -> Counts:
    """Count clients alike: group, failed requests, how many clients had so many, what they wanted.

    A million clients make as many rows as there are different numbers of failures, a few hundred.
    """
    client = columns(w.clients, "group", "failed", "offered")
    asked = client["offered"] > 0
    kinds = np.stack([client["group"][asked], client["failed"][asked]], axis=1).astype(np.int64)
    alike, place, clients = np.unique(kinds, axis=0, return_inverse=True, return_counts=True)
    wanted = np.zeros(len(alike), np.int64)
    np.add.at(wanted, place.ravel(), client["offered"][asked])
    return np.column_stack([alike, clients, wanted]).astype(np.int64)


def ended(w: World, end_s: float) -> Counts:
    """Count the connections from before the first fault by the second after it in which they ended.

    An idle one beyond its limit is closed, though nobody has looked at it yet.
    """
    table = np.array(w.fates, np.int64)
    c = _left(w, end_s)
    over_s = _over_s(w, c)
    for over in over_s[(over_s >= w.config.fault_s) & (over_s <= end_s)]:
        table[min(int(over - w.config.fault_s), len(table) - 1), AS_USUAL] += 1
    return by_second(table, 0)


def standing(w: World, end_s: float) -> Counts:
    """Count those of them that are left: usable, and dead without their client's knowledge."""
    c = _left(w, end_s)
    left, dead = _over_s(w, c) > end_s, _dead(w, c, end_s)
    return np.array([(left & ~dead).sum(), (left & dead).sum()], np.int64)


def _left(w: World, end_s: float) -> Columns:
    """Give the connections that stood when the first fault came and that no step has ended since."""
    names = ("fate", "established_s", "idle_s", "active", "client", "node", "peer", "pod")
    found = columns(w.connections, *names, "node_epoch", "peer_epoch", "pod_epoch", "balancer_epoch")
    faulty = w.config.fault_s <= end_s
    left = faulty & (found["fate"] == STANDING) & (found["established_s"] < w.config.fault_s)
    return {name: values[left] for name, values in found.items()}


def _over_s(w: World, c: Columns) -> NDArray[np.float64]:
    """When each is closed for being idle; infinite where it is not."""
    group = np.array(column(w.clients, "group"))[c["client"]]
    limit_s = np.array(column(w.groups, "idle_timeout_s"), np.float64)[group]
    return np.where((c["active"] == 0) & (limit_s > 0), c["idle_s"] + limit_s, np.inf)


def _dead(w: World, c: Columns, end_s: float) -> NDArray[np.bool_]:
    """Tell which connections nobody would answer: machine, network, memory or process is gone."""
    node = columns(w.nodes, "up", "mute", "deaf", "cut_nodes", "epoch")
    pod = columns(w.pods, "up", "epoch", "hung_until_s")
    n, m, p = c["node"], c["peer"], c["pod"]
    gone = (node["up"] == 0) | (node["mute"] != 0) | (node["deaf"] != 0)
    entry = gone[n] | (node["epoch"][n] != c["node_epoch"])
    peer = gone[m] | (node["epoch"][m] != c["peer_epoch"])
    peer |= (node["cut_nodes"][n] != 0) | (node["cut_nodes"][m] != 0)
    unheard = (pod["up"][p] == 0) | (pod["epoch"][p] != c["pod_epoch"]) | (pod["hung_until_s"][p] > end_s)
    return np.asarray(entry | ((n != m) & peer) | unheard | _unknown(w, c))


def _unknown(w: World, c: Columns) -> NDArray[np.bool_]:
    """Tell which connections a balancer has forgotten, or the owner of a virtual IP never knew."""
    policy = np.array(column(w.groups, "policy"))[np.array(column(w.clients, "group"))[c["client"]]]
    known = np.maximum(np.array(column(w.nodes, "balancer_known"))[c["node"]], w.config.balancer_known)
    forgotten = (policy == BALANCER) & (c["balancer_epoch"] < known)
    return np.asarray(forgotten | ((policy == VIRTUAL_IP) & (c["node"] != w.config.leader)))
