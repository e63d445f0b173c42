"""How a packet gets from one place to the next, and what its sender does when it does not.

Modelled: one-way path delay between zones, wake-up of the host that receives, exponential jitter,
independent loss, the sender's own clock after a loss: SYN schedule of the client's kernel, RTO of
0.2, 0.4, 0.8 ... s for data (tcp(7), measured on 6.18: docs/models/network.md). A loss is known to
the simulator at once and the retransmission is scheduled at its sender's instant; so a packet that
is merely late is never sent twice (no spurious retransmission). Left out: bandwidth, reordering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    BALANCER,
    CONNECTING,
    DATA_AGAIN,
    DATA_AT_NODE,
    DATA_AT_PEER,
    NO_ROUTE,
    OWN_NODE,
    SYN_AGAIN,
    SYN_AT_NODE,
    SYN_AT_PEER,
    WAITING,
    WATCH,
)
from .draws import JITTER, log, uniform2
from .machine import after, at, rare, step
from .pools import free_flight

if TYPE_CHECKING:
    from .records import World


@step
def client_path_s(w: World, c: int, n: int) -> float:
    """One way between a client and a node, with the wake-up of the receiver."""
    client = w.clients[c]
    policy = w.groups[client.group].policy
    if policy == OWN_NODE:
        return w.config.wake_up_s
    delay_s = w.path_s[client.zone][w.nodes[n].zone] + w.config.wake_up_s
    return delay_s + w.config.balancer_s if policy == BALANCER else delay_s


@step
def node_path_s(w: World, n: int, m: int) -> float:
    """One way between two nodes; nothing within a node."""
    return 0.0 if n == m else w.path_s[w.nodes[n].zone][w.nodes[m].zone]


@step
def travel(w: World, t: float, delay_s: float, kind: int, f: int, lost_kind: int) -> None:
    """Send flight `f`; if the packet is lost its sender acts as after `lost_kind`."""
    if w.config.noisy == 0:
        after(w, t, delay_s, kind, f)
    else:
        travel_noisily(w, t, delay_s, kind, f, lost_kind)


@rare
def travel_noisily(w: World, t: float, delay_s: float, kind: int, f: int, lost_kind: int) -> None:
    """Send flight `f` over a path with jitter and loss."""
    flight = w.flights[f]
    hop = flight.hops
    flight.hops = hop + 1
    key0, key1 = w.config.key0, w.config.key1
    u_loss, u_delay = uniform2(key0, key1, JITTER, flight.client, flight.number, flight.attempt * 256 + hop)
    if u_loss < path_loss(w, kind, f):
        lost(w, t, f, lost_kind)
    else:
        after(w, t, delay_s - log(u_delay) * w.config.jitter_s, kind, f)


@rare
def path_loss(w: World, kind: int, f: int) -> float:
    """Chance that this packet is lost: by the network once, by a node's link each time it passes there."""
    flight = w.flights[f]
    n, m = flight.node, flight.peer
    loss_ratio = also_lost(w, w.config.loss_ratio, n)
    if kind in (SYN_AT_NODE, DATA_AT_NODE) or m == n or m < 0:
        return loss_ratio
    loss_ratio = also_lost(w, loss_ratio, m)
    if kind in (SYN_AT_PEER, DATA_AT_PEER):
        return loss_ratio
    return also_lost(w, loss_ratio, n)  # An answer comes into the entry node, and leaves it.


@step
def also_lost(w: World, loss_ratio: float, n: int) -> float:
    """Chance of a loss where node `n` loses packets too."""
    return loss_ratio + (1.0 - loss_ratio) * w.nodes[n].loss_ratio


@step
def hears_client(w: World, n: int) -> bool:
    """Packets of clients arrive at node `n`."""
    return w.nodes[n].up != 0 and w.nodes[n].deaf == 0


@step
def reaches_client(w: World, n: int) -> bool:
    """Packets of node `n` arrive at clients."""
    return w.nodes[n].up != 0 and w.nodes[n].mute == 0


@step
def reaches_peer(w: World, n: int, m: int) -> bool:
    """Packets of node `n` arrive at node `m`."""
    if n == m:
        return True
    here, there = w.nodes[n], w.nodes[m]
    return (
        here.mute == 0 and here.cut_nodes == 0 and there.up != 0 and there.deaf == 0 and there.cut_nodes == 0
    )


@rare
def lost(w: World, t: float, f: int, kind: int) -> None:
    """A packet went into silence: its sender tries again by its own clock, or nobody is left to."""
    if kind == SYN_AGAIN:
        lose_syn(w, t, f, 0)
    else:
        lose_data(w, t, f, kind)


@rare
def lose_syn(w: World, t: float, f: int, no_route: int) -> None:
    """SYN or SYN-ACK lost: the next SYN goes at its instant; the connect time-out may come first."""
    flight = w.flights[f]
    request = w.requests[flight.request]
    if request.life != flight.life or request.state != CONNECTING:
        free_flight(w, f)
        return
    schedule = w.syn_at_s[w.groups[w.clients[request.client].group].syn_schedule]
    request.syn += 1
    give_up_s = request.syn_s + w.config.no_route_s
    if no_route and request.syn_s + schedule[request.syn] > give_up_s:
        at(w, max(t, give_up_s), NO_ROUTE, f)
    else:
        at(w, max(t, request.syn_s + schedule[request.syn]), SYN_AGAIN, f)


@rare
def retransmission_s(w: World, k: int) -> float:
    """Instant of retransmission k = 0, 1 ... after the first sending; the interval stops at 120 s."""
    return w.config.rto_s * 2.0 ** min(k, 10) + max(0, k - 10) * 120.0


@rare
def lose_data(w: World, t: float, f: int, kind: int) -> None:
    """Data or an answer lost: sent again 0.2, 0.4, 0.8 ... s after the first time, until TCP gives up."""
    flight = w.flights[f]
    request = w.requests[flight.request]
    given_up = kind != DATA_AGAIN and flight.tries >= w.config.data_retries
    if request.life != flight.life or request.state != WAITING or given_up:
        free_flight(w, f)
        return
    if kind == DATA_AGAIN:
        doubt(w, t, f)
    again_s = flight.sent_s + retransmission_s(w, flight.tries)
    flight.tries += 1
    w.counts.retransmissions += 1
    at(w, max(t, again_s), kind, f)


@rare
def doubt(w: World, t: float, f: int) -> None:
    """The client's TCP holds data that nobody acknowledges: it gives the connection up in the end."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    group = w.groups[w.clients[flight.client].group]
    if connection.life != flight.connection_life or connection.give_up_s > 0.0:
        return
    connection.give_up_s = max(t, flight.sent_s + group.give_up_s)
    if group.streams > 1 or group.request_s <= 0.0 or group.request_s > group.give_up_s:
        at(w, connection.give_up_s, WATCH, flight.connection)  # Else the request's own limit comes first.


@rare
def acknowledge(w: World, f: int) -> None:
    """Data that were sent again have arrived."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    if connection.life == flight.connection_life:
        connection.give_up_s = 0.0
