"""Rules in words and figures."""

from __future__ import annotations

from typing import Any

import pytest

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.explain import explain, trace
from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape

WEB = ServicePort(endpoints=3, local_endpoints=1)
SHAPE = Shape(((1, KUBERNETES_SERVICE), (10, WEB)))


def test_explain_gives_each_mode_its_rules_walks_and_prices() -> None:
    """10x3: iptables tests 30 to 50 rules (first to last port and endpoint), nftables 16, ipvs 22."""
    rows = explain(SHAPE, WEB, lambda _mode, _packet, way: way.total / 2)
    assert [row["mode"] for row in rows] == ["iptables", "ipvs", "nftables"]
    assert [set(row) for row in rows] == [{"mode", "chains", "rules", "walk", "cost_s"}] * 3
    by_mode = {row["mode"]: row for row in rows}
    assert by_mode["iptables"]["walk"]["nodeport"] == {"first": 30, "mean": 40, "last": 50}
    assert by_mode["nftables"]["walk"]["nodeport"] == {"first": 16, "mean": 16, "last": 16}
    assert by_mode["ipvs"]["walk"]["nodeport"] == {"first": 22, "mean": 22, "last": 22}
    assert by_mode["iptables"]["cost_s"]["nodeport"] == {"first": 15, "mean": 20, "last": 25}
    assert by_mode["iptables"]["rules"] == structure("iptables", SHAPE).rule_count()


def test_explain_leaves_out_a_node_port_that_is_not_there() -> None:
    inner = ServicePort(endpoints=2, node_port=False)
    rows = explain(Shape(((2, inner),)), inner, lambda *_: 0.0)
    assert all(set(row["walk"]) == set(row["cost_s"]) == {"clusterip", "podip"} for row in rows)


def test_a_trace_lists_every_chain_in_order_and_adds_up() -> None:
    way = walk("iptables", SHAPE, WEB, "nodeport", position=2, endpoint=1)
    rows = trace(way)
    assert [row["chain"] for row in rows[:4]] == [
        "PREROUTING",
        "KUBE-SERVICES",
        "KUBE-NODEPORTS",
        "KUBE-EXT-*",
    ]
    assert [row["rules"] for row in rows[:4]] == [1, 12, 4, 2]
    assert sum(float(row["rules"]) for row in rows) == way.total


def test_walks_add_up() -> None:
    entry, far = walk("iptables", SHAPE, WEB, "nodeport"), walk("iptables", SHAPE, WEB, "podip")
    both = entry + far
    assert both.total == entry.total + far.total
    assert both.count("address_mismatch") == entry.count("address_mismatch") + 11
    assert both.masquerade


def test_the_classes_of_a_walk_are_its_total() -> None:
    way = walk("iptables", SHAPE, WEB, "nodeport", position=4, endpoint=2)
    assert way.count("address_mismatch") == 11
    assert way.count("loopback_mismatch") == 4
    assert way.count("node_port_match") == 4
    assert way.count("statistic") == 2
    assert way.count("fixed") == way.total - 11 - 4 - 4 - 2


@pytest.mark.parametrize(("field", "value"), [("position", 11), ("endpoint", 4), ("position", 0)])
def test_a_place_outside_the_shape_is_an_error(field: str, value: int) -> None:
    place: dict[str, Any] = {field: value}
    with pytest.raises(InputError, match=field):
        walk("iptables", SHAPE, WEB, "nodeport", **place)


def test_sticky_needs_affinity() -> None:
    with pytest.raises(InputError, match="affinity"):
        walk("iptables", SHAPE, WEB, "nodeport", sticky=True)


def test_the_large_cluster_begins_above_1000_endpoints() -> None:
    assert not Shape(((1, KUBERNETES_SERVICE), (333, WEB))).large_cluster
    assert Shape(((2, KUBERNETES_SERVICE), (333, WEB))).large_cluster
