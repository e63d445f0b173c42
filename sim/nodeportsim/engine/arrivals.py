"""When clients want something: open loop by a clock of their own, closed loop after a thought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import ARRIVE, BURSTY, FIXED, NEVER_S, POISSON, TRACE
from .draws import ARRIVAL, THINK, draw_law, log, uniform2
from .machine import arrival, at, rare, step

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
def traced_service_s(w: World, c: int, k: int, drawn_s: float) -> float:
    """Service time of request k of a client that follows a trace: recorded, or as it was drawn."""
    group = w.groups[w.clients[c].group]
    recorded_s = w.trace_service_s[group.trace_first + k * group.count + c - group.first]
    return recorded_s if recorded_s >= 0.0 else drawn_s


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
