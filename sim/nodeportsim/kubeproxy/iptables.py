"""Mode iptables: the rules kube-proxy writes, and the rules a packet tests.

A new connection walks chains linearly: nat PREROUTING -> KUBE-SERVICES (one rule per ClusterIP port) and,
last there, KUBE-NODEPORTS (one or two rules per NodePort) -> KUBE-EXT -> KUBE-SVC (one rule per endpoint,
tested in turn, each taken with probability 1/(E-k+1)) -> KUBE-SEP, which rewrites the destination. Then
filter FORWARD and nat POSTROUTING. Packets of established connections skip nat. Services stand in the order
of a Go map, new at every sync, so a port's position is uniform on 1..N.

Source: k8s:pkg/proxy/iptables/proxier.go (1.36.2), checked against a real kube-proxy's dumps and the
kernel's own counters (``tests/golden/iptables_facts.json``), with a known cluster CIDR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.walk import Structure, Tested, Verdict, Walk, total_per_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nodeportsim.kubeproxy.walk import Packet, ServicePort, Shape

RECENT_ADDRESSES = 100
"""Client addresses xt_recent keeps per endpoint (ip_list_tot, Linux net/netfilter/xt_recent.c)."""

_ONCE_RULES = {
    "nat/PREROUTING": 1,
    "nat/OUTPUT": 1,
    "nat/POSTROUTING": 1,
    "nat/KUBE-MARK-MASQ": 1,
    "nat/KUBE-POSTROUTING": 3,
    "nat/KUBE-SERVICES": 1,
    "filter/INPUT": 4,
    "filter/FORWARD": 4,
    "filter/OUTPUT": 3,
    "filter/KUBE-FIREWALL": 1,
    "filter/KUBE-FORWARD": 3,
}
_ONCE_CHAINS = dict.fromkeys(
    [
        *(f"mangle/{hook}" for hook in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")),
        *(f"filter/{hook}" for hook in ("INPUT", "FORWARD", "OUTPUT")),
        *(f"nat/{hook}" for hook in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")),
        *(f"{table}/KUBE-PROXY-CANARY" for table in ("mangle", "filter", "nat")),
        *(f"filter/KUBE-{name}" for name in ("EXTERNAL-SERVICES", "FIREWALL", "FORWARD", "NODEPORTS")),
        *(f"filter/KUBE-{name}" for name in ("PROXY-FIREWALL", "SERVICES")),
        *(f"nat/KUBE-{name}" for name in ("MARK-MASQ", "NODEPORTS", "POSTROUTING", "SERVICES")),
    ],
    1,
)


def structure(shape: Shape) -> Structure:
    """Count chains and rules per ``table/chain class``."""
    return Structure(
        chains=total_per_class(_ONCE_CHAINS, ((n, _chains_of(port)) for n, port in shape.ports)),
        rules=total_per_class(_ONCE_RULES, ((n, _rules_of(shape, port)) for n, port in shape.ports)),
    )


def _chains_of(port: ServicePort) -> dict[str, int]:
    return {
        "nat/KUBE-EXT-*": int(port.node_port and port.endpoints > 0),
        "nat/KUBE-SVC-*": int(port.uses_cluster and port.endpoints > 0),
        "nat/KUBE-SVL-*": int(port.uses_local and port.local_endpoints > 0),
        "nat/KUBE-SEP-*": port.reachable_endpoints,
    }


def _rules_of(shape: Shape, port: ServicePort) -> dict[str, int]:
    open_node_port = int(port.node_port and port.endpoints > 0)
    return own_rules(port) | {
        "nat/KUBE-SERVICES": int(port.internal_endpoints > 0),
        "nat/KUBE-NODEPORTS": shape.rules_per_node_port * open_node_port,
        "filter/KUBE-SERVICES": int(port.internal_endpoints == 0),
        "filter/KUBE-EXTERNAL-SERVICES": int(port.node_port and port.external_endpoints == 0),
    }


def own_rules(port: ServicePort) -> dict[str, int]:
    """Count the rules in the chains that belong to one service port alone."""
    chains, per_endpoint = _chains_of(port), 2 if port.affinity else 1
    external = 2 if port.external_policy == "Cluster" else 3 + int(port.local_endpoints > 0)
    # The rule that masquerades ClusterIP traffic from outside stands in the chain that rule jumps to.
    cluster_head, local_head = int(port.internal_policy == "Cluster"), int(port.internal_policy == "Local")
    return {
        "nat/KUBE-EXT-*": external * chains["nat/KUBE-EXT-*"],
        "nat/KUBE-SVC-*": (cluster_head + per_endpoint * port.endpoints) * chains["nat/KUBE-SVC-*"],
        "nat/KUBE-SVL-*": (local_head + per_endpoint * port.local_endpoints) * chains["nat/KUBE-SVL-*"],
        "nat/KUBE-SEP-*": 2 * chains["nat/KUBE-SEP-*"],
    }


def partial_restore_rules(shape: Shape, port: ServicePort) -> int:
    """Count the nat rules kube-proxy hands to the kernel when one port's endpoints changed.

    Both linear chains are rewritten every time, so it grows with the number of Services.
    """
    rules = structure(shape).rules
    fixed = ("nat/KUBE-MARK-MASQ", "nat/KUBE-POSTROUTING", "nat/KUBE-SERVICES", "nat/KUBE-NODEPORTS")
    return sum(rules.get(name, 0) for name in fixed) + sum(own_rules(port).values())


def walk(
    shape: Shape,
    port: ServicePort,
    packet: Packet,
    *,
    position: float,
    endpoint: float,
    closed_position: float,
    sticky: bool,
) -> Walk:
    """Walk one packet; see `nodeportsim.kubeproxy.rules.walk` for the arguments."""
    match packet:
        case "established":
            return Walk((Tested("filter/FORWARD", "FORWARD", 2), Tested("filter/FORWARD", "KUBE-FORWARD", 3)))
        case "podip":
            return Walk((*_services(shape), *_forward(shape), *_postrouting(masquerade=False)))
        case "node":
            return _to_node(shape, (), closed_rules=shape.closed_node_ports, verdict="accept")
        case "nodeport":
            return (
                _node_port(shape, port, position, endpoint, sticky=sticky)
                if port.external_endpoints
                else _closed_node_port(shape, port, closed_position)
            )
        case "clusterip":
            return (
                _cluster_ip(shape, port, position, endpoint, sticky=sticky)
                if port.internal_endpoints
                else _closed_cluster_ip(shape, port, closed_position)
            )


def _node_port(shape: Shape, port: ServicePort, position: float, endpoint: float, *, sticky: bool) -> Walk:
    hook, local = "nat/PREROUTING", port.external_policy == "Local"
    external = (
        (Tested(hook, "KUBE-EXT-*", 4),)
        if local
        else (Tested(hook, "KUBE-EXT-*", 2), Tested(hook, "KUBE-MARK-MASQ", 1))
    )
    return Walk(
        (
            *_services(shape),
            *_node_ports(shape, position),
            *external,
            *_choose(port, endpoint, local=local, sticky=sticky),
            *(_forward(shape) if local else _forward_marked()),
            *_postrouting(masquerade=not local),
        ),
        masquerade=not local,
    )


def _cluster_ip(shape: Shape, port: ServicePort, position: float, endpoint: float, *, sticky: bool) -> Walk:
    hook, local = "nat/PREROUTING", port.internal_policy == "Local"
    return Walk(
        (
            Tested(hook, "PREROUTING", 1),
            Tested(hook, "KUBE-SERVICES", position - 1, "address_mismatch"),
            Tested(hook, "KUBE-SERVICES", 1),
            *_choose(port, endpoint, local=local, sticky=sticky),
            *_forward(shape),
            *_postrouting(masquerade=False),
        )
    )


def _closed_node_port(shape: Shape, port: ServicePort, closed_position: float) -> Walk:
    # A NodePort without local endpoint returns from its KUBE-EXT chain and goes on down the list.
    external = (Tested("nat/PREROUTING", "KUBE-EXT-*", 3),) if port.endpoints else ()
    verdict: Verdict = "drop" if port.endpoints else "reject"
    return _to_node(shape, external, closed_rules=closed_position, verdict=verdict)


def _closed_cluster_ip(shape: Shape, port: ServicePort, closed_position: float) -> Walk:
    hook = "filter/FORWARD"
    rows = (
        Tested(hook, "FORWARD", 3),
        Tested(hook, "KUBE-FORWARD", 3),
        Tested(hook, "KUBE-SERVICES", closed_position, "address_mismatch"),
    )
    return Walk((*_services(shape), *rows), "drop" if port.endpoints else "reject")


def _to_node(shape: Shape, external: tuple[Tested, ...], *, closed_rules: float, verdict: Verdict) -> Walk:
    hook = "filter/INPUT"
    rows = (
        Tested(hook, "INPUT", 4),
        Tested(hook, "KUBE-FIREWALL", 1),
        Tested(hook, "KUBE-EXTERNAL-SERVICES", closed_rules, "node_port_match"),
    )
    return Walk((*_services(shape), *_node_ports(shape, shape.node_ports), *external, *rows), verdict)


def _services(shape: Shape) -> tuple[Tested, ...]:
    """All of KUBE-SERVICES: no ClusterIP matches; the last rule asks whether the address is the node's."""
    hook = "nat/PREROUTING"
    return (
        Tested(hook, "PREROUTING", 1),
        Tested(hook, "KUBE-SERVICES", shape.cluster_ips, "address_mismatch"),
        Tested(hook, "KUBE-SERVICES", 1),
    )


