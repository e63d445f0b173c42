"""Random small scenarios: every mechanism of the engine, tiny limits, quick clocks, many ties.

A scenario lasts 1 to 3 s and offers some hundred requests. Times come from a short list of round figures and
arrivals may be fixed, so that many things fall on the same instant: ties are where schedulers differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from hypothesis import strategies as st

from nodeportsim.scenario import clients, restraint, spec
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.events import EVERY, FOR_GOOD, PARAMETERS, TARGETS, Event
from nodeportsim.scenario.ports import Snat, SourcePorts
from nodeportsim.scenario.profile import load_profile

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from nodeportsim.scenario.profile import Profile

POLICIES = """
from nodeportsim import policy


@policy(cells=1)
def power_of_two(memory, nodes, last, u1, u2, now_s):
    a = int(u1 * nodes)
    b = (a + 1 + int(u2 * (nodes - 1))) % nodes
    node = a if memory[a] <= memory[b] else b
    memory[node] += 1.0
    return node


@power_of_two.learn
def ended(memory, nodes, node, took_s, answered, now_s):
    memory[node] -= 1.0


@policy(cells=2)
def fastest(memory, nodes, last, u1, u2, now_s):
    if u1 < 0.2:
        return int(u2 * nodes)
    best = 0
    for node in range(nodes):
        if memory[2 * node] < memory[2 * best] and node != last:
            best = node
    return best


@fastest.learn
def ended(memory, nodes, node, took_s, answered, now_s):
    weight = 0.3 if answered == 1 else 0.7
    memory[2 * node] += weight * (took_s - memory[2 * node])
    memory[2 * node + 1] = now_s
