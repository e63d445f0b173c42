"""What theory expects of a cell: the closed forms that apply to its scenario, by the metric they answer.

The engine never sees these numbers; they stand beside its own in tables and figures. A form is given only
where its assumptions hold: one open group of clients, and what each function says. Everything comes from
`nodeportsim.theory` but for the decay of failures under keep-alive, derived in `_kept`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from nodeportsim.theory import balance, failure, limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.kubeproxy.sync import SyncKind
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    Share = Callable[[float], float]

GRACE_50_SINCE = 32  # Kubernetes 1.32: node-monitor-grace-period 50 s instead of 40 s (kubernetes#126287).
EVEN_ENTRIES = ("dns-round-robin", "random", "balancer")  # By which no node gets more than another.
JITTER_MEAN = {"none": 1.0, "equal": 0.75, "full": 0.5}


def closed_forms(scenario: Scenario) -> dict[str, float]:
    """Give the expected value of every metric that theory knows for this scenario."""
    if len(scenario.clients) != 1 or scenario.clients[0].loop != "open" or not _plain(scenario.clients[0]):
        return {}
    if scenario.events:
        return _failure(scenario)
    if scenario.clients[0].connections.reuse == "none":
        return _rules(scenario) | _routes(scenario) | _sticky(scenario) | _conntrack(scenario)
    return _balance(scenario)


def _plain(group: Clients) -> bool:
    """Tell whether these clients do no more than the forms here know: connect, wait, try again."""
    entry, retry = group.entry, group.retry
    tricks = (group.hedge.max, group.breaker.failures, group.ejection.failures, group.source_ports)
    kept = group.connections.keep_alive.time_s
    dns = (entry.attempt_delay_s, entry.withdraw_s, entry.ignore_ttl_ratio)
    unbounded = retry.budget.kind == "none" and retry.idempotent_ratio == 1
    return not any((*tricks, *dns, kept)) and unbounded and retry.backoff.jitter in JITTER_MEAN


def _balance(scenario: Scenario) -> dict[str, float]:
    """Balls in bins: a connection a client, each thrown on a random pod."""
    group, service = scenario.clients[0], scenario.service
    plain = service.external_traffic_policy == "Cluster" and service.session_affinity == "None"
    if scenario.cluster.proxy.mode == "ipvs" or group.connections.size != 1 or not plain:
        return {}
    n, pods = group.count, service.replicas
    offered = group.rate_rps * scenario.pods.service_time.mean_s
    utilisation = offered / (pods * scenario.pods.workers)
    forms = {
        "balance.pods.max_over_mean": balance.hottest_mean(n, pods) * pods / n,
        "balance.pods.idle": balance.idle_mean(n, pods),
    }
    if utilisation <= 1:
        forms["saturated_ratio"] = balance.saturation_probability(n, pods, utilisation)
    return forms


def _rules(scenario: Scenario) -> dict[str, float]:
    """Straight lines in the number of Services: prices below the cache knee, one NodePort in the rules."""
    from nodeportsim.scenario.profile import load_profile

    background, service = scenario.cluster.background, scenario.service
    if background.node_ports or service.ports != 1 or service.external_traffic_policy != "Cluster":
        return {}
    if service.type == "ClusterIP" or scenario.clients[0].entry.policy == "balancer":
        return {}
    profile = load_profile(scenario.cluster.profile)
    own_and_kubernetes = 2  # The Service under study, and default/kubernetes.
    ports = (background.services if background.ports is None else background.ports) + own_and_kubernetes
    entry_s = limits.first_packet_s(
        _prices(scenario, profile, "nodeport"),
        service_ports=ports,
        position=1,
        endpoint=(service.replicas + 1) / 2,
        rules_per_node_port=1,
    )
    peer_s = limits.first_packet_s(
        _prices(scenario, profile, "podip"), service_ports=ports, position=0, endpoint=0
    )
    return {"rules_s": entry_s + profile.pod_connect_s + _elsewhere_ratio(scenario) * peer_s}


def _sticky(scenario: Scenario) -> dict[str, float]:
    """Balls in bins again: with ClientIP affinity and one entry node each *address* is thrown on a pod."""
    group, service = scenario.clients[0], scenario.service
    one = group.entry.policy == "first" and scenario.cluster.proxy.mode != "ipvs"
    if service.session_affinity != "ClientIP" or not one or service.external_traffic_policy != "Cluster":
        return {}
    return {"balance.pods.idle": balance.idle_mean(group.count, service.replicas)}


def _routes(scenario: Scenario) -> dict[str, float]:
    """Hops between nodes, and what a node without a pod loses under policy Local, where entries are even.

    Cluster: a pod is as likely on any node as that has pods, so of n nodes (n - 1) / n of the requests hop,
    whatever the placement. Local: none, but what enters a node without a pod is dropped.
    """
    service, entry = scenario.service, scenario.clients[0].entry.policy
    places = scenario.placement
    usual = service.type != "ClusterIP" and all(pod.ready and pod.node for pod in places)
    if not places or not usual or service.asks_for_hints or entry not in EVEN_ENTRIES:
        return {}
    if service.external_traffic_policy == "Cluster":
        return {"routes.other_node_ratio": _elsewhere_ratio(scenario)}
    empty = 1 - len({pod.node for pod in places}) / scenario.cluster.nodes
    known = {} if entry == "balancer" or scenario.clients[0].retry.attempts > 1 else {"failed_ratio": empty}
    return {"routes.other_node_ratio": 0.0, **known}


def _prices(scenario: Scenario, profile: Profile, packet: str) -> limits.Prices:
    """Take a mode's prices at one node: no end hosts, nothing cold."""
    from nodeportsim.scenario.profile import mode_key

    proxy = scenario.cluster.proxy
    prices, host = profile.prices(mode_key(proxy.mode, proxy.backend)), profile.host
    base_ns = prices.base_ns("connect", "nodeport" if packet == "nodeport" else "podip")
    if packet == "nodeport":
        base_ns += prices.map_element_ns.value * scenario.service.replicas
        loopback = proxy.mode == "iptables" and proxy.localhost_node_ports
        base_ns += prices.loopback_mismatch_hot_ns.value * loopback
    return limits.Prices(
        base_s=(base_ns - host.connect_ns.value + host.forward_connect_ns.value) * 1e-9,
        services_rule_s=prices.address_mismatch_hot_ns.value * 1e-9,
        node_ports_rule_s=prices.node_port_match_hot_ns.value * 1e-9,
        endpoint_rule_s=prices.statistic_ns.value * 1e-9,
    )


