"""What a node does with a packet: conntrack, rules and choice for a SYN; conntrack alone for the rest.

A real node runs the first packet of a connection through the chains kube-proxy wrote, once; conntrack
keeps the answer (the pin) for every later packet, whatever becomes of the rules. So a SYN that is sent
again to a dead endpoint stays lost, and a new connection may be luckier. Prices are CPU time on the
core the flow hashes to; they come from the profile at every sync (rules.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    CONNTRACK_FULL,
    DATA_AGAIN,
    DATA_AT_PEER,
    DATA_AT_POD,
    DROP,
    EXPIRY_SLOTS,
    LC,
    RECENT,
    REFUSED,
    RESET,
    RR,
    SH,
    SYN_AGAIN,
    SYN_AT_PEER,
    SYN_AT_POD,
    UNIFORM_CHOICE,
    WLC,
    WRR,
)
from .draws import LOGNORMAL, SPREAD, draw_law, uniform2
from .machine import after, at, notify, prefetch, rare, step
from .pools import HOPS_A_SYN, free_flight, serve_at
from .wire import client_path_s, lose_syn, lost, node_path_s, reaches_client, reaches_peer, travel

if TYPE_CHECKING:
    from .records import World


@step
def drain_conntrack(w: World, t: float, n: int) -> None:
    """Let go of the entries whose time has come, to the second."""
    if w.nodes[n].drained < int(t):
        let_go(w, int(t), n)


@rare
def let_go(w: World, now: int, n: int) -> None:
    """Let go of the entries that have ended by second `now`."""
    node = w.nodes[n]
    for second in range(max(node.drained + 1, now - EXPIRY_SLOTS + 1), now + 1):
        node.conntrack -= w.expiry[n][second % EXPIRY_SLOTS]
        w.expiry[n][second % EXPIRY_SLOTS] = 0
    node.drained = now


@step
def track(w: World, t: float, n: int) -> bool:
    """Make a conntrack entry; a full table drops the packet."""
    drain_conntrack(w, t, n)
    node = w.nodes[n]
    if node.conntrack >= node.conntrack_max:
        w.counts.conntrack_drops += 1
        if node.full == 0:
            node.full = 1
            notify(w, t, CONNTRACK_FULL, n)
        return False
    node.conntrack += 1
    node.conntrack_peak = max(node.conntrack_peak, node.conntrack)
    return True


@step
def untrack(w: World, t: float, n: int, end_s: float) -> None:
    """The connection is closed: its entry goes at `end_s`."""
    drain_conntrack(w, t, n)
    w.expiry[n][(int(max(t, end_s)) + 1) % EXPIRY_SLOTS] += 1


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
    sticky = w.sticky[n][c]
    if sticky.pod < 0 or t - sticky.seen_s >= w.config.affinity_s:
        return -1
    return rank_of(w, n, sticky.pod)


@rare
def remember(w: World, t: float, n: int, c: int, pod: int) -> None:
    """Keep the client's endpoint; an xt_recent list of 100 addresses forgets the one seen longest ago."""
    row = w.sticky[n]
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
        return ((((0x0A000000 + c) * 0x61C88647) & 0xFFFFFFFF) >> 24) % node.endpoints
    return least_connections(w, n, choice == WLC)


@step
def pin(w: World, t: float, f: int, rank: int) -> None:
    """Fix the endpoint of this connection at this node; one fixed before a reboot lets go of its peer."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    node = w.nodes[flight.node]
    pod = w.endpoints[node.first + rank]
    if connection.tracked > 1 and w.nodes[connection.peer].epoch == connection.peer_epoch:
        untrack(w, t, connection.peer, t + w.config.time_wait_s)
    connection.pod = pod
    connection.peer = w.pods[pod].node
    connection.node_epoch = node.epoch
    connection.peer_epoch = w.nodes[connection.peer].epoch
    connection.pod_epoch = w.pods[pod].epoch
    connection.tracked = 1
    if w.config.choice == LC or w.config.choice == WLC:
        w.active[flight.node][pod] += 1
    prefetch(w.work_free_s, pod)
    copy_pin(w, f)


@step
def copy_pin(w: World, f: int) -> None:
    """Let the packet know what conntrack knows."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    flight.pod = connection.pod
    flight.peer = connection.peer
    flight.node_epoch = connection.node_epoch
    flight.peer_epoch = connection.peer_epoch
    flight.pod_epoch = connection.pod_epoch


@step
def spend(w: World, n: int, core: int, t: float, cost_s: float, f: int) -> float:
    """Process a first packet on its core; when it is through."""
    if w.config.spread_sigma > 0.0:
        cost_s *= spread(w, n, f)
    end = serve_at(w.cpu_free_s[n], core, t, cost_s)
    w.nodes[n].busy_s += cost_s
    w.flights[f].rules_s += cost_s
    w.flights[f].node_queue_s += end - t - cost_s
    return end


@rare
def spread(w: World, n: int, f: int) -> float:
    """What this packet costs here over its price: log-normal, 1 on average; a draw a SYN and node."""
    flight = w.flights[f]
    visit = flight.hops // HOPS_A_SYN * 2 + int(n != flight.node)
    counter = flight.attempt * 256 + visit
    u, _ = uniform2(w.config.key0, w.config.key1, SPREAD, flight.client, flight.number, counter)
    return draw_law(LOGNORMAL, 1.0, w.config.spread_sigma, u)


