"""What a client does: want something, connect, wait, give up, try again, count.

A request is the client's view; its attempts come one after another, each over one connection; flights
are the packets of an attempt and outlive it. Latency counts from the intended arrival (open loop), so
a slow system cannot hide behind a slow load generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arrivals import gap_s, trace_at, traced_service_s
from .attempts import attempt, fail_attempt, finish
from .codes import (
    CONNECT_TIMEOUT,
    CONNECTING,
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    CUSTOM,
    DATA_AGAIN,
    DATA_AT_NODE,
    FAULTY,
    HOST_UNREACHABLE,
    NEVER_S,
    NO_PORTS,
    NO_REUSE,
    NO_ROUTE,
    OVERLOADED,
    POOL_TIMEOUT,
    POOL_WAIT,
    REFUSED,
    REJECTED,
    REQUEST_TIMEOUT,
    RESET,
    SERVER_ERROR,
    SUCCEEDED,
    TOTAL_TIMEOUT,
    TRACE,
    VIRTUAL_IP,
    WAITING,
    WATCH,
)
from .connections import (
    aim,
    release,
    send_request,
    send_syn,
    serve_waiting,
    share,
)
from .draws import ARRIVAL, draw_law, uniform2
from .entry import learn
from .liveness import carried, give_up, lose, probe, start_probes
from .machine import arrival, at, rare, step
from .moving import follow
from .pools import free_flight, new_request, remove_waiting
from .race import overtake
from .restraint import note_success
from .tally import (
    count_connection,
    count_offered,
    count_orphan,
    count_success,
)
from .wire import client_path_s, travel

if TYPE_CHECKING:
    from .records import World


@step
def arrive(w: World, t: float, c: int) -> None:
    """A client wants something."""
    client = w.clients[c]
    group = w.groups[client.group]
    k = client.number
    client.number = k + 1
    u_gap, u_demand = uniform2(w.config.key0, w.config.key1, ARRIVAL, c, k, 0)
    if group.closed == 0:
        arrival(w, trace_at(w, c, k + 1) if group.arrivals == TRACE else t + gap_s(w, c, k, u_gap), c)
    r = new_request(w)
    request = w.requests[r]
    request.born_s = t
    request.client = c
    request.number = k
    request.attempt = 0
    request.node = -1
    request.connection = -1
    request.twin = -1
    request.phase = w.config.phase
    request.demand_s = draw_law(
        w.config.service_law, w.config.service_mean_s, w.config.service_sigma, u_demand
    )
    if group.arrivals == TRACE and group.closed == 0:
        request.demand_s = traced_service_s(w, c, k, request.demand_s)
    request.pool_wait_s = 0.0
    request.failed_s = 0.0
    request.backoff_s = 0.0
    count_offered(w, r)
    attempt(w, t, r)


@step
def established(w: World, t: float, f: int) -> None:
    """SYN-ACK: the connection stands, the request goes out."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    if request.life != flight.life or request.state != CONNECTING:
        free_flight(w, f)
        return
    connection = w.connections[flight.connection]
    connection.pod_epoch = flight.pod_epoch
    connection.established_s = t
    connection.heard_s = t
    connection.answered = 1
    request.syn_backoff_s = flight.sent_s - request.syn_s
    request.rules_s = flight.rules_s
    request.node_queue_s = flight.node_queue_s
    flight.rules_s = 0.0
    flight.node_queue_s = 0.0
    count_connection(w, t, r, flight.connection)
    send_request(w, t, r, f)
    group = w.groups[w.clients[request.client].group]
    if group.dials and request.twin >= 0:
        overtake(w, t, r)
    if group.keep_s > 0.0:
        start_probes(w, t, request.connection)
    if group.streams > 1:
        share(w, t, request.connection)


@step
def reply(w: World, t: float, f: int) -> None:
    """The answer, unless nobody waits for it any more."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    if request.life != flight.life or request.state != WAITING:
        count_orphan(w, t)
        free_flight(w, f)
        return
    count_success(w, t, r, f)
    group = w.groups[w.clients[request.client].group]
    if group.policy == CUSTOM:
        learn(w, t, r, 1)
    if group.restrained != 0:
        note_success(w, t, r)
    pod = flight.pod
    free_flight(w, f)
    w.connections[request.connection].heard_s = t
    w.connections[request.connection].give_up_s = 0.0
    release(w, t, request.connection)
    if request.twin >= 0:
        overtake(w, t, r)
    finish(w, t, r, pod, SUCCEEDED)


@rare
def turned_down(w: World, t: float, f: int, kind: int) -> None:
    """An attempt got a clear no. One function for all: what calls `fail_attempt` is slow to compile."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    state = WAITING if kind in (RESET, REJECTED, FAULTY) else CONNECTING
    meant = request.life == flight.life and request.state == state
    free_flight(w, f)
    if meant:
        fail_attempt(w, t, r, denial(kind))