"""
LIMITS_S = (4.0, 1.0, 1.5, 0.25, 0.05)  # 4 s: long enough for EHOSTUNREACH after 3.06 s.
DELAYS_S = (0.0, 0.00025, 0.01)
ARRIVALS: tuple[Literal["poisson", "fixed", "bursty", "trace"], ...] = ("poisson", "fixed", "bursty", "trace")
CLOCKS = spec.ControlPlane(
    lease_renew_interval_s=0.25,
    node_monitor_period_s=0.1,
    node_monitor_grace_period_s=0.5,
    slice_min_delay_s=0.2,
    toleration_s=0.5,
    kubelet_relist_s=0.1,
    leader_lease_duration_s=0.2,
    leader_renew_deadline_s=0.2,
)
QUICK_PROBE = spec.Probe(period_s=0.2, timeout_s=0.1, failure_threshold=2)


def uneven(sigma: float) -> Profile:
    """The shipped prices, but first packets spread around them."""
    profile = load_profile("kernel-6.18")
    parameter = profile.host.connect_ns.model_copy(update={"value": sigma, "error": None})
    host = profile.host.model_copy(update={"connect_spread_ratio": parameter})
    return profile.model_copy(update={"host": host})


def laws(means_s: tuple[float, ...] = (0.01, 0.001, 0.04)) -> SearchStrategy[Law]:
    means = st.sampled_from(means_s)
    plain = st.builds(Law, dist=st.sampled_from(("constant", "exponential", "uniform")), mean_s=means)
    return plain | means.map(lambda mean_s: Law(dist="lognormal", mean_s=mean_s, p99_s=5.0 * mean_s))


def networks() -> SearchStrategy[spec.Network]:
    return st.builds(
        spec.Network,
        topology=st.sampled_from(("flat", "zones")),
        client_node_s=st.sampled_from(DELAYS_S),
        node_node_s=st.sampled_from(DELAYS_S),
        wake_up_s=st.sampled_from((0.0, 0.00004)),
        jitter_s=st.sampled_from((0.0, 0.0, 0.002)),
        loss_ratio=st.sampled_from((0.0, 0.1)),
        overlay=st.sampled_from(("none", "vxlan")),
        client_hop=st.sampled_from(("silent", "no-route")),
        node_hop=st.sampled_from(("silent", "no-route")),
    )


def clusters() -> SearchStrategy[spec.Cluster]:
    proxy = st.builds(
        spec.Proxy,
        mode=st.sampled_from(get_args(spec.Mode)),
        scheduler=st.sampled_from(("rr", "wrr", "lc", "wlc", "sh")),
        first_position=st.sampled_from((None, None, 1)),
        min_sync_period_s=st.sampled_from((0.0, 0.2)),
        port_reuse=st.sampled_from(("new", "drop", "keep")),
    )
    snat = st.builds(Snat, ports=st.sampled_from((3, 20, 40, 300)), evict_closing=st.booleans())
    conntrack = st.builds(
        spec.Conntrack,
        max=st.sampled_from((None, None, None, None, 40, 8)),
        time_wait_s=st.sampled_from((0.0, 0.5, 120.0)),
    )
    return st.builds(
        spec.Cluster,
        nodes=st.integers(1, 4),
        zones=st.integers(1, 2),
        cores=st.integers(1, 2),
        proxy=proxy,
        network=networks(),
        control_plane=st.just(CLOCKS),
        conntrack=conntrack,
        snat=st.none() | snat,
    )


def services() -> SearchStrategy[spec.Service]:
    return st.builds(
        spec.Service,
        type=st.sampled_from(("NodePort", "NodePort", "ClusterIP")),
        replicas=st.sampled_from((4, 1, 2, 3, 6, 9, 0)),
        external_traffic_policy=st.sampled_from(("Cluster", "Cluster", "Local")),
        internal_traffic_policy=st.sampled_from(("Cluster", "Local")),
        session_affinity=st.sampled_from(("None", "None", "ClientIP")),
        affinity_timeout_seconds=st.sampled_from((1, 10800)),
    )


@st.composite
def placements(draw: DrawFn, cluster: spec.Cluster, service: spec.Service) -> tuple[spec.Placement, ...]:
    """Round robin, or anywhere, some endpoints outside the cluster, unready or on their way out."""
    if draw(st.booleans()):
        return ()
    places = st.sampled_from((*cluster.names, *cluster.names, None))
    return tuple(
        spec.Placement(
            name=f"{service.name}-{p}",
            node=draw(places),
            ready=draw(st.sampled_from((True, True, True, True, False))),
            serving=draw(st.booleans()),
            terminating=draw(st.sampled_from((False, False, True))),
        )
        for p in range(service.replicas)
    )


def pods(placement: SearchStrategy[Any]) -> SearchStrategy[spec.Pods]:
    return st.builds(
        spec.Pods,
        workers=st.integers(1, 3),
        service_time=laws(),
        backlog=st.sampled_from((0, 2, 511)),
        overload=st.sampled_from(("queue", "reject")),
        queue_limit=st.sampled_from((0, 2, 1000)),
        startup_s=st.sampled_from((0.0, 0.2)),
        readiness_probe=st.just(QUICK_PROBE),
        termination_grace_period_seconds=st.integers(0, 3),
        pre_stop_s=st.sampled_from((0.0, 0.0, 0.2)),
        on_term=st.sampled_from(("ignore", "exit", "drain", "drain")),
        teardown_s=st.sampled_from((0.0, 0.1)),
        rollout=st.builds(
            spec.Rollout,
            max_surge=st.sampled_from(("25%", 0, "100%")),
            max_unavailable=st.sampled_from(("25%", 0, 2)),
            min_ready_s=st.sampled_from((0.0, 0.1)),
        ),
        slow_start=st.builds(
            spec.SlowStart, slowdown=st.sampled_from((1.0, 5.0)), over_s=st.sampled_from((0.5, 30.0))
        ),
        placement=placement,
    )


def keep_alives() -> SearchStrategy[clients.KeepAlive]:
    return st.builds(
        clients.KeepAlive,
        time_s=st.sampled_from((0.0, 0.0, 0.05, 0.25)),
        interval_s=st.sampled_from((0.05, 0.25)),
        probes=st.integers(1, 3),
    )


def hedges() -> SearchStrategy[clients.Hedge]:
    hedge = st.builds(
        clients.Hedge,
        delay_s=st.sampled_from((0.05, 0.0, 0.01, 0.25)),
        max=st.integers(1, 3),
        node=st.sampled_from(("next", "same")),
        work=st.sampled_from(("drawn", "shared")),
    )
    return st.just(clients.Hedge()) | hedge


def connections() -> SearchStrategy[clients.Connections]:
    kept = st.builds(
        clients.Connections,
        reuse=st.sampled_from(("lifo", "fifo", "random")),
        size=st.integers(1, 4),
        streams=st.sampled_from((1, 1, 3)),
        max_requests=st.sampled_from((0, 1, 3)),
        max_age_s=st.sampled_from((0.0, 0.25)),
        idle_timeout_s=st.sampled_from((0.0, 0.05, 90.0)),
        keep_alive=keep_alives(),
        tcp_retries=st.sampled_from((15, 1, 2)),
    )
    return st.just(clients.Connections()) | kept


def source_ports() -> SearchStrategy[SourcePorts | None]:
    """None, or few: they run out, and come back while nodes remember them."""
    few = st.builds(
        SourcePorts,
        count=st.sampled_from((2, 5, 12, 60)),
        pick=st.sampled_from(("random", "sequential")),
        hold_s=st.sampled_from((0.0, 0.1, 60.0)),
        hosts=st.sampled_from((None, 1, 2)),
    )
    return st.none() | few


def retries() -> SearchStrategy[clients.Retry]:
    backoff = st.builds(
        clients.Backoff,
        initial_s=st.sampled_from((0.0, 0.05)),
        factor=st.sampled_from((1.0, 2.0, 1.7)),
        max_s=st.sampled_from((0.05, 0.2)),
        jitter=st.sampled_from(("none", "equal", "full", "decorrelated")),
    )
    return st.builds(
        clients.Retry,
        attempts=st.integers(1, 3),
        node=st.sampled_from(("next", "same")),
        backoff=backoff,
        idempotent_ratio=st.sampled_from((1.0, 1.0, 0.5)),
        budget=budgets(),
    )


def budgets() -> SearchStrategy[restraint.Budget]:
    """So small that they forbid something within a second."""
    return st.builds(
        restraint.Budget,
        kind=st.sampled_from(("none", "ratio", "tokens")),
        ratio=st.sampled_from((0.0, 0.3, 1.0)),
        min_per_second=st.sampled_from((0, 1)),
        window_s=st.just(1.0),
        max_tokens=st.sampled_from((2, 5)),
        success_tokens=st.sampled_from((0.1, 0.0625)),
    )


def breakers() -> SearchStrategy[restraint.Breaker]:
    return st.builds(
        restraint.Breaker,
        failures=st.sampled_from((0, 0, 1, 2)),
        open_s=st.sampled_from((0.0, 0.05, 0.25)),
        probes=st.integers(1, 2),
    )


def ejections() -> SearchStrategy[restraint.Ejection]:
    return st.builds(
        restraint.Ejection,
        failures=st.integers(1, 2),
        base_s=st.sampled_from((0.05, 0.25)),
        max_s=st.sampled_from((0.25, 0.4)),
        share_ratio=st.sampled_from((0.1, 0.5, 1.0)),
        panic_ratio=st.sampled_from((0.0, 0.5)),
    )


def may_eject(entry: clients.Entry, retry: clients.Retry) -> bool:
    """Whether these clients choose among nodes."""
    again = retry.attempts > 1 and retry.node == "next"
    return entry.policy in {"random", "list"} or (entry.policy in {"dns-round-robin", "first"} and again)


def entries(withdraw_s: float | None = None) -> SearchStrategy[clients.Entry]:
    """Every policy there is, users' own among them."""
    ttl_s = st.sampled_from((0.0, 0.25))
    ready = [p for p in get_args(clients.Entry.model_fields["policy"].annotation) if p != "custom"]
    ready.remove("dns-round-robin")
    dns = st.builds(
        clients.Entry,
        policy=st.just("dns-round-robin"),
        ttl_s=ttl_s,
        ignore_ttl_ratio=st.sampled_from((0.0, 0.0, 0.5)),
        withdraw_s=st.just(withdraw_s),
    )
    functions = st.sampled_from(("policies.py:power_of_two", "policies.py:fastest"))
    custom = st.builds(clients.Entry, policy=st.just("custom"), function=functions, code=st.just(POLICIES))
    delay_s = st.sampled_from((0.01, 0.05, 0.25))
    others = st.sampled_from([policy for policy in clients.KNOWS_SEVERAL if policy != "dns-round-robin"])
    eager = st.builds(clients.Entry, policy=others, attempt_delay_s=delay_s) | st.builds(
        clients.Entry,
        policy=st.just("dns-round-robin"),
        ttl_s=ttl_s,
        withdraw_s=st.just(withdraw_s),
        attempt_delay_s=delay_s,
    )
    return dns | st.builds(clients.Entry, policy=st.sampled_from(ready), ttl_s=ttl_s) | custom | eager


