"""Failing shares and windows against enumerated outcomes and simulated clocks."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import failure

Entry = Literal["same", "next", "random"]


@pytest.mark.parametrize(
    ("nodes", "dead", "pods", "gone"), [(3, 1, 3, 1), (5, 2, 7, 3), (4, 0, 5, 2), (2, 1, 6, 0)]
)
def test_the_failing_share_counts_the_pairs_of_entry_and_endpoint(
    nodes: int, dead: int, pods: int, gone: int
) -> None:
    pairs = itertools.product(range(nodes), range(pods))
    failed = sum(entry < dead or endpoint < gone for entry, endpoint in pairs)
    assert failure.failing_ratio(dead / nodes, gone / pods) == pytest.approx(failed / (nodes * pods))


def test_one_dead_endpoint_of_three_fails_a_third_as_was_observed() -> None:
    # openshift/hypershift#9279 saw 26 to 37 % while one of three backends was gone.
    assert 0.26 <= failure.failing_ratio(0.0, 1 / 3) <= 0.37


@pytest.mark.parametrize(
    ("lease_s", "pass_s", "grace_s"), [(10, 5, 50), (10, 5, 40), (10, 5, 48), (4, 7, 30)]
)
def test_the_detection_window_is_that_of_ticking_clocks(
    lease_s: float, pass_s: float, grace_s: float
) -> None:
    # The clocks as the sources have them; a pass takes 1 us, and the next begins a period after its end.
    rng = np.random.default_rng(4)
    count = 20_000
    renewed_s = -rng.uniform(0, lease_s, count)  # The fault is at 0.
    first_s = renewed_s + rng.uniform(0, pass_s, count)  # The controller's next pass sees the renewal.
    passes_s = first_s[:, None] + (pass_s + 1e-6) * np.arange(1, 40)
    late = passes_s - first_s[:, None] > grace_s
    window_s = np.sort(passes_s[np.arange(count), late.argmax(axis=1)])
    detection = failure.Detection(lease_s=lease_s, pass_s=pass_s, grace_s=grace_s)
    # Dvoretzky-Kiefer-Wolfowitz: no point of the empirical law is further away, with error 1e-5.
    distance = math.sqrt(math.log(2 / 1e-5) / (2 * count))
    expected = np.array([detection.cdf(t - 1e-4) for t in window_s])
    assert np.max(np.abs(expected - np.arange(count) / count)) <= distance + 1e-4
    assert detection.min_s <= window_s[0] <= window_s[-1] <= detection.max_s + 1e-3
    assert abs(window_s.mean() - detection.mean_s) <= 4.5 * detection.sd_s / math.sqrt(count)


def test_the_window_of_todays_and_of_yesterdays_defaults() -> None:
    # Published with a grace of 40 s: 36 s and about 40 s (detection), 35 to 45 s (outage, with propagation).
    assert (failure.Detection().min_s, failure.Detection().max_s) == (40.0, 55.0)
    old = failure.Detection(grace_s=40.0)
    assert all(old.min_s <= seen_s <= old.max_s for seen_s in (36.0, 40.0))
    assert failure.Detection(grace_s=40.0, propagation_s=2.0).mean_s == old.mean_s + 2.0


@given(st.floats(0, 200), st.floats(0, 20))
def test_the_window_s_law_rises_from_its_least_to_its_most(time_s: float, step_s: float) -> None:
    detection = failure.Detection()
    assert 0 <= detection.cdf(time_s) <= detection.cdf(time_s + step_s) + 1e-12 <= 1 + 1e-12
    assert detection.cdf(detection.min_s) == 0
    assert detection.cdf(detection.max_s) == pytest.approx(1)
    assert detection.cdf(detection.mean_s) == pytest.approx(0.5)


def orders(nodes: int, attempts: int, entry: Entry) -> list[tuple[int, ...]]:
    """Every equally likely sequence of entry nodes of a request's attempts."""
    if entry == "same":
        return [(node,) * attempts for node in range(nodes)]
    if entry == "random":
        return list(itertools.product(range(nodes), repeat=attempts))
    return [
        tuple(order[attempt % nodes] for attempt in range(attempts))
        for order in itertools.permutations(range(nodes))
    ]


