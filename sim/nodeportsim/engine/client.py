"""What a client does: want something, connect, wait, give up, try again, count.

A request is the client's view; its attempts come one after another, each over one connection; flights
are the packets of an attempt and outlive it. Latency counts from the intended arrival (open loop), so
a slow system cannot hide behind a slow load generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    ARRIVE,
    BACKING_OFF,
    BURSTY,
    CONNECT_TIMEOUT,
    CONNECTING,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    CUSTOM,
    DATA_AGAIN,
    DATA_AT_NODE,
    FIXED,
    HOST_UNREACHABLE,
    JITTER_EQUAL,
    JITTER_FULL,
    NEVER_S,
    OVERLOADED,
    POISSON,
    POOL_TIMEOUT,
    POOL_WAIT,
    REQUEST_TIMEOUT,
    RETRY,
    SUCCEEDED,
    TOTAL_TIMEOUT,
    TRACE,
    WAITING,
)
from .connections import abandon, acquire, release, send_request, send_syn
from .draws import ARRIVAL, ATTEMPT, BACKOFF, THINK, draw_law, log, uniform2, uniform4
from .entry import learn
from .machine import after, arrival, at, disarm, rare, step
from .pools import free_flight, free_request, new_request, remove_waiting
from .tally import (
    count_attempt,
    count_attempt_error,
    count_connection,
    count_failure,
    count_offered,
    count_orphan,
    count_success,
    note_end,
)
from .wire import client_path_s, travel

if TYPE_CHECKING:
    from .records import World


@step
def gap_s(w: World, c: int, k: int, u: float) -> float:
    """From request k of an open-loop client to its next one."""
    group = w.groups[w.clients[c].group]
    mean_s = group.count / group.rate_rps
    if group.arrivals == POISSON:
        return -log(u) * mean_s
    if group.arrivals == BURSTY:
        return 0.0 if (k + 1) % group.burst != 0 else -log(u) * mean_s * group.burst
    return mean_s


@rare
def first_s(w: World, c: int) -> float:
    """Instant of a client's first request."""
    group = w.groups[w.clients[c].group]
    place = c - group.first
    if group.closed:
        return think_s(w, c, -1)
    if group.arrivals == FIXED:
        return place / group.rate_rps
    if group.arrivals == TRACE:
        return trace_at(w, c, 0)
    u, _ = uniform2(w.config.key0, w.config.key1, ARRIVAL, c, 0, 1)
    return gap_s(w, c, -1, u)


@rare
def trace_at(w: World, c: int, k: int) -> float:
    """Instant of request k of a client that follows a trace; infinite after its end."""
    group = w.groups[w.clients[c].group]
    row = k * group.count + c - group.first
    return w.trace_s[group.trace_first + row] if row < group.trace_count else 2.0 * NEVER_S


@rare
def think_s(w: World, c: int, k: int) -> float:
    """Think time after request k of a closed-loop client."""
    group = w.groups[w.clients[c].group]
    u, _ = uniform2(w.config.key0, w.config.key1, THINK, c, k, 0)
    return draw_law(group.think_law, group.think_mean_s, group.think_sigma, u)


@rare
def start(w: World) -> None:
    """Set every client's first arrival."""
    for c in range(len(w.clients)):
        want(w, first_s(w, c), c)


@step
def want(w: World, t: float, c: int) -> None:
    """Let client `c` want a request at `t`, unless arrivals are over by then."""
    if w.groups[w.clients[c].group].closed == 0:
        arrival(w, t, c)
    elif t < w.config.duration_s:
        at(w, t, ARRIVE, c)


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
    request.phase = w.config.phase
    request.demand_s = draw_law(
        w.config.service_law, w.config.service_mean_s, w.config.service_sigma, u_demand
    )
    request.pool_wait_s = 0.0
    request.failed_s = 0.0
    request.backoff_s = 0.0
    count_offered(w, r)
    attempt(w, t, r)


