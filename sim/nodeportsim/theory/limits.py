"""Where a node stops: conntrack entries, masquerade ports, NodePorts, CPU for new connections.

Each limit is Little's law with a ceiling: a thing held for `lifetime_s` by each of `rate` new connections
per second is held rate x lifetime times. Left out: reuse of entries in TIME_WAIT by the kernel (the walls
are therefore the cautious side), early drop, uneven entry.

Sources: k8s:pkg/proxy/apis/config/v1alpha1/defaults.go, k8s:pkg/proxy/conntrack/sysctls.go
(getConntrackMax, cap since 1.36), Linux net/netfilter/nf_nat_core.c and nf_conntrack_proto_tcp.c (TIME_WAIT
120 s), k8s:pkg/registry/core/service/portallocator/allocator.go (calculateRangeOffset).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nodeportsim.theory import domain

CONNTRACK_PER_CORE = 32_768
CONNTRACK_MIN = 131_072
CONNTRACK_CAP = 1_048_576
SNAT_PORTS = 64_512  # 1024..65535, all that masquerading may take (nf_nat_core.c).
LOCAL_PORTS = 28_232  # 32768..60999, net.ipv4.ip_local_port_range of a client or proxy host.
NODE_PORTS = 2_768  # 30000..32767, --service-node-port-range.


def conntrack_max(cores: int) -> int:
    """Entries kube-proxy sets by itself: min(1048576, max(131072, 32768 x cores)); no cap before 1.36."""
    domain.count(1, cores=cores)
    return min(CONNTRACK_CAP, max(CONNTRACK_MIN, CONNTRACK_PER_CORE * cores))


def entries_per_connection(nodes: int, policy: Literal["Cluster", "Local"]) -> float:
    """Conntrack entries a connection takes in the whole cluster, entry and pods even over the nodes.

    Local: one, at the node it enters. Cluster: one more at the pod's node unless that is the entry node, 2
    - 1/n.
    """
    domain.count(1, nodes=nodes)
    domain.require(policy in ("Cluster", "Local"), "must be Cluster or Local", field="policy", got=policy)
    return 1.0 if policy == "Local" else 2 - 1 / nodes


def wall_rps(ceiling: float, lifetime_s: float) -> float:
    """Rate of new connections that fills `ceiling` places, each held for `lifetime_s`.

    Conntrack of one node: ceiling `conntrack_max`, lifetime = duration + 120 s of TIME_WAIT. Masquerade:
    `SNAT_PORTS` per (node, pod address and port). A client: `LOCAL_PORTS` per destination, 60 s of
    TIME_WAIT of its own. Measured with random ports: SYNs are lost from 92 % of the ports on, not at 100 %.
    """
    domain.positive(ceiling=ceiling, lifetime_s=lifetime_s)
    return ceiling / lifetime_s


def conntrack_wall_rps(
    nodes: int, cores: int, lifetime_s: float, policy: Literal["Cluster", "Local"] = "Cluster"
) -> float:
    """Rate of new connections into the whole cluster at which the conntrack tables are full."""
    return nodes * wall_rps(conntrack_max(cores), lifetime_s) / entries_per_connection(nodes, policy)


def fill_time_s(rate_rps: float, lifetime_s: float, ceiling: float) -> float:
    """Time to fill an empty table at this rate; infinite where the steady state, rate x lifetime, fits.

    Nothing expires before `lifetime_s` (constant lifetime), so the occupancy rises by `rate_rps` until then.
    """
    domain.positive(rate_rps=rate_rps, lifetime_s=lifetime_s, ceiling=ceiling)
    return ceiling / rate_rps if rate_rps * lifetime_s > ceiling else math.inf


def static_band(ports: int = NODE_PORTS) -> int:
    """Lowest ports of the range, avoided by automatic allocation: min(max(16, n / 32), 128), 0 up to 16."""
    domain.count(1, ports=ports)
    least, most = 16, 128
    return 0 if ports <= least else min(max(least, ports // 32), most)


def taken_ratio(automatic: int, wanted: int, ports: int = NODE_PORTS) -> float:
    """P(at least one of `wanted` given ports of the upper band is already taken by an automatic one).

    Automatic ports are distinct and uniform over the upper band: none is hit with chance C(D - w, a) / C(D,
    a). A port of the static band is hit by no automatic one while the upper band has room: that chance is
    0.
    """
    dynamic = ports - static_band(ports)
    domain.count(0, automatic=automatic, wanted=wanted)
    domain.require(automatic <= dynamic, f"must be at most {dynamic}", field="automatic", got=automatic)
    domain.require(wanted <= dynamic, f"must be at most {dynamic}", field="wanted", got=wanted)
    return 1 - math.comb(dynamic - wanted, automatic) / math.comb(dynamic, automatic)


def birthday_ratio(choosers: int, ports: int) -> float:
    """P(two of `choosers` who pick a port at random, unaware of each other, pick the same)."""
    domain.count(0, choosers=choosers)
    domain.count(1, ports=ports)
    return 1 - math.prod(max(1 - i / ports, 0.0) for i in range(choosers))


@dataclass(frozen=True, kw_only=True)
class Prices:
    """CPU of a first packet's walk, in s; the prices per rule are 0 where look-ups are flat (nftables, ipvs).

    Below the cache knee only: once the rules walked outgrow the L2 cache all of them cost more
    (measured; docs/models/theory.md).
    """

    base_s: float
    services_rule_s: float = 0.0
    node_ports_rule_s: float = 0.0
    endpoint_rule_s: float = 0.0


def first_packet_s(
    prices: Prices, *, service_ports: int, position: float, endpoint: float, rules_per_node_port: int = 2
) -> float:
    """Cost of the first packet of a NodePort connection at its entry node.

    It walks all of KUBE-SERVICES (the jump to KUBE-NODEPORTS is its last rule), then KUBE-NODEPORTS up to
    its port, then the endpoints up to the one chosen. k8s:pkg/proxy/iptables/proxier.go.

    Parameters
    ----------
    service_ports
        Service ports with endpoints, of all types.
    position
        Of the NodePort among the NodePorts, from 1; the mean over syncs is (N + 1) / 2, its p99 is 0.99 N.
    endpoint
        Of the endpoint chosen, from 1; the mean is (E + 1) / 2.
    rules_per_node_port
        2 since the loopback counter; 1 with localhostNodePorts false, without nfacct, or up to 1.30.
    """
    domain.count(0, service_ports=service_ports)
    domain.not_negative(position=position, endpoint=endpoint)
    return (
        prices.base_s
        + service_ports * prices.services_rule_s
        + rules_per_node_port * position * prices.node_ports_rule_s
        + endpoint * prices.endpoint_rule_s
    )


def cpu_wall_rps(nodes: int, cores: int, entry_s: float, pod_node_s: float = 0.0) -> float:
    """Rate of new connections into the whole cluster that occupies every core of every node.

    Parameters
    ----------
    entry_s
        CPU a new connection costs its entry node, set-up packets included.
    pod_node_s
        CPU it costs the pod's node if that is another one (policy Cluster, chance 1 - 1/n); 0 for Local.
    """
    domain.count(1, nodes=nodes, cores=cores)
    domain.positive(entry_s=entry_s)
    domain.not_negative(pod_node_s=pod_node_s)
    return nodes * cores / (entry_s + (1 - 1 / nodes) * pod_node_s)
