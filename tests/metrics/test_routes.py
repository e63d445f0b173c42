"""Where requests went, counted by hand on made-up replications."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import Replication, replication, replications

from nodeportsim.metrics.programming import programming_s
from nodeportsim.metrics.routes import matrix, routes, zone_matrix
from nodeportsim.metrics.where import CELLS_MAX, where

ZONES = ("a", "a", "b")


def traced(rows: list[tuple[int, int, float]], **changes: Any) -> Replication:
    """Three nodes in zones a, a, b; pods 0 .. 3 on nodes 0, 1, 2, 2; requests by (node, pod, seconds)."""
    trace = np.zeros(len(rows), [("born_s", "f8"), ("ended_s", "f8"), ("node", "i8"), ("pod", "i8")])
    for k, (node, pod, took_s) in enumerate(rows):
        trace[k] = (1.0, 1.0 + took_s, node, pod)
    made = replication(nodes=3, pods=4)
    return replace(made, trace=trace, node_zones=ZONES, pod_nodes=np.array([0, 1, 2, 2]), **changes)


def test_hops_are_counted_and_cost_the_difference_of_the_means() -> None:
    """Of five answered two hop, one of them into another zone; 6 and 8 s against 1, 2 and 3 s."""
    run = traced([(0, 0, 1.0), (0, 1, 6.0), (1, 2, 8.0), (2, 2, 2.0), (2, 3, 3.0), (1, -1, 9.0)])
    found = routes([run] * 10)
    assert found is not None
    assert found["requests"] == 50
    assert found["other_node_ratio"]["estimate"] == pytest.approx(2 / 5)
    assert found["other_zone_ratio"]["estimate"] == pytest.approx(1 / 5)
    assert found["hop_s"]["estimate"] == pytest.approx(7.0 - 2.0)


def test_a_zones_load_is_what_its_pods_have_over_what_pods_have() -> None:
    """Zone a has two of four pods and 30 of 90 connections, (1/3) / (1/2), b the rest; entries 2/3, 1/3."""
    pods = np.array([[10, 0], [20, 0], [30, 0], [30, 0]])
    nodes = np.array([[30, 0], [30, 0], [30, 0]])
    found = routes([traced([(0, 0, 1.0)], pods=pods, nodes=nodes)] * 10)
    assert found is not None
    a, b = found["zones"]
    assert (a["zone"], a["nodes"], a["pods_ratio"]) == ("a", 2, 0.5)
    assert a["entered_ratio"]["estimate"] == pytest.approx(2 / 3)
    assert a["pod_over_mean"]["estimate"] == pytest.approx(2 / 3)
    assert b["pod_over_mean"]["estimate"] == found["hottest_zone"]["estimate"] == pytest.approx(4 / 3)


def test_what_cannot_be_said_of_routes_is_null_with_its_reason() -> None:
    stays, fails = traced([(0, 0, 1.0)]), traced([(0, -1, 1.0)])
    found = routes([stays] * 10)
    assert found is not None
    assert found["hop_s"]["estimate"] is None
    assert "with and without a hop" in found["hop_s"]["reason"]
    assert routes([fails] * 10) is None
    alone = routes([replace(stays, pod_nodes=np.array([0, 0, 0, 0]))] * 10)
    assert alone is not None
    assert alone["zones"][1]["pod_over_mean"]["reason"] == "no pod stands there"


def test_pods_outside_the_cluster_are_a_hop_and_in_no_zone() -> None:
    run = traced([(0, 0, 1.0), (0, 3, 2.0)])
    outside = replace(run, pod_nodes=np.array([0, 1, 2, 3]))  # Three nodes: number 3 is none of them.
    assert matrix(outside).sum() == 2
    assert zone_matrix(outside)[1].tolist() == [[1, 0], [0, 0]]
    found = routes([outside] * 10)
    assert found is not None
    assert found["other_node_ratio"]["estimate"] == 0.5


def test_the_slowest_is_the_last_node_and_p50_that_which_half_know() -> None:
    delays = np.column_stack([np.full(100, 5.0), np.arange(100), np.arange(1, 101) / 100])
    found = programming_s([replace(replication(), programming=delays)] * 10)
    assert found is not None
    assert {name: value["estimate"] for name, value in found.items()} == pytest.approx(
        {"p50": 0.5, "p99": 0.99, "slowest": 1.0}
    )
    assert programming_s(replications(10)) is None


def test_tables_hold_what_runs_carry_and_no_more() -> None:
    plain = where(replications(3))
    assert set(plain) == {"routes"}
    assert plain["routes"]["requests"].sum() == 2000
    many = where([replication(nodes=CELLS_MAX // 10 + 1, pods=10)])
    assert set(many) == set()
    newborns = np.array([[0, 10, 0, 4], [5, 10, 2, 4]])
    run = traced([(0, 0, 1.0), (0, 2, 1.0)], newborns=newborns, programming=np.array([[5.0, 1, 0.25]]))
    tables = where([run] * 3)
    assert set(tables) == {"routes", "zones", "programming", "newborns"}
    assert tables["zones"]["share_ratio"].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert tables["programming"]["node"].tolist() == ["node-1"] * 3
    shares = tables["newborns"].query("kind == 'simulated'")["estimate"]
    assert shares.tolist() == [0.0, 50.0]
