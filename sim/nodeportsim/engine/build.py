"""From a scenario to the world it starts from, in either shape: slots objects or C structs."""

from __future__ import annotations

from dataclasses import fields
from itertools import repeat
from math import ceil, inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.scenario.network import paths

from . import build_restraint
from . import codes as C  # noqa: N812 - a table, as short as its entries are many.
from . import records as R  # noqa: N812 - as above.
from .draws import CONSTANT, EXPONENTIAL, LOGNORMAL, UNIFORM
from .port_rows import configure_ports, hosts, port_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.declared import Law
    from nodeportsim.scenario.network import Paths
    from nodeportsim.scenario.spec import Scenario

LAWS = {"exponential": EXPONENTIAL, "constant": CONSTANT, "lognormal": LOGNORMAL, "uniform": UNIFORM}
ENTRY = {
    "dns-round-robin": C.DNS_ROUND_ROBIN, "first": C.FIRST, "pinned": C.PINNED, "random": C.RANDOM,
    "list": C.LIST, "balancer": C.BALANCER, "virtual-ip": C.VIRTUAL_IP, "own-node": C.OWN_NODE,
    "custom": C.CUSTOM,
}  # fmt: skip
ARRIVALS = {"poisson": C.POISSON, "fixed": C.FIXED, "bursty": C.BURSTY, "trace": C.TRACE}
REUSE = {"none": C.NO_REUSE, "lifo": C.LIFO, "fifo": C.FIFO, "random": C.ANY}
JITTER = {
    "none": C.JITTER_NONE, "equal": C.JITTER_EQUAL, "full": C.JITTER_FULL,
    "decorrelated": C.JITTER_DECORRELATED,
}  # fmt: skip
SCHEDULERS = {"rr": C.RR, "wrr": C.WRR, "lc": C.LC, "wlc": C.WLC, "sh": C.SH}

SYN_AT_S = {
    # Measured on 6.18 and 6.1: the instants of all SYNs of one connect(), then the kernel's ETIMEDOUT.
    # tcp_syn_linear_timeouts = 4 since Linux 6.5 (Documentation/networking/ip-sysctl.rst).
    "linear": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 69.0, 134.8),
    "doubling": (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0),
}
NO_ROUTE_S = 3.06  # Three ARP probes a second apart, then EHOSTUNREACH; measured 3.06 to 3.12 s on 6.18.
RTO_S = 0.2  # TCP_RTO_MIN, include/net/tcp.h; measured 0.21 s on 6.18.
RTO_MAX_S = 120.0  # TCP_RTO_MAX, include/net/tcp.h.
DATA_RETRIES = 15  # net.ipv4.tcp_retries2 of the pods' nodes, tcp(7); clients have their own.
CLOSE_S = 10.0  # nf_conntrack_tcp_timeout_close; measured: entries of reset connections live 10 s more.
RECENT_ENTRIES = 100  # ip_list_tot, net/netfilter/xt_recent.c.
CONNTRACK_CAP_SINCE = 36  # kubernetes/kubernetes#137002
POOL = 256  # Slots to begin with; pools double when they run out.


class Plain:
    """Lists of slots objects, for the interpreter."""

    @staticmethod
    def rows(record: type, n: int) -> list[Any]:
        """Make n blank records."""
        blank = [0.0 if f.type == "f8" else 0 for f in fields(record)]
        return [record(*blank) for _ in range(n)]

    @staticmethod
    def grid(n: int, m: int, zero: float) -> list[list[Any]]:
        """Make n rows of m numbers."""
        return [[zero] * m for _ in range(n)]

    @staticmethod
    def table(record: type, n: int, m: int) -> list[list[Any]]:
        """Make n rows of m blank records."""
        return [Plain.rows(record, m) for _ in range(n)]

    @staticmethod
    def fill(rows: list[Any], **columns: Any) -> None:
        """Set fields of all rows: a list holds a value for each, anything else is for all."""
        for name, given in columns.items():
            for row, value in zip(rows, given if isinstance(given, list) else repeat(given), strict=False):
                setattr(row, name, value)

    @staticmethod
    def numbers(values: Sequence[float], _type: str) -> list[Any]:
        """Make a row of numbers."""
        return list(values)


