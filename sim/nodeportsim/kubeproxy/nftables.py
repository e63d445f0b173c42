"""Mode nftables: verdict maps instead of chains, so a packet's walk does not grow with the cluster.

A new connection looks its destination up in ``service-ips``, then ``service-nodeports``, goes to the
``external-*`` chain of its Service (mark, and with policy Local the short cuts) and to ``service-*``, one
rule whose ``numgen random`` picks an endpoint out of an anonymous map. With session affinity every endpoint
has a set of clients, tested in turn, and a chain of its own; before 1.36 every endpoint had such a chain.

Source: k8s:pkg/proxy/nftables/proxier.go (1.36.2), checked against a real kube-proxy's dumps
(``tests/golden/nftables_facts.json``). Of older releases only the endpoint chains are counted; their other
small differences (masquerade helpers) are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.walk import DIRECT_DNAT_SINCE, Structure, Tested, Verdict, Walk, total_per_class

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Packet, ServicePort, Shape

_ONCE_RULES = {
    "filter-prerouting-pre-dnat": 1,
    "filter-output-pre-dnat": 1,
    "filter-input": 2,
    "filter-forward": 2,
    "filter-output": 2,
    "nat-prerouting": 1,
    "nat-output": 1,
    "nat-postrouting": 1,
    "nodeport-endpoints-check": 1,
    "service-endpoints-check": 1,
    "firewall-check": 1,
    "services": 3,
    "masquerading": 2,
    "cluster-ips-check": 2,
    "reject-chain": 1,
}


def structure(shape: Shape) -> Structure:
    """Count chains and rules per chain class, and elements per set or map."""
    return Structure(
        chains=total_per_class(
            dict.fromkeys(_ONCE_RULES, 1), ((n, _chains_of(shape, port)) for n, port in shape.ports)
        ),
        rules=total_per_class(_ONCE_RULES, ((n, _rules_of(shape, port)) for n, port in shape.ports)),
        elements={
            "no-endpoint-services": shape.closed_cluster_ips,
            "no-endpoint-nodeports": shape.closed_node_ports,
            "firewall-ips": 0,
            "service-ips": shape.cluster_ips,
            "service-nodeports": shape.node_ports,
            "hairpin-connections": shape.local_endpoints,
            "cluster-ips": sum(n for n, _ in shape.ports),
            "nodeport-ips": 1,
        },
    )


def _has_endpoint_chains(shape: Shape, port: ServicePort) -> bool:
    return port.affinity or shape.version < DIRECT_DNAT_SINCE


def _chains_of(shape: Shape, port: ServicePort) -> dict[str, int]:
    return {
        "external-*": int(port.node_port and port.endpoints > 0),
        "service-*": int(port.uses_cluster and port.endpoints > 0),
        "local-*": int(port.uses_local and port.local_endpoints > 0),
        "endpoint-*": port.reachable_endpoints * _has_endpoint_chains(shape, port),
    }


def _rules_of(shape: Shape, port: ServicePort) -> dict[str, int]:
    chains, affinity = _chains_of(shape, port), int(port.affinity)
    external = 2 if port.external_policy == "Cluster" else 3 + int(port.local_endpoints > 0)
    return {
        "external-*": external * chains["external-*"],
        "service-*": (1 + affinity * port.endpoints) * chains["service-*"],
        "local-*": (1 + affinity * port.local_endpoints) * chains["local-*"],
        "endpoint-*": 2 * chains["endpoint-*"],
    }


def walk(
    shape: Shape,
    port: ServicePort,
    packet: Packet,
    *,
    endpoint: float,
    sticky: bool,
) -> Walk:
    """Walk one packet; see `nodeportsim.kubeproxy.rules.walk` for the arguments. Positions do not matter."""
    match packet:
        case "established":
            return Walk((Tested("filter-forward", "filter-forward", 2),))
        case "podip":
            return Walk((*_prerouting(3, lookups=3), *_forward(), *_postrouting(hairpin_lookups=0)))
        case "node":
            return Walk((*_prerouting(3, lookups=4), *_input()))
        case "nodeport":
            return (
                _node_port(shape, port, endpoint, sticky=sticky)
                if port.external_endpoints
                else _closed_node_port(port)
            )
        case "clusterip":
            return (
                _cluster_ip(shape, port, endpoint, sticky=sticky)
                if port.internal_endpoints
                else _closed_cluster_ip(port)
            )


def _node_port(shape: Shape, port: ServicePort, endpoint: float, *, sticky: bool) -> Walk:
    local = port.external_policy == "Local"
    return Walk(
        (
            *_prerouting(3, lookups=4),
            Tested("nat-prerouting", "external-*", 4 if local else 2),
            *_choose(shape, port, endpoint, local=local, sticky=sticky),
            *_forward(),
            *(_postrouting(hairpin_lookups=1) if local else _postrouting_marked()),
        ),
        masquerade=not local,
    )


def _cluster_ip(shape: Shape, port: ServicePort, endpoint: float, *, sticky: bool) -> Walk:
    choice = _choose(shape, port, endpoint, local=port.internal_policy == "Local", sticky=sticky)
    return Walk((*_prerouting(2, lookups=2), *choice, *_forward(), *_postrouting(hairpin_lookups=1)))


def _closed_node_port(port: ServicePort) -> Walk:
    hook = "filter-input"
    external = (Tested("nat-prerouting", "external-*", 3),) if port.endpoints else ()
    refusal = () if port.endpoints else (Tested(hook, "reject-chain", 1),)
    check = (Tested(hook, "filter-input", 1), Tested(hook, "nodeport-endpoints-check", 1, lookups=2))
    verdict: Verdict = "drop" if port.endpoints else "reject"
    return Walk((*_prerouting(3, lookups=4), *external, *check, *refusal), verdict)


def _closed_cluster_ip(port: ServicePort) -> Walk:
    hook = "filter-forward"
    refusal = () if port.endpoints else (Tested(hook, "reject-chain", 1),)
    check = (Tested(hook, "filter-forward", 1), Tested(hook, "service-endpoints-check", 1, lookups=1))
    verdict: Verdict = "drop" if port.endpoints else "reject"
    return Walk((*_prerouting(3, lookups=3), *check, *refusal), verdict)


def _prerouting(services: int, *, lookups: int) -> tuple[Tested, ...]:
    first, nat = "filter-prerouting-pre-dnat", "nat-prerouting"
    return (
        Tested(first, "filter-prerouting-pre-dnat", 1),
        Tested(first, "firewall-check", 1, lookups=1),
        Tested(nat, "nat-prerouting", 1),
        Tested(nat, "services", services, lookups=lookups),
    )


def _choose(
    shape: Shape, port: ServicePort, endpoint: float, *, local: bool, sticky: bool
) -> tuple[Tested, ...]:
    """List the service chain: a test per endpoint with affinity, then the random map unless a test hit."""
    hook, chain = "nat-prerouting", "local-*" if local else "service-*"
    count = port.local_endpoints if local else port.endpoints
    tests = (endpoint if sticky else count) if port.affinity else 0
    own_chain = 2 if _has_endpoint_chains(shape, port) else 0
    return (
        Tested(hook, chain, tests, "set_lookup", lookups=tests),
        Tested(hook, chain, int(not sticky), lookups=int(not sticky), elements=0 if sticky else count),
        Tested(hook, "endpoint-*", own_chain),
    )


def _forward() -> tuple[Tested, ...]:
    hook = "filter-forward"
    return (
        Tested(hook, "filter-forward", 2),
        Tested(hook, "service-endpoints-check", 1, lookups=1),
        Tested(hook, "cluster-ips-check", 2, lookups=1),
    )


def _input() -> tuple[Tested, ...]:
    hook = "filter-input"
    return (
        Tested(hook, "filter-input", 2),
        Tested(hook, "nodeport-endpoints-check", 1, lookups=2),
        Tested(hook, "service-endpoints-check", 1, lookups=1),
    )


def _postrouting(*, hairpin_lookups: int) -> tuple[Tested, ...]:
    hook = "nat-postrouting"
    return Tested(hook, "nat-postrouting", 1), Tested(hook, "masquerading", 2, lookups=hairpin_lookups)


def _postrouting_marked() -> tuple[Tested, ...]:
    return Tested("nat-postrouting", "nat-postrouting", 1), Tested("nat-postrouting", "masquerading", 1)