@step
def attempt(w: World, t: float, r: int) -> None:
    """Begin an attempt with draws of its own."""
    request = w.requests[r]
    request.u_node, request.u_pod, request.u_core, request.u_peer = uniform4(
        w.config.key0, w.config.key1, ATTEMPT, request.client, request.number, request.attempt
    )
    request.attempt_s = t
    request.syn_backoff_s = 0.0
    request.rules_s = 0.0
    request.node_queue_s = 0.0
    if request.born_s >= w.config.warmup_s:
        count_attempt(w, t)
    acquire(w, t, r)


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
    request.syn_backoff_s = flight.sent_s - request.syn_s
    request.rules_s = flight.rules_s
    request.node_queue_s = flight.node_queue_s
    flight.rules_s = 0.0
    flight.node_queue_s = 0.0
    count_connection(w, t, r, flight.connection)
    send_request(w, t, r, f)


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
    if w.groups[w.clients[request.client].group].policy == CUSTOM:
        learn(w, t, r, 1)
    pod = flight.pod
    free_flight(w, f)
    release(w, t, request.connection)
    finish(w, t, r, pod, SUCCEEDED)


@rare
def turned_down(w: World, t: float, f: int, state: int, cause: int) -> None:
    """An attempt got a clear no: RST, ICMP or 503."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    meant = request.life == flight.life and request.state == state
    free_flight(w, f)
    if meant:
        fail_attempt(w, t, r, cause)


@rare
def refused(w: World, t: float, f: int) -> None:
    """RST or ICMP in answer to the SYN."""
    turned_down(w, t, f, CONNECTING, CONNECTION_REFUSED)


@rare
def reset(w: World, t: float, f: int) -> None:
    """RST in answer to data."""
    turned_down(w, t, f, WAITING, CONNECTION_RESET)


@rare
def rejected(w: World, t: float, f: int) -> None:
    """The application's 503."""
    turned_down(w, t, f, WAITING, OVERLOADED)


@rare
def no_route(w: World, t: float, f: int) -> None:
    """ICMP host unreachable: connect() gives EHOSTUNREACH."""
    turned_down(w, t, f, CONNECTING, HOST_UNREACHABLE)


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
    schedule = w.syn_at_s[w.groups[w.clients[request.client].group].syn_schedule]
    if schedule[request.syn + 1] > NEVER_S:
        fail_attempt(w, t, r, CONNECT_TIMEOUT)
    else:
        w.counts.retransmissions += 1
        send_syn(w, t, r)


@rare
def data_again(w: World, t: float, f: int) -> None:
    """The client's TCP sends the request's bytes once more."""
    flight = w.flights[f]
    request = w.requests[flight.request]
    if request.life != flight.life or request.state != WAITING:
        free_flight(w, f)
    else:
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


@rare
def fail_attempt(w: World, t: float, r: int, cause: int) -> None:
    """This attempt is over: let go of its connection, then back off and try again, or give up."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    k = request.connection
    request.connection = -1
    request.life += 1
    disarm(w, r)
    count_attempt_error(w, r, cause)
    request.failed_s += t - request.attempt_s
    if k >= 0:
        if group.policy == CUSTOM:
            learn(w, t, r, 0)
        if cause == OVERLOADED or (cause == REQUEST_TIMEOUT and group.streams > 1):
            release(w, t, k)
        else:
            w.connections[k].reset = int(cause in (CONNECTION_REFUSED, CONNECTION_RESET))
            abandon(w, t, k)
    wait_s = backoff_s(w, r)
    late = group.total_s > 0.0 and t + wait_s >= request.born_s + group.total_s
    if request.attempt + 1 >= group.attempts or cause == TOTAL_TIMEOUT or late:
        count_failure(w, r, cause)
        finish(w, t, r, -1, cause)
        return
    request.attempt += 1
    request.state = BACKING_OFF
    request.backoff_s += wait_s
    after(w, t, wait_s, RETRY, r)


@rare
def backoff_s(w: World, r: int) -> float:
    """Wait before the next attempt: exponential, bounded, spread (Brooker 2015, full and equal jitter)."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    power = 1.0
    for _ in range(request.attempt):  # `**` is not the same in both loads: the last bit of pow() may differ.
        power *= group.backoff_factor
    wait_s = min(group.backoff_max_s, group.backoff_s * power)
    u, _ = uniform2(w.config.key0, w.config.key1, BACKOFF, request.client, request.number, request.attempt)
    if group.jitter == JITTER_FULL:
        return wait_s * u
    if group.jitter == JITTER_EQUAL:
        return wait_s * (0.5 + 0.5 * u)
    return wait_s


@step
def finish(w: World, t: float, r: int, pod: int, cause: int) -> None:
    """The request is resolved; a closed-loop client thinks, then wants the next."""
    c = w.requests[r].client
    note_end(w, t, r, pod, cause)
    free_request(w, r)
    if w.groups[w.clients[c].group].closed:
        want(w, t + think_s(w, c, w.clients[c].number), c)
