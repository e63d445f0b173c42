"""What a pod's age does to its work: slow at first, and at its end it drains.

A container that has just started works with cold caches and code that is not compiled yet: its first request
takes `slowdown` times as long, which falls to 1 in a straight line. A process that drains takes no new
connection (its kernel answers RST), closes idle ones, and each other one with its answer; a client knows of
a closed connection when the FIN is there, one way later, so a request may cross it and meet RST (RFC 9112,
section 9.5). HTTP/2 says GOAWAY first and still takes what crosses it (RFC 9113, section 6.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import POD_EMPTY
from .machine import notify, rare
from .wire import client_path_s, node_path_s

if TYPE_CHECKING:
    from .records import World


@rare
def slow_down(w: World, t: float, f: int) -> None:
    """Let a request take longer at a container that started a short while ago."""
    flight = w.flights[f]
    left = 1.0 - (t - w.pods[flight.pod].started_s) / w.config.slow_start_s
    if left > 0.0:
        flight.demand_s *= 1.0 + (w.config.slowdown - 1.0) * left


@rare
def closed_before(w: World, f: int) -> bool:
    """The request came over a connection that was idle and that the draining process has closed."""
    flight = w.flights[f]
    return flight.first == 0 and w.groups[w.clients[flight.client].group].streams <= 1


@rare
def knows_of_end(w: World, t: float, k: int) -> bool:
    """The draining pod's FIN has reached the client of connection `k`."""
    connection = w.connections[k]
    n = connection.node
    trip_s = node_path_s(w, connection.peer, n) + client_path_s(w, connection.client, n)
    return t >= w.pods[connection.pod].drained_s + trip_s


@rare
def work_done(w: World, t: float, p: int) -> None:
    """A draining process that holds nothing any more ends: the kubelet is told."""
    if w.pods[p].inside == 0:
        notify(w, t, POD_EMPTY, p)
