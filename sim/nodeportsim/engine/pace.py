"""How work already begun takes longer, or less, when its pod's pace changes.

With first come first served every departure is known on arrival (pools.py). All that a pod still has to do
is its future, and a slower CPU stretches that future by one factor: departures, starts of work that waits
and instants at which workers are free move away from now alike. That is exact for any number of workers.

What was scheduled cannot be taken back. So a packet whose work moves gets a successor in its place, and
comes to nothing when its old instant is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import FORGOTTEN, POD_DONE, POD_START
from .machine import at, rare, step
from .pools import copy_flight

if TYPE_CHECKING:
    from .records import World


@rare
def stretch(w: World, t: float, n: int, p: int, factor: float) -> None:
    """Let what pod `p` (-1: every pod) at node `n` (-1: every node) has to do take `factor` times as long."""
    if p >= 0:
        move_workers(w, t, p, factor)
        if w.pods[p].inside == 0:
            return  # Of many pods that slow down one by one, most have nothing to do.
    for f in range(len(w.flights)):
        if w.flights[f].inside > 0 and concerned(w, w.flights[f].pod, n, p):
            move_work(w, t, f, factor)
    for f in range(len(w.flights)):
        w.flights[f].inside = abs(w.flights[f].inside)
    for q in range(len(w.pods) if p < 0 else 0):
        if concerned(w, q, n, p):
            move_workers(w, t, q, factor)


@step
def concerned(w: World, q: int, n: int, p: int) -> bool:
    """Whether pod `q` is the one meant, at the node meant."""
    return (p < 0 or q == p) and (n < 0 or w.pods[q].node == n)


@step
def moved_s(w: World, t: float, p: int, instant_s: float, factor: float) -> float:
    """Where an instant of pod `p` moves to; while the pod hangs nothing passes that could be stretched."""
    fixed_s = max(t, w.pods[p].hung_until_s)
    return fixed_s + (instant_s - fixed_s) * factor if instant_s > fixed_s else instant_s


@rare
def move_work(w: World, t: float, f: int, factor: float) -> None:
    """Give a request in a pod a successor that leaves at another instant."""
    end = moved_s(w, t, w.flights[f].pod, w.flights[f].sent_s, factor)
    if end == w.flights[f].sent_s or w.pods[w.flights[f].pod].epoch != w.flights[f].pod_epoch:
        return
    g = copy_flight(w, f)
    old, new = w.flights[f], w.flights[g]
    begun_s = old.sent_s - old.demand_s
    start = moved_s(w, t, old.pod, begun_s, factor)
    new.demand_s = end - start
    new.pod_queue_s = max(0.0, old.pod_queue_s + start - begun_s)
    new.sent_s = end
    new.inside = -old.inside  # So that it is not moved again.
    w.pods[old.pod].busy_s += new.demand_s - old.demand_s
    old.inside = 0
    old.pod_epoch = FORGOTTEN
    if new.inside == -1:
        at(w, max(t, start), POD_START, g)
    else:
        at(w, max(t, end), POD_DONE, g)


@rare
def move_workers(w: World, t: float, p: int, factor: float) -> None:
    """Workers are free at other instants."""
    free_s = w.work_free_s[p]
    for k in range(len(free_s)):
        free_s[k] = moved_s(w, t, p, free_s[k], factor)
