"""Write mode ipvs: input for ``ipset``, ``iptables-restore`` and ``ipvsadm``, and a device's addresses.

Order matters on a machine: sets first, then the rules that look into them, then virtual servers. kube-proxy
itself speaks netlink for the servers; the texts say the same. Source: k8s:pkg/proxy/ipvs/proxier.go (1.36.2);
equal to the dumps of a real kube-proxy. `nodeportsim.kubeproxy.ipvs` counts what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.iptables_text import BUILT_IN, MASQUERADE, comment, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
    from nodeportsim.kubeproxy.iptables_text import Chains

DEVICE = "kube-ipvs0"
"""The dummy device that holds every ClusterIP, and stays down."""

_HASH = "family inet hashsize 1024 maxelem 65536"
_SETS = {
    "KUBE-LOOP-BACK": f"hash:ip,port,ip {_HASH}",
    "KUBE-CLUSTER-IP": f"hash:ip,port {_HASH}",
    "KUBE-EXTERNAL-IP": f"hash:ip,port {_HASH}",
    "KUBE-EXTERNAL-IP-LOCAL": f"hash:ip,port {_HASH}",
    "KUBE-LOAD-BALANCER": f"hash:ip,port {_HASH}",
    "KUBE-LOAD-BALANCER-LOCAL": f"hash:ip,port {_HASH}",
    "KUBE-LOAD-BALANCER-FW": f"hash:ip,port {_HASH}",
    "KUBE-LOAD-BALANCER-SOURCE-IP": f"hash:ip,port,ip {_HASH}",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": f"hash:ip,port,net {_HASH}",
    "KUBE-NODE-PORT-TCP": "bitmap:port range 0-65535",
    "KUBE-NODE-PORT-LOCAL-TCP": "bitmap:port range 0-65535",
    "KUBE-NODE-PORT-UDP": "bitmap:port range 0-65535",
    "KUBE-NODE-PORT-LOCAL-UDP": "bitmap:port range 0-65535",
    "KUBE-NODE-PORT-SCTP-HASH": f"hash:ip,port {_HASH}",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": f"hash:ip,port {_HASH}",
    "KUBE-HEALTH-CHECK-NODE-PORT": "bitmap:port range 0-65535",
    "KUBE-IPVS-IPS": f"hash:ip {_HASH}",
}
_FILTER_BUILT_IN: Chains = {
    "INPUT": (
        f"{comment('kubernetes ipvs access filter')} -j KUBE-IPVS-FILTER",
        f"{comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL",
        f"{comment('kubernetes health check rules')} -j KUBE-NODE-PORT",
    ),
    "FORWARD": (
        f"{comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL",
        f"{comment('kubernetes forwarding rules')} -j KUBE-FORWARD",
    ),
    "OUTPUT": (f"{comment('kubernetes ipvs access filter')} -j KUBE-IPVS-OUT-FILTER",),
}
_PASSING = (
    "KUBE-LOAD-BALANCER dst,dst",
    "KUBE-CLUSTER-IP dst,dst",
    "KUBE-EXTERNAL-IP dst,dst",
    "KUBE-EXTERNAL-IP-LOCAL dst,dst",
    "KUBE-HEALTH-CHECK-NODE-PORT dst",
)
_FILTER: Chains = {
    "KUBE-FORWARD": (
        f"{comment('kubernetes forwarding rules')} -m mark --mark 0x4000/0x4000 -j ACCEPT",
        (
            f"{comment('kubernetes forwarding conntrack rule')}"
            " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        ),
    ),
    "KUBE-IPVS-FILTER": (
        *(f"-m set --match-set {name} -j RETURN" for name in _PASSING),
        (
            "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst"
            " -j REJECT --reject-with icmp-port-unreachable"
        ),
    ),
    "KUBE-IPVS-OUT-FILTER": (),
    "KUBE-NODE-PORT": (
        (
            f"{comment('Kubernetes health check node port')}"
            " -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT"
        ),
    ),
    "KUBE-PROXY-FIREWALL": (),
    "KUBE-SOURCE-RANGES-FIREWALL": ("-j DROP",),
}


@dataclass(frozen=True, kw_only=True)
class IpvsRules:
    """What mode ipvs puts on a node.

    Parameters
    ----------
    ipset
        For ``ipset restore``.
    iptables
        For ``iptables-restore`` into empty tables, once the sets are there.
    ipvsadm
        For ``ipvsadm -R``.
    addresses
        For the device `DEVICE`, one /32 each.
    """

    ipset: str
    iptables: str
    ipvsadm: str
    addresses: tuple[str, ...]


def write(view: View) -> IpvsRules:
    """Write everything, for a node that has nothing of it yet."""
    members = _members(view)
    sets = [f"create {name} {kind}" for name, kind in _SETS.items()]
    entries = [f"add {name} {entry}" for name, own in members.items() for entry in own]
    return IpvsRules(
        ipset="\n".join([*sets, *entries]) + "\n",
        iptables=table("filter", _FILTER, _FILTER_BUILT_IN) + table("nat", _nat(view), BUILT_IN["nat"]),
        ipvsadm="".join(f"{command}\n" for port in view.ports for command in _servers(view, port)),
        addresses=tuple(members["KUBE-IPVS-IPS"]),
    )


def _members(view: View) -> dict[str, Sequence[str]]:
    """Return the entries of each set that has any."""
    node_ports = [port for port in view.ports if port.node_port]
    loops = [
        f"{endpoint.address},tcp:{endpoint.port},{endpoint.address}"
        for port in view.ports
        for endpoint in port.endpoints
        if endpoint.local
    ]
    return {
        "KUBE-LOOP-BACK": _once(loops),
        "KUBE-CLUSTER-IP": [f"{port.cluster_ip},tcp:{port.port}" for port in view.ports],
        "KUBE-NODE-PORT-TCP": [str(port.node_port) for port in node_ports],
        "KUBE-NODE-PORT-LOCAL-TCP": [
            str(port.node_port) for port in node_ports if port.external_policy == "Local"
        ],
        "KUBE-IPVS-IPS": _once(port.cluster_ip for port in view.ports),
    }


def _nat(view: View) -> Chains:
    """Return kube-proxy's own chains of table nat; a set without entries has no rule."""
    members = _members(view)
    node_port = "Kubernetes nodeport TCP port"
    loop_back = "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"
    cluster_ip = "Kubernetes service cluster ip + port for masquerade purpose"
    loop_rule = f"{comment(loop_back)} -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE"
    return {
        "KUBE-SERVICES": (
            "-s 127.0.0.0/8 -j RETURN",
            (
                f"! -s {view.cluster_cidr} {comment(cluster_ip)}"
                " -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"
            ),
            "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
            "-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        ),
        "KUBE-POSTROUTING": (
            *([loop_rule] if members["KUBE-LOOP-BACK"] else []),
            *MASQUERADE["KUBE-POSTROUTING"],
        ),
        "KUBE-NODE-PORT": [
            f"-p tcp {comment(words)} -m set --match-set {name} dst -j {target}"
            for name, words, target in (
                ("KUBE-NODE-PORT-LOCAL-TCP", f"{node_port} with externalTrafficPolicy=local", "RETURN"),
                ("KUBE-NODE-PORT-TCP", f"{node_port} for masquerade purpose", "KUBE-MARK-MASQ"),
            )
            if members[name]
        ],
        "KUBE-LOAD-BALANCER": ("-j KUBE-MARK-MASQ",),
        "KUBE-MARK-MASQ": MASQUERADE["KUBE-MARK-MASQ"],
    }


def _servers(view: View, port: Port) -> Iterator[str]:
    """Yield the virtual servers of one port, each with its real servers."""
    local = [endpoint for endpoint in port.endpoints if endpoint.local]
    inside = local if port.internal_policy == "Local" else port.endpoints
    outside = local if port.external_policy == "Local" else port.endpoints
    yield from _server(port, f"{port.cluster_ip}:{port.port}", inside)
    for address in view.node_addresses if port.node_port else ():
        yield from _server(port, f"{address}:{port.node_port}", outside)


def _server(port: Port, address: str, endpoints: Iterable[Endpoint]) -> Iterator[str]:
    yield f"-A -t {address} -s rr" + (f" -p {port.affinity_s}" if port.affinity_s else "")
    for endpoint in endpoints:
        yield f"-a -t {address} -r {endpoint.address}:{endpoint.port} -m -w 1"


def _once(entries: Iterable[str]) -> tuple[str, ...]:
    """Drop repetitions, keeping the order: several ports may share an address."""
    return tuple(dict.fromkeys(entries))
