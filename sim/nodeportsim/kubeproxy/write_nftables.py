"""Write mode nftables: the text kube-proxy hands to ``nft -f -``.

One command a line, as kube-proxy's library writes it, in the order in which nft wants to meet the names: sets
and maps, chains, rules, elements. Rules are spelt as ``nft list`` shows them.

Source: k8s:pkg/proxy/nftables/proxier.go (1.36.2); equal to the dumps of a real kube-proxy. Before 1.36 every
endpoint has a chain; the rest is as in 1.36, without the masquerade helpers of those releases, as in
`nodeportsim.kubeproxy.nftables`, which counts what is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.chains import nftables_chain, nftables_endpoint
from nodeportsim.kubeproxy.nftables_text import BASE_CHAINS, FIXED_RULES, MARK, SETS, TABLE
from nodeportsim.kubeproxy.walk import DIRECT_DNAT_SINCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from nodeportsim.kubeproxy.concrete import Endpoint, Port, View

    Elements = dict[tuple[str, str], str]


def load(view: View) -> str:
    """Write everything, for ``nft -f -`` into an empty ruleset."""
    chains = FIXED_RULES | _ruled_by_addresses(view) | _own_chains(view, view.ports)
    commands = [
        f'add table {TABLE} {{ comment "rules for kube-proxy" ; }}',
        *(_add_set(name, f'type {kind} ; comment "{words}" ;') for name, (kind, words) in SETS.items()),
        *_affinity_sets(view.ports),
        *(f"add chain {TABLE} {name}{_chain_head(name)}" for name in chains),
        *_rules(chains),
        *_add_elements(_elements(view)),
    ]
    return "\n".join(commands) + "\n"


def change(view: View, changed: Collection[str], *, before: View | None = None) -> str:
    """Write the transaction of a sync when few Services changed.

    Parameters
    ----------
    view
        The cluster after the change.
    changed
        `Port.full_name` of the ports that changed; their chains are written anew.
    before
        The cluster before it. Without, the sets and maps are taken to stay as they are, and nothing is
        removed. With it, elements that differ are deleted and added, affinity sets of lost endpoints are
        deleted, and chains that are no longer used emptied (a sync at least a second later deletes them).
    """
    ports = [port for port in view.ports if port.full_name in changed]
    chains = _own_chains(view, ports)
    commands = [
        *_affinity_sets(ports),
        *(f"{verb} chain {TABLE} {name}" for name in chains for verb in ("add", "flush")),
        *_rules(chains),
    ]
    if before is not None:
        commands += _difference(before, view)
    return "\n".join(commands) + "\n"


def _difference(before: View, view: View) -> Iterator[str]:
    """Yield the commands for what stands outside the chains in use."""
    old, new = _elements(before), _elements(view)
    gone = {key: value for key, value in old.items() if new.get(key) != value}
    yield from (f"delete element {TABLE} {name} {{ {key} }}" for name, key in gone)
    yield from _add_elements({key: value for key, value in new.items() if old.get(key) != value})
    stale = _own_chains(before, before.ports).keys() - _own_chains(view, view.ports).keys()
    yield from (f"flush chain {TABLE} {name}" for name in sorted(stale))
    sets = set(_affinity_names(before.ports)) - set(_affinity_names(view.ports))
    yield from (f"delete set {TABLE} {name}" for name in sorted(sets))


def _ruled_by_addresses(view: View) -> dict[str, Sequence[str]]:
    """Return the chains every node has whose rules name the cluster's address ranges."""
    masquerade = f'{MARK} comment "masquerade clusterIP traffic from outside cluster"'
    return {
        "services": (
            f"ip daddr @cluster-ips ip saddr != {view.cluster_cidr} {masquerade}",
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        ),
        "cluster-ips-check": (
            'ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
            f'ip daddr {view.service_cidr} drop comment "Drop traffic to unallocated ClusterIPs"',
        ),
    }


def _own_chains(view: View, ports: Iterable[Port]) -> dict[str, Sequence[str]]:
    """Return the chains that belong to some ports, with their rules; those jumped to come first."""
    chains: dict[str, Sequence[str]] = {}
    for port in ports:
        counted, local = port.counted, [endpoint for endpoint in port.endpoints if endpoint.local]
        if _has_endpoint_chains(view, port):
            for endpoint in port.endpoints if counted.uses_cluster else local:
                chains[nftables_endpoint("endpoint", port, endpoint)] = _to_endpoint(port, endpoint)
        if counted.uses_cluster and port.endpoints:
            chains[nftables_chain("service", port)] = _choose(view, port, port.endpoints)
        if counted.uses_local and local:
            chains[nftables_chain("local", port)] = _choose(view, port, local)
        if port.node_port and port.endpoints:
            chains[nftables_chain("external", port)] = _external(view, port, bool(local))
    return chains