class Structs:
    """Arrays of C structs, for the kernel; np.recarray so that attributes work outside it too."""

    @staticmethod
    def rows(record: type, n: int) -> Any:
        """Make n blank records."""
        return np.zeros(n, R.struct(record)).view(np.recarray)

    @staticmethod
    def grid(n: int, m: int, zero: float) -> Any:
        """Make n rows of m numbers."""
        return np.full((n, m), zero, np.float64 if isinstance(zero, float) else np.int64)

    @staticmethod
    def table(record: type, n: int, m: int) -> Any:
        """Make n rows of m blank records."""
        return np.zeros((n, m), R.struct(record)).view(np.recarray)

    @staticmethod
    def fill(rows: Any, **columns: Any) -> None:
        """Set fields of all rows: a list holds a value for each, anything else is for all."""
        for name, given in columns.items():
            rows[name] = given

    @staticmethod
    def numbers(values: Sequence[float], kind: str) -> Any:
        """Make a row of numbers."""
        return np.array(values, kind)


Shape = type[Plain] | type[Structs]


def sigma_of(law: Law) -> float:
    """Return the log-normal's sigma from its mean and p99: the smaller root, so the p99 is above the mode."""
    if law.p99_s is None:
        return 0.0
    z99 = 2.3263478740408408  # The standard normal's 99 % point.
    return z99 - sqrt(max(0.0, z99 * z99 - 2.0 * float(np.log(law.p99_s / law.mean_s))))


def world_of(
    scenario: Scenario,
    replication: int,
    shape: Shape,
    *,
    warmup_s: float,
    trace: int,
    cells: int = 0,
    drain_s: float = 0.0,
) -> R.World:
    """Build the world of one replication at time 0; the control plane then programs the rules."""
    nodes, pods = len(scenario.cluster.names), len(scenario.placement)
    outside = int(any(p.node is None for p in scenario.placement))
    clients = sum(g.count for g in scenario.clients)
    affinity = scenario.service.session_affinity == "ClientIP"
    counted = _choice(scenario) in (C.LC, C.WLC)
    network = paths(scenario)
    schedule_width = max(map(len, SYN_AT_S.values())) + 1
    world = R.World(
        config=shape.rows(R.Config, 1)[0],
        counts=shape.rows(R.Counts, 1)[0],
        groups=shape.rows(R.Group, len(scenario.clients)),
        clients=shape.rows(R.Client, clients),
        requests=shape.rows(R.Request, POOL),
        connections=shape.rows(R.Connection, POOL),
        flights=shape.rows(R.Flight, POOL),
        nodes=shape.rows(R.Node, nodes + outside),
        pods=shape.rows(R.Pod, pods),
        endpoints=shape.numbers([], "i4"),
        path_s=shape.grid(len(network.path_s), len(network.zones), 0.0),
        cpu_free_s=shape.grid(nodes + outside, scenario.cluster.cores, 0.0),
        work_free_s=shape.grid(pods, scenario.pods.workers, 0.0),
        expiry=shape.grid(nodes + outside, C.EXPIRY_SLOTS, 0),
        sticky=shape.table(R.Sticky, nodes + outside, clients if affinity else 0),
        active=shape.grid(nodes + outside, pods if counted else 0, 0),
        inactive=shape.grid(nodes + outside, pods if counted else 0, 0),
        **port_rows(scenario, shape),
        **build_restraint.tables(scenario, shape),
        memory=shape.grid(clients, cells * nodes, 0.0),
        syn_at_s=shape.grid(len(SYN_AT_S), schedule_width, inf),
        trace_s=shape.numbers([t for g in scenario.clients for t in g.trace_s], "f8"),
        trace_service_s=shape.numbers([t for g in scenario.clients for t in _services_s(g)], "f8"),
        **_tallies(scenario, shape, trace, drain_s),
        queue=None,
    )
    _configure(world, scenario, replication, warmup_s, trace)
    _fill_network(world, network)
    _fill_nodes(world, scenario, network, shape)
    _fill_pods(world, scenario, shape)
    _fill_clients(world, scenario, network, shape)
    configure_ports(world, scenario)
    _link(world, shape)
    return world


def _choice(scenario: Scenario) -> int:
    """Which endpoint a node takes, as a code."""
    proxy = scenario.cluster.proxy
    return SCHEDULERS[proxy.scheduler] if proxy.mode == "ipvs" else C.UNIFORM_CHOICE