def _node_ports(shape: Shape, position: float) -> tuple[Tested, ...]:
    """KUBE-NODEPORTS down to a position; the loopback rule of each port fails on its address."""
    loopback = (shape.rules_per_node_port - 1) * position
    return (
        Tested("nat/PREROUTING", "KUBE-NODEPORTS", loopback, "loopback_mismatch"),
        Tested("nat/PREROUTING", "KUBE-NODEPORTS", position, "node_port_match"),
    )


def _choose(port: ServicePort, endpoint: float, *, local: bool, sticky: bool) -> tuple[Tested, ...]:
    """List the chain that picks an endpoint, down to the chosen one."""
    hook, chain = "nat/PREROUTING", "KUBE-SVL-*" if local else "KUBE-SVC-*"
    count = port.local_endpoints if local else port.endpoints
    head = int((port.internal_policy == "Local") == local)
    recent = (endpoint if sticky else count) if port.affinity else 0
    return (
        Tested(hook, chain, head),
        Tested(hook, chain, recent, "recent"),
        Tested(hook, chain, 0 if sticky else endpoint, "statistic"),
        Tested(hook, "KUBE-SEP-*", 2),
    )


def _forward(shape: Shape) -> tuple[Tested, ...]:
    """Filter FORWARD of a packet that kube-proxy did not mark: it also tests the closed ports' rules."""
    hook = "filter/FORWARD"
    return (
        Tested(hook, "FORWARD", 4),
        Tested(hook, "KUBE-FORWARD", 3),
        Tested(hook, "KUBE-SERVICES", shape.closed_cluster_ips, "address_mismatch"),
        Tested(hook, "KUBE-EXTERNAL-SERVICES", shape.closed_node_ports, "node_port_match"),
    )


