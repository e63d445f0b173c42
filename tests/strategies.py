"""Random small scenarios: every mechanism of the engine, tiny limits, quick clocks, many ties.

A scenario lasts 1 to 3 s and offers some hundred requests. Times come from a short list of round figures and
arrivals may be fixed, so that many things fall on the same instant: ties are where schedulers differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from hypothesis import strategies as st

from nodeportsim.scenario import clients, spec
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.events import PARAMETERS, TARGETS, Event
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
    )
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


def connections() -> SearchStrategy[clients.Connections]:
    kept = st.builds(
        clients.Connections,
        reuse=st.sampled_from(("lifo", "fifo", "random")),
        size=st.integers(1, 4),
        streams=st.sampled_from((1, 1, 3)),
        max_requests=st.sampled_from((0, 1, 3)),
        max_age_s=st.sampled_from((0.0, 0.25)),
        idle_timeout_s=st.sampled_from((0.0, 0.05, 90.0)),
    )
    return st.just(clients.Connections()) | kept


def retries() -> SearchStrategy[clients.Retry]:
    backoff = st.builds(
        clients.Backoff,
        initial_s=st.sampled_from((0.0, 0.05)),
        factor=st.sampled_from((1.0, 2.0, 1.7)),
        max_s=st.sampled_from((0.05, 0.2)),
        jitter=st.sampled_from(("none", "equal", "full")),
    )
    return st.builds(
        clients.Retry, attempts=st.integers(1, 3), node=st.sampled_from(("next", "same")), backoff=backoff
    )


def entries() -> SearchStrategy[clients.Entry]:
    """Every policy there is, users' own among them."""
    ttl_s = st.sampled_from((0.0, 0.25))
    ready = [p for p in get_args(clients.Entry.model_fields["policy"].annotation) if p != "custom"]
    functions = st.sampled_from(("policies.py:power_of_two", "policies.py:fastest"))
    custom = st.builds(clients.Entry, policy=st.just("custom"), function=functions, code=st.just(POLICIES))
    return st.builds(clients.Entry, policy=st.sampled_from(ready), ttl_s=ttl_s) | custom


@st.composite
def groups(draw: DrawFn, number: int, zones: tuple[str, ...]) -> clients.Clients:
    """One group of clients; its load is up to 100 requests/s, or closed with short thoughts."""
    arrivals = draw(st.sampled_from(ARRIVALS))
    instants = st.lists(st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75)), min_size=1, max_size=30).map(sorted)
    limit_s = st.sampled_from(LIMITS_S)
    return clients.Clients(
        name=f"group-{number}",
        count=draw(st.integers(1, 5)),
        loop=draw(st.sampled_from(("open", "open", "closed"))),
        rate_rps=draw(st.sampled_from((20.0, 50.0, 100.0))),
        arrivals=arrivals,
        burst=draw(st.sampled_from((1, 5))),
        trace_s=tuple(draw(instants)) if arrivals == "trace" else (),
        think_time=draw(laws((0.04, 0.1))),
        entry=draw(entries()),
        connections=draw(connections()),
        timeouts=clients.Timeouts(
            connect_s=draw(limit_s),
            request_s=draw(limit_s),
            total_s=draw(st.sampled_from((0.0, 0.0, 0.25, 2.0))),
            pool_s=draw(st.sampled_from((0.0, 0.05))),
        ),
        retry=draw(retries()),
        syn_schedule=draw(st.sampled_from(("linear", "doubling"))),
        zone=draw(st.sampled_from((None, *zones))),
    )


@st.composite
def faults(draw: DrawFn, nodes: tuple[str, ...], pods: tuple[str, ...]) -> Event:
    """One fault that may end within the run, at an instant where arrivals fall too."""
    kinds = sorted(kind for kind, target in TARGETS.items() if target != "pod" or pods)
    fault = draw(st.sampled_from(kinds))
    fields: dict[str, Any] = {}
    if TARGETS[fault] != "cluster":
        fields[TARGETS[fault]] = draw(st.sampled_from(pods if TARGETS[fault] == "pod" else nodes))
        fields["for_s"] = draw(st.sampled_from((None, 0.25, 1.0)))
    choices = {
        "replicas": (0, 1, 5, 12),
        "late_s": (0.0, 0.25),
        "stay_s": (0.0, 0.25),
        "alive_s": (0.05, 0.5),
    }
    for name in sorted(name for name, faults in PARAMETERS.items() if fault in faults):
        fields[name] = draw(st.sampled_from(choices[name]))
    return Event(at_s=draw(st.sampled_from((0.0, 0.25, 0.5))), fault=fault, **fields)


def balancers() -> SearchStrategy[spec.Balancer]:
    kind = st.sampled_from(("node-port", "healthz", "health-check-node-port"))
    check = st.builds(spec.Check, kind=kind, interval_s=st.just(0.1), timeout_s=st.just(0.05))
    policy = st.sampled_from(("round-robin", "least-connections"))
    return st.builds(spec.Balancer, policy=policy, check=check, failover_s=st.sampled_from((0.0, 0.2)))


@st.composite
def scenarios(draw: DrawFn, *, events: int = 2) -> spec.Scenario:
    """A whole scenario with at most so many events."""
    cluster, service = draw(clusters()), draw(services())
    standing = draw(pods(placements(cluster, service)))
    number = draw(st.integers(1, 2))
    names = tuple(p.name for p in standing.placement) or tuple(f"web-{p}" for p in range(service.replicas))
    return spec.Scenario(
        cluster=cluster,
        service=service,
        pods=standing,
        clients=tuple(draw(groups(k, cluster.zone_names)) for k in range(number)),
        balancer=draw(balancers()),
        events=tuple(draw(faults(cluster.names, names)) for _ in range(draw(st.integers(0, events)))),
        run=spec.Run(
            duration_s=draw(st.sampled_from((1.0, 1.75))), seed=draw(st.integers(0, 999)), drain_s=30.0
        ),
    )
