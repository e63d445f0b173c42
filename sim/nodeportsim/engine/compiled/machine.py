"""What the two loads of the step files do not share, compiled side: see `queues` and `options`."""

from __future__ import annotations

from nodeportsim.engine.codes import TIMER

from .options import rare, step
from .policies import ask, tell
from .queues import KINDS, LANES, NEVER, bits_of, delist, enlist, join, list_of, next_number, push, replay
from .world import prefetch

__all__ = [
    "after",
    "arm",
    "arrival",
    "ask",
    "at",
    "disarm",
    "float_bits",
    "notify",
    "prefetch",
    "rare",
    "step",
    "tell",
]

float_bits = bits_of


@step
def at(w, t, kind, i):
    if kind < 2 * LANES:
        join(w, kind >> 1, bits_of(t), next_number(w), i * KINDS + kind)
    else:
        push(w, bits_of(t), next_number(w), i * KINDS + kind)


@step
def after(w, t, delay_s, kind, i):
    at(w, t + delay_s, kind, i)


@step
def arrival(w, t, c):
    replay(w, c, bits_of(t) if t < w.config.duration_s else NEVER)


@step
def arm(w, t, delay_s, r):
    k = list_of(w, delay_s)
    number = next_number(w)
    w.requests[r].timer = number
    if k > 0:
        enlist(w, k, t + delay_s, r)
    else:
        push(w, bits_of(t + delay_s), number, r * KINDS + TIMER)


@step
def disarm(w, r):
    w.requests[r].timer = -1
    if w.requests[r].timer_list > 0:
        delist(w, r)


@rare
def notify(w, t, what, i):
    notice = w.notices[w.state.noticed]
    notice.t = t
    notice.what = what
    notice.i = i
    w.state.noticed += 1
    w.state.credit = 0  # So that the loop looks up.
