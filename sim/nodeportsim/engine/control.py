"""The control plane as SimPy processes: EndpointSlices, kube-proxy's syncs, and what both go by.

How the real thing tells the nodes: a pod's conditions change (leases.py, lifecycle.py, faults/); the
EndpointSlice controller writes a changed Service at once, then at most once a second; every kube-proxy
watches the slices and rewrites its rules, at once after idleness, else `minSyncPeriod` after the END of
the last sync. Until then every surviving node sends its share of new connections to the dead endpoints.

Nothing of it happens while the API server is out or nobody leads the controllers (leadership.py).

Sources: docs/models/control-plane.md. Left out: the API server's latency.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from nodeportsim.kubeproxy.sync import Runner

from . import draws, leases
from .codes import AFTER, BEFORE, CONNTRACK_FULL, DROP, DURING, POD_EMPTY, REFUSE
from .deployment import Deployment
from .hints import Hinting
from .leadership import Leadership
from .programming import Programming
from .proxy import Proxy
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
    from .slices import Listed

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

    def make_room(self, pods: int, workers: int) -> None:
        """Have rows for so many pods."""

    def stretch(self, t: float, n: int, p: int, factor: float) -> None:
        """Let what pods have to do take longer, or less."""


@dataclass
class Control:
    """Everything the control plane knows; faults/, lifecycle.py and deployment.py call its methods."""

    scenario: Scenario
    profile: Profile
    plane: Plane
    key0: int
    key1: int
    milestones: list[tuple[float, str, str]] = field(default_factory=list)
    unknown: set[int] = field(default_factory=set)  # nodes whose Ready is Unknown
    losses: Counter[int] = field(default_factory=Counter)  # how often each node was lost
    regained_s: float = 0.0  # when a node last came back after all of them had been lost
    off_plane: Counter[int] = field(default_factory=Counter)  # faults that cut a node from the control plane
    late: Counter[int] = field(default_factory=Counter)  # faults that make a node's renewals late
    unpowered: Counter[int] = field(default_factory=Counter)  # faults that keep a node from running
    leaving: set[int] = field(default_factory=set)  # nodes about to be deleted
    withdrawn: Counter[int] = field(default_factory=Counter)  # how often a balancer took each node out
    owed: dict[int, Conditions] = field(default_factory=dict)  # of pods, that their kubelets cannot write yet
    dead: set[int] = field(default_factory=set)  # pods that cannot answer, known or not
    end_s: float = 0.0  # when the run ended
    lying: set[int] = field(default_factory=set)  # nodes whose rules name a dead pod
    in_force: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # what faults add up to
    removed: set[int] = field(default_factory=set)  # nodes that are no longer in the cluster
    born_s: dict[int, float] = field(default_factory=dict)  # pods made within the run
    gone_s: dict[int, float] = field(default_factory=dict)  # pods whose address is nobody's any more
    emptied: dict[int, simpy.Event] = field(default_factory=dict)  # a pod that drains has done its work
    changes: int = 0  # planned ones under way
    programming: Programming = field(default_factory=Programming)
    newborns: list[tuple[int, ...]] = field(default_factory=list)  # seen each second; see newborns.py

    def __post_init__(self) -> None:
        self.env = self.plane.env
        self.clocks = self.scenario.cluster.control_plane
        self.leadership = Leadership(self.env, self.clocks, lambda: leases.take_over(self))
        self.names = self.scenario.cluster.names
        self.minor = int(self.scenario.cluster.kubernetes_version.split(".")[1])
        self.rules = Rules(self.scenario, self.profile)
        placed = (Conditions(**vars(place)) for place in self.scenario.placement)
        hinting = Hinting(self.scenario, lambda: self.unknown | self.removed, self.note)
        hint = hinting if self.scenario.service.asks_for_hints else None
        store = self.plane.add_endpoints
        self.slices = Slices(placed, self._policy(), store, hint=hint, zones=hinting.zones)
        self.standing = self._sorted()
        self.deployment = Deployment(self)
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
            self.deployment.start()
            leases.start(self)

    def _hear(self, what: int, i: int) -> None:
        """The data plane tells of something that cannot be seen from outside a node."""
        if what == CONNTRACK_FULL:
            self.note("conntrack table full", self.names[i] if i < len(self.names) else "outside")
        elif what == POD_EMPTY and not self.emptied[i].triggered:
            self.emptied[i].succeed()

    def connected(self, n: int) -> bool:
        """Node n reaches the API server, and that answers."""
        node = self.world.nodes[n]
        return bool(node.up and not node.cut and not self.off_plane[n] and not self.leadership.api_down)

    def _slice_controller(self) -> Process:
        """Write changed slices at once, then at most every `slice_min_delay_s`."""
        while True:
            yield self.dirty
            yield from self.leadership.at_work()
            self.dirty = self.env.event()
            old = self.slices.latest
            self.slices.publish()
            self.programming.publish(old, self.slices.latest)
            self.note("endpoints changed")
            for proxy in self.proxies:
                self._wake(proxy)
            yield self.env.timeout(self.clocks.slice_min_delay_s)

    def _wake(self, proxy: Proxy) -> None:
        if not proxy.wake.triggered:
            proxy.wake.succeed()

    def _proxy(self, n: int) -> Process:
        """kube-proxy of node n: watch, wait its turn, sync. A sync goes on where the API server is lost."""
        proxy = self.proxies[n]
        while True:
            yield proxy.wake
            proxy.wake = self.env.event()
            if not self._hears(n):
                continue
            life = proxy.life
            proxy.heard += (
                1  # Not every change ends in a sync: one may be cut short, and the next draws anew.
            )
            spread = 2.0 * self.uniform(draws.WATCH, n, proxy.heard)
            yield self.env.timeout(spread * self.clocks.watch_latency_s)
            heard = self.slices.latest
            proxy.queue(heard, self.env.now)
            yield self.env.timeout(proxy.runner.start_s(self.env.now) - self.env.now)
            if proxy.lags_s:
                yield self.env.timeout(sum(proxy.lags_s))
            wanted, boot = self.slices.latest if self._hears(n) else heard, self.world.nodes[n].epoch
            yield self.env.timeout(self.rules.sync_s(self.slices.endpoints, proxy.sync))
            node = self.world.nodes[n]
            if not proxy.syncing or proxy.life != life or not node.up or node.epoch != boot:
                continue
            old, now = proxy.wanted.number, self.env.now
            self.programming.write(n, old, wanted.number, booted_s=node.booted_s, now_s=now)
            proxy.wanted, proxy.sync, proxy.pending_s = wanted, "partial", None
            proxy.runner = proxy.runner.after(self.env.now)
            self._program(n)
            self.note("rules updated", self.names[n])
            self._judge(n)
            self._settle()
            if wanted is not self.slices.latest:
                self._wake(proxy)

    def _hears(self, n: int) -> bool:
        """kube-proxy of node n runs and hears the API server."""
        return self.proxies[n].running and self.connected(n)

    # -- what faults do through us ------------------------------------------------------

    def pods_of(self, n: int) -> list[int]:
        """List the pods that stand on node n."""
        return sorted(self.standing[n])

    def set_pod(self, p: int, *, ready: bool, terminating: bool | None = None, gone: bool = False) -> None:
        """Write a pod's conditions to the API server; while that is out, its kubelet owes them."""
        old = self.owed.pop(p, self.slices.pods[p])
        ending = old.terminating if terminating is None else terminating
        new = replace(old, ready=ready and not ending, serving=ready, terminating=ending, gone=gone)
        if self.leadership.api_down:
            self.owed[p] = new
        else:
            self._write(p, new)

    def report(self, p: int, *, ready: bool) -> None:
        """Let the kubelet of a pod's node say whether it is ready, as soon as it reaches the API server."""
        if self.connected(int(self.world.pods[p].node)):
            self.set_pod(p, ready=ready)
        else:
            old = self.owed.get(p, self.slices.pods[p])
            self.owed[p] = replace(old, ready=ready and not old.terminating, serving=ready)

    def deliver(self, n: int) -> None:
        """Let the kubelet of node n write what it owes."""
        for p in self.pods_of(n) if self.owed else ():
            if p in self.owed:
                self._write(p, self.owed.pop(p))

    def _write(self, p: int, conditions: Conditions) -> None:
        old = self.slices.pods[p]
        if conditions == old or old.gone:
            return
        self.slices.write(p, conditions)
        self.write_slices()
        if conditions.ready != old.ready:
            self.deployment.notice(p)

    def write_slices(self) -> None:
        """Let the EndpointSlice controller know that something has changed."""
        self.programming.change(self.env.now)
        if not self.dirty.triggered:
            self.dirty.succeed()

    def healthy_proxy(self, n: int) -> bool:
        """Tell whether kube-proxy of node n is healthy in its own eyes: no change waits for too long."""
        return self.proxies[n].healthy(self.env.now, 2.0 * self.scenario.cluster.proxy.sync_period_s)

    def ready_here(self, n: int) -> bool:
        """Tell whether node n's kube-proxy knows of a ready endpoint of its own."""
        return self.names[n] in self.proxies[n].wanted.ready

    def resync(self, n: int, sync: SyncKind) -> None:
        """Let node n's kube-proxy catch up."""
        self.proxies[n].want(sync)
        self._wake(self.proxies[n])

    def catch_up(self) -> None:
        """Let every kube-proxy that has missed something catch up, after the API server was out."""
        for proxy in self.proxies:
            if proxy.wanted is not self.slices.latest or proxy.sync != "partial":
                self._wake(proxy)

    def flush(self, n: int) -> None:
        """Take the rules of node n away: a NodePort refuses, a ClusterIP is an address like any other."""
        node = self.world.nodes[n]
        node.endpoints, node.programmed = 0, int(self.scenario.service.type == "ClusterIP")
        node.empty = DROP
        self.proxies[n].listed = NOTHING
        self.proxies[n].want("full")
        self._judge(n)
        self._settle()

    def begin_change(self) -> None:
        """A planned change begins: the phase lasts until it is over."""
        self.changes += 1
        self.world.config.phase = DURING

    def end_change(self) -> None:
        """A planned change is over."""
        self.changes -= 1
        self._settle()

    def disturb(self, dead: Sequence[int]) -> None:
        """Pods died: until every live node's rules know it, the rules lie about them."""
        self.dead.update(dead)
        if dead:
            self.world.config.phase = DURING
        elif self.world.config.phase == BEFORE:
            self.world.config.phase = AFTER
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
        if self.world.config.phase == DURING and not self.lying and not self.changes:
            self.world.config.phase = AFTER
            self.note("rules updated everywhere")