def _forward_marked() -> tuple[Tested, ...]:
    return Tested("filter/FORWARD", "FORWARD", 2), Tested("filter/FORWARD", "KUBE-FORWARD", 2)


def _postrouting(*, masquerade: bool) -> tuple[Tested, ...]:
    hook = "nat/POSTROUTING"
    return Tested(hook, "POSTROUTING", 1), Tested(hook, "KUBE-POSTROUTING", 3 if masquerade else 1)


def probability(endpoints: int, rank: int) -> float:
    """Probability that endpoint `rank` (1..endpoints) is taken once the ones before it were not.

    As the kernel holds it: kube-proxy writes ten decimals, iptables keeps 31 bits (xt_statistic).
    """
    if rank == endpoints:
        return 1.0
    written = float(f"{1.0 / (endpoints - rank + 1):.10f}")
    return round(written * 2**31) / 2**31


def shares(endpoints: int) -> tuple[float, ...]:
    """Share of new connections each endpoint gets: 1/E to within 2e-9."""
    left, result = 1.0, []
    for rank in range(1, endpoints + 1):
        taken = left * probability(endpoints, rank)
        result.append(taken)
        left -= taken
    return tuple(result)


def sticky_hit(recent: Mapping[int, float], *, now_s: float, timeout_s: float) -> int | None:
    """Rank of the first endpoint that saw this client within the time-out, or None.

    Parameters
    ----------
    recent
        Rank of an endpoint -> when it last saw the client (s). A list keeps `RECENT_ADDRESSES`
        clients; who keeps the lists evicts the longest unseen.
    """
    live = (rank for rank, seen_s in recent.items() if now_s - seen_s < timeout_s)
    return min(live, default=None)
