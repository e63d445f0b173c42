"""Which endpoint a new connection gets on a node: drawn, by turns, by load, by the client's address.

The kernel chooses as kube-proxy told it: a random rule or map entry (iptables, nftables), an ipvs scheduler,
or the endpoint remembered for the client. The readable references are in `kubeproxy/choice.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import RECENT, RR, SH, UNIFORM_CHOICE, WLC, WRR
from .machine import rare, step

if TYPE_CHECKING:
    from .records import World


@step
def rank_of(w: World, n: int, pod: int) -> int:
    """Place of a pod in the node's endpoints, -1 where it has none."""
    node = w.nodes[n]
    for k in range(node.endpoints):
        if w.endpoints[node.first + k] == pod:
            return k
    return -1


@rare
def sticky_rank(w: World, t: float, n: int, c: int) -> int:
    """Session affinity: the endpoint this node remembers for the client's address."""
    sticky = w.sticky[n][w.clients[c].host]
    if sticky.pod < 0 or t - sticky.seen_s >= w.config.affinity_s:
        return -1
    return rank_of(w, n, sticky.pod)


@rare
def remember(w: World, t: float, n: int, c: int, pod: int) -> None:
    """Keep the client's endpoint; an xt_recent list of 100 addresses forgets the one seen longest ago."""
    row, c = w.sticky[n], w.clients[c].host
    if w.config.memory == RECENT and row[c].pod != pod:
        kept, oldest = 0, -1
        for k in range(len(row)):
            if row[k].pod == pod:
                kept += 1
                if oldest < 0 or row[k].seen_s < row[oldest].seen_s:
                    oldest = k
        if kept >= w.config.recent_entries:
            row[oldest].pod = -1
    row[c].pod = pod
    row[c].seen_s = t


@rare
def weighted_turn(w: World, n: int) -> int:
    """Take turns by weight: passes over the list with a falling limit (ipvs wrr, ip_vs_wrr.c)."""
    node = w.nodes[n]
    most = 0
    for k in range(node.endpoints):
        most = max(most, w.pods[w.endpoints[node.first + k]].weight)
    for _ in range(node.endpoints * (most + 1)):
        node.turn = (node.turn + 1) % node.endpoints
        if node.turn == 0:
            node.weight_turn = node.weight_turn - 1 if node.weight_turn > 1 else most
        if w.pods[w.endpoints[node.first + node.turn]].weight >= node.weight_turn:
            return node.turn
    return node.turn


@rare
def least_connections(w: World, n: int, weighted: bool) -> int:
    """Take the least of 256 * active + inactive, the first of equals (ipvs lc, wlc; ip_vs_lc.c)."""
    node = w.nodes[n]
    best, least, best_weight = 0, -1, 1
    for k in range(node.endpoints):
        p = w.endpoints[node.first + k]
        load = 256 * w.active[n][p] + w.inactive[n][p]
        weight = w.pods[p].weight if weighted else 1
        if least < 0 or load * best_weight < least * weight:
            best, least, best_weight = k, load, weight
    return best


@step
def choose(w: World, n: int, c: int, u: float) -> int:
    """Rank of the endpoint a new connection gets on node `n`."""
    node = w.nodes[n]
    choice = w.config.choice
    if choice == UNIFORM_CHOICE:
        return int(u * node.endpoints)
    if choice == RR:
        node.turn = (node.turn + 1) % node.endpoints
        return node.turn
    if choice == WRR:
        return weighted_turn(w, n)
    if choice == SH:
        # ip_vs_sh.c: hash_32 of the source address (here 10.0.0.0 + c) into 256 slots dealt in turn.
        c = w.clients[c].host
        return ((((0x0A000000 + c) * 0x61C88647) & 0xFFFFFFFF) >> 24) % node.endpoints
    return least_connections(w, n, choice == WLC)
