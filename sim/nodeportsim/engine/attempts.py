"""One attempt of a request: it begins, it may be copied, it fails, another follows or the request is over.

A client asks its circuit breaker and its retry budget (restraint.py), waits between attempts (Brooker 2015,
"Exponential Backoff And Jitter"), and may let copies of an attempt race (race.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arrivals import think_s, want
from .codes import (
    AS_USUAL,
    BACKING_OFF,
    CIRCUIT_OPEN,
    CONNECTING,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    COPIES,
    CUSTOM,
    JITTER_DECORRELATED,
    JITTER_EQUAL,
    JITTER_FULL,
    OUTRUN,
    OVERLOADED,
    REQUEST_TIMEOUT,
    RETRY,
    SERVER_ERROR,
    TOTAL_TIMEOUT,
)
from .connections import (
    abandon,
    acquire,
    acquire_again,
    dial,
    release,
)
from .draws import ATTEMPT, BACKOFF, uniform2, uniform4
from .entry import learn
from .machine import after, at, disarm, rare, step
from .pools import free_flight, free_request
from .race import begin_copy, copy_request, goes_on, leave
from .restraint import admit, may_retry, note_failure
from .tally import (
    count_attempt,
    count_attempt_error,
    count_failure,
    note_end,
    note_fate,
)

if TYPE_CHECKING:
    from .records import World


@rare
def attempt(w: World, t: float, r: int) -> None:
    """Begin an attempt, if the client's circuit breaker lets it pass."""
    request = w.requests[r]
    request.attempt_s = t
    if w.groups[w.clients[request.client].group].restrained != 0 and admit(w, t, r) == 0:
        fail_attempt(w, t, r, CIRCUIT_OPEN)
    else:
        prepare(w, t, r)
        acquire(w, t, r)


@rare
def prepare(w: World, t: float, r: int) -> None:
    """Draw for an attempt or a copy of one, and count it."""
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


@rare
def again(w: World, t: float, r: int) -> None:
    """Begin a copy of an attempt; one of a connect dials whatever the pool holds."""
    prepare(w, t, r)
    if w.groups[w.clients[w.requests[r].client].group].dials:
        dial(w, t, r)
    else:
        acquire_again(w, t, r)


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
            note_fate(w, t, k, AS_USUAL)
            abandon(w, t, k)
    free_request(w, r)


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
    if group.restrained != 0:
        note_failure(w, t, r, k, cause)
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
    over = request.attempt + 1 >= group.attempts or cause == TOTAL_TIMEOUT or late
    if over or (group.restrained != 0 and may_retry(w, t, r, cause) == 0):
        count_failure(w, r, cause)
        finish(w, t, r, -1, cause)
        return
    request.attempt += 1
    request.state = BACKING_OFF
    request.backoff_s += wait_s
    after(w, t, wait_s, RETRY, r)


@rare
def backoff_s(w: World, r: int) -> float:
    """Wait before the next attempt: exponential, bounded, spread (Brooker 2015)."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    if group.jitter == JITTER_DECORRELATED:
        return decorrelated_s(w, r)
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


@rare
def decorrelated_s(w: World, r: int) -> float:
    """Between the initial wait and three times the last one, at most `max` (Brooker 2015)."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    last_s = group.backoff_s if request.attempt == 0 else request.slept_s
    u, _ = uniform2(w.config.key0, w.config.key1, BACKOFF, request.client, request.number, request.attempt)
    request.slept_s = min(group.backoff_max_s, group.backoff_s + u * (3.0 * last_s - group.backoff_s))
    return request.slept_s


@step
def finish(w: World, t: float, r: int, pod: int, cause: int) -> None:
    """The request is resolved; a closed-loop client thinks, then wants the next."""
    c = w.requests[r].client
    note_end(w, t, r, pod, cause)
    free_request(w, r)
    if w.groups[w.clients[c].group].closed:
        want(w, t + think_s(w, c, w.clients[c].number), c)
