"""The control plane as SimPy processes: EndpointSlices, kube-proxy's syncs, and what both go by.

How the real thing tells the nodes: a pod's conditions change (leases.py, lifecycle.py, faults/); the
EndpointSlice controller writes a changed Service at once, then at most once a second; every kube-proxy
watches the slices and rewrites its rules, at once after idleness, else `minSyncPeriod` after the END of
the last sync. Until then every surviving node sends its share of new connections to the dead endpoints.

Sources: docs/models/control-plane.md. Left out: API server latency and outage.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from nodeportsim.kubeproxy.sync import Runner

from . import draws, leases
from .codes import AFTER, CONNTRACK_FULL, DROP, DURING, REFUSE
from .rules import Rules
from .slices import NOTHING, Conditions, Slices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import simpy

    from nodeportsim.kubeproxy.sync import SyncKind
    from nodeportsim.kubeproxy.walk import Policy
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    from .records import World
    from .slices import Listed, Version

    Process = Generator[simpy.Event, Any, None]


class Plane(Protocol):
    """A scheduler of the data plane, as the control plane sees it."""

    world: World
    listener: Callable[[int, int], None]

    @property
    def env(self) -> simpy.Environment:
        """SimPy's clock."""

    def add_endpoints(self, pods: Sequence[int]) -> int:
        """Store a version of the endpoint list; where it begins."""

    def reset_clients(self, t: float, p: int) -> None:
        """Send RST to the clients of a dead container."""


@dataclass
class Proxy:
    """One node's kube-proxy: what it has seen and what it has written."""

    runner: Runner
    wanted: Version  # of the slices, that it writes
    syncs: int = 0
    running: bool = True
    sync: SyncKind = "partial"  # the next one
    listed: Listed = NOTHING  # what its rules say
    wake: Any = None


