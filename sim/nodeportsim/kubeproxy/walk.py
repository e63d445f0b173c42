"""What the rules of a node are made of, and what one packet tests: counts, never times.

In a cluster kube-proxy writes the same kinds of rules for every port of every Service, so a handful of
counts decides how many rules a packet meets. A `ServicePort` is one port of a Service as the kube-proxy of
one node sees it; a `Shape` says how many of each there are; a `Walk` is the list of what one packet tests,
chain by chain, each with the *class* of rule, because a profile prices classes: an address that does not
match costs an eighth of a port match (measured, ``models/``). Adding walks adds the packet's visits.

The jump rules, marks and DNAT rules every packet of a kind meets are the class ``fixed``; they belong to the
base price. Order: the walk is linear in the position of the port and in the rank of the chosen endpoint, so
the mean walk is the walk of the mean position and rank, which is why counts may be fractions.

Left out: external IPs, load balancer IPs and source ranges, UDP and SCTP, IPv6, packets a node sends itself.
A Service of several ports is so many service ports: exact for rules and chains, one too many per further port
in the two sets that hold bare ClusterIPs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mode = Literal["iptables", "ipvs", "nftables"]
Packet = Literal["nodeport", "clusterip", "podip", "node", "established"]
Verdict = Literal["accept", "reject", "drop"]
Policy = Literal["Cluster", "Local"]
RuleClass = Literal[
    "address_mismatch", "loopback_mismatch", "node_port_match", "statistic", "recent", "set_lookup", "fixed"
]

LARGE_CLUSTER_ENDPOINTS = 1000
"""Above this many endpoints iptables mode drops comments and defers the removal of stale chains
(largeClusterEndpointsThreshold, k8s:pkg/proxy/iptables/proxier.go)."""

TWO_NODE_PORT_RULES_SINCE = (1, 31)
"""First release with a second, loopback-counting rule per NodePort (kubernetes/kubernetes#125015)."""

DIRECT_DNAT_SINCE = (1, 36)
"""First release in which an nftables service chain maps straight to endpoints
(k8s:pkg/proxy/nftables/proxier.go at 1.36.2 against 1.30)."""


@dataclass(frozen=True, kw_only=True)
class ServicePort:
    """One port of a Service, as the kube-proxy of one node sees it.

    Parameters
    ----------
    endpoints
        Endpoints that traffic policy ``Cluster`` may use.
    local_endpoints
        Endpoints on this node that policy ``Local`` may use. They are counted as a part of `endpoints`;
        a node left with terminating ones only, while others are ready elsewhere, has a few chains more.
    node_port
        Whether the port has a NodePort.
    affinity
        Session affinity ``ClientIP``.
    external_policy, internal_policy
        ``externalTrafficPolicy`` and ``internalTrafficPolicy``.
    """

    endpoints: int
    local_endpoints: int = 0
    node_port: bool = True
    affinity: bool = False
    external_policy: Policy = "Cluster"
    internal_policy: Policy = "Cluster"

    @property
    def external_endpoints(self) -> int:
        """Endpoints a NodePort packet may get."""
        return self.local_endpoints if self.external_policy == "Local" else self.endpoints

    @property
    def internal_endpoints(self) -> int:
        """Endpoints a ClusterIP packet may get."""
        return self.local_endpoints if self.internal_policy == "Local" else self.endpoints

    @property
    def uses_cluster(self) -> bool:
        """Whether it needs the chain of all endpoints (UsesClusterEndpoints, pkg/proxy/serviceport.go)."""
        return self.internal_policy == "Cluster" or self.node_port

    @property
    def uses_local(self) -> bool:
        """Whether it needs the chain of local endpoints (UsesLocalEndpoints, same file)."""
        return self.internal_policy == "Local" or (self.node_port and self.external_policy == "Local")

    @property
    def reachable_endpoints(self) -> int:
        """Endpoints that have rules of their own on this node."""
        return self.endpoints if self.uses_cluster else self.local_endpoints


KUBERNETES_SERVICE = ServicePort(endpoints=1, node_port=False)
"""``default/kubernetes``, which every cluster has: one port, one API server here."""


@dataclass(frozen=True)
class Shape:
    """The Services of a cluster, counted, as they stand in one node's rules.

    Parameters
    ----------
    ports
        Pairs (how many, `ServicePort`). Add `KUBERNETES_SERVICE`: a real cluster has it.
    version
        Kubernetes release (major, minor).
    localhost_node_ports
        iptables mode: NodePorts answer on 127.0.0.1 and the kernel has nfacct (kube-proxy's
        ``iptables.localhostNodePorts``, true by default).
    """

    ports: tuple[tuple[int, ServicePort], ...]
    version: tuple[int, int] = field(default=(1, 36), kw_only=True)
    localhost_node_ports: bool = field(default=True, kw_only=True)

    @cached_property
    def cluster_ips(self) -> int:
        """P: service ports with a rule (or map element) for their ClusterIP."""
        return sum(n for n, port in self.ports if port.internal_endpoints)

    @cached_property
    def node_ports(self) -> int:
        """N: NodePorts with a rule, which they have while any endpoint exists anywhere."""
        return sum(n for n, port in self.ports if port.node_port and port.endpoints)

    @cached_property
    def endpoints(self) -> int:
        """T: endpoints with rules, summed over service ports."""
        return sum(n * port.reachable_endpoints for n, port in self.ports)

    @cached_property
    def local_endpoints(self) -> int:
        """Endpoints on this node, summed over service ports."""
        return sum(n * port.local_endpoints for n, port in self.ports)

    @cached_property
    def closed_cluster_ips(self) -> int:
        """ClusterIP ports that are refused or dropped for want of an endpoint."""
        return sum(n for n, port in self.ports if not port.internal_endpoints)

    @cached_property
    def closed_node_ports(self) -> int:
        """NodePorts that are refused (no endpoint) or dropped (policy Local, none on this node)."""
        return sum(n for n, port in self.ports if port.node_port and not port.external_endpoints)

    @property
    def large_cluster(self) -> bool:
        """Whether iptables mode has switched to its large-cluster behaviour."""
        return self.endpoints > LARGE_CLUSTER_ENDPOINTS

    @property
    def rules_per_node_port(self) -> int:
        """Rules each NodePort has in KUBE-NODEPORTS."""
        return 2 if self.localhost_node_ports and self.version >= TWO_NODE_PORT_RULES_SINCE else 1


@dataclass(frozen=True)
class Tested:
    """Rules of one chain that a packet tests at one hook.

    Parameters
    ----------
    hook
        Table and hook, ``nat/PREROUTING``, or an nftables base chain.
    chain
        Chain class: a chain's name, ``KUBE-SVC-*`` for all of that kind.
    rules
        How many; a fraction in a mean.
    rule_class
        What they cost.
    lookups
        Set and map look-ups among them.
    elements
        Endpoints in the map that picks one of them.
    """

    hook: str
    chain: str
    rules: float
    rule_class: RuleClass = "fixed"
    lookups: float = 0
    elements: float = 0


@dataclass(frozen=True)
class Walk:
    """What one packet tests on one node, in order, and what becomes of it.

    ``masquerade`` tells whether the node puts its own address in the place of the client's.
    """

    rows: tuple[Tested, ...] = ()
    verdict: Verdict = "accept"
    masquerade: bool = False

    def __add__(self, other: Walk) -> Walk:
        """Return both walks, one after the other; the second decides."""
        return Walk(self.rows + other.rows, other.verdict, self.masquerade or other.masquerade)

    @property
    def total(self) -> float:
        """Rules tested."""
        return sum(row.rules for row in self.rows)

    @property
    def lookups(self) -> float:
        """Set and map look-ups."""
        return sum(row.lookups for row in self.rows)

    @property
    def elements(self) -> float:
        """Endpoints in the maps that pick one of them."""
        return sum(row.elements for row in self.rows)

    def count(self, rule_class: RuleClass) -> float:
        """Rules of one class."""
        return sum(row.rules for row in self.rows if row.rule_class == rule_class)

    def at(self, hook: str) -> Walk:
        """Return the part of the walk at one hook."""
        return Walk(tuple(row for row in self.rows if row.hook == hook), self.verdict, self.masquerade)

    @property
    def by(self) -> dict[str, float]:
        """Rules tested per chain class, in the order of the first visit."""
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts[row.chain] += row.rules  # type: ignore[assignment]  # Counter is typed for int; means are float.
        return {chain: rules for chain, rules in counts.items() if rules}


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Chains, rules and set elements of a node, per chain class (``nat/KUBE-SVC-*``) or set name."""

    chains: Mapping[str, int]
    rules: Mapping[str, int]
    elements: Mapping[str, int] = field(default_factory=dict)

    def chain_count(self, table: str = "") -> int:
        """Chains in all, or in one table."""
        return sum(n for name, n in self.chains.items() if name.startswith(table))

    def rule_count(self, table: str = "") -> int:
        """Rules in all, or in one table."""
        return sum(n for name, n in self.rules.items() if name.startswith(table))


def total_per_class(once: Mapping[str, int], each: Iterable[tuple[int, Mapping[str, int]]]) -> dict[str, int]:
    """Add per class what stands once and, for pairs (how many ports, what one has), what stands per port."""
    total = Counter(once)
    for ports, counts in each:
        for name, count in counts.items():
            total[name] += ports * count
    return dict(total)
