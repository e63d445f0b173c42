"""Clocks of recovery against sampled phases, counted instants and published figures."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nodeportsim.errors import InputError
from nodeportsim.theory import failure, recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COUNT = 20_000
# Dvoretzky-Kiefer-Wolfowitz: no point of an empirical law is further away, with error 1e-5.
DISTANCE = math.sqrt(math.log(2 / 1e-5) / (2 * COUNT))


def test_the_kernel_gives_up_after_the_published_924_6_seconds() -> None:
    # ip-sysctl.rst: 15 yields a hypothetical timeout of 924.6 seconds.
    assert recovery.give_up_s() == pytest.approx(924.6)
    doublings = list(itertools.accumulate([0.2] + [2] * 9, lambda a, b: a * b))
    assert recovery.give_up_s(9) == pytest.approx(sum(doublings))
    assert recovery.give_up_s(8) == pytest.approx(102.2)  # The least RFC 1122 asks for is 100 s.
    assert recovery.give_up_s(0, rto_s=3.0) == 3.0
    assert recovery.give_up_s(5000) == pytest.approx(924.6 + (5000 - 15) * 120)


def test_keep_alive_notices_by_its_probes_and_the_phase_of_the_last_answer() -> None:
    clocks = recovery.KeepAlive()
    assert (clocks.min_s, clocks.max_s) == (675.0, 7875.0)  # 2 h 11 min, tcp-keepalive-howto.
    answered_s = -np.random.default_rng(5).uniform(0, clocks.idle_s, COUNT)  # The death is at 0.
    noticed_s = np.sort(answered_s + clocks.idle_s + clocks.probes * clocks.interval_s)
    expected = np.array([clocks.cdf(t) for t in noticed_s])
    assert np.max(np.abs(expected - np.arange(COUNT) / COUNT)) <= DISTANCE
    assert clocks.mean_s == pytest.approx(4275.0)


@pytest.mark.parametrize("widths", [(1.0,), (2.0, 2.0), (10.0, 5.0, 1.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_sum_of_uniform_phases_has_the_volume_of_its_corner(widths: Sequence[float]) -> None:
    sums = np.sort(np.random.default_rng(6).uniform(0, widths, (COUNT, len(widths))).sum(axis=1))
    expected = np.array([recovery.uniform_sum_cdf(x, widths) for x in sums])
    assert np.max(np.abs(expected - np.arange(COUNT) / COUNT)) <= DISTANCE
    assert recovery.uniform_sum_cdf(0.0, widths) == 0.0
    assert recovery.uniform_sum_cdf(sum(widths) / 2, widths) == pytest.approx(0.5)
    assert recovery.uniform_sum_cdf(sum(widths), widths) == 1.0


def test_an_outage_is_detection_and_the_phase_of_a_sync() -> None:
    detection = failure.Detection(propagation_s=1.0)
    outage = recovery.Outage(detection=detection, sync_wait_s=3.0, sync_s=0.5)
    rng = np.random.default_rng(8)
    # By the sources: the tenth pass after the one that saw the last renewal (tests/theory/test_failure.py).
    lease_s, first_s = rng.uniform(0, 10, COUNT), rng.uniform(0, 5, COUNT)
    seen_s = -lease_s + first_s + 10 * 5 + 1.0 + rng.uniform(0, 3, COUNT) + 0.5
    ordered = np.sort(seen_s)
    expected = np.array([outage.cdf(t) for t in ordered])
    assert np.max(np.abs(expected - np.arange(COUNT) / COUNT)) <= DISTANCE
    assert outage.min_s <= ordered[0] <= ordered[-1] <= outage.max_s
    assert abs(seen_s.mean() - outage.mean_s) <= 4.5 * outage.sd_s / math.sqrt(COUNT)
    # A sum of uniforms has less kurtosis than a normal law, whose deviation has this standard error.
    assert abs(seen_s.std(ddof=1) - outage.sd_s) <= 4.5 * outage.sd_s / math.sqrt(2 * COUNT)
    assert outage.cdf(outage.max_s) == 1.0


def test_a_quiet_cluster_s_outage_is_its_detection() -> None:
    detection = failure.Detection(propagation_s=1.0)
    outage = recovery.Outage(detection=detection)
    assert (outage.min_s, outage.max_s, outage.mean_s) == (detection.min_s, detection.max_s, detection.mean_s)
    for t in (40.0, 43.3, 48.5, 55.9):
        assert outage.cdf(t) == pytest.approx(detection.cdf(t), abs=1e-12)


def test_the_last_of_the_nodes_waits_for_the_longest_phase() -> None:
    outage = recovery.Outage(detection=failure.Detection(), sync_wait_s=3.0)
    longest_s = np.random.default_rng(9).uniform(0, 3, (COUNT, 5)).max(axis=1)
    half_width = 4.5 * longest_s.std(ddof=1) / math.sqrt(COUNT)
    assert abs(longest_s.mean() - (outage.last_mean_s(5) - outage.detection.mean_s)) <= half_width
    assert outage.last_mean_s(1) == outage.mean_s


def waits(outage_s: float, schedule_s: Sequence[float], timeout_s: float) -> np.ndarray:
    """Wait after the outage of clients that began every 10 ms of it; infinite for those that gave up."""
    ages_s = np.arange(0.005, outage_s, 0.01)
    sent_s = np.array([at_s for at_s in schedule_s if at_s < timeout_s] + [math.inf])
    answered: np.ndarray = sent_s[np.searchsorted(sent_s, ages_s)] - ages_s
    return answered


@pytest.mark.parametrize("schedule_s", [failure.SYN_LINEAR_S, failure.SYN_DOUBLING_S])
@pytest.mark.parametrize("outage_s", [0.5, 10.0, 50.0, 100.0])
@pytest.mark.parametrize("timeout_s", [5.0, 30.0, math.inf])
def test_late_recoverers_are_those_whose_next_syn_is_far(
    schedule_s: Sequence[float], outage_s: float, timeout_s: float
) -> None:
    seen = waits(outage_s, schedule_s, timeout_s)
    came = seen[np.isfinite(seen)]
    for wait_s in (0.0, 0.9, 3.0, 15.0, 33.0, 40.0):
        expected = float(np.sum(came > wait_s) / seen.size)
        found = recovery.late_ratio(wait_s, outage_s, schedule_s, timeout_s)
        # A gap's two ends each cut a cell of 10 ms in the middle.
        assert found == pytest.approx(expected, abs=0.01 * len(schedule_s) / outage_s)
    mean = float(came.mean()) if came.size else 0.0
    assert recovery.late_mean_s(outage_s, schedule_s, timeout_s) == pytest.approx(mean, abs=0.02)


def test_after_fifty_seconds_the_oldest_wait_up_to_thirty_four_more() -> None:
    # 15 of 50 s lie after the SYN at 35 s; their next is at 69 s: waits of 19 to 34 s.
    assert recovery.late_ratio(19.0, 50.0) == pytest.approx(15 / 50)
    assert recovery.late_ratio(33.9, 50.0) == pytest.approx(0.1 / 50)
    assert recovery.late_ratio(34.0, 50.0) == 0.0
    # Doubling: 31 to 47 of 50 s wait for more than 16 s, until 63 s; the gap before is 16 s long.
    assert recovery.late_ratio(16.0, 50.0, failure.SYN_DOUBLING_S) == pytest.approx(16 / 50)


def test_a_short_time_out_leaves_nobody_late() -> None:
    assert recovery.late_ratio(1.0, 50.0, timeout_s=3.0) == 0.0
    assert recovery.late_ratio(0.0, 50.0, timeout_s=3.0) == pytest.approx(2 / 50)
    assert recovery.late_mean_s(50.0, timeout_s=0.5) == 0.0


def test_a_dead_record_runs_out_with_its_caches_and_stays_with_those_that_ignore_it() -> None:
    assert recovery.dead_record_ratio(15.0, [60.0]) == pytest.approx(0.75)
    assert recovery.dead_record_ratio(61.0, [60.0]) == 0.0
    kept = recovery.dead_record_ratio(61.0, [60.0, 3600.0, 0.0], [0.7, 0.1, 0.2])
    assert kept == pytest.approx(0.1 * (1 - 61 / 3600))
    answered_s = np.random.default_rng(10).uniform(-60, 0, COUNT)
    assert abs(float(np.mean(answered_s + 60 > 25)) - recovery.dead_record_ratio(25.0, [60.0])) <= DISTANCE


def test_a_crash_loop_waits_as_the_kubelet_documents() -> None:
    assert recovery.crash_loop_waits_s(8) == [0, 10, 20, 40, 80, 160, 300, 300]
    # Pods that live 30 s are up 1 / 11 of the time once the wait is five minutes.
    assert recovery.crash_loop_availability(30.0) == pytest.approx(1 / 11)
    up = 30.0 * 1000 / (30.0 * 1000 + sum(recovery.crash_loop_waits_s(1000)))
    assert recovery.crash_loop_availability(30.0) == pytest.approx(up, rel=0.01)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("retries", lambda: recovery.give_up_s(-1)),
        ("rto_s", lambda: recovery.give_up_s(3, rto_s=0.0)),
        ("probes", lambda: recovery.KeepAlive(probes=0)),
        ("widths", lambda: recovery.uniform_sum_cdf(1.0, [])),
        ("widths", lambda: recovery.uniform_sum_cdf(1.0, [0.0])),
        ("sync_wait_s", lambda: recovery.Outage(detection=failure.Detection(), sync_wait_s=-1.0)),
        ("nodes", lambda: recovery.Outage(detection=failure.Detection()).last_mean_s(0)),
        ("outage_s", lambda: recovery.late_ratio(1.0, 0.0)),
        ("wait_s", lambda: recovery.late_ratio(-1.0, 1.0)),
        ("shares", lambda: recovery.dead_record_ratio(1.0, [60.0], [0.5])),
        ("shares", lambda: recovery.dead_record_ratio(1.0, [60.0, 30.0])),
        ("ttl_s", lambda: recovery.dead_record_ratio(1.0, [-1.0])),
        ("restarts", lambda: recovery.crash_loop_waits_s(-1)),
        ("alive_s", lambda: recovery.crash_loop_availability(-1.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as refusal:
        call()
    assert refusal.value.field == field