@pytest.mark.parametrize("entry", ["same", "next", "random"])
@pytest.mark.parametrize("attempts", [0, 1, 2, 3, 5])
@pytest.mark.parametrize(("nodes", "dead_nodes"), [(1, 0), (1, 1), (3, 1), (4, 2)])
def test_all_attempts_fail_as_often_as_in_every_order_of_entries(
    entry: Entry, attempts: int, nodes: int, dead_nodes: int
) -> None:
    # An attempt fails at a dead entry for certain, elsewhere with the share of dead endpoints, 1/3.
    sequences = orders(nodes, attempts, entry)
    failed = sum(math.prod(1.0 if node < dead_nodes else 1 / 3 for node in order) for order in sequences)
    answer = failure.all_fail_ratio(
        attempts, nodes=nodes, dead_nodes=dead_nodes, dead_endpoint_ratio=1 / 3, entry=entry
    )
    assert answer == pytest.approx(failed / len(sequences))


def test_three_attempts_at_35_percent_succeed_and_load_as_published() -> None:
    # Published: success 0.955 (theory 0.957), load x 1.465 (theory 1.4725).
    lost = failure.all_fail_ratio(3, nodes=1, dead_nodes=0, dead_endpoint_ratio=0.35)
    load = failure.load_factor(3, nodes=1, dead_nodes=0, dead_endpoint_ratio=0.35)
    assert 1 - lost == pytest.approx(0.957125)
    assert load == pytest.approx((1 - 0.35**3) / (1 - 0.35)) == pytest.approx(1.4725)


@pytest.mark.parametrize("attempts", [1, 4])
def test_retries_load_a_dead_service_by_the_number_of_attempts(attempts: int) -> None:
    assert failure.load_factor(attempts, nodes=3, dead_nodes=0, dead_endpoint_ratio=1.0) == attempts


def test_trying_the_next_node_helps_where_the_same_node_cannot() -> None:
    same = failure.all_fail_ratio(2, nodes=3, dead_nodes=1, dead_endpoint_ratio=0.0, entry="same")
    moved = failure.all_fail_ratio(2, nodes=3, dead_nodes=1, dead_endpoint_ratio=0.0, entry="next")
    assert (same, moved) == (pytest.approx(1 / 3), 0.0)


@pytest.mark.parametrize(("timeout_s", "sent"), [(0.5, 1), (3.0, 3), (3.1, 4), (math.inf, 11)])
def test_connect_times_lie_on_the_schedule_with_the_mass_of_every_loss_pattern(
    timeout_s: float, sent: int
) -> None:
    lumps, never = failure.syn_lumps(0.25, timeout_s)
    expected = dict.fromkeys(failure.SYN_LINEAR_S[:sent], 0.0)
    lost_all = 0.0
    for pattern in itertools.product((True, False), repeat=sent):
        chance = math.prod(0.25 if lost else 0.75 for lost in pattern)
        if all(pattern):
            lost_all += chance
        else:
            expected[failure.SYN_LINEAR_S[pattern.index(False)]] += chance
    assert lumps == pytest.approx(expected)
    assert never == pytest.approx(lost_all)


def test_the_schedules_double_by_the_kernels_own_rule() -> None:
    # tcp_syn_linear_timeouts = 4 times 1 s, then doubling; a long kernel timer is late by at most an eighth
    # (kernel/time/timer.c), never early: the last gap was measured at 34 s.
    *gaps_s, last_s = np.diff(failure.SYN_LINEAR_S)
    assert gaps_s == [1] * 4 + [1, 2, 4, 8, 16]
    assert 32 <= last_s <= 32 * 9 / 8
    assert list(np.diff(failure.SYN_DOUBLING_S)) == [1, 2, 4, 8, 16, 32]


def test_an_outage_costs_rate_times_window_times_share() -> None:
    # Requests at 0, 1/20, 2/20 ... s, every third lost within the window.
    lost = sum(1 for n in range(20 * 60) if 5 <= n / 20 < 35 and n % 3 == 0)
    assert failure.failed_requests(20.0, 30.0, 1 / 3) == pytest.approx(lost)


