"""Stable loads of a retrying system against iteration from both ends, sampled queues, a simulated loop."""

from __future__ import annotations

import heapq
import math
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import queues
from nodeportsim.theory.metastable import RetryLoop, Station

if TYPE_CHECKING:
    from collections.abc import Callable

POD = Station(service_s=0.1, servers=8, capacity=8 + 300, timeout_s=2.0)  # 80/s; a full queue lasts 3.75 s.


@pytest.mark.parametrize("servers", [1, 2, 5])
@pytest.mark.parametrize("timeout_s", [0.05, 0.4, 3.0])
def test_an_attempt_is_late_as_often_as_its_departures_and_its_service_take_longer(
    servers: int, timeout_s: float
) -> None:
    station = Station(service_s=0.1, servers=servers, capacity=servers + 20, timeout_s=timeout_s)
    rng, count = np.random.default_rng(7), 100_000
    for present in (0, servers - 1, servers, servers + 3, servers + 19):
        departures = max(present - servers + 1, 0)
        wait_s = rng.gamma(departures, 0.1 / servers, count) if departures else np.zeros(count)
        late = float(np.mean(wait_s + rng.exponential(0.1, count) > timeout_s))
        expected = float(station.late_ratios[present])
        half_width = NormalDist().inv_cdf(1 - 5e-6) * math.sqrt(expected * (1 - expected) / count)
        assert abs(late - expected) <= half_width + 1e-12
    assert station.late_ratios[-1] == 1.0


def test_one_server_s_late_share_is_an_erlang_tail() -> None:
    # n before one, then one's own: n + 1 exponential times outlast t where at most n events fall into it.
    station = Station(service_s=0.5, servers=1, capacity=12, timeout_s=2.0)
    for present in range(12):
        tail = sum(math.exp(-4.0) * 4.0**k / math.factorial(k) for k in range(present + 1))
        assert station.late_ratios[present] == pytest.approx(tail, rel=1e-12)


def test_without_a_queue_an_attempt_is_late_by_its_own_service_alone() -> None:
    station = Station(service_s=0.1, servers=3, capacity=3, timeout_s=0.4)
    assert list(station.late_ratios) == pytest.approx([math.exp(-4.0)] * 3 + [1.0])


def test_without_a_time_out_an_attempt_fails_only_if_it_is_turned_away() -> None:
    station = Station(service_s=0.1, servers=3, capacity=10)
    assert station.failing_ratio(50.0) == pytest.approx(float(queues.mmck_states(50.0, 0.1, 3, 10)[-1]))
    far = Station(service_s=0.1, servers=3, capacity=10, timeout_s=1e6)
    assert far.failing_ratio(50.0) == station.failing_ratio(50.0)


def settled(loop: RetryLoop, rate_rps: float, load_rps: float) -> float:
    """Let the load follow what it causes until it moves no more."""
    for _ in range(3000):
        load_rps = rate_rps * loop.load_factor(load_rps)
    return load_rps


@pytest.mark.parametrize("rate_rps", [10.0, 40.0, 60.0, 70.0, 79.0, 100.0])
@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_the_ends_are_where_the_load_settles_from_below_and_from_above(
    rate_rps: float, attempts: int
) -> None:
    # More load fails more, so the map is monotone: from below it climbs to its least fixed point, from
    # everything failing it falls to its largest.
    loop = RetryLoop(station=POD, attempts=attempts)
    found = loop.fixed_points(rate_rps)
    assert found.stable[0] == pytest.approx(settled(loop, rate_rps, rate_rps), rel=1e-6)
    assert found.stable[-1] == pytest.approx(settled(loop, rate_rps, attempts * rate_rps), rel=1e-6)
    assert len(found.thresholds) == len(found.stable) - 1


def test_from_just_below_the_threshold_it_recovers_and_from_just_above_it_does_not() -> None:
    loop = RetryLoop(station=POD, attempts=3)
    found = loop.fixed_points(60.0)
    (low, high), (threshold,) = found.stable, found.thresholds
    assert low < threshold < high
    assert settled(loop, 60.0, 0.999 * threshold) == pytest.approx(low, rel=1e-6)
    assert settled(loop, 60.0, 1.001 * threshold) == pytest.approx(high, rel=1e-6)


@settings(max_examples=8, deadline=None)
@given(attempts=st.integers(2, 6), part=st.floats(0.02, 0.98))
def test_two_loads_are_stable_inside_the_vulnerable_range_and_one_outside(attempts: int, part: float) -> None:
    loop = RetryLoop(station=POD, attempts=attempts)
    vulnerable = loop.vulnerable_rps()
    assert vulnerable is not None
    low, high = vulnerable
    assert len(loop.fixed_points(low + part * (high - low)).stable) == 2
    assert len(loop.fixed_points(low * (1 - part / 2)).stable) == 1
    assert len(loop.fixed_points(high * (1 + part)).stable) == 1


