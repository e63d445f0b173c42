"""What the two loads of the step files do not share, compiled side: Numba, a binary heap, timer rings.

A timer of constant delay never overtakes an earlier one of the same delay, so each such delay has a ring, a
queue without sifting; most timers are void when their time comes, and in the heap they would only be in the
way. Everything else is in the heap. One sequence number runs over both, so ties keep their order.

Nothing is allocated in the kernel, so reference counts are switched off by the target option `_nrt`
(undocumented; without it the same code runs four to five times slower). It stands here only.
The compiled code is kept by `nodeportsim.engine.cache`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from nodeportsim.engine.cache import folder, forget_old, is_warm
from nodeportsim.engine.records import TIMER

if not is_warm():
    forget_old()  # About to compile: the one moment when other versions' leavings matter.

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "_nrt": False, "boundscheck": False}

EVENT = np.dtype([("t", "f8"), ("number", "i8"), ("kind", "i4"), ("i", "i4")], align=True)
STATE = np.dtype([("pending", "i8"), ("number", "i8"), ("events", "i8")], align=True)
LANE = np.dtype([("delay_s", "f8"), ("head", "i8"), ("tail", "i8")], align=True)


def jit(**options: Any) -> Any:
    """Compile with the house's options, and the cache in a folder named after the sources."""

    def wrap(f: Any) -> Any:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder())
        try:
            return numba.njit(**OPTIONS, **options)(f)
        finally:
            numba.config.CACHE_DIR = before

    return wrap


step = jit()
rare = jit()


@step
def push(w, t, kind, i):
    """Put an event into the heap, ordered by time, then by number."""
    h = w.heap
    state = w.state
    number = state.number
    state.number = number + 1
    n = state.pending
    state.pending = n + 1
    while n > 0:
        up = (n - 1) >> 1
        # A new number is the largest, so at equal instants the older event stays above.
        if h[up].t <= t:
            break
        h[n].t = h[up].t
        h[n].number = h[up].number
        h[n].kind = h[up].kind
        h[n].i = h[up].i
        n = up
    h[n].t = t
    h[n].number = number
    h[n].kind = kind
    h[n].i = i
    return number


@step
def at(w, t, kind, i):
    push(w, t, kind, i)


@step
def after(w, t, delay_s, kind, i):
    push(w, t + delay_s, kind, i)


@step
def arm(w, t, delay_s, r):
    for k in range(len(w.lanes)):
        lane = w.lanes[k]
        if lane.delay_s == delay_s:
            number = w.state.number
            w.state.number = number + 1
            event = w.ring[k, lane.tail & (w.ring.shape[1] - 1)]
            event.t = t + delay_s
            event.number = number
            event.kind = TIMER
            event.i = r
            lane.tail += 1
            w.requests[r].timer = number
            return
    w.requests[r].timer = push(w, t + delay_s, TIMER, r)


@step
def float_bits(x):
    return np.float64(x).view(np.int64)
