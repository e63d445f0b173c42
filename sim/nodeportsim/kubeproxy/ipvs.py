"""Mode ipvs: a constant set of iptables rules over ipsets, then one hash look-up for a virtual server.

kube-proxy gives every ClusterIP to the dummy interface ``kube-ipvs0``, so packets for a Service are local
and pass nat PREROUTING (mark for masquerade), filter INPUT, then IPVS in LOCAL_IN, which picks a real server
and rewrites the destination; nat POSTROUTING masquerades. Nothing of it grows with the cluster. A Service
without endpoint keeps its virtual server, which then has no real server, and IPVS refuses.

Source: k8s:pkg/proxy/ipvs/proxier.go (1.36.2), checked against a real kube-proxy in an emulated machine
(``tests/golden/ipvs_facts.json``). Derived from the rules and not checked: the walks ``podip``, ``node`` and
``established``. Left out: the LOCAL_OUT pass after IPVS, UDP's own rule and set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.walk import Structure, Tested, Walk, total_per_class

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Packet, ServicePort, Shape

_NAT_RULES = {
    "nat/PREROUTING": 1,
    "nat/OUTPUT": 1,
    "nat/POSTROUTING": 1,
    "nat/KUBE-LOAD-BALANCER": 1,
    "nat/KUBE-MARK-MASQ": 1,
    "nat/KUBE-SERVICES": 4,
    "nat/KUBE-POSTROUTING": 3,
}
_FILTER_RULES = {
    "filter/INPUT": 3,
    "filter/FORWARD": 2,
    "filter/OUTPUT": 1,
    "filter/KUBE-FORWARD": 2,
    "filter/KUBE-IPVS-FILTER": 6,
    "filter/KUBE-NODE-PORT": 1,
    "filter/KUBE-SOURCE-RANGES-FIREWALL": 1,
}
_RULELESS_CHAINS = ("nat/INPUT", "filter/KUBE-IPVS-OUT-FILTER", "filter/KUBE-PROXY-FIREWALL")


def structure(shape: Shape, *, node_addresses: int = 1) -> Structure:
    """Count chains and rules per ``table/chain``, and elements per ipset, virtual and real servers.

    Parameters
    ----------
    shape
        The cluster.
    node_addresses
        Addresses of the node that take NodePorts; each has a virtual server per NodePort.
    """
    extra = {"nat/KUBE-NODE-PORT": _node_port_rules(shape), "nat/KUBE-POSTROUTING": _loop_back_rules(shape)}
    rules = total_per_class(_NAT_RULES | _FILTER_RULES, [(1, extra)])
    return Structure(
        chains=dict.fromkeys((*rules, *_RULELESS_CHAINS), 1),
        rules=rules,
        elements=_elements(shape, node_addresses),
    )


def _elements(shape: Shape, node_addresses: int) -> dict[str, int]:
    ports = [(n, port) for n, port in shape.ports if port.node_port]
    service_ports, node_ports = sum(n for n, _ in shape.ports), sum(n for n, _ in ports)
    behind_cluster_ips = sum(n * port.internal_endpoints for n, port in shape.ports)
    behind_node_ports = sum(n * port.external_endpoints for n, port in ports)
    return {
        "KUBE-CLUSTER-IP": service_ports,
        "KUBE-IPVS-IPS": service_ports,
        "KUBE-LOOP-BACK": shape.local_endpoints,
        "KUBE-NODE-PORT-TCP": node_ports,
        "KUBE-NODE-PORT-LOCAL-TCP": sum(n for n, port in ports if port.external_policy == "Local"),
        "virtual servers": service_ports + node_addresses * node_ports,
        "real servers": behind_cluster_ips + node_addresses * behind_node_ports,
    }


def _node_port_rules(shape: Shape) -> int:
    """Rules in nat KUBE-NODE-PORT: one for NodePorts, one before it for those with policy Local."""
    policies = {port.external_policy for _, port in shape.ports if port.node_port}
    return int(bool(policies)) + int("Local" in policies)


def _loop_back_rules(shape: Shape) -> int:
    return int(shape.local_endpoints > 0)


def walk(shape: Shape, port: ServicePort, packet: Packet) -> Walk:
    """Walk one packet; see `nodeportsim.kubeproxy.rules.walk`. Positions and endpoints do not matter."""
    match packet:
        case "established":
            # Conntrack skips nat; INPUT's filter runs on every packet on its way to IPVS in LOCAL_IN.
            return Walk(_input(6))
        case "podip":
            return Walk((*_prerouting(0), *_forward(), *_postrouting(shape, masquerade=False)))
        case "node":
            return Walk((*_prerouting(_node_port_rules(shape)), *_input(6)))
        case "clusterip":
            rows = (*_prerouting(_node_port_rules(shape)), *_input(2))
            verdict = "accept" if port.internal_endpoints else "reject"
        case "nodeport":
            local = port.external_policy == "Local"
            # The rule for policy Local comes first and returns, so such a packet tests it alone.
            rows = (*_prerouting(1 if local else _node_port_rules(shape), mark=not local), *_input(6))
            verdict = "accept" if port.external_endpoints else "reject"
    masquerade = packet == "nodeport" and port.external_policy == "Cluster"
    if verdict == "reject":
        return Walk(rows, "reject")
    return Walk((*rows, *_postrouting(shape, masquerade=masquerade)), masquerade=masquerade)


def _prerouting(node_port_rules: int, *, mark: bool = False) -> tuple[Tested, ...]:
    hook = "nat/PREROUTING"
    return (
        Tested(hook, "PREROUTING", 1),
        Tested(hook, "KUBE-SERVICES", 4, lookups=2),
        Tested(hook, "KUBE-NODE-PORT", node_port_rules, lookups=node_port_rules),
        Tested(hook, "KUBE-MARK-MASQ", int(mark)),
    )


def _input(filter_rules: int) -> tuple[Tested, ...]:
    hook = "filter/INPUT"
    return (
        Tested(hook, "INPUT", 3),
        Tested(hook, "KUBE-IPVS-FILTER", filter_rules, lookups=min(filter_rules, 5)),
        Tested(hook, "KUBE-NODE-PORT", 1, lookups=1),
    )


def _forward() -> tuple[Tested, ...]:
    return Tested("filter/FORWARD", "FORWARD", 2), Tested("filter/FORWARD", "KUBE-FORWARD", 2)


def _postrouting(shape: Shape, *, masquerade: bool) -> tuple[Tested, ...]:
    hook, loop_back = "nat/POSTROUTING", _loop_back_rules(shape)
    return (
        Tested(hook, "POSTROUTING", 1),
        Tested(hook, "KUBE-POSTROUTING", loop_back, lookups=loop_back),
        Tested(hook, "KUBE-POSTROUTING", 3 if masquerade else 1),
    )