@step
def denial(kind: int) -> int:
    """Cause of failure by who says no."""
    if kind == REFUSED:  # RST or ICMP in answer to the SYN.
        return CONNECTION_REFUSED
    if kind == RESET:  # RST in answer to data.
        return CONNECTION_RESET
    if kind == REJECTED:  # The application's 503.
        return OVERLOADED
    if kind == FAULTY:  # The application's 500.
        return SERVER_ERROR
    if kind == NO_ROUTE:  # ICMP host unreachable: connect() gives EHOSTUNREACH.
        return HOST_UNREACHABLE
    return NO_PORTS  # No source port is free: connect() gives EADDRNOTAVAIL.


@rare
def reset(w: World, t: float, f: int) -> None:
    """RST in answer to data: it ends a connection with all its streams."""
    flight = w.flights[f]
    k = flight.connection
    group = w.groups[w.clients[flight.client].group]
    several = group.streams > 1 and group.reuse != NO_REUSE
    if several and w.connections[k].life == flight.connection_life:
        free_flight(w, f)
        lose(w, t, k, 1)
    else:
        turned_down(w, t, f, RESET)


@rare
def watch(w: World, t: float, k: int) -> None:
    """Look at connection `k`: whatever is due there happens; what it was looked at for may be over."""
    connection = w.connections[k]
    if connection.lost:
        fail_carried(w, t, k)
    elif 0.0 < connection.give_up_s <= t:
        give_up(w, t, k)
    elif 0.0 < connection.probe_s <= t:
        probe(w, t, k)
    serve_waiting(w, t, connection.client)


@rare
def fail_carried(w: World, t: float, k: int) -> None:
    """Connection `k` is dead: fail the first request it carries, and come back for the next."""
    r = carried(w, k, -1)
    if r < 0:
        return
    if carried(w, k, r) >= 0:
        at(w, t, WATCH, k)
    fail_attempt(w, t, r, CONNECTION_RESET if w.connections[k].reset else CONNECTION_LOST)


@rare
def syn_again(w: World, t: float, f: int) -> None:
    """The client's TCP sends the SYN once more, or gives up (ETIMEDOUT)."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    if request.life != flight.life or request.state != CONNECTING:
        free_flight(w, f)
        return
    free_flight(w, f)
    group = w.groups[w.clients[request.client].group]
    schedule = w.syn_at_s[group.syn_schedule]
    if schedule[request.syn + 1] > NEVER_S:
        fail_attempt(w, t, r, CONNECT_TIMEOUT)
    else:
        w.counts.retransmissions += 1
        if group.policy == VIRTUAL_IP:
            follow(w, t, r)
        send_syn(w, t, r)


@rare
def data_again(w: World, t: float, f: int) -> None:
    """The client's TCP sends the request's bytes once more."""
    flight = w.flights[f]
    request = w.requests[flight.request]
    if request.life != flight.life or request.state != WAITING:
        free_flight(w, f)
        return
    if w.groups[w.clients[request.client].group].policy == VIRTUAL_IP:
        aim(w, f)
    travel(w, t, client_path_s(w, flight.client, flight.node), DATA_AT_NODE, f, DATA_AGAIN)


@rare
def timer(w: World, t: float, r: int) -> None:
    """The limit of what the request waits for is reached."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    cause = REQUEST_TIMEOUT
    if request.state == CONNECTING:
        cause = CONNECT_TIMEOUT
    if request.state == POOL_WAIT:
        cause = POOL_TIMEOUT
        remove_waiting(w, request.client, r)
        request.pool_wait_s += t - request.wait_s
        request.attempt_s = t
    if group.total_s > 0.0 and t >= request.born_s + group.total_s:
        cause = TOTAL_TIMEOUT
    fail_attempt(w, t, r, cause)