@step
def spend_packet(w: World, n: int, core: int, t: float, cost_s: float, f: int) -> float:
    """Process a packet that conntrack knows."""
    end = serve_at(w.cpu_free_s[n], core, t, cost_s)
    w.nodes[n].busy_s += cost_s
    w.flights[f].node_queue_s += end - t - cost_s
    return end


@step
def syn_at_node(w: World, t: float, f: int) -> None:
    """First packet of a connection at its entry node."""
    flight = w.flights[f]
    n = flight.node
    connection = w.connections[flight.connection]
    if not reaches_client(w, n):
        lose_syn(w, t, f, w.config.client_no_route)
    elif connection.life != flight.connection_life:
        free_flight(w, f)
    elif connection.pod >= 0 and connection.node_epoch == w.nodes[n].epoch:
        copy_pin(w, f)
        forward_syn(w, t, f, w.nodes[n].packet_s)
    elif w.nodes[n].endpoints == 0:
        turn_away(w, t, f)
    elif track(w, t, n):
        walk_rules(w, t, f)
    else:
        lose_syn(w, t, f, 0)


@rare
def turn_away(w: World, t: float, f: int) -> None:
    """No endpoint: REJECT answers at once, DROP (policy Local without a local one) never."""
    flight = w.flights[f]
    node = w.nodes[flight.node]
    if node.empty == DROP and node.programmed != 0:
        lose_syn(w, t, f, 0)
        return
    end = spend(w, flight.node, flight.core, t, node.refuse_s, f)
    travel(w, end, client_path_s(w, flight.client, flight.node), REFUSED, f, SYN_AGAIN)


@step
def walk_rules(w: World, t: float, f: int) -> None:
    """Walk the rules, take an endpoint, remember it."""
    flight = w.flights[f]
    n = flight.node
    node = w.nodes[n]
    c = flight.client
    rank = sticky_rank(w, t, n, c) if w.config.affinity else -1
    if rank >= 0:
        cost_s = node.sticky_s + node.sticky_endpoint_s * (rank + 1)
    else:
        rank = choose(w, n, c, w.requests[flight.request].u_pod)
        cost_s = node.walk_s + node.endpoint_s * (rank + 1)
    pin(w, t, f, rank)
    if w.config.affinity:
        remember(w, t, n, c, flight.pod)
    forward_syn(w, t, f, cost_s)


@step
def forward_syn(w: World, t: float, f: int, cost_s: float) -> None:
    """After the node's work: to the pod here, or to the pod's node."""
    flight = w.flights[f]
    here = flight.peer == flight.node
    cost_s += w.config.accept_s if here else w.config.overlay_s
    end = spend(w, flight.node, flight.core, t, cost_s, f)
    if here:
        at(w, end, SYN_AT_POD, f)
    else:
        travel(w, end, node_path_s(w, flight.node, flight.peer), SYN_AT_PEER, f, SYN_AGAIN)


@step
def syn_at_peer(w: World, t: float, f: int) -> None:
    """First packet at the pod's node: its whole KUBE-SERVICES without a match, its own conntrack entry."""
    flight = w.flights[f]
    m = flight.peer
    connection = w.connections[flight.connection]
    if not reaches_peer(w, flight.node, m) or w.nodes[m].epoch != flight.peer_epoch:
        lose_syn(w, t, f, w.config.node_no_route)
        return
    if connection.life == flight.connection_life and connection.tracked == 1:
        if not track(w, t, m):
            lose_syn(w, t, f, 0)
            return
        connection.tracked = 2
    cost_s = w.nodes[m].transit_s + w.config.overlay_s + w.config.accept_s
    end = spend(w, m, flight.peer_core, t, cost_s, f)
    at(w, end, SYN_AT_POD, f)


@step
def data_at_node(w: World, t: float, f: int) -> None:
    """A request's bytes at the entry node; one that rebooted has forgotten the connection."""
    flight = w.flights[f]
    n = flight.node
    if not reaches_client(w, n):
        lost(w, t, f, DATA_AGAIN)
    elif w.nodes[n].epoch != flight.node_epoch:
        after(w, t, client_path_s(w, flight.client, n), RESET, f)
    else:
        here = flight.peer == n
        cost_s = w.nodes[n].packet_s + (w.config.accept_packet_s if here else w.config.overlay_packet_s)
        end = spend_packet(w, n, flight.core, t, cost_s, f)
        if here:
            at(w, end, DATA_AT_POD, f)
        else:
            travel(w, end, node_path_s(w, n, flight.peer), DATA_AT_PEER, f, DATA_AGAIN)


@step
def data_at_peer(w: World, t: float, f: int) -> None:
    """A request's bytes at the pod's node."""
    flight = w.flights[f]
    m = flight.peer
    if not reaches_peer(w, flight.node, m):
        lost(w, t, f, DATA_AGAIN)
        return
    cost_s = w.nodes[m].transit_packet_s + w.config.overlay_packet_s + w.config.accept_packet_s
    end = spend_packet(w, m, flight.peer_core, t, cost_s, f)
    at(w, end, DATA_AT_POD, f)


@rare
def expire(w: World, t: float, i: int) -> None:
    """An ipvs connection's TIME_WAIT is over; a node that booted since has forgotten it anyway."""
    n, p = i % w.config.nodes, i // w.config.nodes
    if t - w.config.time_wait_s >= w.nodes[n].booted_s:
        w.inactive[n][p] -= 1
