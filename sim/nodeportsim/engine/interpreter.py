"""The interpreted data plane: every step is a SimPy event. Breakpoints work and nothing compiles."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, Any

import simpy

from . import arrivals, pace, pod
from .codes import ARRIVE, LC, TIMER, WLC
from .dispatch import dispatch
from .policy import choose, learn
from .records import Flight, Pod, World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .policy import Policy

    Listener = Callable[[int, int], None]

SLOTS = 4  # A step takes at most so many of a pool.
URGENT, ARRIVALS, DATA = 0, 2, 3  # After SimPy's URGENT 0 and NORMAL 1: at equal instants control goes first.


class Happening:
    """What SimPy needs of an event, and no more: one of these exists per packet hop."""

    __slots__ = "_ok", "callbacks", "i", "kind", "number"
    callbacks: Any
    _ok: bool
    kind: int
    i: int
    number: int


def announce(env: simpy.Environment, t: float, call: Callable[[], None]) -> None:
    """Let the control plane act at instant `t`, which is not over yet, before all else that is to happen."""
    event = env.event()
    event._ok = True  # noqa: SLF001 - SimPy's own protocol, as in Calendar.
    event.callbacks.append(lambda _event: call())
    heappush(env._queue, (t, URGENT, next(env._eid), event))  # type: ignore[misc]  # noqa: SLF001


class Calendar(simpy.Environment):
    """SimPy's clock, with data-plane happenings at absolute instants.

    SimPy schedules by delay, and now + (t - now) is not t in floating point; so happenings go into
    the environment's own queue directly, in SimPy's format.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.events = 0
        self.listener: Listener = print
        self.policies: Sequence[Policy | None] = ()
        self._play = (self._happen,)

    def at(self, t: float, kind: int, i: int) -> int:
        """Schedule, and return the happening's number, by which a timer knows whether it is live."""
        number = next(self._eid)
        self._push(t, DATA, number, kind, i)
        return number

    def arrival(self, t: float, c: int) -> None:
        """Schedule a client's next request; at equal instants they go first, by client."""
        self._push(t, ARRIVALS, c, ARRIVE, c)

    def notify(self, t: float, what: int, i: int) -> None:
        """Let the control plane know."""
        announce(self, t, lambda: self.listener(what, i))

    def ask(self, c: int, last: int, u1: float, u2: float, t: float) -> int:
        """Let a custom policy choose."""
        return choose(self.world, self._policy(c), c, last, u1, u2, t)

    def tell(self, c: int, node: int, took_s: float, answered: int, t: float) -> int:
        """Let a custom policy learn."""
        return learn(self.world, self._policy(c), c, node, took_s, answered, t)

    def _policy(self, c: int) -> Policy:
        policy = self.policies[self.world.clients[c].group]
        assert policy is not None
        return policy

    def _push(self, t: float, priority: int, number: int, kind: int, i: int) -> None:
        happening = Happening()
        happening.callbacks, happening._ok = self._play, True  # noqa: SLF001 - this is SimPy's own protocol
        happening.kind, happening.i, happening.number = kind, i, number
        heappush(self._queue, (t, priority, number, happening))  # type: ignore[misc]  # See above.

    def advance(self, until: float) -> None:
        """Run control up to and including `until`, data strictly before it."""
        queue = self._queue
        while queue and queue[0][:2] < (until, ARRIVALS):
            self.step()

    def _happen(self, happening: Happening) -> None:
        i = happening.i
        if happening.kind != TIMER or self.world.requests[i].timer == happening.number:
            self.events += 1
            grow(self.world)
            dispatch(self.world, self._now, happening.kind, i)


class Interpreter:
    """Drives the interpreted steps: control and data in one SimPy environment."""

    def __init__(self, world: World) -> None:
        self.env = Calendar()
        self.world = world._replace(queue=self.env)
        self.env.world = self.world

    @property
    def events(self) -> int:
        """Data-plane happenings so far."""
        return self.env.events

    @property
    def listener(self) -> Listener:
        """Who is told what the data plane notices."""
        return self.env.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self.env.listener = listener

    def place_policies(self, policies: Sequence[Policy | None]) -> None:
        """Take the custom policies of the groups of clients."""
        self.env.policies = policies

    def start(self) -> None:
        """Set the first arrivals."""
        arrivals.start(self.world)

    def advance(self, until: float) -> None:
        """Run control up to and including `until`, data strictly before it."""
        self.env.advance(until)

    def reset_clients(self, t: float, p: int) -> None:
        """Send RST to the clients of a dead container."""
        self._room_for(self.world.pods[p].inside)
        pod.reset_clients(self.world, t, p)

    def make_room(self, pods: int, workers: int) -> None:
        """Have rows for so many pods."""
        w = self.world
        counted = (*w.active, *w.inactive) if w.config.choice in (LC, WLC) else ()
        for _ in range(pods - len(w.pods)):
            w.pods.append(Pod(*([0] * len(Pod.__slots__))))
            w.work_free_s.append([0.0] * workers)
            for row in counted:
                row.append(0)
            if w.config.snat_ports:
                w.snat_free_s.extend([0.0] * w.config.snat_ports for _ in range(w.config.nodes))

    def stretch(self, t: float, n: int, p: int, factor: float) -> None:
        """Let what pods have to do take longer, or less."""
        self._room_for(self.world.counts.open_flights)
        pace.stretch(self.world, t, n, p, factor)

    def _room_for(self, packets: int) -> None:
        """Have room for so many more packets."""
        while len(self.world.flights) - self.world.counts.open_flights < packets + 2:
            self.world.counts.flight_free = double(self.world.flights, self.world.counts.flight_free)

    def add_endpoints(self, pods: Sequence[int]) -> int:
        """Store one more version of the endpoint list; where it begins."""
        first = len(self.world.endpoints)
        self.world.endpoints.extend(pods)
        return first


def grow(w: World) -> None:
    """Double a pool that has run out: a step takes at most `SLOTS` of each."""
    counts = w.counts
    if len(w.requests) - counts.open_requests < SLOTS:
        counts.request_free = double(w.requests, counts.request_free)
    if len(w.connections) - counts.open_connections < SLOTS:
        counts.connection_free = double(w.connections, counts.connection_free)
    if len(w.flights) - counts.open_flights < SLOTS:
        counts.flight_free = double(w.flights, counts.flight_free)


def double(pool: list[Any], head: int) -> int:
    """Append as many slots as there are, in front of the free list; its new head."""
    blank, size = type(pool[0]), len(pool)
    for k in range(size, 2 * size):
        row = blank(*([0] * len(blank.__slots__)))
        row.next = k + 1
        if blank is Flight:
            row.request = -1
        pool.append(row)
    pool[-1].next = head
    return size
