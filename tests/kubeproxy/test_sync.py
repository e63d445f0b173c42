"""When a change is in the rules."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy.sync import Runner, SyncCost, applied_s

PUBLISHED = Path(__file__).parents[2] / "experiments" / "validation" / "published.csv"


def test_a_lone_change_after_idle_is_applied_at_once() -> None:
    assert applied_s((100.0,), runner=Runner(last_end_s=50.0), duration_s=0.3) == (100.3,)


def test_the_minimum_period_counts_from_the_end_of_the_last_sync() -> None:
    """First sync 0..0.5; the second change waits for 0.5 + 1 and needs another 0.5."""
    assert applied_s((0.0, 0.1, 5.0), runner=Runner(), duration_s=0.5) == (0.5, 2.0, 5.5)


def test_a_period_of_zero_still_waits_for_the_sync_under_way() -> None:
    assert applied_s((0.0, 0.1), runner=Runner(min_sync_period_s=0.0), duration_s=0.5) == (0.5, 1.0)


def test_a_burst_needs_as_many_syncs_and_as_long_as_kube_proxy_did(behaviour: dict[str, Any]) -> None:
    """40 changes in 4 s: with syncs of 0.038 s (10 Services) the real one made 5 and took 0.70 s each."""
    real = behaviour["burst_of_endpoint_changes"]
    gap_s = real["over_s"] / real["changes"]
    changes = tuple(k * gap_s for k in range(real["changes"]))
    done = applied_s(changes, runner=Runner(), duration_s=0.038)
    latency_s = sum(end - change for change, end in zip(changes, done, strict=True)) / len(changes)
    assert len(set(done)) == real["syncs"]
    # The real mean also holds the API server and the watch, which stand before the proxy.
    assert real["npl_mean_s"] - 0.2 < latency_s < real["npl_mean_s"]


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted),
    st.floats(0, 3),
    st.floats(0.01, 2),
)
def test_no_change_is_lost_or_applied_early_or_later_than_two_syncs_and_a_period(
    changes: list[float], period_s: float, duration_s: float
) -> None:
    done = applied_s(tuple(changes), runner=Runner(min_sync_period_s=period_s), duration_s=duration_s)
    assert len(done) == len(changes)
    for change, end in zip(changes, done, strict=True):
        assert change + duration_s - 1e-9 <= end <= change + 2 * duration_s + period_s + 1e-9
    ends = sorted(set(done))
    assert all(b - a >= period_s + duration_s - 1e-9 for a, b in pairwise(ends))


def test_a_duration_is_the_sum_of_its_terms() -> None:
    cost = SyncCost(constant_s=1.0, per_service_port_s=0.1, per_endpoint_s=0.01, per_rule_squared_s=0.001)
    assert cost.duration_s(service_ports=2, endpoints=3, rules=4) == pytest.approx(1 + 0.2 + 0.03 + 0.016)


@pytest.mark.parametrize("restore", ["full", "minimize"])
def test_published_programming_latencies_are_a_wait_and_a_sync(restore: str) -> None:
    """5,000 nodes, minSyncPeriod 10 s (KEP-3453): changes come at any time, and wait U(0, 10 + D) and D.

    The median gives the duration, D = (p50 - 5) / 1.5; p90 and p99 must follow, within 25 %.
    """
    with PUBLISHED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["mode"] == f"iptables-{restore}-restore"]
    measured_s = {row["percentile"]: float(row["value"]) for row in rows}
    duration_s = (measured_s["p50"] - 5) / 1.5
    changes = tuple(0.01 * k for k in range(100_000))
    done = applied_s(changes, runner=Runner(min_sync_period_s=10.0), duration_s=duration_s)
    latency_s = sorted(end - change for change, end in zip(changes, done, strict=True))
    for percentile, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        predicted_s = latency_s[int(share * len(latency_s))]
        assert predicted_s == pytest.approx(measured_s[percentile], rel=0.25), percentile
