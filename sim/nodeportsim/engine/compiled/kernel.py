"""The compiled data plane: a loop over heap and timer rings between two control instants, and its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from nodeportsim.engine.records import TIMER, Connection, Flight, Request, World, struct

from . import client as client_steps
from . import pod as pod_steps
from .dispatch import dispatch
from .machine import EVENT, LANE, STATE, jit, step
from .world import Handle

if TYPE_CHECKING:
    from collections.abc import Sequence

REACHED, NEED_SPACE = range(2)
MARGIN = 8  # A step schedules at most this many events.
LANES = 8  # Further delays go to the heap.
RING = 1 << 10  # Events of a lane to begin with, a power of two; rings double when they run out.
FREE = {"requests": "request_free", "connections": "connection_free", "flights": "flight_free"}


@step
def drop_top(w):
    """Remove the earliest event."""
    h = w.heap
    n = w.state.pending - 1
    w.state.pending = n
    if n == 0:
        return
    t, number, kind, i = h[n].t, h[n].number, h[n].kind, h[n].i
    hole, child = 0, 1
    while child < n:
        if child + 1 < n and (
            h[child + 1].t < h[child].t
            or (h[child + 1].t == h[child].t and h[child + 1].number < h[child].number)
        ):
            child += 1
        if t < h[child].t or (t == h[child].t and number < h[child].number):
            break
        h[hole].t = h[child].t
        h[hole].number = h[child].number
        h[hole].kind = h[child].kind
        h[hole].i = h[child].i
        hole = child
        child = 2 * hole + 1
    h[hole].t = t
    h[hole].number = number
    h[hole].kind = kind
    h[hole].i = i


@step
def roomy(w):
    """Tell whether any step can run: two free slots in each pool, room in the heap and in the rings."""
    for k in range(len(w.lanes)):
        if w.lanes[k].tail - w.lanes[k].head + MARGIN > w.ring.shape[1]:
            return False
    c = w.counts
    return (
        c.request_free >= 0
        and w.requests[c.request_free].next >= 0
        and c.connection_free >= 0
        and w.connections[c.connection_free].next >= 0
        and c.flight_free >= 0
        and w.flights[c.flight_free].next >= 0
        and w.state.pending + MARGIN <= len(w.heap)
    )


@step
def earliest(w):
    """Find the next event: in which lane (-1: the heap), and when; infinite where there is none."""
    best, t, number = -1, np.inf, 0
    if w.state.pending > 0:
        t, number = w.heap[0].t, w.heap[0].number
    for k in range(len(w.lanes)):
        lane = w.lanes[k]
        if lane.head < lane.tail:
            event = w.ring[k, lane.head & (w.ring.shape[1] - 1)]
            if event.t < t or (event.t == t and event.number < number):
                best, t, number = k, event.t, event.number
    return best, t


@jit(cache=True)
def start(w):
    """Set the first arrivals."""
    client_steps.start(w)


@jit(cache=True)
def reset_clients(w, t, p):
    """Send RST to the clients of a dead container."""
    pod_steps.reset_clients(w, t, p)


@jit(cache=True)
def advance(w, until):
    """Run every data-plane event earlier than `until`."""
    while True:
        lane, t = earliest(w)
        if t >= until or t == np.inf:
            return REACHED
        if not roomy(w):
            return NEED_SPACE
        w.state.events += 1
        if lane < 0:
            kind, i, number = w.heap[0].kind, w.heap[0].i, w.heap[0].number
            drop_top(w)
        else:
            event = w.ring[lane, w.lanes[lane].head & (w.ring.shape[1] - 1)]
            kind, i, number = event.kind, event.i, event.number
            w.lanes[lane].head += 1
        if kind != TIMER or w.requests[i].timer == number:
            dispatch(w, t, kind, i)


def _lanes(world: World) -> Any:
    """Make a lane for every limit that is the same for all requests of a group."""
    delays = {
        float(limit_s)
        for group in world.groups
        if group.total_s == 0.0
        for limit_s in (group.connect_s, group.request_s, group.pool_s)
        if limit_s > 0.0
    }
    lanes = np.zeros(max(1, min(LANES, len(delays))), LANE).view(np.recarray)
    lanes["delay_s"] = (sorted(delays) or [-1.0])[: len(lanes)]
    return lanes


class Kernel:
    """Drives the compiled steps between SimPy's control events."""

    def __init__(self, world: World) -> None:
        self.env = simpy.Environment()
        self.world = world
        # The first arrivals are set without a check for room: one event a client.
        heap = np.zeros(2 * len(world.clients) + 1024, EVENT).view(np.recarray)
        self.state = np.zeros(1, STATE).view(np.recarray)[0]
        lanes = _lanes(world)
        ring = np.zeros((len(lanes), RING), EVENT).view(np.recarray)
        self.handle = Handle(world, heap=heap, state=self.state, lanes=lanes, ring=ring)

    @property
    def events(self) -> int:
        """Data-plane happenings so far."""
        return int(self.state.events)

    def start(self) -> None:
        """Set the first arrivals."""
        start(self.handle)

    def advance(self, until: float) -> None:
        """Run control up to and including `until`, data strictly before it."""
        while True:
            pause = min(self.env.peek(), until)
            while advance(self.handle, pause) == NEED_SPACE:
                self._grow()
            if self.env.peek() > until:
                return
            self.env.step()

    def reset_clients(self, t: float, p: int) -> None:
        """Send RST to the clients of a dead container."""
        inside = int(self.world.pods[p].inside)
        while len(self.world.flights) - int(self.world.counts.open_flights) < inside + 2:
            self._double("flights", Flight)
        while self.state.pending + inside + MARGIN > len(self.handle.arrays["heap"]):
            self._double_heap()
        reset_clients(self.handle, t, p)

    def add_endpoints(self, pods: Sequence[int]) -> int:
        """Store one more version of the endpoint list; where it begins."""
        first = len(self.world.endpoints)
        self._place("endpoints", np.append(self.world.endpoints, np.array(pods, np.int32)))
        return first

    def _place(self, name: str, value: Any) -> None:
        self.world = self.world._replace(**{name: value})
        self.handle.place(name, value)

    def _grow(self) -> None:
        """Double what has run out."""
        if self.state.pending + MARGIN > len(self.handle.arrays["heap"]):
            self._double_heap()
        lanes, ring = self.handle.arrays["lanes"], self.handle.arrays["ring"]
        if any(lanes["tail"] - lanes["head"] + MARGIN > ring.shape[1]):
            self._double_ring()
        for name, record in (("requests", Request), ("connections", Connection), ("flights", Flight)):
            pool, head = getattr(self.world, name), int(getattr(self.world.counts, FREE[name]))
            if head < 0 or pool[head].next < 0:
                self._double(name, record)

    def _double_heap(self) -> None:
        heap = self.handle.arrays["heap"]
        self.handle.place("heap", np.concatenate([heap, np.zeros(len(heap), EVENT)]).view(np.recarray))

    def _double_ring(self) -> None:
        """Give every lane twice the room, each event at its place by its running number."""
        ring = self.handle.arrays["ring"]
        size = ring.shape[1]
        larger = np.zeros((len(ring), 2 * size), EVENT)
        for k, lane in enumerate(self.handle.arrays["lanes"]):
            places = np.arange(lane.head, lane.tail)
            larger[k, places & (2 * size - 1)] = ring[k, places & (size - 1)]
        self.handle.place("ring", larger.view(np.recarray))

    def _double(self, name: str, record: type) -> None:
        """Append as many slots as there are, in front of the free list."""
        pool, counts = getattr(self.world, name), self.world.counts
        size = len(pool)
        more = np.zeros(size, struct(record))
        more["next"] = np.arange(size + 1, 2 * size + 1)
        more["next"][-1] = getattr(counts, FREE[name])
        if record is Flight:
            more["request"] = -1
        self._place(name, np.concatenate([pool, more]).view(np.recarray))
        setattr(counts, FREE[name], size)
