"""Slots of requests, connections and flights; FIFO servers; lists linked through `next`.

A queue needs no events of its own: with first come first served and k servers a departure is known
on arrival (Kiefer & Wolfowitz 1955, doi:10.1090/S0002-9947-1955-0066587-0), and a crash voids it by
an epoch that is compared on departure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import FREE, NEVER_S, STANDING
from .machine import disarm, rare, step

if TYPE_CHECKING:
    from .records import World

HOPS_A_SYN = 8  # A SYN and its answer cross at most three paths.


@step
def new_request(w: World) -> int:
    """Take a slot; the schedulers see to it that there is one."""
    r = w.counts.request_free
    w.counts.request_free = w.requests[r].next
    w.counts.open_requests += 1
    return r


@step
def free_request(w: World, r: int) -> None:
    """Give the slot back; its flights and timers mean nothing from now on."""
    request = w.requests[r]
    request.life += 1
    request.state = FREE
    disarm(w, r)
    request.next = w.counts.request_free
    w.counts.request_free = r
    w.counts.open_requests -= 1


@step
def new_connection(w: World, t: float, c: int) -> int:
    """Take a slot for a connection that client `c` opens."""
    k = w.counts.connection_free
    connection = w.connections[k]
    w.counts.connection_free = connection.next
    w.counts.open_connections += 1
    connection.client = c
    connection.opened_s = t
    connection.established_s = NEVER_S
    connection.idle_s = t
    connection.node = -1
    connection.pod = -1
    connection.peer = -1
    connection.requests = 0
    connection.active = 0
    connection.listed = 0
    connection.dead = 0
    connection.reset = 0
    connection.fate = STANDING
    connection.port = -1
    connection.snat_port = -1
    connection.answered = 0
    connection.tracked = 0
    connection.balancer_epoch = w.config.balancer_epoch
    connection.next = -1
    return k


@step
def free_connection(w: World, k: int) -> None:
    """Give the slot back."""
    connection = w.connections[k]
    connection.life += 1
    connection.established_s = NEVER_S
    connection.heard_s = 0.0
    connection.give_up_s = 0.0
    connection.probe_s = 0.0
    connection.lost = 0
    connection.next = w.counts.connection_free
    w.counts.connection_free = k
    w.counts.open_connections -= 1


@step
def take_flight(w: World) -> int:
    """Take a slot for a packet."""
    f = w.counts.flight_free
    w.counts.flight_free = w.flights[f].next
    w.counts.open_flights += 1
    return f


@step
def new_flight(w: World, t: float, r: int) -> int:
    """Take a slot for a packet of request `r` over its connection."""
    f = take_flight(w)
    flight = w.flights[f]
    request = w.requests[r]
    connection = w.connections[request.connection]
    flight.request = r
    flight.life = request.life
    flight.client = request.client
    flight.number = request.number
    flight.attempt = request.attempt
    flight.connection = request.connection
    flight.connection_life = connection.life
    flight.sent_s = t
    flight.demand_s = request.demand_s
    flight.rules_s = 0.0
    flight.node_queue_s = 0.0
    flight.pod_queue_s = 0.0
    flight.node = connection.node
    flight.pod = connection.pod
    flight.peer = connection.peer
    flight.node_epoch = connection.node_epoch
    flight.peer_epoch = connection.peer_epoch
    flight.pod_epoch = connection.pod_epoch
    flight.core = connection.core
    flight.peer_core = connection.peer_core
    flight.tries = 0
    flight.hops = HOPS_A_SYN * request.syn  # Each SYN of an attempt has draws of its own.
    flight.inside = 0
    return f


@rare
def copy_flight(w: World, f: int) -> int:
    """Take a slot for another packet of the same exchange; its request may be long over."""
    g = take_flight(w)
    old, new = w.flights[f], w.flights[g]
    new.request = old.request
    new.life = old.life
    new.client = old.client
    new.number = old.number
    new.attempt = old.attempt
    new.connection = old.connection
    new.connection_life = old.connection_life
    new.sent_s = old.sent_s
    new.demand_s = old.demand_s
    new.rules_s = old.rules_s
    new.node_queue_s = old.node_queue_s
    new.pod_queue_s = old.pod_queue_s
    new.node = old.node
    new.pod = old.pod
    new.peer = old.peer
    new.node_epoch = old.node_epoch
    new.peer_epoch = old.peer_epoch
    new.pod_epoch = old.pod_epoch
    new.core = old.core
    new.peer_core = old.peer_core
    new.tries = old.tries
    new.hops = old.hops
    new.reply = old.reply
    new.first = old.first
    new.inside = 0
    return g


@step
def free_flight(w: World, f: int) -> None:
    """Give the slot back."""
    w.flights[f].inside = 0
    w.flights[f].request = -1
    w.flights[f].next = w.counts.flight_free
    w.counts.flight_free = f
    w.counts.open_flights -= 1


@step
def serve(free_s: list[float], t: float, demand_s: float) -> float:
    """Departure from a group of servers that take turns by who is free first."""
    best, least_s = 0, free_s[0]
    for k in range(1, len(free_s)):
        x = free_s[k]
        best = k if x < least_s else best
        least_s = min(x, least_s)
    end = max(t, least_s) + demand_s
    free_s[best] = end
    return end


@step
def serve_at(free_s: list[float], server: int, t: float, demand_s: float) -> float:
    """Departure from one server of a group: a flow stays on the core it was hashed to."""
    free_s[server] = max(t, free_s[server]) + demand_s
    return free_s[server]


@step
def push_idle_front(w: World, k: int) -> None:
    """Put a connection at the head of its client's idle list."""
    connection = w.connections[k]
    client = w.clients[connection.client]
    connection.listed = 1
    connection.next = client.idle_head
    client.idle_head = k
    if client.idle_tail < 0:
        client.idle_tail = k


@step
def push_idle_back(w: World, k: int) -> None:
    """Put a connection at the tail of its client's idle list."""
    connection = w.connections[k]
    client = w.clients[connection.client]
    connection.listed = 1
    connection.next = -1
    if client.idle_tail < 0:
        client.idle_head = k
    else:
        w.connections[client.idle_tail].next = k
    client.idle_tail = k


@step
def unlink_idle(w: World, c: int, before: int, k: int) -> None:
    """Take connection `k` out of the idle list; `before` is its predecessor, -1 at the head."""
    client = w.clients[c]
    if before < 0:
        client.idle_head = w.connections[k].next
    else:
        w.connections[before].next = w.connections[k].next
    if client.idle_tail == k:
        client.idle_tail = before
    w.connections[k].listed = 0


@step
def push_waiting(w: World, c: int, r: int) -> None:
    """Let request `r` wait for a connection of client `c`."""
    client = w.clients[c]
    w.requests[r].next = -1
    if client.wait_tail < 0:
        client.wait_head = r
    else:
        w.requests[client.wait_tail].next = r
    client.wait_tail = r


@step
def pop_waiting(w: World, c: int) -> int:
    """Take the request that has waited longest, -1 where none does."""
    client = w.clients[c]
    r = client.wait_head
    if r >= 0:
        client.wait_head = w.requests[r].next
        if client.wait_head < 0:
            client.wait_tail = -1
    return r


@rare
def remove_waiting(w: World, c: int, r: int) -> None:
    """Take request `r` out of the queue: it has waited too long."""
    client = w.clients[c]
    before, k = -1, client.wait_head
    while k != r:
        before, k = k, w.requests[k].next
    if before < 0:
        client.wait_head = w.requests[r].next
    else:
        w.requests[before].next = w.requests[r].next
    if client.wait_tail == r:
        client.wait_tail = before
