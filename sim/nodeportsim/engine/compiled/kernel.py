"""The compiled data plane: a loop over what is to happen between two control instants, and its driver."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from nodeportsim.engine.codes import ARRIVE, LC, TIMER, WLC
from nodeportsim.engine.interpreter import SLOTS, announce
from nodeportsim.engine.records import Connection, Flight, Pod, Request, World, struct

from . import arrivals as arrival_steps
from . import client as client_steps
from . import pace as pace_steps
from . import pod as pod_steps
from .dispatch import dispatch
from .options import jit, rare, step
from .policies import place
from .queues import (
    EVENT,
    HEAP,
    KINDS,
    LANE,
    LANES,
    LEAF,
    LIST,
    NEVER,
    NOTICE,
    SHIFT,
    SOURCES,
    STATE,
    VOID,
    bits_of,
    delist,
    drop_top,
    earliest,
    first_of_equals,
    first_timer,
    leave,
    number_of,
    time_of,
)
from .world import Handle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.engine.interpreter import Listener
    from nodeportsim.engine.policy import Policy

REACHED, NEED_SPACE, NOTICED, BREATH = range(4)
BREATH_EVENTS = 1 << 22  # A breath every fifth of a second: Python may want to be interrupted.
MARGIN = 16  # A step schedules at most this many events.
DELAYS = 8  # Timers of further delays go to the heap.
RING = 1 << 10  # Events of a lane to begin with, a power of two; rings double when they run out,
HEAP_ROOM = 1 << 10  # as does the heap.
LEAST_ROOM = 16  # Pods.
FREE = {"requests": "request_free", "connections": "connection_free", "flights": "flight_free"}


@rare
def credit(w):
    """Tell how many steps can run for certain: slots in each pool, room in the heap and in the lanes."""
    if w.state.noticed > 0:
        return 0  # The control plane goes first.
    c = w.counts
    most = min(
        BREATH_EVENTS,
        (len(w.requests) - c.open_requests) // SLOTS,
        (len(w.connections) - c.open_connections) // SLOTS,
        (len(w.flights) - c.open_flights) // SLOTS,
        (len(w.heap) - w.state.pending) // MARGIN,
    )
    for k in range(LANES):
        most = min(most, (w.lanes[k].mask - (w.lanes[k].tail - w.lanes[k].head)) // MARGIN)
    return most


@jit(cache=True)
def start(w):
    """Set the first arrivals."""
    arrival_steps.start(w)


@jit(cache=True)
def reset_clients(w, t, p):
    """Send RST to the clients of a dead container."""
    pod_steps.reset_clients(w, t, p)


@jit(cache=True)
def stretch(w, t, n, p, factor):
    """Let what pods have to do take longer, or less."""
    pace_steps.stretch(w, t, n, p, factor)


@jit(cache=True)
def advance(w, until):
    """Run every data-plane event earlier than `until`."""
    state, end, last = w.state, bits_of(until), w.state.events + BREATH_EVENTS
    state.end = min(end, state.timer)
    state.credit = 0  # The control plane may have taken slots.
    while True:
        source, least, tied = earliest(w)
        if state.credit <= 0:
            state.credit = credit(w)
            if state.credit <= 0:
                return NOTICED if state.noticed > 0 else NEED_SPACE
            if state.events >= last:
                return BREATH
        if least >= state.end:
            if end <= min(least, state.timer):
                return REACHED
            if time_out(w, least, end):
                continue
        if tied:
            source = first_of_equals(w, least)
        kind, i = take(w, source)
        if kind != VOID:
            state.credit -= 1
            state.events += 1
            dispatch(w, time_of(least), kind, i)


@step
def take(w, source):
    """Take the first event of a source: what happens, and to what."""
    if source < LANES:
        what = w.ring[source][w.lanes[source].head & w.lanes[source].mask].what
        leave(w, source)
    elif source == HEAP:
        what, number = w.heap[0].what, w.heap[0].number
        drop_top(w)
        if what & (KINDS - 1) == TIMER and w.requests[what >> SHIFT].timer != number:
            what = VOID
    else:
        what = w.tree[1].c << SHIFT | ARRIVE
    return what & (KINDS - 1), what >> SHIFT


@rare
def time_out(w, least, end):
    """Let the first timer end, unless something else goes first; know when to look again.

    Returns whether that was all; else something happens at the very instant, and goes before the timer.
    """
    r = first_timer(w)
    bits = bits_of(w.requests[r].timer_s) if r >= 0 else NEVER
    w.state.timer = bits
    w.state.end = min(end, bits)
    if bits > least or bits >= end:
        return True
    if bits == least and number_of(w, first_of_equals(w, least)) < w.requests[r].timer:
        return False
    delist(w, r)
    w.state.credit -= 1
    w.state.events += 1
    client_steps.timer(w, time_of(bits), r)
    return True


def _queues(world: World) -> dict[str, Any]:
    """Make the empty queues of a world."""
    lanes, leaves = _rows(LANES, LANE), 2 * _power_of_two(len(world.clients))
    lanes["mask"] = RING - 1
    tree = _rows(leaves, LEAF)
    tree["bits"] = NEVER
    tree["c"] = np.arange(leaves) - leaves // 2
    return {
        # The first arrivals are set without a check for room: one event a client.
        "heap": _rows(2 * len(world.clients) + HEAP_ROOM, EVENT),
        "state": _rows(1, STATE)[0],
        "lanes": lanes,
        "ring": _rows((LANES, RING), EVENT),
        "tree": tree,
        "lists": _timer_lists(world),
        "heads": np.full(SOURCES, NEVER, np.int64),
        "notices": _rows(MARGIN, NOTICE),  # A step gives at most one or two.
    }


def _rows(n: int | tuple[int, int], kind: np.dtype[Any]) -> Any:
    return np.zeros(n, kind).view(np.recarray)


def _power_of_two(n: int) -> int:
    """Give the least power of two that is not below n."""
    return 1 << (n - 1).bit_length()


def _timer_lists(world: World) -> Any:
    """Make a list for every limit that is the same for all requests of a group; the first stands for none."""
    delays = {
        float(limit_s)
        for group in world.groups
        if group.total_s == 0.0
        for limit_s in (group.connect_s, group.request_s, group.pool_s)
        if limit_s > 0.0
    }
    kept = [0.0, *sorted(delays)[:DELAYS]]
    lists = _rows(len(kept), LIST)
    lists["delay_s"], lists["head"], lists["tail"] = kept, -1, -1
    return lists


class Kernel:
    """Drives the compiled steps between SimPy's control events."""

    def __init__(self, world: World) -> None:
        self.env = simpy.Environment(0.0)
        self.world = world
        self.listener: Listener = print
        self._stored = 0  # of the room for endpoints
        queues = _queues(world)
        self.state = queues["state"]
        self.state.timer = NEVER
        self.handle = Handle(world, **queues)

    @property
    def events(self) -> int:
        """Data-plane happenings so far."""
        return int(self.state.events)

    def place_policies(self, policies: Sequence[Policy | None]) -> None:
        """Compile the custom policies of the groups of clients."""
        place(self.world, policies)

    def start(self) -> None:
        """Set the first arrivals."""
        start(self.handle)

    def advance(self, until: float) -> None:
        """Run control up to and including `until`, data strictly before it."""
        while True:
            pause = float(min(self.env.peek(), until))  # An integer would be compiled for anew.
            status = advance(self.handle, pause)
            if status == NEED_SPACE:
                self._grow()
            elif status == NOTICED:
                self._pass_on()
            elif status == BREATH:
                continue
            elif self.env.peek() > until:
                return
            else:
                self.env.step()

    def _pass_on(self) -> None:
        """Let the control plane know what the data plane has told it."""
        for notice in self.handle.arrays["notices"][: self.state.noticed]:
            announce(self.env, float(notice.t), partial(self.listener, int(notice.what), int(notice.i)))
        self.state.noticed = 0

    def reset_clients(self, t: float, p: int) -> None:
        """Send RST to the clients of a dead container."""
        self._room_for(int(self.world.pods[p].inside))
        reset_clients(self.handle, float(t), int(p))

    def make_room(self, pods: int, workers: int) -> None:
        """Have rows for so many pods, and for some more: a rollout makes one after the other."""
        have, config = len(self.world.pods), self.world.config
        if pods <= have:
            return
        more = max(pods - have, have // 4, LEAST_ROOM)
        for name in ("active", "inactive") if config.choice in (LC, WLC) else ():
            table = getattr(self.world, name)
            self._place(name, np.concatenate([table, np.zeros((len(table), more), np.int64)], axis=1))
        if config.snat_ports:
            free_s = np.zeros((more * int(config.nodes), int(config.snat_ports)))
            self._place("snat_free_s", np.concatenate([self.world.snat_free_s, free_s]))
        self._place("work_free_s", np.concatenate([self.world.work_free_s, np.zeros((more, workers))]))
        rows = np.concatenate([self.world.pods, np.zeros(more, struct(Pod))])
        self._place("pods", rows.view(np.recarray))

    def stretch(self, t: float, n: int, p: int, factor: float) -> None:
        """Let what pods have to do take longer, or less."""
        self._room_for(int(self.world.counts.open_flights))
        stretch(self.handle, float(t), int(n), int(p), float(factor))

    def _room_for(self, packets: int) -> None:
        """Have room for so many more packets, which happen by the heap."""
        while len(self.world.flights) - int(self.world.counts.open_flights) < packets + 2:
            self._double("flights", Flight)
        while self.state.pending + packets + MARGIN > len(self.handle.arrays["heap"]):
            self._double_heap()

    def add_endpoints(self, pods: Sequence[int]) -> int:
        """Store one more version of the endpoint list; where it begins."""
        first, self._stored = self._stored, self._stored + len(pods)
        kept = self.world.endpoints
        if self._stored > len(kept):
            self._place("endpoints", np.concatenate([kept, np.zeros(self._stored, np.int32)]))
        self.world.endpoints[first : self._stored] = pods
        return first

    def _place(self, name: str, value: Any) -> None:
        self.world = self.world._replace(**{name: value})
        self.handle.place(name, value)

    def _grow(self) -> None:
        """Double what has run out."""
        if self.state.pending + MARGIN > len(self.handle.arrays["heap"]):
            self._double_heap()
        lanes = self.handle.arrays["lanes"]
        if any(lanes["tail"] - lanes["head"] + MARGIN > lanes["mask"]):
            self._double_ring()
        for name, record in (("requests", Request), ("connections", Connection), ("flights", Flight)):
            if len(getattr(self.world, name)) - int(getattr(self.world.counts, f"open_{name}")) < SLOTS:
                self._double(name, record)

    def _double_heap(self) -> None:
        heap = self.handle.arrays["heap"]
        self.handle.place("heap", np.concatenate([heap, np.zeros(len(heap), EVENT)]).view(np.recarray))

    def _double_ring(self) -> None:
        """Give every lane twice the room, each event at its place by its running number."""
        ring, lanes = self.handle.arrays["ring"], self.handle.arrays["lanes"]
        size = ring.shape[1]
        larger = np.zeros((len(ring), 2 * size), EVENT)
        for k, lane in enumerate(lanes):
            places = np.arange(lane.head, lane.tail + 1)  # And what stands behind the last one.
            larger[k, places & (2 * size - 1)] = ring[k, places & (size - 1)]
        lanes["mask"] = 2 * size - 1
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