@st.composite
def groups(
    draw: DrawFn, number: int, zones: tuple[str, ...], withdraw_s: float | None = None
) -> clients.Clients:
    """One group of clients; its load is up to 100 requests/s, or closed with short thoughts."""
    arrivals = draw(st.sampled_from(ARRIVALS))
    instants = st.lists(st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75)), min_size=1, max_size=30).map(sorted)
    trace_s = tuple(draw(instants)) if arrivals == "trace" else ()
    limit_s = st.sampled_from(LIMITS_S)
    entry, retry = draw(entries(withdraw_s)), draw(retries())
    ejecting = may_eject(entry, retry) and draw(st.booleans())
    return clients.Clients(
        name=f"group-{number}",
        count=draw(st.integers(1, 5)),
        loop=draw(st.sampled_from(("open", "open", "closed"))),
        rate_rps=draw(st.sampled_from((20.0, 50.0, 100.0))),
        arrivals=arrivals,
        burst=draw(st.sampled_from((1, 5))),
        trace_s=trace_s,
        trace_service_s=tuple(0.01 * (k % 7) for k in range(len(trace_s))) if draw(st.booleans()) else (),
        think_time=draw(laws((0.04, 0.1))),
        entry=entry,
        hedge=clients.Hedge() if entry.attempt_delay_s else draw(hedges()),
        connections=draw(connections()),
        timeouts=clients.Timeouts(
            connect_s=draw(limit_s),
            request_s=draw(limit_s),
            total_s=draw(st.sampled_from((0.0, 0.0, 0.25, 2.0))),
            pool_s=draw(st.sampled_from((0.0, 0.05))),
            user_s=draw(st.sampled_from((0.0, 0.0, 0.25, 1.0))),
        ),
        retry=retry,
        breaker=draw(breakers()),
        ejection=draw(ejections()) if ejecting else restraint.Ejection(),
        syn_schedule=draw(st.sampled_from(("linear", "doubling"))),
        source_ports=None if entry.policy == "virtual-ip" else draw(source_ports()),
        zone=draw(st.sampled_from((None, *zones))),
    )


