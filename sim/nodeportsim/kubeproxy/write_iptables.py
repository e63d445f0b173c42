"""Write mode iptables: the text kube-proxy hands to ``iptables-restore``.

The rules are spelt as ``iptables-save`` shows them, which ``iptables-restore`` reads as well, so that what is
written can be compared with a dump line by line. One thing differs: a probability has the ten decimals
kube-proxy writes, and a dump has the eleven of the kernel's fraction (`nodeportsim.kubeproxy.iptables`).

Source: k8s:pkg/proxy/iptables/proxier.go (1.36.2); equal to the dumps of a real kube-proxy, order included.
`nodeportsim.kubeproxy.iptables` counts what is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.chains import iptables_chain, iptables_endpoint_chain
from nodeportsim.kubeproxy.iptables_text import BUILT_IN, MASQUERADE, comment, table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
    from nodeportsim.kubeproxy.iptables_text import Chains


def restore(view: View) -> str:
    """Write everything, for ``iptables-restore`` into empty tables.

    A real kube-proxy puts the jumps of the built-in chains and the canaries in by calls of their own, once.
    With `View.localhost_node_ports` some rules name nfacct objects, which must exist (`NFACCT_OBJECTS`).
    """
    canary: Chains = {"KUBE-PROXY-CANARY": ()}
    return (
        table("mangle", canary, BUILT_IN["mangle"])
        + table("filter", {**canary, **_filter(view)}, BUILT_IN["filter"])
        + table("nat", {**canary, **_nat(view, view.ports)}, BUILT_IN["nat"])
    )


def restore_changed(view: View, changed: Collection[str], *, before: View | None = None) -> str:
    """Write what a sync hands to ``iptables-restore --noflush --counters`` when few Services changed.

    Parameters
    ----------
    view
        The cluster after the change.
    changed
        `Port.full_name` of the ports that changed.
    before
        The cluster before it, if chains that are no longer used are to be removed, as a sync of a small
        cluster does (a large one waits for that, up to the sync period).
    """
    nat = _nat(view, [port for port in view.ports if port.full_name in changed])
    stale = (
        [] if before is None else sorted(_nat(before, before.ports).keys() - _nat(view, view.ports).keys())
    )
    return table("filter", _filter(view)) + table("nat", {**nat, **dict.fromkeys(stale, ())}, remove=stale)


NFACCT_OBJECTS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
"""Counters that rules name when a view has `View.localhost_node_ports`, since 1.31."""


def _filter(view: View) -> Chains:
    """Return kube-proxy's own chains of table filter: they let in, refuse and drop."""
    nfacct = "-m nfacct --nfacct-name ct_state_invalid_dropped_pkts " if _counts(view) else ""
    return {
        "KUBE-NODEPORTS": (),
        "KUBE-SERVICES": [
            f"-d {port.cluster_ip}/32 -p tcp {comment(_closed(port))} -m tcp --dport {port.port} "
            + _refusal(port)
            for port in view.ports
            if not port.counted.internal_endpoints
        ],
        "KUBE-EXTERNAL-SERVICES": [
            f"-p tcp {comment(_closed(port))} -m addrtype --dst-type LOCAL -m tcp --dport {port.node_port} "
            + _refusal(port)
            for port in view.ports
            if port.node_port and not port.counted.external_endpoints
        ],
        "KUBE-FIREWALL": (
            (
                f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {comment('block incoming localnet connections')}"
                " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
            ),
        ),
        "KUBE-FORWARD": (
            f"-m conntrack --ctstate INVALID {nfacct}-j DROP",
            f"{comment('kubernetes forwarding rules')} -m mark --mark 0x4000/0x4000 -j ACCEPT",
            (
                f"{comment('kubernetes forwarding conntrack rule')}"
                " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            ),
        ),
        "KUBE-PROXY-FIREWALL": (),
    }


def _nat(view: View, ports: Iterable[Port]) -> Chains:
    """Return kube-proxy's own chains of table nat: both linear ones, and those of some ports."""
    own = {chain: rules for port in ports for chain, rules in _own_chains(view, port)}
    return {"KUBE-SERVICES": _services(view), "KUBE-NODEPORTS": _node_ports(view), **MASQUERADE, **own}


def _services(view: View) -> list[str]:
    last = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
    return [
        *(
            f"{_to_cluster_ip(port)} -j {_internal_chain(port)}"
            for port in view.ports
            if port.counted.internal_endpoints
        ),
        f"{comment(last)} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    ]


def _node_ports(view: View) -> list[str]:
    """Return KUBE-NODEPORTS: the rule that counts loopback traffic comes first."""
    rules = []
    for port in view.ports:
        if not (port.node_port and port.endpoints):
            continue
        rule, jump = (
            f"-p tcp {comment(port.full_name)} -m tcp --dport {port.node_port} ",
            f"-j {iptables_chain('EXT', port)}",
        )
        if _counts(view):
            nfacct = "-m nfacct --nfacct-name localhost_nps_accepted_pkts "
            rules.append(f"-d 127.0.0.0/8 {rule}{nfacct}{jump}")
        rules.append(rule + jump)
    return rules


def _own_chains(view: View, port: Port) -> Iterator[tuple[str, list[str]]]:
    """Return the chains that belong to one port alone, with their rules."""
    counted, local = port.counted, [endpoint for endpoint in port.endpoints if endpoint.local]
    if port.node_port and port.endpoints:
        yield iptables_chain("EXT", port), _external(view, port, bool(local))
    # The rule that masquerades ClusterIP traffic from outside stands in the chain that rule jumps to.
    head = [f"! -s {view.cluster_cidr} {_to_cluster_ip(port)} -j KUBE-MARK-MASQ"]
    if counted.uses_cluster and port.endpoints:
        chain = iptables_chain("SVC", port)
        yield chain, head * (chain == _internal_chain(port)) + list(_choose(view, port, port.endpoints))
    if counted.uses_local and local:
        chain = iptables_chain("SVL", port)
        yield chain, head * (chain == _internal_chain(port)) + list(_choose(view, port, local))
    for endpoint in port.endpoints if counted.uses_cluster else local:
        yield iptables_endpoint_chain(port, endpoint), _to_endpoint(view, port, endpoint)


def _external(view: View, port: Port, any_local: bool) -> list[str]:
    name, service = f"{port.full_name} external destinations", iptables_chain("SVC", port)
    if port.external_policy == "Cluster":
        return [f"{comment(f'masquerade traffic for {name}')} -j KUBE-MARK-MASQ", f"-j {service}"]
    from_node = "-m addrtype --src-type LOCAL"
    return [
        f"-s {view.cluster_cidr} {comment(f'pod traffic for {name}')} -j {service}",
        f"{comment(f'masquerade LOCAL traffic for {name}')} {from_node} -j KUBE-MARK-MASQ",
        f"{comment(f'route LOCAL traffic for {name}')} {from_node} -j {service}",
        *([f"-j {iptables_chain('SVL', port)}"] if any_local else []),
    ]


def _choose(view: View, port: Port, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """Yield the rules that pick an endpoint: the ones that remember the client, then the dice."""
    targets = [
        (
            _endpoint_comment(view, f"{port.full_name} -> {endpoint.address}:{endpoint.port}"),
            iptables_endpoint_chain(port, endpoint),
        )
        for endpoint in endpoints
    ]
    if port.affinity_s:
        for words, chain in targets:
            seen = f"-m recent --rcheck --seconds {port.affinity_s} --reap {_recent(chain)}"
            yield f"{words}{seen} -j {chain}"
    for left, (words, chain) in zip(range(len(targets), 0, -1), targets, strict=True):
        dice = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f"{words}{dice}-j {chain}"


def _to_endpoint(view: View, port: Port, endpoint: Endpoint) -> list[str]:
    words = _endpoint_comment(view, port.full_name)
    remember = (
        f"-m recent --set {_recent(iptables_endpoint_chain(port, endpoint))} " if port.affinity_s else ""
    )
    return [
        f"-s {endpoint.address}/32 {words}-j KUBE-MARK-MASQ",
        f"-p tcp {words}{remember}-m tcp -j DNAT --to-destination {endpoint.address}:{endpoint.port}",
    ]


def _counts(view: View) -> bool:
    """Whether rules name nfacct objects."""
    return view.shape.rules_per_node_port > 1


def _internal_chain(port: Port) -> str:
    return iptables_chain("SVL" if port.internal_policy == "Local" else "SVC", port)


def _to_cluster_ip(port: Port) -> str:
    return (
        f"-d {port.cluster_ip}/32 -p tcp {comment(f'{port.full_name} cluster IP')} -m tcp --dport {port.port}"
    )


def _closed(port: Port) -> str:
    return f"{port.full_name} has no {'local ' if port.endpoints else ''}endpoints"


def _refusal(port: Port) -> str:
    """Return the target for want of an endpoint: none at all refuses, none on this node drops."""
    return "-j DROP" if port.endpoints else "-j REJECT --reject-with icmp-port-unreachable"


def _recent(chain: str) -> str:
    return f"--name {chain} --mask 255.255.255.255 --rsource"


def _endpoint_comment(view: View, text: str) -> str:
    """Return a comment that a large cluster leaves out."""
    return "" if view.shape.large_cluster else f"{comment(text)} "