def test_connections_closed_at_an_age_run_out_linearly() -> None:
    opened_s = -np.arange(0, 100, 0.1)  # Steady opening; each lives 100 s.
    still = float(np.mean(opened_s + 100 > 25))
    assert failure.old_connections_ratio(25.0, 100.0) == pytest.approx(still, abs=1 / opened_s.size)
    assert failure.old_connections_ratio(101.0, 100.0) == 0


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("dead_entry_ratio", lambda: failure.failing_ratio(1.1, 0.0)),
        ("grace_s", lambda: failure.Detection(grace_s=14.0)),
        ("pass_s", lambda: failure.Detection(pass_s=0.0)),
        ("nodes", lambda: failure.all_fail_ratio(1, nodes=1, dead_nodes=2, dead_endpoint_ratio=0.0)),
        ("nodes", lambda: failure.all_fail_ratio(1, nodes=0, dead_nodes=0, dead_endpoint_ratio=0.0)),
        ("attempts", lambda: failure.load_factor(0, nodes=1, dead_nodes=0, dead_endpoint_ratio=0.0)),
        ("loss_ratio", lambda: failure.syn_lumps(-0.1)),
        ("window_s", lambda: failure.failed_requests(1.0, math.inf, 0.5)),
        ("max_age_s", lambda: failure.old_connections_ratio(1.0, 0.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: object) -> None:
    with pytest.raises(InputError) as refusal:
        call()  # type: ignore[operator]  # Lambdas of different result types.
    assert refusal.value.field == field


def test_an_unknown_entry_policy_is_refused() -> None:
    with pytest.raises(InputError, match="entry must be same, next or random"):
        failure.all_fail_ratio(1, nodes=1, dead_nodes=0, dead_endpoint_ratio=0.0, entry="first")  # type: ignore[arg-type]  # That is the point.


@pytest.mark.parametrize(
    ("period_s", "timeout_s", "threshold"), [(10.0, 1.0, 3), (5.0, 0.5, 1), (2.0, 3.0, 4)]
)
def test_the_verdict_of_a_probe_is_that_of_ticking_probes(
    period_s: float, timeout_s: float, threshold: int
) -> None:
    probing = failure.Probing(period_s=period_s, timeout_s=timeout_s, threshold=threshold, propagation_s=0.5)
    verdicts = [
        [due_s + k * period_s + timeout_s + 0.5 for k in range(threshold)][-1]
        for due_s in np.linspace(0.0, period_s, 1001)
    ]

    assert (probing.min_s, probing.max_s) == pytest.approx((verdicts[0], verdicts[-1]))
    assert probing.mean_s == pytest.approx(np.mean(verdicts))


@pytest.mark.parametrize(
    ("period_s", "grace_s", "pass_s"), [(60.0, 50.0, 5.0), (61.3, 40.0, 7.0), (30.0, 50.0, 5.0)]
)
def test_the_share_of_a_flapping_node_is_that_of_ticking_clocks(
    period_s: float, grace_s: float, pass_s: float
) -> None:
    shares = []
    for first_s in np.linspace(1e-6, pass_s, 200):  # The pass after a renewal at 0 that sees it.
        passes_s = first_s + pass_s * np.arange(40)
        lost_s = passes_s[passes_s - first_s >= grace_s - 1e-9][0]
        shares.append(max(0.0, period_s - lost_s) / period_s)
    least, most = failure.flapping_ratio(period_s, grace_s=grace_s, pass_s=pass_s)

    assert (min(shares), max(shares)) == pytest.approx((least, most), abs=1e-6)


@pytest.mark.parametrize(
    "given", [{"period_s": 0.0}, {"timeout_s": -1.0}, {"threshold": 0}, {"propagation_s": -1.0}]
)
def test_a_probe_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InputError):
        failure.Probing(**given)  # type: ignore[arg-type]


def test_the_windows_in_the_page_on_the_control_plane_are_those_of_the_closed_forms() -> None:
    page = (Path(__file__).parents[2] / "docs/models/control-plane.md").read_text()
    rows = re.findall(
        r"^\| (grace|probe) (\d+) s(?: x (\d))? \| (\S+) s \| (\S+) s \| (\S+) s \|$", page, re.MULTILINE
    )

    assert len(rows) == 7
    for kind, setting, threshold, *said in rows:
        window = (
            failure.Detection(grace_s=float(setting))
            if kind == "grace"
            else failure.Probing(period_s=float(setting), threshold=int(threshold))
        )
        assert list(map(float, said)) == [window.min_s, window.mean_s, window.max_s]
