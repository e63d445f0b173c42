"""What a client does: want something, connect, wait, give up, try again, count.

A request is the client's view; its attempts come one after another, each over one connection; flights
are the packets of an attempt and outlive it. Latency counts from the intended arrival (open loop), so
a slow system cannot hide behind a slow load generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arrivals import gap_s, think_s, trace_at, want
from .codes import (
    BACKING_OFF,
    CONNECT_TIMEOUT,
    CONNECTING,
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    COPIES,
    CUSTOM,
    DATA_AGAIN,
    DATA_AT_NODE,
    HOST_UNREACHABLE,
    JITTER_EQUAL,
    JITTER_FULL,
    NEVER_S,
    NO_PORTS,
    NO_REUSE,
    OUTRUN,
    OVERLOADED,
    POOL_TIMEOUT,
    POOL_WAIT,
    REQUEST_TIMEOUT,
    RETRY,
    SERVER_ERROR,
    SUCCEEDED,
    TOTAL_TIMEOUT,
    TRACE,
    VIRTUAL_IP,
    WAITING,
    WATCH,
)
from .connections import (
    abandon,
    acquire,
    aim,
    dial,
    follow,
    release,
    send_request,
    send_syn,
    serve_waiting,
    share,
)
from .draws import ARRIVAL, ATTEMPT, BACKOFF, draw_law, uniform2, uniform4
from .entry import learn
from .liveness import carried, give_up, lose, probe, start_probes
from .machine import after, arrival, at, disarm, rare, step
from .pools import free_flight, free_request, new_request, remove_waiting
from .race import begin_copy, copy_request, goes_on, leave, overtake
from .tally import (
    count_attempt_error,
    count_connection,
    count_failure,
    count_offered,
    count_success,
    note_end,
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
    request.pool_wait_s = 0.0
    request.failed_s = 0.0
    request.backoff_s = 0.0
    count_offered(w, r)
    attempt(w, t, r)


@step
def attempt(w: World, t: float, r: int) -> None:
    """Begin an attempt with draws of its own."""
    prepare(w, t, r)
    acquire(w, t, r)


@step
def prepare(w: World, t: float, r: int) -> None:
    """Draw for an attempt, and count it."""
    request = w.requests[r]
    request.u_node, request.u_pod, request.u_core, request.u_peer = uniform4(
        w.config.key0, w.config.key1, ATTEMPT, request.client, request.number, request.attempt
    )
    request.attempt_s = t
    request.syn_backoff_s = 0.0
    request.rules_s = 0.0
    request.node_queue_s = 0.0
    if request.born_s >= w.config.warmup_s:
        w.counts.attempts += 1


@rare
def again(w: World, t: float, r: int) -> None:
    """Begin a further attempt; a copy of a connect dials whatever the pool holds."""
    request = w.requests[r]
    if request.attempt >= COPIES and w.groups[w.clients[request.client].group].dials:
        prepare(w, t, r)
        dial(w, t, r)
    else:
        attempt(w, t, r)


@rare
def copy(w: World, t: float, f: int) -> None:
    """Nothing has come of an attempt within the delay: another copy of it goes."""
    flight = w.flights[f]
    r = flight.request
    request = w.requests[r]
    void = request.life != flight.life
    if w.groups[w.clients[flight.client].group].dials and request.state != CONNECTING:
        void = True
    free_flight(w, f)
    if not void:
        again(w, t, copy_request(w, t, r))


@rare
def outrun(w: World, t: float, r: int) -> None:
    """Another copy has won: let go of this one's connection, as after a time-out, and call on the next."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    k = request.connection
    if request.twin >= 0:
        at(w, t, OUTRUN, request.twin)
    if k >= 0:
        if group.policy == CUSTOM:
            learn(w, t, r, 0)
        if group.streams > 1 and w.connections[k].heard_s > 0.0:
            release(w, t, k)
        else:
            abandon(w, t, k)
    free_request(w, r)


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
        w.counts.orphans += 1
        free_flight(w, f)
        return
    count_success(w, t, r, f)
    if w.groups[w.clients[request.client].group].policy == CUSTOM:
        learn(w, t, r, 1)
    pod = flight.pod
    free_flight(w, f)
    w.connections[request.connection].heard_s = t
    w.connections[request.connection].give_up_s = 0.0
    release(w, t, request.connection)
    if request.twin >= 0:
        overtake(w, t, r)
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
    """RST in answer to data: it ends a connection with all its streams."""
    flight = w.flights[f]
    k = flight.connection
    group = w.groups[w.clients[flight.client].group]
    several = group.streams > 1 and group.reuse != NO_REUSE
    if several and w.connections[k].life == flight.connection_life:
        free_flight(w, f)
        lose(w, t, k, 1)
    else:
        turned_down(w, t, f, WAITING, CONNECTION_RESET)


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
def rejected(w: World, t: float, f: int) -> None:
    """The application's 503."""
    turned_down(w, t, f, WAITING, OVERLOADED)


@rare
def erred(w: World, t: float, f: int) -> None:
    """The application's 500."""
    turned_down(w, t, f, WAITING, SERVER_ERROR)


@rare
def no_route(w: World, t: float, f: int) -> None:
    """ICMP host unreachable: connect() gives EHOSTUNREACH."""
    turned_down(w, t, f, CONNECTING, HOST_UNREACHABLE)


@rare
def unbound(w: World, t: float, f: int) -> None:
    """No source port is free: connect() gives EADDRNOTAVAIL."""
    turned_down(w, t, f, CONNECTING, NO_PORTS)


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
        if cause in (OVERLOADED, SERVER_ERROR) or (cause == REQUEST_TIMEOUT and group.streams > 1):
            release(w, t, k)
        else:
            w.connections[k].reset = int(cause in (CONNECTION_REFUSED, CONNECTION_RESET))
            abandon(w, t, k)
    if group.copies > 0 and goes_on(w, r, cause):
        begin_copy(w, r)
        again(w, t, r)
        return
    if request.twin >= 0:
        leave(w, r)
        free_request(w, r)
        return
    request.attempt %= COPIES
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
