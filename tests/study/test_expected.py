"""Closed forms apply where their assumptions hold, and add up."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from nodeportsim.scenario.spec import Scenario
from nodeportsim.study.expected import closed_forms, failing_after
from nodeportsim.theory.failure import Detection, all_fail_ratio

DYING = {"at_s": 20.0, "fault": "power-off", "node": "node-3"}


def scenario(clients: dict[str, Any], **more: Any) -> Scenario:
    group = {"count": 100, "rate_rps": 200.0} | clients
    cluster = {"nodes": 5} | more.pop("cluster", {})
    service = {"replicas": 10} | more.pop("service", {})
    return Scenario.model_validate({"cluster": cluster, "service": service, "clients": group, **more})


def dying(**clients: Any) -> Scenario:
    return scenario(clients, events=[DYING], run={"duration_s": 100.0})


def test_kept_connections_lose_p_over_one_minus_p_requests_each() -> None:
    """p = 1 - 0.8 * 0.8 = 0.36; 100 clients lose 100 * 0.36 / 0.64 = 56.25, soon."""
    forms = closed_forms(dying(connections={"reuse": "lifo"}))
    assert forms == {"failed_requests": pytest.approx(56.25, rel=1e-3)}


@pytest.mark.parametrize("node", ["same", "next"])
def test_the_failing_share_falls_from_that_of_dead_pods_to_that_of_the_dead_entry(node: Any) -> None:
    failing = failing_after(dying(retry={"attempts": 3, "node": node}))
    assert failing is not None
    unnoticed, noticed = (
        all_fail_ratio(3, nodes=5, dead_nodes=1, dead_endpoint_ratio=share, entry=node) for share in (0.2, 0)
    )
    # Three attempts take 2 * 5 s of connect time-out and 0.225 s of mean back-off to make.
    assert failing(Detection().min_s - 10.3) == pytest.approx(unnoticed)
    assert failing(Detection().max_s) == pytest.approx(noticed)
    shares = [failing(float(t)) for t in range(80)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(shares))


def test_a_client_without_retry_loses_rate_times_share_over_the_window_and_after() -> None:
    """Both pods leave after 0.05 s + half of 1 s + 0.01 s on average, so the window is 47.5 + 0.56 s."""
    window_s, rest_s = 47.5 + 0.56, 80 - 47.5 - 0.56
    expected = 200 * (0.36 * window_s + 0.2 * rest_s)
    assert closed_forms(dying())["failed_requests"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("policy", "entries"), [("Cluster", 1.8), ("Local", 1.0)])
def test_conntrack_fills_by_littles_law_and_fails_what_does_not_fit(policy: Any, entries: float) -> None:
    """5 nodes x 1000 places / (10 s + 5 ms of service) / entries a connection, at a rate of 1000/s."""
    forms = closed_forms(
        scenario(
            {"rate_rps": 1000.0},
            cluster={"conntrack": {"max": 1000, "time_wait_s": 10.0}},
            service={"external_traffic_policy": policy},
            run={"warmup_s": 10.0, "duration_s": 20.0},
        )
    )
    assert forms["conntrack_peak"] == 1000
    assert forms["failed_ratio"] == pytest.approx(1 - 5000 / 10.005 / entries / 1000)


@pytest.mark.parametrize(
    "unknown",
    [
        scenario({"loop": "closed"}),
        scenario({"connections": {"reuse": "lifo"}}, cluster={"proxy": {"mode": "ipvs"}}),
        scenario({"connections": {"reuse": "lifo"}}, service={"session_affinity": "ClientIP"}),
        dying(entry={"policy": "first"}),
        dying(connections={"reuse": "lifo"}, retry={"attempts": 2}),
        scenario({}, events=[DYING | {"for_s": 10.0}]),
    ],
)
def test_where_an_assumption_fails_nothing_is_claimed(unknown: Scenario) -> None:
    assert closed_forms(unknown) == {}