def _tallies(scenario: Scenario, shape: Shape, trace: int, drain_s: float) -> dict[str, Any]:
    """Make what is counted in."""
    seconds, to_the_end = ceil(scenario.run.duration_s), ceil(scenario.run.duration_s + drain_s) + 1
    return {
        "latency": shape.grid(len(C.PHASES), C.BUCKETS, 0),
        "latency_ns": shape.grid(1, len(C.PHASES), 0)[0],
        "first_packet": shape.grid(1, C.BUCKETS, 0)[0],
        "stage_ns": shape.grid(C.BUCKETS, len(C.STAGES), 0),
        "series": shape.grid(seconds, 3 + len(C.CAUSES), 0),
        "load": shape.grid(to_the_end, 4, 0),
        "fates": shape.grid(to_the_end, len(C.FATES), 0),
        "phases": shape.grid(len(C.PHASES), 3, 0),
        "errors": shape.grid(2, len(C.CAUSES), 0),
        "trace": shape.rows(R.Trace, trace),
    }


def _services_s(given: Clients) -> Sequence[float]:
    """Service times of the requests of a trace; -1 where they are drawn."""
    return given.trace_service_s or (-1.0,) * len(given.trace_s)


def _configure(w: R.World, scenario: Scenario, replication: int, warmup_s: float, trace: int) -> None:
    c, network, balancer = w.config, scenario.cluster.network, scenario.balancer
    c.key0, c.key1 = scenario.run.seed, replication
    c.duration_s, c.warmup_s = scenario.run.duration_s, warmup_s
    c.fault_s = C.NEVER_S
    c.wake_up_s, c.jitter_s, c.loss_ratio = network.wake_up_s, network.jitter_s, network.loss_ratio
    c.noisy = int(network.jitter_s > 0 or network.loss_ratio > 0)
    c.balancer_s = balancer.latency_s
    c.balancer_least = int(balancer.policy == "least-connections")
    law = scenario.pods.service_time
    c.service_law, c.service_mean_s, c.service_sigma = LAWS[law.dist], law.mean_s, sigma_of(law)
    slow = scenario.pods.slow_start
    c.slowdown, c.slow_start_s = slow.slowdown, slow.over_s
    c.no_route_s, c.rto_s, c.data_retries = NO_ROUTE_S, RTO_S, DATA_RETRIES
    c.time_wait_s, c.close_s = scenario.cluster.conntrack.time_wait_s, CLOSE_S
    c.affinity = int(scenario.service.session_affinity == "ClientIP")
    c.affinity_s = float(scenario.service.affinity_timeout_seconds)
    c.memory = C.RECENT if scenario.cluster.proxy.mode == "iptables" else C.EXACT
    c.recent_entries = RECENT_ENTRIES
    c.nodes = len(scenario.cluster.names)
    c.zones = len(w.path_s[0])
    c.choice = _choice(scenario)
    c.backlog = scenario.pods.backlog
    c.reject, c.queue_limit = int(scenario.pods.overload == "reject"), scenario.pods.queue_limit
    c.client_no_route = int(network.client_hop == "no-route")
    c.node_no_route = int(network.node_hop == "no-route")
    c.tracing = int(trace > 0)


def _fill_network(w: R.World, network: Paths) -> None:
    for row, given in zip(w.path_s, network.path_s, strict=True):
        for k, delay_s in enumerate(given):
            row[k] = delay_s
    for row, instants in zip(w.syn_at_s, SYN_AT_S.values(), strict=True):
        for k, t in enumerate(instants):
            row[k] = t


def _fill_nodes(w: R.World, scenario: Scenario, network: Paths, shape: Shape) -> None:
    """Fill in the nodes; what stands outside the cluster counts as one more, in the first zone."""
    zones = [*network.node_zone, 0][: len(w.nodes)]
    most = conntrack_max(scenario)
    shape.fill(w.nodes, up=1, slow=1.0, zone=zones, healthy=1, listed=1, conntrack_max=most, booted_s=-1e300)
    for remembered in w.sticky:
        shape.fill(remembered, pod=-1)


def conntrack_max(scenario: Scenario) -> int:
    """nf_conntrack_max as kube-proxy sets it (k8s:pkg/proxy/conntrack/sysctls.go getConntrackMax)."""
    given = scenario.cluster.conntrack.max
    capped = int(scenario.cluster.kubernetes_version.split(".")[1]) >= CONNTRACK_CAP_SINCE
    automatic = max(131_072, 32_768 * scenario.cluster.cores)
    return given or (min(1_048_576, automatic) if capped else automatic)


def _fill_pods(w: R.World, scenario: Scenario, shape: Shape) -> None:
    where: dict[str | None, int] = {name: n for n, name in enumerate(scenario.cluster.names)}
    where[None] = len(where)
    nodes = [where[place.node] for place in scenario.placement]
    shape.fill(w.pods, node=nodes, up=C.SERVING, slow=1.0, started_s=-C.NEVER_S)
    shape.fill(w.pods, workers=scenario.pods.workers, weight=1)