PARAMETER_VALUES: dict[str, tuple[Any, ...]] = {
    "period_s": (0.7, 1.0),
    "delay_s": (0.1, 0.5),
    "flush": (False, True),
    "connections": ("reset", "silent", "kept"),
    "factor": (1.5, 3.0),
    "loss_ratio": (0.1, 0.5),
    "errors_ratio": (0.35, 1.0),
    "answer": ("drop", "reject"),
    "entries": (1, 30, 200_000),
    "replicas": (0, 1, 5, 12),
    "late_s": (0.0, 0.25),
    "stay_s": (0.0, 0.25),
    "alive_s": (0.05, 0.5),
}


@st.composite
def faults(draw: DrawFn, nodes: tuple[str, ...], zones: tuple[str, ...], pods: tuple[str, ...]) -> Event:
    """One fault that may end within the run, or come and go, at an instant where arrivals fall too."""
    fault = draw(st.sampled_from(sorted(kind for kind in TARGETS if TARGETS[kind] != "pod" or pods)))
    targets: dict[str, list[dict[str, str]]] = {
        "pod": [{"pod": name} for name in (*pods, EVERY)],
        "node": [{"node": name} for name in (*nodes, *nodes, EVERY)] + [{"zone": name} for name in zones],
        "cluster": [{}],
    }
    lasting: list[dict[str, Any]] = [{"for_s": s} for s in (None, 0.25, 1.0)] + [{"up_s": 0.3, "down_s": 0.2}]
    if fault in FOR_GOOD:
        lasting = [{}]
    parameters = {
        name: draw(st.sampled_from(PARAMETER_VALUES[name]))
        for name, theirs in PARAMETERS.items()
        if fault in theirs
    }
    given: dict[str, Any] = parameters | draw(st.sampled_from(targets[TARGETS[fault]]))
    return Event(
        at_s=draw(st.sampled_from((0.0, 0.25, 0.5))), fault=fault, **given, **draw(st.sampled_from(lasting))
    )


def balancers() -> SearchStrategy[spec.Balancer]:
    kind = st.sampled_from(("node-port", "healthz", "health-check-node-port"))
    check = st.builds(spec.Check, kind=kind, interval_s=st.just(0.1), timeout_s=st.just(0.05))
    policy = st.sampled_from(("round-robin", "least-connections"))
    return st.builds(
        spec.Balancer,
        policy=policy,
        check=check,
        failover_s=st.sampled_from((0.0, 0.2)),
        arp_s=st.sampled_from((0.0, 0.0, 0.3)),
        drain_s=st.sampled_from((None, None, 0.0, 0.2)),
    )


@st.composite
def scenarios(draw: DrawFn, *, events: int = 2) -> spec.Scenario:
    """A whole scenario with at most so many events."""
    cluster, service = draw(clusters()), draw(services())
    standing = draw(pods(placements(cluster, service)))
    number = draw(st.integers(1, 2))
    withdraw_s = draw(st.sampled_from((None, None, 0.0, 0.2)))
    names = tuple(p.name for p in standing.placement) or tuple(f"web-{p}" for p in range(service.replicas))
    return spec.Scenario(
        cluster=cluster,
        service=service,
        pods=standing,
        clients=tuple(draw(groups(k, cluster.zone_names, withdraw_s)) for k in range(number)),
        balancer=draw(balancers()),
        events=tuple(
            draw(faults(cluster.names, cluster.zone_names, names))
            for _ in range(draw(st.integers(0, events)))
        ),
        run=spec.Run(
            duration_s=draw(st.sampled_from((1.0, 1.75))), seed=draw(st.integers(0, 999)), drain_s=30.0
        ),
    )