def _external(view: View, port: Port, any_local: bool) -> list[str]:
    service = nftables_chain("service", port)
    if port.external_policy == "Cluster":
        return [f'{MARK} comment "masquerade"', f"goto {service}"]
    return [
        f'ip saddr {view.cluster_cidr} goto {service} comment "short-circuit pod traffic"',
        f'fib saddr type local {MARK} comment "masquerade local traffic"',
        f'fib saddr type local goto {service} comment "short-circuit local traffic"',
        *([f"goto {nftables_chain('local', port)}"] if any_local else []),
    ]


def _choose(view: View, port: Port, endpoints: Sequence[Endpoint]) -> list[str]:
    """Return the rules that pick an endpoint: the sets that remember the client, then the dice."""
    dice = f"numgen random mod {len(endpoints)}"
    if not _has_endpoint_chains(view, port):
        pairs = ", ".join(f"{k} : {e.address} . {e.port}" for k, e in enumerate(endpoints))
        return [f"meta l4proto tcp dnat ip to {dice} map {{ {pairs} }}"]
    targets = [f"goto {nftables_endpoint('endpoint', port, endpoint)}" for endpoint in endpoints]
    seen = [f"ip saddr @{nftables_endpoint('affinity', port, endpoint)}" for endpoint in endpoints]
    verdicts = ", ".join(f"{k} : {target}" for k, target in enumerate(targets))
    sticky = [f"{known} {target}" for known, target in zip(seen, targets, strict=True)]
    return [*(sticky if port.affinity_s else []), f"{dice} vmap {{ {verdicts} }}"]


def _to_endpoint(port: Port, endpoint: Endpoint) -> list[str]:
    dnat = f"meta l4proto tcp dnat to {endpoint.address}:{endpoint.port}"
    remember = f"update @{nftables_endpoint('affinity', port, endpoint)} {{ ip saddr }}"
    # Endpoint chains of a port without affinity, before 1.36, mark the loop back to the own pod instead.
    return [remember if port.affinity_s else f"ip saddr {endpoint.address} {MARK}", dnat]


def _has_endpoint_chains(view: View, port: Port) -> bool:
    return port.affinity_s > 0 or view.version < DIRECT_DNAT_SINCE


def _elements(view: View) -> Elements:
    """Return what stands in the sets and maps: (name, key) -> comment and value, as nft wants them."""
    found: Elements = {("nodeport-ips", address): "" for address in view.node_addresses}
    for port in view.ports:
        counted, external = port.counted, f"goto {nftables_chain('external', port)}"
        service, node_port = f"{port.cluster_ip} . tcp . {port.port}", f"tcp . {port.node_port}"
        closed = f'comment "{port.full_name}" : {"drop" if port.endpoints else "goto reject-chain"}'
        found["cluster-ips", port.cluster_ip] = ""
        if counted.internal_endpoints:
            chain = nftables_chain("local" if port.internal_policy == "Local" else "service", port)
            found["service-ips", service] = f": goto {chain}"
        else:
            found["no-endpoint-services", service] = closed
        if port.node_port and port.endpoints:
            found["service-nodeports", node_port] = f": {external}"
        if port.node_port and not counted.external_endpoints:
            found["no-endpoint-nodeports", node_port] = closed
        for endpoint in port.endpoints:
            if endpoint.local:
                own = f"{endpoint.address} . {endpoint.address} . tcp . {endpoint.port}"
                found["hairpin-connections", own] = ""
    return found


def _add_elements(elements: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for (name, key), value in elements.items():
        yield f"add element {TABLE} {name} {{ {f'{key} {value}'.rstrip()} }}"


def _affinity_sets(ports: Iterable[Port]) -> Iterator[str]:
    for port in ports:
        for name in _affinity_names([port]):
            timeout = f"timeout {port.affinity_s}s"
            yield _add_set(f"set {name}", f"type ipv4_addr ; flags dynamic,timeout ; {timeout} ;")


def _affinity_names(ports: Iterable[Port]) -> Iterator[str]:
    for port in ports:
        reachable = [e for e in port.endpoints if port.counted.uses_cluster or e.local]
        yield from (nftables_endpoint("affinity", port, e) for e in reachable if port.affinity_s)


def _add_set(name: str, properties: str) -> str:
    kind, _, own = name.partition(" ")
    return f"add {kind} {TABLE} {own} {{ {properties} }}"


def _chain_head(name: str) -> str:
    if name in BASE_CHAINS:
        return f" {{ type {BASE_CHAINS[name]} ; policy accept ; }}"
    words = "helper for @no-endpoint-services / @no-endpoint-nodeports"
    return f' {{ comment "{words}" ; }}' if name == "reject-chain" else ""


def _rules(chains: Mapping[str, Sequence[str]]) -> Iterator[str]:
    return (f"add rule {TABLE} {name} {rule}" for name, rules in chains.items() for rule in rules)