def _fill_clients(w: R.World, scenario: Scenario, network: Paths, shape: Shape) -> None:
    first = trace_first = 0
    for g, given in enumerate(scenario.clients):
        _fill_group(w.groups[g], given, first, trace_first, w.config.nodes)
        build_restraint.fill(w, w.groups[g], given)
        clients = w.clients[first : first + given.count]
        homes = [_home(given, place, w) for place in range(given.count)]
        shape.fill(clients, group=g, resolved_s=-1.0, home=homes, zone=network.client_zone[g])
        shape.fill(clients, host=hosts(given, first))
        shape.fill(clients, idle_head=-1, idle_tail=-1, wait_head=-1, wait_tail=-1)
        first, trace_first = first + given.count, trace_first + len(given.trace_s)


def _home(given: Clients, place: int, w: R.World) -> int:
    """Entry node of a client that keeps one: spread evenly, but a `list` client starts at its head."""
    return 0 if given.entry.policy == "list" else place % w.config.nodes


def _fill_group(group: R.Group, given: Clients, first: int, trace_first: int, nodes: int) -> None:
    group.first, group.count, group.closed = first, given.count, int(given.loop == "closed")
    group.rate_rps, group.arrivals, group.burst = given.rate_rps, ARRIVALS[given.arrivals], given.burst
    group.trace_first, group.trace_count = trace_first, len(given.trace_s)
    group.policy, group.ttl_s = ENTRY[given.entry.policy], given.entry.ttl_s
    reuse = given.connections
    group.reuse, group.pool_size, group.streams = REUSE[reuse.reuse], reuse.size, reuse.streams
    group.max_requests, group.max_age_s, group.idle_timeout_s = (
        reuse.max_requests,
        reuse.max_age_s,
        reuse.idle_timeout_s,
    )
    limits = given.timeouts
    group.connect_s, group.request_s, group.total_s, group.pool_s = (
        limits.connect_s,
        limits.request_s,
        limits.total_s,
        limits.pool_s,
    )
    backoff = given.retry.backoff
    _fill_races(group, given, nodes)
    _fill_liveness(group, given)
    group.attempts, group.retry_next = given.retry.attempts, int(given.retry.node == "next")
    group.backoff_s, group.backoff_factor, group.backoff_max_s = (
        backoff.initial_s,
        backoff.factor,
        backoff.max_s,
    )
    group.jitter = JITTER[backoff.jitter]
    group.ignore_ttl_ratio = given.entry.ignore_ttl_ratio
    group.withdrawing = int(given.entry.withdraw_s is not None)
    think = given.think_time
    group.think_law, group.think_mean_s, group.think_sigma = LAWS[think.dist], think.mean_s, sigma_of(think)
    group.syn_schedule = list(SYN_AT_S).index(given.syn_schedule)


def _fill_races(group: R.Group, given: Clients, nodes: int) -> None:
    """Fill in hedging or happy eyeballs: a scenario has one of them at most."""
    group.dials = int(given.entry.attempt_delay_s > 0.0)
    if group.dials:
        group.copies, group.copy_s, group.copy_next = nodes - 1, given.entry.attempt_delay_s, 1
        return
    hedge = given.hedge
    group.copies, group.copy_s, group.copy_next = hedge.max, hedge.delay_s, int(hedge.node == "next")
    group.drawn = int(hedge.work == "drawn")


def _fill_liveness(group: R.Group, given: Clients) -> None:
    """Fill in what tells that a connection is dead."""
    keep_alive = given.connections.keep_alive
    group.keep_s, group.keep_interval_s = keep_alive.time_s, keep_alive.interval_s
    group.keep_probes = keep_alive.probes
    group.give_up_s = given.timeouts.user_s or give_up_s(given.connections.tcp_retries)


def give_up_s(retries: int) -> float:
    """How long TCP holds on to data that nobody acknowledges (net/ipv4/tcp_timer.c tcp_model_timeout)."""
    return sum(min(RTO_S * 2.0**k, RTO_MAX_S) for k in range(retries + 1))


def _link(w: R.World, shape: Shape) -> None:
    """Chain the slots of every pool into its free list."""
    pools: tuple[Any, ...] = (w.requests, w.connections, w.flights)
    for pool in pools:
        shape.fill(pool, next=[*range(1, len(pool)), -1])
    shape.fill(w.flights, request=-1)