@dataclass
class Control:
    """Everything the control plane knows; faults/ and lifecycle.py call its methods."""

    scenario: Scenario
    profile: Profile
    plane: Plane
    key0: int
    key1: int
    milestones: list[tuple[float, str, str]] = field(default_factory=list)
    unknown: set[int] = field(default_factory=set)  # nodes whose Ready is Unknown
    off_plane: set[int] = field(default_factory=set)  # nodes cut from the control plane
    dead: set[int] = field(default_factory=set)  # pods that cannot answer, known or not
    end_s: float = 0.0  # when the run ended
    lying: set[int] = field(default_factory=set)  # nodes whose rules name a dead pod

    def __post_init__(self) -> None:
        self.env = self.plane.env
        self.clocks = self.scenario.cluster.control_plane
        self.names = self.scenario.cluster.names
        self.rules = Rules(self.scenario, self.profile)
        placed = (Conditions(**vars(place)) for place in self.scenario.placement)
        self.slices = Slices(placed, self._policy(), self.plane.add_endpoints)
        self.standing = self._sorted()
        idle = Runner(min_sync_period_s=self.scenario.cluster.proxy.min_sync_period_s)
        self.proxies = [Proxy(idle, self.slices.latest, wake=self.env.event()) for _ in self.names]
        self.renewed_s = [0.0] * len(self.names)  # last lease renewal of each node
        self.dirty = self.env.event()
        for n, node in enumerate(self.world.nodes):
            self.rules.established(node, self.world.config)
            if n < len(self.names):
                self._program(n)

    def _sorted(self) -> list[set[int]]:
        """Sort the pods by node, for large clusters: looking through all of them at every event is slow."""
        places = {name: n for n, name in enumerate(self.names)}
        standing: list[set[int]] = [set() for _ in (*self.names, None)]  # The last: outside the cluster.
        for p, conditions in enumerate(self.slices.pods):
            standing[places.get(conditions.node or "", -1)].add(p)
        return standing

    # -- what the data plane sees ------------------------------------------------------------

    @property
    def world(self) -> World:
        """The world of the moment: the kernel replaces arrays when they grow."""
        return self.plane.world

    def uniform(self, purpose: int, entity: int, number: int = 0) -> float:
        """Draw for the control plane."""
        return draws.uniform2(self.key0, self.key1, purpose, int(entity), int(number), 0)[0]

    def note(self, name: str, subject: str = "") -> None:
        """Keep a milestone."""
        self.milestones.append((self.env.now, name, subject))

    def _program(self, n: int) -> None:
        """Write the rules of node n: its endpoints, and their prices at a newly drawn position."""
        proxy = self.proxies[n]
        listed, everywhere, here = proxy.wanted.listing(self.names[n])
        turn = self._turn(n, proxy, listed)
        node = self.world.nodes[n]
        node.first, node.endpoints, node.turn = listed.first, len(listed.pods), turn
        node.empty = DROP if self._policy() == "Local" and everywhere else REFUSE
        node.programmed = 1
        position = self.uniform(draws.POSITION, n, proxy.syncs)
        first = self.scenario.cluster.proxy.first_position if proxy.syncs == 0 else None
        self.rules.program(node, everywhere, here, position, first)
        proxy.listed, proxy.syncs = listed, proxy.syncs + 1

    def _policy(self) -> Policy:
        """Traffic policy that decides for the clients of this scenario."""
        service = self.scenario.service
        return (
            service.internal_traffic_policy
            if service.type == "ClusterIP"
            else service.external_traffic_policy
        )

    def _turn(self, n: int, proxy: Proxy, listed: Listed) -> int:
        """Keep an ipvs round robin at its place in the list; a new list starts at a random one."""
        old = proxy.listed.pods
        last = old[self.world.nodes[n].turn] if old else -1
        if last in listed.members:
            return listed.rank(last)
        return int(self.uniform(draws.TURN, n, proxy.syncs) * max(1, len(listed.pods)))

    # -- processes ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start every process that runs whatever happens."""
        self.plane.listener = self._hear
        self.env.process(self._slice_controller())
        for n in range(len(self.names)):
            self.env.process(self._proxy(n))
        if self.scenario.events:
            leases.start(self)

    def _hear(self, what: int, i: int) -> None:
        """The data plane tells of something that cannot be seen from outside a node."""
        if what == CONNTRACK_FULL:
            self.note("conntrack table full", self.names[i] if i < len(self.names) else "outside")

    def connected(self, n: int) -> bool:
        """Node n reaches the API server."""
        node = self.world.nodes[n]
        return bool(node.up and not node.cut and n not in self.off_plane)

    def _slice_controller(self) -> Process:
        """Write changed slices at once, then at most every `slice_min_delay_s`."""
        while True:
            yield self.dirty
            self.dirty = self.env.event()
            self.slices.publish()
            self.note("endpoints changed")
            for proxy in self.proxies:
                self._wake(proxy)
            yield self.env.timeout(self.clocks.slice_min_delay_s)

    def _wake(self, proxy: Proxy) -> None:
        if not proxy.wake.triggered:
            proxy.wake.succeed()

    def _proxy(self, n: int) -> Process:
        """kube-proxy of node n: watch, wait its turn, sync."""
        proxy = self.proxies[n]
        while True:
            yield proxy.wake
            proxy.wake = self.env.event()
            if not self._proxying(n):
                continue
            spread = 2.0 * self.uniform(draws.WATCH, n, proxy.syncs)
            yield self.env.timeout(spread * self.clocks.watch_latency_s)
            yield self.env.timeout(proxy.runner.start_s(self.env.now) - self.env.now)
            wanted, boot = self.slices.latest, self.world.nodes[n].epoch
            yield self.env.timeout(self.rules.sync_s(len(self.slices.pods), proxy.sync))
            if not self._proxying(n) or self.world.nodes[n].epoch != boot:
                continue
            proxy.wanted, proxy.sync = wanted, "partial"
            proxy.runner = proxy.runner.after(self.env.now)
            self._program(n)
            self.note("rules updated", self.names[n])
            self._judge(n)
            self._settle()
            if wanted is not self.slices.latest:
                self._wake(proxy)

    def _proxying(self, n: int) -> bool:
        """kube-proxy of node n runs and hears the API server."""
        return self.proxies[n].running and self.connected(n)

    # -- what faults do through us ------------------------------------------------------

    def pods_of(self, n: int) -> list[int]:
        """List the pods that stand on node n."""
        return sorted(self.standing[n])

    def set_pod(self, p: int, *, ready: bool, terminating: bool | None = None, gone: bool = False) -> None:
        """Write a pod's conditions to the API server."""
        old = self.slices.pods[p]
        ending = old.terminating if terminating is None else terminating
        node = old.node and self.names[int(self.world.pods[p].node)]
        new = replace(
            old, ready=ready and not ending, serving=ready, terminating=ending, node=node, gone=gone
        )
        if new != old:
            self.slices.write(p, new)
            if not self.dirty.triggered:
                self.dirty.succeed()

    def ready_here(self, n: int) -> bool:
        """Tell whether node n's kube-proxy knows of a ready endpoint of its own."""
        return self.names[n] in self.proxies[n].wanted.ready

    def resync(self, n: int, sync: SyncKind) -> None:
        """Let node n's kube-proxy catch up."""
        self.proxies[n].sync = sync
        self._wake(self.proxies[n])

    def disturb(self, dead: Sequence[int]) -> None:
        """Pods died: until every live node's rules know it, the rules lie about them."""
        self.dead.update(dead)
        self.world.config.phase = DURING if dead else max(AFTER, self.world.config.phase)
        self.judge_all()

    def revive(self, pods: Sequence[int]) -> None:
        """Pods that could not answer can again."""
        self.dead.difference_update(pods)
        self.judge_all()

    def judge_all(self) -> None:
        """Find the nodes whose rules name a dead pod."""
        for n in range(len(self.names)):
            self._judge(n)
        self._settle()

    def _judge(self, n: int) -> None:
        node, listed = self.world.nodes[n], self.proxies[n].listed
        lies = node.up and not node.cut and not self.dead.isdisjoint(listed.members)
        (self.lying.add if lies else self.lying.discard)(n)

    def _settle(self) -> None:
        """End the phase of stale rules once no live node's rules name a dead pod."""
        if self.world.config.phase == DURING and not self.lying:
            self.world.config.phase = AFTER
            self.note("rules updated everywhere")
