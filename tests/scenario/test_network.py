"""The network graph and the delays it gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.network import graph, paths
from nodeportsim.scenario.spec import Cluster, Network, Scenario

CLIENT_S, NODE_S, ZONE_S = 0.25, 0.125, 0.5  # Binary fractions: sums are exact.


def scenario(topology: str, zones: int = 3, clients: tuple[str | None, ...] = (None,)) -> Scenario:
    network = Network.model_validate(
        {"topology": topology, "client_node_s": CLIENT_S, "node_node_s": NODE_S, "zone_zone_s": ZONE_S}
    )
    groups = tuple(Clients(name=f"c{n}", zone=zone) for n, zone in enumerate(clients))
    return Scenario(cluster=Cluster(nodes=7, zones=zones, network=network), clients=groups)


def test_a_flat_network_has_two_delays() -> None:
    found = paths(scenario("flat"))
    assert found.path_s == ((NODE_S,) * 3,) * 3 + ((CLIENT_S,) * 3,)


def test_crossing_zones_costs_once_whoever_crosses() -> None:
    found = paths(scenario("zones", clients=(None, "zone-2", None)))
    assert found.zones == ("zone-1", "zone-2", "zone-3")
    assert found.node_zone == (0, 1, 2, 0, 1, 2, 0)
    assert found.client_zone == (3, 4, 3)  # two groups outside share a place
    for here in range(3):
        for there in range(3):
            assert found.path_s[here][there] == NODE_S + ZONE_S * (here != there)
    assert found.path_s[3] == (CLIENT_S,) * 3  # outside: every zone is as near
    assert found.path_s[4] == (CLIENT_S + ZONE_S, CLIENT_S, CLIENT_S + ZONE_S)


def test_clients_are_no_way_through() -> None:
    drawn = graph(scenario("zones"))
    assert not list(drawn.in_edges(("clients", None)))


def test_one_zone_is_flat() -> None:
    assert paths(scenario("zones", zones=1)) == paths(scenario("flat", zones=1))


@given(st.integers(1, 5), st.integers(1, 6))
def test_the_table_has_a_row_per_place_and_a_column_per_zone(zones: int, groups: int) -> None:
    found = paths(scenario("zones", zones, (None, *["zone-1"] * (groups - 1))))
    assert {len(row) for row in found.path_s} == {zones}
    assert len(found.path_s) == zones + min(groups, 2)
    assert max(found.client_zone) == len(found.path_s) - 1


def test_a_zone_without_nodes_is_no_place_for_clients() -> None:
    with pytest.raises(ValueError, match="names no zone of this scenario; there are zone-1, zone-2"):
        scenario("zones", 2, ("zone-3",))
