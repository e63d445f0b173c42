"""Copies of one attempt that race: the first to succeed wins, the others are called off.

Two policies share this. Hedging sends the request once more when no answer has come within a delay (gRPC's
hedging policy, gRFC A6; Dean & Barroso 2013, doi:10.1145/2408776.2408794). Happy eyeballs opens a connection
to the next address when none stands within a delay (RFC 8305). A copy is a request record of its own; those
of one attempt form a ring by age. A copy that gets a clear no before the next one's time is followed at once.
Nothing tells a pod that a copy was called off: its work is done all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    CONNECTING,
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    COPIES,
    COPY,
    HOST_UNREACHABLE,
    OUTRUN,
    OVERLOADED,
    OVERTAKEN,
    POOL_WAIT,
)
from .draws import HEDGE, draw_law, uniform2
from .machine import after, at, disarm, rare
from .pools import new_flight, new_request, remove_waiting

if TYPE_CHECKING:
    from .records import World


@rare
def set_copy(w: World, t: float, r: int) -> None:
    """Let the next copy of this attempt go after the delay, if another one may."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    if request.attempt < COPIES:
        request.race_s = t
    may = request.state == CONNECTING if group.dials != 0 else may_repeat(w, r)
    if request.attempt // COPIES < group.copies and may:
        after(w, t, group.copy_s, COPY, new_flight(w, t, r))


@rare
def may_repeat(w: World, r: int) -> bool:
    """The request is idempotent: gRFC A6 hedges no other."""
    request = w.requests[r]
    return w.groups[w.clients[request.client].group].restrained == 0 or request.idempotent != 0


@rare
def copy_request(w: World, t: float, r: int) -> int:
    """Make the next copy of request `r`, the youngest; what came before counts as failed attempts for it."""
    x = new_request(w)
    old, new = w.requests[r], w.requests[x]
    new.born_s = old.born_s
    new.race_s = old.race_s
    new.demand_s = old.demand_s
    new.pool_wait_s = old.pool_wait_s
    new.failed_s = old.failed_s + (t - old.attempt_s)
    new.backoff_s = old.backoff_s
    new.slept_s = old.slept_s
    new.circuit_turn = old.circuit_turn
    new.idempotent = old.idempotent
    new.number = old.number
    new.client = old.client
    new.connection = -1
    new.twin = old.twin if old.twin >= 0 else r
    new.node = old.node
    new.attempt = old.attempt
    new.phase = old.phase
    old.twin = x
    begin_copy(w, x)
    return x


@rare
def begin_copy(w: World, r: int) -> None:
    """Request `r` is the next copy from now on; its work may be the server's luck rather than its own."""
    request = w.requests[r]
    request.attempt += COPIES
    if request.born_s >= w.config.warmup_s:
        w.counts.hedges += 1
    if w.groups[w.clients[request.client].group].drawn:
        u, _ = uniform2(w.config.key0, w.config.key1, HEDGE, request.client, request.number, request.attempt)
        request.demand_s = draw_law(w.config.service_law, w.config.service_mean_s, w.config.service_sigma, u)


@rare
def goes_on(w: World, r: int, cause: int) -> bool:
    """Request `r` got a clear no while it was the youngest copy, and another copy may follow."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    if request.attempt // COPIES >= group.copies or (group.dials == 0 and not may_repeat(w, r)):
        return False
    if request.twin >= 0 and w.requests[request.twin].attempt > request.attempt:
        return False
    if cause in (CONNECTION_REFUSED, HOST_UNREACHABLE):
        return True
    return group.dials == 0 and cause in (CONNECTION_RESET, OVERLOADED, CONNECTION_LOST)


@rare
def leave(w: World, r: int) -> None:
    """Take request `r` out of its ring: the others race on."""
    before = r
    while w.requests[before].twin != r:
        before = w.requests[before].twin
    following = w.requests[r].twin
    w.requests[before].twin = following if following != before else -1
    w.requests[r].twin = -1


@rare
def overtake(w: World, t: float, r: int) -> None:
    """Request `r` has won: the other copies stop where they are, and let go one after another."""
    x = w.requests[r].twin
    w.requests[r].twin = -1
    at(w, t, OUTRUN, x)
    while x != r:
        request = w.requests[x]
        if request.state == POOL_WAIT:
            remove_waiting(w, request.client, x)
        if request.born_s >= w.config.warmup_s:
            w.counts.overtaken += 1
        request.state = OVERTAKEN
        request.life += 1
        disarm(w, x)
        x = request.twin
        if x == r:
            request.twin = -1
