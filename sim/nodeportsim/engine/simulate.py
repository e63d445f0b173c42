"""One replication: build the world, run it under either scheduler, read the counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.scenario.profile import load_profile

from . import faults, newborns
from .aftermath import by_clients, by_second, column, ended, standing
from .balancer import start as start_balancer
from .build import Plain, Structs, give_up_s, world_of
from .codes import CAUSES, PHASES, STAGES
from .control import Control
from .interpreter import Interpreter
from .policy import policy_of
from .records import Trace, World
from .resolver import start as start_resolver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    Counts = NDArray[np.int64]
    Shares = NDArray[np.float64]

Engine = Literal["compiled", "simpy"]
LONGEST_CONNECT_S = 135.0  # Without a limit of the client's, the kernel gives up a connect after 134.8 s.


@dataclass(frozen=True, kw_only=True)
class Replication:
    """What one replication counted. Requests that arrived before the end of warm-up are left out.

    Attributes
    ----------
    hedges, overtaken
        Attempts that were further copies of one (hedging, happy eyeballs); attempts called off since another
        copy won.
    errors, attempt_errors
        (causes,) failed requests by their last cause; failed attempts by theirs.
    latency, latency_sum_ns
        (phases, buckets) histogram of succeeded requests from their intended arrival; (phases,) sums.
    first_packet
        (buckets,) histogram of first SYN to established.
    stage_sum_ns
        (buckets, stages) sum of each stage over the succeeded requests of a bucket; rows add up to the
        bucket's total time.
    timeline
        (seconds, 2 + causes) by second of intended arrival: offered, succeeded, failed by cause.
    second_latency_ns
        (seconds,) summed latency of the requests that arrived in a second and succeeded.
    phases
        (phases, 3) offered, succeeded, failed by phase of intended arrival.
    nodes, pods
        (n, 2) connections over the whole run; requests answered after warm-up. Pods made within the run
        come last, in order of their making.
    lasting
        (pods,) whether a pod stood from the beginning to the end.
    pod_utilisation
        (pods,) work accepted over what the workers can do while the pod stands and requests arrive.
    load
        (seconds, 4) by second in which it happened: attempts begun, answers, answers to nobody, late answers
        (of requests born while rules were stale that needed a second SYN or attempt and ended after). Longer
        than `timeline`: what happens after the arrivals have ended counts too.
    clients
        (rows, 4) group, failed requests, clients that had so many, requests they wanted. Clients that wanted
        none are left out.
    groups
        (name, loop) of each group of clients.
    node_names, node_failed
        (nodes,) names; failed requests by the entry node of their last attempt, where that had one.
    fates
        (seconds, 3) connections that stood when the first fault came and ended in each second after it:
        closed as usual, torn by RST or FIN, given up by a time-out.
    standing
        (2,) how many of these are left at the end: usable, and dead without their client's knowledge.
    milestones
        (time_s, name, subject) of what the control plane and the faults did.
    programming
        (rows, 3) for each change of the slices and node: when it was made (s), the node's number, how long
        until it was in the node's rules (s).
    newborns
        (seconds, 4) after a planned change that makes pods: requests answered by the new ones and by all in
        each second; new and all pods ready at its end. Else no rows.
    pod_nodes, node_zones
        (pods,) number of each pod's node, that of nodes where it stands outside; zone of each node.
    budget_refusals, ejections
        retries that a retry budget forbade; nodes that clients ejected.
    trace
        Structured rows of resolved requests, where asked for, in order of their end.
    """

    number: int
    offered: int
    succeeded: int
    failed: int
    in_flight: int
    attempts: int
    hedges: int
    overtaken: int
    errors: Counts
    attempt_errors: Counts
    latency: Counts
    latency_sum_ns: Counts
    first_packet: Counts
    stage_sum_ns: Counts
    timeline: Counts
    second_latency_ns: Counts
    phases: Counts
    nodes: Counts
    pods: Counts
    load: Counts
    clients: Counts
    groups: tuple[tuple[str, str], ...]
    node_names: tuple[str, ...]
    node_failed: Counts
    fates: Counts
    standing: Counts
    lasting: NDArray[np.bool_]
    conntrack_peak: Counts
    conntrack_drops: int
    backlog_drops: int
    snat_drops: int
    retransmissions: int
    orphans: int
    budget_refusals: int
    ejections: int
    node_utilisation: Shares
    pod_utilisation: Shares
    milestones: tuple[tuple[float, str, str], ...]
    programming: Shares
    newborns: Counts
    pod_nodes: Counts
    node_zones: tuple[str, ...]
    events: int
    trace: NDArray[Any]

    def __post_init__(self) -> None:
        """Assert conservation: what was offered succeeded, failed by a cause, or is in flight."""
        assert self.offered == self.succeeded + self.failed + self.in_flight
        assert self.in_flight >= 0
        assert self.failed == int(self.errors.sum())
        assert self.succeeded == int(self.latency.sum())
        assert int(self.stage_sum_ns.sum()) == int(self.latency_sum_ns.sum())
        assert self.offered == int(self.timeline[:, 0].sum()) == int(self.phases[:, 0].sum())
        assert self.failed == int(self.timeline[:, 2:].sum())
        assert self.failed == int((self.clients[:, 1] * self.clients[:, 2]).sum())
        assert self.offered == int(self.clients[:, 3].sum())
        assert [self.attempts, self.succeeded, self.orphans] == self.load[:, :3].sum(axis=0).tolist()


def simulate(
    scenario: Scenario,
    replication: int = 0,
    *,
    engine: Engine = "compiled",
    profile: Profile | None = None,
    warmup_s: float | None = None,
    trace: int = 0,
) -> Replication:
    """Simulate one replication of a scenario.

    Parameters
    ----------
    scenario
        The question.
    replication
        Number of the replication; with the seed it is the key of all draws.
    engine
        ``compiled`` runs the steps under Numba, ``simpy`` as SimPy events. The results are the same.
    profile
        Prices; by default the one the scenario names.
    warmup_s
        Leave out requests that arrive earlier; by default what the scenario declares, else 0.
    trace
        Keep the first so many resolved requests.

    Raises
    ------
    InputError
        The profile cannot be found, or a custom policy does not work.
    """
    start_s = warmup_s if warmup_s is not None else scenario.run.warmup_s or 0.0
    shape = Structs if engine == "compiled" else Plain
    policies = [policy_of(g.entry) if g.entry.policy == "custom" else None for g in scenario.clients]
    cells = max(policy.cells if policy else 0 for policy in policies)
    world = world_of(
        scenario,
        replication,
        shape,
        warmup_s=start_s,
        trace=trace,
        cells=cells,
        drain_s=drain_s(scenario),
    )
    plane = _plane(world, engine)
    plane.place_policies(policies)
    control = Control(
        scenario=scenario,
        profile=profile or load_profile(scenario.cluster.profile),
        plane=plane,
        key0=scenario.run.seed,
        key1=replication,
    )
    control.start()
    faults.start(control)
    newborns.start(control)
    start_balancer(control)
    start_resolver(control)
    plane.start()
    control.end_s = _run(scenario, plane)
    if strays := int(plane.world.counts.strays):
        rule = f"failed, or named no node of 0 to {int(world.config.nodes) - 1}, {strays} times"
        hint = "run it with --engine simpy to see where"
        raise InputError(rule, field="policy", hint=hint)
    return _read(replication, plane, control)


def _plane(world: World, engine: Engine) -> Any:
    """Make the scheduler; the compiled half is imported only when it is wanted."""
    if engine == "simpy":
        return Interpreter(world)
    from .compiled.kernel import Kernel

    return Kernel(world)


def drain_s(scenario: Scenario) -> float:
    """Longest time a request can take to be resolved: every attempt to its limits, every back-off."""
    if scenario.run.drain_s is not None:
        return scenario.run.drain_s
    return max(_deadline_s(group, scenario.cluster.nodes) for group in scenario.clients)


def _deadline_s(group: Clients, nodes: int) -> float:
    limits, retry, hedge = group.timeouts, group.retry, group.hedge
    if limits.total_s:
        return limits.total_s + 1.0
    decorrelated = retry.backoff.jitter == "decorrelated"
    factor, first_s = (
        (3.0, 3.0 * retry.backoff.initial_s)
        if decorrelated
        else (retry.backoff.factor, retry.backoff.initial_s)
    )
    backoff_s = sum(min(retry.backoff.max_s, first_s * factor**k) for k in range(retry.attempts))
    connect_s = limits.connect_s or LONGEST_CONNECT_S + group.entry.attempt_delay_s * (nodes - 1)
    request_s = limits.request_s or limits.user_s or give_up_s(group.connections.tcp_retries)
    copies_s = hedge.max * (hedge.delay_s + limits.pool_s)
    return retry.attempts * (connect_s + request_s + limits.pool_s + copies_s) + backoff_s + 1.0


def _run(scenario: Scenario, plane: Any) -> float:
    """Run to the end of arrivals, then second by second until all requests are resolved; say when."""
    end_s = scenario.run.duration_s
    plane.advance(end_s)
    last_s = end_s + drain_s(scenario)
    while plane.world.counts.open_requests and end_s < last_s:
        end_s = min(end_s + 1.0, last_s)
        plane.advance(end_s)
    return end_s


def _read(number: int, plane: Any, control: Control) -> Replication:
    """Read the world's counters."""
    w = plane.world
    counts, cores, duration_s = w.counts, len(w.cpu_free_s[0]), w.config.duration_s
    nodes, pods = w.nodes[: w.config.nodes], w.pods[: len(control.slices.pods)]
    series = _array(w.series)
    causes = len(CAUSES)
    offered, succeeded, failed = int(counts.offered), int(counts.succeeded), int(counts.failed)
    return Replication(
        number=number,
        offered=offered,
        succeeded=succeeded,
        failed=failed,
        in_flight=offered - succeeded - failed,
        attempts=int(counts.attempts),
        hedges=int(counts.hedges),
        overtaken=int(counts.overtaken),
        errors=_array(w.errors)[0],
        attempt_errors=_array(w.errors)[1],
        latency=_array(w.latency).reshape(len(PHASES), -1),
        latency_sum_ns=_array(w.latency_ns),
        first_packet=_array(w.first_packet),
        stage_sum_ns=_array(w.stage_ns).reshape(-1, len(STAGES)),
        timeline=series[:, : 2 + causes],
        second_latency_ns=series[:, 2 + causes],
        phases=_array(w.phases),
        nodes=_columns(nodes, "connections", "requests"),
        pods=_columns(pods, "connections", "requests"),
        load=by_second(w.load, len(series)),
        clients=by_clients(w),
        groups=tuple((group.name, group.loop) for group in control.scenario.clients),
        node_failed=_array(column(nodes, "failed")),
        fates=ended(w, control.end_s),
        standing=standing(w, control.end_s),
        conntrack_peak=_array(column(nodes, "conntrack_peak")),
        conntrack_drops=int(counts.conntrack_drops),
        backlog_drops=int(counts.backlog_drops),
        snat_drops=int(counts.snat_drops),
        retransmissions=int(counts.retransmissions),
        orphans=int(counts.orphans),
        budget_refusals=int(counts.budget_refusals),
        ejections=int(counts.ejections),
        node_utilisation=_shares(nodes, cores * duration_s),
        milestones=tuple(control.milestones),
        **_places(control, pods, duration_s),
        events=int(plane.events),
        trace=_trace(w),
    )


