"""What lies between clients and nodes: a graph, and the delays it gives.

A vertex is the switch of a zone or a stand of clients (a zone, or outside); an edge carries the one-way
delay of crossing it. Clients outside reach every zone's switch alike; the others reach their own first.
Nodes hang on the switch of their zone, and a packet between two nodes pays ``nodeNode`` once, in the same
zone or not. A flat network is one switch. Delays are per pair of zones, never per pair of nodes: 5,000
nodes in 3 zones are 9 numbers.

Left out: routes that change, links of limited bandwidth, different delays per direction. Loss, jitter,
wake-ups and what a sender learns of an absent far end (``clientHop``, ``nodeHop``) are the same on every
path: the engine takes them from the scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

    from nodeportsim.scenario.spec import Scenario

    Graph = nx.DiGraph[tuple[str, str | None]]


@dataclass(frozen=True, kw_only=True)
class Paths:
    """One-way delays between places, in seconds.

    A place is a zone, seen from its nodes, or the stand of a group of clients. Zones come first.

    Parameters
    ----------
    zones
        Names of the zones, in the order of their first node.
    node_zone
        For every node its place.
    client_zone
        For every group of clients its place; groups with the same zone, or none, share one.
    path_s
        For every place and every zone: from there to a (different) node in that zone.
    """

    zones: tuple[str, ...]
    node_zone: tuple[int, ...]
    client_zone: tuple[int, ...]
    path_s: tuple[tuple[float, ...], ...]


def graph(scenario: Scenario) -> Graph:
    """Draw the network: edges from clients to switches and between switches, each with its ``delay_s``.

    Vertices are ``("switch", zone)`` and ``("clients", zone)``, the zone None for clients outside.
    """
    import networkx as nx

    network = scenario.cluster.network
    zones = _zones(scenario)
    crossing_s = network.zone_zone_s if network.topology == "zones" else 0.0
    drawn: Graph = nx.DiGraph()
    drawn.add_nodes_from(("switch", zone) for zone in zones)
    for here in zones:
        for there in zones:
            if here != there:
                drawn.add_edge(("switch", here), ("switch", there), delay_s=crossing_s)
    for stand in _stands(scenario):
        for zone in zones if stand is None else (stand,):
            drawn.add_edge(("clients", stand), ("switch", zone), delay_s=network.client_node_s)
    return drawn


def paths(scenario: Scenario) -> Paths:
    """Compute the delays of every kind of path: shortest paths in `graph`."""
    import networkx as nx

    network = scenario.cluster.network
    zones = _zones(scenario)
    length_s = dict(nx.all_pairs_dijkstra_path_length(graph(scenario), weight="delay_s"))
    switches = [("switch", zone) for zone in zones]
    between = [[network.node_node_s + length_s[here][there] for there in switches] for here in switches]
    stands = _stands(scenario)
    entering = [[length_s["clients", stand][switch] for switch in switches] for stand in stands]
    return Paths(
        zones=zones,
        node_zone=tuple(zones.index(zone) for zone in scenario.cluster.zone_names),
        client_zone=tuple(len(zones) + stands.index(group.zone) for group in scenario.clients),
        path_s=tuple(tuple(row) for row in between + entering),
    )


def _zones(scenario: Scenario) -> tuple[str, ...]:
    return tuple(dict.fromkeys(scenario.cluster.zone_names))


def _stands(scenario: Scenario) -> tuple[str | None, ...]:
    return tuple(dict.fromkeys(group.zone for group in scenario.clients))
