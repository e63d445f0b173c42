"""From a scenario to the closed forms of its capacity: what each resource carries, how long requests take.

The use of every resource is taken where it is hottest. Prices and delays are those of
`nodeportsim.study.way`; what follows from them is `nodeportsim.theory.capacity` and
`nodeportsim.theory.stations` alone, which know no engine.

Where connections enter: by the first record, a list or a virtual IP all at the first node, else evenly over
the nodes (under policy Local, behind a balancer that checks healthCheckNodePort, over those with pods). Left
out: what a retry adds, custom entry policies (taken as even), session affinity, ipvs' rotation (taken as
random).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nodeportsim.engine.build import conntrack_max
from nodeportsim.errors import InputError
from nodeportsim.scenario.ports import addresses
from nodeportsim.study.way import Way
from nodeportsim.theory import capacity, limits, stations

if TYPE_CHECKING:
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.theory.capacity import Resource
    from nodeportsim.theory.stations import Pods

ONE_NODE = ("first", "list", "virtual-ip")
"""Entry policies by which everybody enters at the same node."""
SPREADS_EACH = ("dns-round-robin", "random", "custom")
"""Entry policies by which one client enters at every node in turn."""
CLIENT_HOLD_S = 60.0  # TCP_TIMEWAIT_LEN, include/net/tcp.h.
FEWEST_A_NODE = 150
"""Kept connections of a node from which on all nodes have about as many."""
FEWEST_ENTRIES = 10_000
"""Conntrack entries from which on their number is hardly a matter of chance."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """What a scenario does not say: bytes of a request and its answer, what a node's link carries."""

    request_bytes: float = 1024.0
    response_bytes: float = 10 * 1024.0
    link_bytes_per_s: float = 1.25e9  # 10 Gbit/s.
    packets_per_s: float = 1e6


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The closed forms of one scenario in steady state; its events are not looked at.

    Parameters
    ----------
    scenario, profile
        The question, and the prices.
    """

    scenario: Scenario
    profile: Profile

    def __post_init__(self) -> None:
        """Refuse what has no rate, or nobody to answer."""
        for g, group in enumerate(self.scenario.clients):
            if group.loop == "closed":
                rule = "must be open: what a closed loop offers depends on its answers"
                raise InputError(rule, field=f"clients[{g}].loop", got="closed")
        if not self.scenario.service.replicas:
            raise InputError("must be at least 1: nobody answers", field="service.replicas", got=0)

    @cached_property
    def rate_rps(self) -> float:
        """Requests per second of all clients."""
        return sum(self._rate_rps(group) for group in self.scenario.clients)

    def _rate_rps(self, group: Clients) -> float:
        traced = group.arrivals == "trace"
        return len(group.trace_s) / self.scenario.run.duration_s if traced else group.rate_rps

    @cached_property
    def spread(self) -> capacity.Spread:
        """Where connections enter, and where the pods are."""
        names = self.scenario.cluster.names
        pods = Counter(pod.node for pod in self.scenario.placement)
        pods_by_node = [pods[name] for name in names]
        entries = [0.0] * len(names)
        for group in self.scenario.clients:
            for n, share in enumerate(self._entries(group, pods_by_node)):
                entries[n] += share * self._rate_rps(group) / self.rate_rps
        policy = self.scenario.service.external_traffic_policy
        return capacity.Spread(entry_ratios=entries, pods_by_node=pods_by_node, policy=policy)

    def _entries(self, group: Clients, pods_by_node: list[int]) -> list[float]:
        nodes = len(pods_by_node)
        if group.entry.policy in ONE_NODE:
            return [1.0] + [0.0] * (nodes - 1)
        checked = self.scenario.balancer.check.kind == "health-check-node-port"
        local = self.scenario.service.external_traffic_policy == "Local"
        if group.entry.policy == "balancer" and checked and local:
            holders = sum(pods > 0 for pods in pods_by_node)
            return [(pods > 0) / holders for pods in pods_by_node]
        return [1 / nodes] * nodes

    @cached_property
    def connections(self) -> float:
        """New connections per request."""
        return (
            sum(self._churn(group) * self._rate_rps(group) for group in self.scenario.clients) / self.rate_rps
        )

    def _churn(self, group: Clients) -> float:
        """New connections per request of one group: after so many requests, at an age, after an idle time."""
        kept = group.connections
        if kept.reuse == "none":
            return 1.0
        each_rps = self._rate_rps(group) / (group.count * kept.size)
        used_up = 1 / kept.max_requests if kept.max_requests else 0.0
        aged = 1 / (kept.max_age_s * each_rps) if kept.max_age_s else 0.0
        idle = math.exp(-each_rps * kept.idle_timeout_s) if kept.idle_timeout_s else 0.0
        return min(1.0, used_up + aged + idle)

    @cached_property
    def standing(self) -> int:
        """Connections kept open by all clients."""
        kept = [group for group in self.scenario.clients if group.connections.reuse != "none"]
        return sum(group.count * group.connections.size for group in kept)

    # How long requests take.

    @cached_property
    def law(self) -> stations.Law:
        """The service-time law."""
        given = self.scenario.pods.service_time
        return stations.Law(dist=given.dist, mean_s=given.mean_s, p99_s=given.p99_s)

    @cached_property
    def pods(self) -> Pods:
        """The pods as stations: new connections spread evenly, kept ones by chance."""
        workers, ratio = self.scenario.pods.workers, self.spread.hottest_pod_ratio
        if self.standing and self.scenario.service.external_traffic_policy == "Cluster":
            return stations.shared_by_connections(
                self.law,
                workers=workers,
                rate_rps=self.rate_rps,
                pods=self.scenario.service.replicas,
                connections=self.standing,
                path_s=self.path_s,
            )
        loads_rps = (self.rate_rps * ratio,)
        return stations.Pods(law=self.law, workers=workers, loads_rps=loads_rps, path_s=self.path_s)

    @cached_property
    def way(self) -> Way:
        """The way to the pods."""
        shares = tuple(self._rate_rps(group) / self.rate_rps for group in self.scenario.clients)
        return Way(scenario=self.scenario, profile=self.profile, spread=self.spread, shares=shares)

    @cached_property
    def path_s(self) -> float:
        """Mean time of a request outside the pod: paths there and back, CPU of nodes, no queue."""
        trips = 2 * (1 + self.connections)
        cpu_s = self.connections * self.way.crossed_s("connect") + self.way.crossed_s("request")
        return trips * self.way.trip_s + cpu_s

    @cached_property
    def claim(self) -> str | None:
        """Why the latency is not claimed here; None where it is."""
        group = self.scenario.clients[0]
        if len(self.scenario.clients) > 1 and self.standing:
            return "kept connections of several groups"
        if group.arrivals != "poisson":
            return f"arrivals are {group.arrivals}, not Poisson"
        if self.scenario.service.session_affinity != "None":
            return "session affinity"
        if self.standing and self.scenario.service.external_traffic_policy == "Local":
            return "kept connections under policy Local"
        if self.scenario.cluster.proxy.mode == "ipvs":
            return "ipvs rotates, which makes waits shorter"
        return self.pods.claim

    def latency_quantile_s(self, quantile: float) -> float:
        """Latency that a share `quantile` of the requests does not exceed; see `claim`."""
        return self.pods.quantile_s(quantile)

    @property
    def latency_mean_s(self) -> float:
        """Mean latency; see `claim`."""
        return self.pods.mean_s

    def least_quantile_s(self, quantile: float) -> float:
        """Latency that no number of pods goes below: paths and work, no wait."""
        return self.path_s + self.law.quantile_s(quantile)

    # What resources carry.

    def resources(self, wire: Wire | None = None, churn_rps: float = 0.0) -> tuple[Resource, ...]:
        """List every resource, what breaks first at the head.

        Parameters
        ----------
        wire
            Sizes and the link; None leaves both out, for nothing in a scenario speaks of them.
        churn_rps
            Changes of endpoints per second, in the whole cluster.
        """
        found = [self.node_cpu(), self._workers(), self._conntrack(), *self._ports()]
        if wire is not None:
            found += self._link(wire)
        return capacity.in_order([*found, self._programming(churn_rps), self._node_ports()])

    def node_cpu(self, opened_over_s: float = math.inf) -> Resource:
        """CPU of the hottest node; with each kept connection opened once in so long, besides."""
        each = self.standing / self.scenario.cluster.nodes
        few = 0 < each < FEWEST_A_NODE and self.scenario.cluster.nodes > 1
        return capacity.node_cpu(
            self.rate_rps,
            connect_s=self.spread.work_s(**self.way.prices_s("connect")),
            request_s=self.spread.work_s(**self.way.prices_s("request")),
            connections=self.connections + self.standing / (self.rate_rps * opened_over_s),
            cores=self.scenario.cluster.cores,
            doubt=f"fewer than {FEWEST_A_NODE} kept connections a node: chance is more" if few else None,
        )

    def _workers(self) -> Resource:
        ratio, workers = self.spread.hottest_pod_ratio, self.scenario.pods.workers
        rotated = bool(self.standing) and self.scenario.cluster.proxy.mode == "ipvs"
        if self.standing and not rotated:
            from nodeportsim.theory.balance import hottest_mean

            ratio = max(ratio, hottest_mean(self.standing, self.scenario.service.replicas) / self.standing)
        overloaded = "more than a pod can do" if ratio * self.rate_rps * self.law.mean_s > workers else None
        return capacity.workers(
            self.rate_rps,
            service_s=self.law.mean_s,
            hottest_ratio=ratio,
            workers=workers,
            doubt="ipvs rotates: kept connections are more even" if rotated else overloaded,
        )

    def _conntrack(self) -> Resource:
        return capacity.conntrack(
            self.rate_rps,
            visits=self.spread.visits(),
            connections=self.connections,
            standing=self.standing,
            lifetime_s=self.law.mean_s + self.scenario.cluster.conntrack.time_wait_s,
            entries=conntrack_max(self.scenario),
            fewest=FEWEST_ENTRIES,
        )

    def _ports(self) -> list[Resource]:
        found = []
        snat, spread = self.scenario.cluster.snat, self.spread
        if spread.policy == "Cluster":
            evicted = snat is None or snat.evict_closing
            closing_s = 0.0 if evicted else self.scenario.cluster.conntrack.time_wait_s
            found.append(
                capacity.masquerade_ports(
                    self.rate_rps,
                    pair_ratio=max(spread.entry_ratios) * spread.hottest_pod_ratio,
                    connections=self.connections,
                    standing=self.standing,
                    held_s=self.law.mean_s + self.path_s + closing_s,
                    ports=snat.ports if snat else limits.SNAT_PORTS,
                    simulated=snat is not None,
                )
            )
        return found + [self._client_ports(group) for group in self.scenario.clients]

    def _client_ports(self, group: Clients) -> Resource:
        """Ports of one address towards one node: of a client, or of the balancer in front of all of them."""
        given, balanced = group.source_ports, group.entry.policy == "balancer"
        everywhere = (
            1 / self.scenario.cluster.nodes if balanced or group.entry.policy in SPREADS_EACH else 1.0
        )
        held_s = given.hold_s if given else CLIENT_HOLD_S
        each = everywhere / (1 if balanced else addresses(group))
        return capacity.client_ports(
            self.rate_rps,
            pair_ratio=each * self._rate_rps(group) / self.rate_rps,
            connections=self._churn(group),
            standing=group.count * group.connections.size * (group.connections.reuse != "none"),
            held_s=self.law.mean_s + self.path_s + held_s,
            ports=given.count if given else limits.LOCAL_PORTS,
            simulated=given is not None and not balanced,
            name=f"{'balancer' if balanced else 'client'} ports",
        )

    def _link(self, wire: Wire) -> list[Resource]:
        sizes = {"request_bytes": wire.request_bytes, "response_bytes": wire.response_bytes}
        crossings = self.spread.crossings()
        return [
            capacity.link_bytes(
                self.rate_rps, crossings=crossings, link_bytes_per_s=wire.link_bytes_per_s, **sizes
            ),
            capacity.link_packets(
                self.rate_rps,
                crossings=crossings,
                connections=self.connections,
                packets_per_s=wire.packets_per_s,
                **sizes,
            ),
        ]

    def _programming(self, churn_rps: float) -> Resource:
        return capacity.programming(
            churn_rps,
            sync_s=self.way.rules.sync_s(self.scenario.service.replicas, "partial"),
            min_sync_period_s=self.scenario.cluster.proxy.min_sync_period_s,
        )

    def _node_ports(self) -> Resource:
        service = self.scenario.service
        own = 0 if service.type == "ClusterIP" else service.ports
        return capacity.node_ports(self.scenario.cluster.background.node_ports + own)