def sync_s(scenario: Scenario, kind: SyncKind) -> float:
    """Give the duration of one sync of a node's kube-proxy, as the profile prices it."""
    from nodeportsim.engine.rules import Rules
    from nodeportsim.scenario.profile import load_profile

    rules = Rules(scenario, load_profile(scenario.cluster.profile))
    return float(rules.sync_s(scenario.service.replicas, kind))


def _elsewhere_ratio(scenario: Scenario) -> float:
    """Chance that the pod is not on the entry node: entry by the first record, else even; pods even."""
    names = scenario.cluster.names
    entries = names[:1] if scenario.clients[0].entry.policy == "first" else names
    pods = [pod.node for pod in scenario.placement]
    pods_of = Counter(pods)
    same = sum(pods_of[entry] for entry in entries)
    return 1 - same / (len(pods) * len(entries))


def _conntrack(scenario: Scenario) -> dict[str, float]:
    """Little's law with a ceiling, in steady state: an entry lives for the connection and TIME_WAIT."""
    cluster, service, group = scenario.cluster, scenario.service, scenario.clients[0]
    warmup_s = scenario.run.warmup_s or 0.0
    lifetime_s = cluster.conntrack.time_wait_s + scenario.pods.service_time.mean_s
    if cluster.conntrack.max is None or warmup_s < cluster.conntrack.time_wait_s:
        return {}
    each = limits.entries_per_connection(cluster.nodes, service.external_traffic_policy)
    wall_rps = cluster.nodes * limits.wall_rps(cluster.conntrack.max, lifetime_s) / each
    full = group.rate_rps / wall_rps
    return {
        "conntrack_peak": cluster.conntrack.max * min(full, 1.0),
        "failed_ratio": max(0.0, 1 - 1 / full),
    }


def _failure(scenario: Scenario) -> dict[str, float]:
    """Failures of an outage: the share that fails at each instant, added up to the end of the run."""
    failing = failing_after(scenario)
    if failing is None:
        return {}
    group = scenario.clients[0]
    step_s = 0.1  # The share moves over seconds.
    steps = round((scenario.run.duration_s - scenario.events[0].at_s) / step_s)
    lost = group.rate_rps * step_s * sum(failing((i + 0.5) * step_s) for i in range(steps))
    forms = {"failed_requests": lost}
    if group.connections.reuse == "none" and group.retry.attempts == 1:
        forms["phases.during.failed_ratio"] = _during_ratio(scenario)
    return forms


