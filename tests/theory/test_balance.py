"""Balls in bins against complete enumeration, exact integers, sampled connections and published counts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import balance

Z = NormalDist().inv_cdf(1 - 5e-6)  # Two-sided error of each sampled check: 1e-5.


def every_count(connections: int, pods: int) -> list[list[int]]:
    """Counts per pod of all pods ** connections equally likely ways to choose."""
    ways = itertools.product(range(pods), repeat=connections)
    return [[Counter(way)[pod] for pod in range(pods)] for way in ways]


@given(connections=st.integers(0, 6), pods=st.integers(1, 4), low=st.integers(0, 3), high=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_the_band_holds_the_share_of_all_ways_to_choose(
    connections: int, pods: int, low: int, high: int
) -> None:
    counts = every_count(connections, pods)
    inside = sum(all(low <= count <= high for count in way) for way in counts) / len(counts)
    assert balance.band_probability(connections, pods, low, high) == pytest.approx(inside, abs=1e-12)


@pytest.mark.parametrize("load", [13, 15, 18, 25])
def test_the_hottest_pod_of_100_connections_on_10_follows_exact_integers(load: int) -> None:
    # k! [x^k] (sum over j <= load of x^j / j!)^n / n^k, in fractions.
    term = [Fraction(1, math.factorial(j)) for j in range(load + 1)]
    power = [Fraction(1)] + [Fraction(0)] * 100
    for _ in range(10):
        power = [sum(power[k - j] * term[j] for j in range(min(k, load) + 1)) for k in range(101)]
    exact = power[100] * math.factorial(100) / Fraction(10) ** 100
    assert balance.hottest_cdf(100, 10, load) == pytest.approx(float(exact), rel=1e-11)


def test_a_million_connections_keep_their_accuracy() -> None:
    # Two pods: the band is a binomial interval, summed here from logarithms of exact binomials.
    from scipy.stats import binom

    exact = float(binom.cdf(500_800, 1_000_000, 0.5) - binom.cdf(499_199, 1_000_000, 0.5))
    assert balance.hottest_cdf(1_000_000, 2, 500_800) == pytest.approx(exact, abs=balance.ACCURACY)


def test_the_hottest_of_30_pods_is_that_of_sampled_connections() -> None:
    rng = np.random.default_rng(3)
    hottest = rng.multinomial(300, np.full(30, 1 / 30), size=100_000).max(axis=1)
    for load in (15, 17, 20):
        expected = balance.hottest_cdf(300, 30, load)
        half_width = Z * math.sqrt(expected * (1 - expected) / 100_000)
        assert abs(float(np.mean(hottest <= load)) - expected) <= half_width
    half_width = Z * hottest.std(ddof=1) / math.sqrt(100_000)
    assert abs(hottest.mean() - balance.hottest_mean(300, 30)) <= half_width


@pytest.mark.parametrize(("connections", "pods"), [(0, 3), (1, 4), (4, 3), (6, 2), (5, 1)])
def test_mean_hottest_load_and_idle_pods_are_those_of_all_ways(connections: int, pods: int) -> None:
    counts = every_count(connections, pods)
    hottest = sum(max(way) for way in counts) / len(counts)
    idle = sum(way.count(0) for way in counts) / len(counts)
    assert balance.hottest_mean(connections, pods) == pytest.approx(hottest, abs=1e-8)
    assert balance.idle_mean(connections, pods) == pytest.approx(idle, rel=1e-12)


@pytest.mark.parametrize(
    ("pods", "each", "median", "p95", "idle"),
    [(3, 1, 2.0, 3.0, 0.89), (10, 1, 3.0, 4.0, 3.5), (10, 10, 1.5, 1.8, 0.0), (30, 1, 3.0, 5.0, 10.9)],
)
def test_connections_few_per_pod_are_as_uneven_as_users_find(
    pods: int, each: int, median: float, p95: float, idle: float
) -> None:
    assert balance.hottest_quantile(each * pods, pods, 0.5) / each == median
    assert balance.hottest_quantile(each * pods, pods, 0.95) / each == p95
    assert balance.idle_mean(each * pods, pods) == pytest.approx(idle, abs=0.06)


@pytest.mark.parametrize(("connections", "chance"), [(16, 0.68), (40, 0.37), (100, 0.08)])
def test_one_of_four_pods_at_two_thirds_of_the_mean_is_often_luck(connections: int, chance: float) -> None:
    # Four pods at 977, 995, 585 and 993 mCPU: the coldest at 0.66 of the mean. Chances to two digits.
    above = math.floor(0.66 * connections / 4) + 1
    luck = 1 - balance.band_probability(connections, 4, above, connections)
    assert luck == pytest.approx(chance, abs=0.005)


@pytest.mark.parametrize(("connections", "pods"), [(100, 10), (3_000, 30), (100_000, 100), (1_000, 1_000)])
def test_the_mean_hottest_load_keeps_to_its_bounds(connections: int, pods: int) -> None:
    # Boucheron, Lugosi & Massart 2013, corollary 2.6, for binomial counts: v = mean, c = 1/3.
    mean = connections / pods
    bound = mean + math.sqrt(2 * mean * math.log(pods)) + math.log(pods) / 3
    assert mean < balance.hottest_mean(connections, pods) <= bound


@pytest.mark.parametrize(("pods", "ratio"), [(3, 1.2), (10, 1.2), (30, 1.2), (10, 1.5), (1, 1.2), (4, 2.5)])
def test_the_demanded_connections_per_pod_suffice_and_one_less_does_not(pods: int, ratio: float) -> None:
    each = balance.connections_per_pod_for(pods, ratio)

    def satisfied(per_pod: int) -> bool:
        return 1 - balance.hot_probability(per_pod * pods, pods, math.nextafter(ratio, 9) + 1e-9) >= 0.95

    tooth = math.ceil(1 / (ratio - 1))
    assert all(satisfied(per_pod) for per_pod in range(each, each + tooth))
    assert each == 1 or not satisfied(each - 1)


def test_three_pods_need_eighty_connections_each() -> None:
    assert balance.connections_per_pod_for(3) == 80


def test_a_ratio_that_falls_on_a_whole_load_counts_that_load() -> None:
    # 1.2 * 25 is not 30 in binary; 2 pods, 50 connections, P(max >= 30) = 2 P(X >= 30), X binomial.
    expected = 2 * sum(math.comb(50, j) for j in range(30, 51)) / 2**50
    assert balance.hot_probability(50, 2, 1.2) == pytest.approx(expected, rel=1e-9)


def test_a_pod_at_half_load_saturates_when_it_gets_twice_its_share() -> None:
    counts = every_count(6, 3)
    expected = sum(max(way) >= 4 for way in counts) / len(counts)
    assert balance.saturation_probability(6, 3, 0.5) == pytest.approx(expected, abs=1e-12)
    assert balance.saturation_probability(600, 3, 0.5) < 1e-9


@pytest.mark.parametrize(("draws", "bins"), [(1, 3), (4, 3), (5, 2), (3, 1)])
def test_the_spread_of_one_bin_is_that_of_all_ways(draws: int, bins: int) -> None:
    first = [way[0] for way in every_count(draws, bins)]
    assert balance.share_cv(draws, bins) == pytest.approx(np.std(first) / np.mean(first))


@given(turns=st.lists(st.integers(0, 7), min_size=1, max_size=3), bins=st.integers(1, 4))
@settings(deadline=None)
def test_rotations_from_every_phase_give_the_range_and_the_law(turns: list[int], bins: int) -> None:
    outcomes: Counter[int] = Counter()
    for phases in itertools.product(range(bins), repeat=len(turns)):
        hits = [(phase + i) % bins for phase, k in zip(phases, turns, strict=True) for i in range(k)]
        outcomes[hits.count(0)] += 1
    assert balance.rotation_range(turns, bins) == (min(outcomes), max(outcomes))
    low = min(outcomes)
    law = [outcomes[low + i] / bins ** len(turns) for i in range(max(outcomes) - low + 1)]
    assert balance.rotation_pmf(turns, bins) == pytest.approx(law)


def test_eight_rotating_nodes_give_30_pods_8_to_16_of_400_requests_each() -> None:
    # kubernetes/kubernetes#88580: observed 12 to 19, so more than these 400 requests moved the pointers.
    assert balance.rotation_range([50] * 8, 30) == (8, 16)


def test_affinity_throws_one_ball_per_source_and_entry_node() -> None:
    # 2 sources through 2 nodes onto 2 pods: 4 independent choices, all alike in 2 of 16 ways.
    assert balance.hot_probability(2 * 2, 2, 2.0) == pytest.approx(2 / 16)


def test_policy_local_gives_each_node_with_pods_the_same_share() -> None:
    # kubernetes/kubernetes#97147: 2 + 1 pods behind a balancer.
    assert balance.local_shares([2, 1]) == [0.25, 0.25, 0.5]
    assert balance.local_shares([2, 0, 1]) == [0.25, 0.25, 0.5]


def test_policy_local_drops_what_enters_a_node_without_pods() -> None:
    shares = balance.local_shares([2, 0, 1], [1 / 3] * 3)
    assert shares == pytest.approx([1 / 6, 1 / 6, 1 / 3])
    assert 1 - sum(shares) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("pods", lambda: balance.hottest_cdf(3, 0, 1)),
        ("connections", lambda: balance.hottest_mean(-1, 3)),
        ("quantile", lambda: balance.hottest_quantile(3, 3, 1.0)),
        ("ratio", lambda: balance.connections_per_pod_for(3, 1.0)),
        ("confidence", lambda: balance.connections_per_pod_for(3, 1.2, 1.0)),
        ("ratio", lambda: balance.hot_probability(3, 3, 0.0)),
        ("utilisation_ratio", lambda: balance.saturation_probability(3, 3, 1.5)),
        ("bins", lambda: balance.rotation_range([1], 0)),
        ("pods_by_node", lambda: balance.local_shares([0, 0])),
        ("entry_ratios", lambda: balance.local_shares([1, 1], [1.0])),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: object) -> None:
    with pytest.raises(InputError) as refusal:
        call()  # type: ignore[operator]  # Lambdas of different result types.
    assert refusal.value.field == field


@pytest.mark.parametrize(("nodes", "pods"), [(1, 4), (2, 3), (3, 5), (4, 4)])
def test_the_law_of_random_placement_is_that_of_all_placements(nodes: int, pods: int) -> None:
    """Every placement of the pods, each as likely; the hottest pod's share times their number."""
    seen: Counter[float] = Counter()
    for places in itertools.product(range(nodes), repeat=pods):
        counts = [places.count(node) for node in range(nodes)]
        seen[round(max(balance.local_shares(counts)) * pods, 9)] += 1
    pmf = {round(ratio, 9): chance for ratio, chance in balance.local_hottest_pmf(nodes, pods).items()}
    assert pmf == pytest.approx({ratio: ways / nodes**pods for ratio, ways in seen.items()}, abs=1e-12)


@pytest.mark.parametrize(
    ("nodes", "pods", "median", "p95"), [(3, 5, 1.67, 2.5), (5, 10, 2.0, 2.5), (10, 30, 3.0, 3.33)]
)
def test_random_placement_under_local_is_as_uneven_as_sampled(
    nodes: int, pods: int, median: float, p95: float
) -> None:
    """The same quantiles of 100,000 sampled placements, and of whoever sampled them before."""
    counts = np.random.default_rng(1).multinomial(pods, [1 / nodes] * nodes, size=100_000)
    least = np.where(counts > 0, counts, pods).min(axis=1)
    sampled = np.quantile(pods / ((counts > 0).sum(axis=1) * least), (0.5, 0.95), method="inverted_cdf")
    found = [balance.local_hottest_quantile(nodes, pods, q) for q in (0.5, 0.95)]
    assert found == pytest.approx(sampled)
    assert found == pytest.approx([median, p95], abs=0.005)
    assert sum(balance.local_hottest_pmf(nodes, pods).values()) == pytest.approx(1, abs=1e-9)