def _places(control: Control, pods: Any, duration_s: float) -> dict[str, Any]:
    """Read where pods stand and for how long, when rules knew of them, what new ones got."""
    return {
        "lasting": np.array([_lasts(control, p) for p in range(len(pods))], np.bool_),
        "pod_utilisation": _shares(
            pods, control.scenario.pods.workers * _lives_s(control, len(pods), duration_s)
        ),
        "node_names": tuple(control.names),
        "programming": np.array(control.programming.rows, np.float64).reshape(-1, 3),
        "newborns": newborns.by_second(control),
        "pod_nodes": _array(column(pods, "node")),
        "node_zones": control.scenario.cluster.zone_names,
    }


def _array(rows: Any) -> Counts:
    return np.array(rows, np.int64)


def _columns(rows: Any, *names: str) -> Counts:
    return np.stack([_array(column(rows, name)) for name in names], axis=1)


def _shares(rows: Any, whole_s: float | Shares) -> Shares:
    """Which part of its time each was busy."""
    return np.array(column(rows, "busy_s"), np.float64) / whole_s


def _lasts(control: Control, p: int) -> bool:
    """Tell whether a pod stood from the beginning to the end."""
    return p not in control.born_s and p not in control.deployment.deleted


def _lives_s(control: Control, pods: int, duration_s: float) -> Shares:
    """How long each pod stood while requests arrived; infinite for one that came too late."""
    lives_s = np.full(pods, duration_s)
    for p in {*control.born_s, *control.gone_s}:
        born_s, gone_s = control.born_s.get(p, 0.0), control.gone_s.get(p, np.inf)
        lives_s[p] = min(gone_s, duration_s) - born_s
    return np.where(lives_s > 0.0, lives_s, np.inf)


def _trace(w: World) -> NDArray[Any]:
    """Give the traced requests as one structured array, from either shape."""
    names, rows = Trace.__slots__, w.trace[: int(w.counts.traced)]
    traced = np.empty(len(rows), [(name, "f8" if name.endswith("_s") else "i8") for name in names])
    for name in names:
        traced[name] = column(rows, name)
    return traced
