"""What an external balancer lets pass once it has failed over, or has let go of a node.

While the active one is dead and its standby has not taken over nothing passes, either way. The standby
does not know the connections of the active one, unless they were copied to it: what belongs to no
connection is answered by RST (RFC 9293, 3.10.7.1), or by nothing. A SYN always passes, and makes the
connection known. A balancer that closes what is left on a node it took out tells the clients by RST.
Packets are stopped where they meet the node. Left out: the RST that tells the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import BALANCER, DATA_AGAIN, FAULTY, REJECTED, REPLY, RESET
from .machine import after, rare
from .wire import client_path_s, lost

if TYPE_CHECKING:
    from .records import World


@rare
def behind_balancer(w: World, f: int) -> bool:
    """The flight passes an external balancer."""
    return w.groups[w.clients[w.flights[f].client].group].policy == BALANCER


@rare
def stops_syn(w: World, f: int) -> bool:
    """A SYN stops where nobody is active; else its connection is known from now on."""
    if not behind_balancer(w, f):
        return False
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    if w.config.balancer_down == 0 and connection.life == flight.connection_life:
        connection.balancer_epoch = w.config.balancer_epoch
    return w.config.balancer_down > 0


@rare
def let_go(w: World, f: int) -> bool:
    """The flight's connection was closed when the balancer let go of its node."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    known = w.nodes[flight.node].balancer_known
    return connection.life == flight.connection_life and connection.balancer_epoch < known


@rare
def forgotten(w: World, f: int) -> bool:
    """The active balancer does not know the flight's connection."""
    flight = w.flights[f]
    connection = w.connections[flight.connection]
    known = w.config.balancer_known
    return connection.life == flight.connection_life and connection.balancer_epoch < known


@rare
def stops_data(w: World, t: float, f: int) -> bool:
    """A request's bytes: lost where nobody is active, lost or answered by RST where nobody knows them."""
    if not behind_balancer(w, f):
        return False
    flight = w.flights[f]
    closed = let_go(w, f) or (forgotten(w, f) and w.config.balancer_resets != 0)
    if w.config.balancer_down == 0 and closed:
        after(w, t, client_path_s(w, flight.client, flight.node), RESET, f)
        return True
    if w.config.balancer_down > 0 or forgotten(w, f):
        lost(w, t, f, DATA_AGAIN)
        return True
    return False


@rare
def past_balancer(w: World, f: int, kind: int) -> int:
    """What becomes of an answer: -1 where it is lost, RST where its connection was closed, else itself."""
    if not behind_balancer(w, f):
        return kind
    if w.config.balancer_down > 0 or forgotten(w, f):
        return -1
    if kind in (REPLY, REJECTED, FAULTY) and let_go(w, f):
        return RESET
    return kind