def _during_ratio(scenario: Scenario) -> float:
    """Failing share without retry while any rules name a dead endpoint.

    The first dead endpoint leaves with one slice write, the others with the next: until then a smaller share
    fails.
    """
    nodes, pods = scenario.cluster.nodes, scenario.service.replicas
    dead = _dead_pods(scenario)
    wait_s = scenario.cluster.control_plane.slice_min_delay_s if dead > 1 else 0.0
    whole_s = _window(scenario, dead).mean_s + wait_s / max(dead, 1)  # Its clock stops in the middle of them.
    all_of_them = failure.failing_ratio(1 / nodes, dead / pods)
    all_but_one = failure.failing_ratio(1 / nodes, (dead - 1) / (pods - 1)) if dead > 1 else 0.0
    return (all_of_them * (whole_s - wait_s) + all_but_one * wait_s) / whole_s


def _dead_pods(scenario: Scenario) -> int:
    """Count the pods on the node that dies."""
    return sum(pod.node == scenario.events[0].node for pod in scenario.placement)


def failing_after(scenario: Scenario) -> Share | None:
    """Give the failing share of the requests that arrive t seconds after a node's power-off, if it is known.

    Known for one power-off for good, clients that find nodes by DNS round robin, a random choice of the
    endpoint, and new connections; or kept ones (one a client) without retry. Without retry a random node
    is as good as the next.
    """
    group, service = scenario.clients[0], scenario.service
    if not _plain(group):
        return None
    faults = [(event.fault, event.for_s) for event in scenario.events]
    even = group.entry.policy == "dns-round-robin" or (
        group.entry.policy == "random" and group.retry.attempts == 1
    )
    if faults != [("power-off", None)] or not even:
        return None
    if scenario.events[0].node not in scenario.cluster.names or scenario.events[0].up_s is not None:
        return None  # Several nodes, or again and again.
    if scenario.cluster.proxy.mode == "ipvs" or service.external_traffic_policy != "Cluster":
        return None
    dead = _dead_pods(scenario)
    if group.connections.reuse == "none":
        return _new(scenario, dead)
    kept_without_retry = group.connections.size == 1 and group.retry.attempts == 1
    return _kept(group, scenario.cluster.nodes, dead / service.replicas) if kept_without_retry else None


def _new(scenario: Scenario, dead: int) -> Share:
    """Every attempt draws anew; the dead endpoints matter if the last attempt comes before they are out.

    A few seconds early for retries at the next node: where the last attempt goes to the dead node itself, it
    is enough that the ones before it met a dead endpoint.
    """
    group, nodes = scenario.clients[0], scenario.cluster.nodes
    retry = group.retry

    def share(endpoints: float) -> float:
        return failure.all_fail_ratio(
            retry.attempts, nodes=nodes, dead_nodes=1, dead_endpoint_ratio=endpoints, entry=retry.node
        )

    window, last_s = _window(scenario, dead), _last_attempt_s(group)
    unnoticed, noticed = share(dead / scenario.service.replicas), share(0.0)
    return lambda t_s: noticed + (unnoticed - noticed) * (1 - window.cdf(t_s + last_s))


def _kept(group: Clients, nodes: int, dead_pods: float) -> Share:
    """One connection a client, the share p of them dead: each failure opens a new one, dead with p again.

    A client whose connection died loses its next request, and while the new ones are dead the following
    too, one at a time: the k-th request after the fault fails with p^k. It arrives as an Erlang-k variable
    at the client's own rate r, so at t the share sum_k p^k r (r t)^(k-1) / (k-1)! e^(-r t) / r =
    p e^(-r (1 - p) t) fails; p / (1 - p) requests a client in all. Left out: the rules' rewriting.
    """
    p = failure.failing_ratio(1 / nodes, dead_pods)
    each_rps = group.rate_rps / group.count
    return lambda t_s: p * math.exp(-each_rps * (1 - p) * t_s)


def _window(scenario: Scenario, dead: int) -> failure.Detection:
    """Clocks of the scenario; the dead endpoints leave one at once, the others in the next slice write."""
    clocks = scenario.cluster.control_plane
    minor = int(scenario.cluster.kubernetes_version.split(".")[1])
    dead = max(dead, 1)
    return failure.Detection(
        lease_s=clocks.lease_renew_interval_s,
        pass_s=clocks.node_monitor_period_s,
        grace_s=clocks.node_monitor_grace_period_s or (50.0 if minor >= GRACE_50_SINCE else 40.0),
        propagation_s=clocks.watch_latency_s
        + 1 / clocks.pod_status_rate_rps
        + clocks.slice_min_delay_s * (dead - 1) / dead,
    )


def _last_attempt_s(group: Clients) -> float:
    """Mean time from a request's arrival to its last attempt: connect time-outs and back-offs."""
    backoff, mean = group.retry.backoff, JITTER_MEAN[group.retry.backoff.jitter]
    waits = [
        mean * min(backoff.initial_s * backoff.factor**k, backoff.max_s)
        for k in range(group.retry.attempts - 1)
    ]
    return sum(waits) + len(waits) * group.timeouts.connect_s