def test_a_system_is_vulnerable_from_a_share_of_its_capacity_that_falls_with_the_attempts() -> None:
    # Where every answer is late the load is n times the rate, and stays late down to about the capacity.
    lows = []
    for attempts in (2, 3, 4):
        vulnerable = RetryLoop(station=POD, attempts=attempts).vulnerable_rps()
        assert vulnerable is not None
        lows.append(vulnerable[0] * attempts / POD.limit_rps)
    assert all(1.0 <= low <= 1.1 for low in lows)


def test_without_retries_or_without_wasted_work_nothing_is_metastable() -> None:
    assert RetryLoop(station=POD, attempts=1).vulnerable_rps() is None
    # Who is turned away at once costs nothing: goodput never falls with the load.
    rejecting = Station(service_s=0.1, servers=8, capacity=28)
    assert RetryLoop(station=rejecting, attempts=5).vulnerable_rps() is None
    assert len(RetryLoop(station=rejecting, attempts=5).fixed_points(79.0).stable) == 1


def test_the_example_of_the_page_on_closed_forms() -> None:
    loop, kept = RetryLoop(station=POD, attempts=3), RetryLoop(station=POD, attempts=3, budget_ratio=0.1)
    assert loop.fixed_points(60.0).stable == pytest.approx((60.0, 180.0), abs=0.05)
    assert loop.fixed_points(60.0).thresholds == pytest.approx((79.5,), abs=0.05)
    assert loop.vulnerable_rps() == pytest.approx((27.8, 76.9), abs=0.05)
    assert kept.vulnerable_rps() == pytest.approx((71.7, 76.9), abs=0.05)


def test_a_budget_takes_the_second_stable_point_away() -> None:
    free = RetryLoop(station=POD, attempts=4)
    kept = RetryLoop(station=POD, attempts=4, budget_ratio=0.1)
    assert len(free.fixed_points(60.0).stable) == 2
    assert kept.fixed_points(60.0).stable == pytest.approx(free.fixed_points(60.0).stable[:1])
    assert kept.load_factor(1e3) == pytest.approx(1.1)


def attempts_seen(rate_rps: float, attempts: int, trigger_s: float, rng: np.random.Generator) -> float:
    """Attempts per second from 500 to 700 s of clients that wait 40 s on average before a retry.

    Until `trigger_s` four times as many want something. Servers take the queue in order and finish all of it.
    """
    wanted = rng.poisson(rate_rps * 700), rng.poisson(3 * rate_rps * trigger_s)
    due = [(t, 1) for t in (*rng.uniform(0, 700, wanted[0]), *rng.uniform(0, trigger_s, wanted[1]))]
    heapq.heapify(due)
    free_s, leaving = [0.0] * POD.servers, [0.0]
    seen = 0
    while due:
        t, number = heapq.heappop(due)
        seen += 500 <= t < 700
        while leaving and leaving[0] <= t:
            heapq.heappop(leaving)
        failed = len(leaving) >= POD.capacity
        if not failed:
            end_s = max(t, free_s[0]) + rng.exponential(POD.service_s)
            heapq.heapreplace(free_s, end_s)
            heapq.heappush(leaving, end_s)
            failed = end_s - t > POD.timeout_s
        if failed and number < attempts and t < 700:
            heapq.heappush(due, (t + rng.exponential(40.0), number + 1))
    return seen / 200


@pytest.mark.parametrize(("trigger_s", "which"), [(0.0, 0), (100.0, 1)])
def test_a_simulated_loop_stays_where_its_past_has_put_it(trigger_s: float, which: int) -> None:
    # The same 60 requests/s on 80/s of capacity: healthy without a trigger, overloaded long after one.
    rng = np.random.default_rng(11)
    loads = [attempts_seen(60.0, 3, trigger_s, rng) for _ in range(8)]
    expected = RetryLoop(station=POD, attempts=3).fixed_points(60.0).stable[which]
    student = 7.063  # Two-sided error 2e-4 with 7 degrees of freedom.
    assert abs(fmean(loads) - expected) <= student * stdev(loads) / math.sqrt(8)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("service_s", lambda: Station(service_s=0.0, servers=1, capacity=1)),
        ("capacity", lambda: Station(service_s=1.0, servers=3, capacity=2)),
        ("timeout_s", lambda: Station(service_s=1.0, servers=3, capacity=3, timeout_s=0.0)),
        ("attempts", lambda: RetryLoop(station=POD, attempts=0)),
        ("budget_ratio", lambda: RetryLoop(station=POD, attempts=2, budget_ratio=-1.0)),
        ("rate_rps", lambda: RetryLoop(station=POD, attempts=2).fixed_points(0.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as refusal:
        call()
    assert refusal.value.field == field
