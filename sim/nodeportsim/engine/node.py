"""What a node does with a packet: conntrack, rules and choice for a SYN; conntrack alone for the rest.

A real node runs the first packet of a connection through the chains kube-proxy wrote, once; conntrack
keeps the answer (the pin) for every later packet, whatever becomes of the rules. So a SYN that is sent
again to a dead endpoint stays lost, and a new connection may be luckier. Prices are CPU time on the
core the flow hashes to; they come from the profile at every sync (rules.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .choice import choose, remember, sticky_rank
from .codes import (
    CONNTRACK_FULL,
    DATA_AGAIN,
    DATA_AT_PEER,
    DATA_AT_POD,
    DROP,
    EXPIRY_SLOTS,
    LC,
    PASSING,
    REFUSED,
    REJECTING,
    RESET,
    SYN_AGAIN,
    SYN_AT_PEER,
    SYN_AT_POD,
    WLC,
)
from .draws import LOGNORMAL, SPREAD, draw_law, uniform2
from .front import stops_data, stops_syn
from .machine import at, notify, prefetch, rare, step
from .pools import HOPS_A_SYN, free_flight, serve_at
from .ports import ANEW, LOST, masquerade, met, note_syn
from .wire import (
    client_path_s,
    hears_client,
    lose_syn,
    lost,
    node_path_s,
    reaches_client,
    reaches_peer,
    travel,
)

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
    if node.conntrack + node.occupied >= node.conntrack_max:
        w.counts.conntrack_drops += 1
        if node.full == 0:
            node.full = 1
            notify(w, t, CONNTRACK_FULL, n)
        return False
    node.conntrack += 1
    node.conntrack_peak = max(node.conntrack_peak, node.conntrack + node.occupied)
    return True


@step
def untrack(w: World, t: float, n: int, end_s: float) -> None:
    """The connection is closed: its entry goes at `end_s`."""
    drain_conntrack(w, t, n)
    w.expiry[n][(int(max(t, end_s)) + 1) % EXPIRY_SLOTS] += 1


@step
def pin(w: World, t: float, f: int, pod: int) -> None:
    """Fix the endpoint of this connection at this node; one fixed before a reboot lets go of its peer."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    node = w.nodes[flight.node]
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
    if connection.port >= 0:
        note_syn(w, t, f)


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
    cost_s *= w.nodes[n].slow
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
    cost_s *= w.nodes[n].slow
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
    if w.config.balancer_epoch != 0 and stops_syn(w, f):
        lose_syn(w, t, f, 0)
    elif not hears_client(w, n):
        lose_syn(w, t, f, w.config.client_no_route)
    elif w.nodes[n].firewall != PASSING:
        bar(w, t, f)
    elif connection.life != flight.connection_life:
        free_flight(w, f)
    elif connection.pod >= 0 and connection.node_epoch == w.nodes[n].epoch:
        copy_pin(w, f)
        if connection.port >= 0:
            note_syn(w, t, f)
        forward_syn(w, t, f, w.nodes[n].packet_s)
    elif connection.port < 0 or not is_known(w, t, f):
        new_syn(w, t, f)


@rare
def is_known(w: World, t: float, f: int) -> bool:
    """Deal with a SYN by what the node remembers of its source port; False where it remembers nothing."""
    pod = met(w, t, f)
    if pod == ANEW:
        return False
    n = w.flights[f].node
    if pod == LOST or not track(w, t, n):
        lose_syn(w, t, f, 0)
    else:
        pin(w, t, f, pod)
        forward_syn(w, t, f, w.nodes[n].packet_s)
    return True


@step
def new_syn(w: World, t: float, f: int) -> None:
    """First packet of a connection the node knows nothing of."""
    n = w.flights[f].node
    if w.nodes[n].endpoints == 0:
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
    refuse(w, t, spend(w, flight.node, flight.core, t, node.refuse_s, f), f)


@rare
def bar(w: World, t: float, f: int) -> None:
    """A firewall in front of the NodePort: silence, or a no at once; it costs the node nothing."""
    if w.nodes[w.flights[f].node].firewall == REJECTING:
        refuse(w, t, t, f)
    else:
        lose_syn(w, t, f, 0)


@rare
def refuse(w: World, t: float, end: float, f: int) -> None:
    """The entry node itself says no, at `end`, if its packets get out."""
    flight = w.flights[f]
    flight.peer = flight.node
    if reaches_client(w, flight.node):
        travel(w, end, client_path_s(w, flight.client, flight.node), REFUSED, f, SYN_AGAIN)
    else:
        lose_syn(w, t, f, 0)


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
    pod = w.endpoints[node.first + rank]
    if w.config.snat_ports > 0 and not masquerade(w, t, f, pod):
        drop_unmasqueraded(w, t, f, cost_s)
        return
    pin(w, t, f, pod)
    if w.config.affinity:
        remember(w, t, n, c, flight.pod)
    forward_syn(w, t, f, cost_s)


@rare
def drop_unmasqueraded(w: World, t: float, f: int, cost_s: float) -> None:
    """The rules are walked for nothing: without a port the entry is not confirmed, and the SYN lost."""
    flight = w.flights[f]
    spend(w, flight.node, flight.core, t, cost_s, f)
    w.nodes[flight.node].conntrack -= 1
    w.counts.snat_drops += 1
    lose_syn(w, t, f, 0)


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
        told = w.config.node_no_route if reaches_client(w, flight.node) else 0
        lose_syn(w, t, f, told)
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
    if w.config.balancer_epoch != 0 and stops_data(w, t, f):
        return
    if not hears_client(w, n):
        lost(w, t, f, DATA_AGAIN)
    elif w.nodes[n].epoch != flight.node_epoch:
        disown(w, t, f)
    else:
        here = flight.peer == n
        cost_s = w.nodes[n].packet_s + (w.config.accept_packet_s if here else w.config.overlay_packet_s)
        end = spend_packet(w, n, flight.core, t, cost_s, f)
        if here:
            at(w, end, DATA_AT_POD, f)
        else:
            travel(w, end, node_path_s(w, n, flight.peer), DATA_AT_PEER, f, DATA_AGAIN)


@rare
def disown(w: World, t: float, f: int) -> None:
    """RST for data of a connection that the entry node does not know, if its packets get out."""
    flight = w.flights[f]
    flight.peer = flight.node
    if reaches_client(w, flight.node):
        travel(w, t, client_path_s(w, flight.client, flight.node), RESET, f, DATA_AGAIN)
    else:
        lost(w, t, f, DATA_AGAIN)


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
