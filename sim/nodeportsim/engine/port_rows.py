"""From a scenario to the ports of its world: how many rows there are, and what they begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.scenario.ports import addresses

from . import codes as C  # noqa: N812 - a table, as short as its entries are many.
from . import records as R  # noqa: N812 - as above.

if TYPE_CHECKING:
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.ports import Snat
    from nodeportsim.scenario.spec import Scenario

    from .build import Shape

PICKS = {"random": C.ANYWHERE, "sequential": C.IN_TURN}
REUSES = {"new": C.IPVS_NEW, "drop": C.IPVS_DROP, "keep": C.IPVS_KEEP}
SYN_SENT_S = 120.0  # nf_conntrack_tcp_timeout_syn_sent.
SYN_SENT_IPVS_S = 60.0  # IP_VS_TCP_S_SYN_RECV, ip_vs_proto_tcp.c; its end takes conntrack's entry along.


def port_rows(scenario: Scenario, shape: Shape) -> dict[str, Any]:
    """Make the rows of ports: a row for each address and entry node, and one for each pod and entry node."""
    nodes = scenario.cluster.nodes
    bound = [group for group in scenario.clients if group.source_ports]
    rows = sum(addresses(group) for group in bound) * nodes
    most = max((group.source_ports.count for group in bound if group.source_ports), default=0)
    snat = _snat(scenario)
    return {
        "ports": shape.rows(R.Ports, rows),
        "port_free_s": shape.grid(rows, most, 0.0),
        "entry_until_s": shape.grid(rows, most, 0.0),
        "entry_pod": shape.grid(rows, most, 0),
        "snat_free_s": shape.grid(nodes * scenario.service.replicas, snat.ports, 0.0)
        if snat
        else shape.grid(0, 0, 0.0),
    }


def _snat(scenario: Scenario) -> Snat | None:
    """Masquerade ports, where anything is masqueraded: what enters by a NodePort with policy Cluster."""
    service = scenario.service
    masquerades = service.type != "ClusterIP" and service.external_traffic_policy == "Cluster"
    return scenario.cluster.snat if masquerades else None


def configure_ports(w: R.World, scenario: Scenario) -> None:
    """Set what the steps need to know of ports."""
    c, proxy, snat = w.config, scenario.cluster.proxy, _snat(scenario)
    c.syn_sent_s = SYN_SENT_IPVS_S if proxy.mode == "ipvs" else SYN_SENT_S
    c.port_reuse = REUSES[proxy.port_reuse] if proxy.mode == "ipvs" else C.BY_CONNTRACK
    c.snat_ports, c.evict_closing = (snat.ports, int(snat.evict_closing)) if snat else (0, 0)
    c.ports = int(snat is not None or any(group.source_ports for group in scenario.clients))
    row = 0
    for group, given in zip(w.groups, scenario.clients, strict=True):
        if given.source_ports:
            group.ports, group.port_pick = given.source_ports.count, PICKS[given.source_ports.pick]
            group.port_hold_s, group.first_row = given.source_ports.hold_s, row
            row += addresses(given) * scenario.cluster.nodes


def hosts(given: Clients, first: int) -> list[int]:
    """For each client of a group the first one with the same address."""
    return [first + place % addresses(given) for place in range(given.count)]


def forget_ports(w: R.World, n: int) -> None:
    """Node `n` has lost its memory: conntrack's entries, and the ports it masquerades with."""
    for row in range(n, len(w.ports), int(w.config.nodes)):
        w.entry_until_s[row][:] = [0.0] * len(w.entry_until_s[row])
    for row in range(n, len(w.snat_free_s), int(w.config.nodes)):
        w.snat_free_s[row][:] = [0.0] * len(w.snat_free_s[row])
