"""Laws of balance, and of what chance alone gives."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from nodeportsim.metrics import balance

rows = arrays.arrays(
    np.int64, st.tuples(st.just(1), st.integers(1, 40)), elements=st.integers(0, 1000)
).filter(lambda table: table.any())


@given(rows)
def test_measures_stay_within_their_limits(counts: np.ndarray) -> None:
    members = counts.shape[1]
    hottest, jain, cv, idle = balance.measures(counts)[0]
    assert 1 - 1e-12 <= hottest <= members + 1e-12
    assert 1 / members - 1e-12 <= jain <= 1 + 1e-12
    assert 0 <= idle < members
    assert jain == pytest.approx(1 / (1 + cv**2))


@given(rows, st.integers(1, 100), st.randoms())
def test_measures_depend_neither_on_scale_nor_on_names(
    counts: np.ndarray, scale: int, random: object
) -> None:
    shuffled = counts[0].tolist()
    random.shuffle(shuffled)
    expected = balance.measures(counts)
    assert balance.measures(counts * scale) == pytest.approx(expected)
    assert balance.measures([shuffled]) == pytest.approx(expected)


@pytest.mark.parametrize("members", [1, 2, 7])
def test_even_and_one_takes_all_are_the_ends_of_every_measure(members: int) -> None:
    assert balance.measures([[5] * members])[0] == pytest.approx([1, 1, 0, 0])
    alone = [5] + [0] * (members - 1)
    assert balance.measures([alone])[0] == pytest.approx(
        [members, 1 / members, math.sqrt(members - 1), members - 1]
    )


def test_unevenness_is_measured_in_a_replication_and_then_averaged() -> None:
    """Another pod is the hottest in every replication: pooled by name the load looks even."""
    counts = np.tile(np.eye(10, dtype=np.int64), (2, 1))
    assert balance.balance(counts)["max_over_mean"].estimate == 10
    shares = balance.shares_by_rank(np.stack([counts, counts], axis=2))
    assert [share.estimate for share in shares] == [1.0] + [0.0] * 9
    assert (shares[0].low, shares[0].high) == (1.0, 1.0)


def test_replications_may_have_had_another_number_of_members() -> None:
    rows = [np.array([3, 1]), np.array([6, 3, 0])]
    assert balance.balance(rows)["max_over_mean"].estimate == (1.5 + 2.0) / 2
    table = balance.stacked([np.stack([row, row], axis=1) for row in rows])
    assert table[:, :, 0].tolist() == [[3, 1, 0], [6, 3, 0]]


def test_replications_without_connections_say_nothing_about_balance() -> None:
    counts = np.array([[3, 1]] * 10 + [[0, 0]] * 5)
    assert balance.balance(counts)["max_over_mean"].estimate == 1.5
    assert balance.shares_by_rank(np.stack([counts, counts], axis=2))[0].estimate == 0.75
    nothing = balance.balance(np.zeros((10, 2), dtype=np.int64))["jain"]
    assert nothing.as_dict() == {
        "estimate": None,
        "low": None,
        "high": None,
        "reason": "no replication has one",
    }


def test_ranking_sorts_by_connections_then_requests_and_keeps_them_together() -> None:
    members = np.array([[[1, 9], [4, 2], [1, 10], [0, 0]]])
    assert balance.ranked(members).tolist() == [[[4, 2], [1, 10], [1, 9], [0, 0]]]


def by_enumeration(members: int, connections: int) -> list[tuple[int, int]]:
    """(coldest, hottest) of every equally likely assignment."""
    assignments = itertools.product(range(members), repeat=connections)
    counts = (np.bincount(a, minlength=members) for a in assignments)
    return [(int(c.min()), int(c.max())) for c in counts]


@pytest.mark.parametrize(("members", "connections"), [(1, 3), (2, 1), (2, 5), (3, 3), (3, 7), (4, 5), (6, 4)])
def test_probabilities_of_the_hottest_and_the_coldest_are_those_of_counting_all_cases(
    members: int, connections: int
) -> None:
    cases = by_enumeration(members, connections)
    for k in range(connections + 1):
        hot = sum(hottest >= k for _, hottest in cases) / len(cases)
        cold = sum(coldest <= k for coldest, _ in cases) / len(cases)
        assert balance.hottest_p_value(members, connections, k) == pytest.approx(hot, abs=1e-12)
        assert balance.coldest_p_value(members, connections, k) == pytest.approx(cold, abs=1e-12)


def test_published_cases_are_luck_or_not() -> None:
    """Four pods, one at 0.66 of the mean (Zalando); 60 of 100 requests on one of seven pods (k8s#37932)."""
    chances = [balance.coldest_p_value(4, n, int(0.66 * n / 4)) for n in (16, 40, 100, 400)]
    assert chances == pytest.approx([0.68, 0.37, 0.08, 0.0001], abs=0.005)
    assert balance.hottest_p_value(7, 100, 60) == pytest.approx(4e-25, rel=0.2)


def test_a_rare_probability_continues_the_exact_one() -> None:
    """Where 1 - p runs out of digits the union bound takes over; just above, both agree."""
    bounds = {k: 10 * stats.binom.sf(k - 1, 200, 0.1) for k in range(48, 60)}
    assert bounds[48] > balance._RARE > bounds[59]
    for k, bound in bounds.items():
        assert balance.hottest_p_value(10, 200, k) == pytest.approx(bound, rel=1e-4)


@given(st.integers(2, 200), st.integers(1, 5000), st.data())
@settings(max_examples=40, deadline=None)
def test_a_hotter_hottest_is_never_likelier(members: int, connections: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, connections))
    here, next_ = (balance.hottest_p_value(members, connections, n) for n in (k, k + 1))
    assert 0 <= next_ <= here + 1e-12 <= 1 + 1e-12


def test_a_band_is_that_of_the_multinomial_law() -> None:
    """The band's upper end of the hottest: at most 2.5 % of runs lie above it, by the exact law.

    The band is an order statistic of 2,000 draws; its probability has a standard error of 0.35 %.
    """
    members, connections = 10, 1000
    low, _, high = balance.chance_band(members, connections) * connections
    error = math.sqrt(0.025 * 0.975 / balance.RUNS)
    assert balance.hottest_p_value(members, connections, int(high[0]) + 1) <= 0.025 + 4 * error
    assert balance.hottest_p_value(members, connections, int(high[0])) >= 0.025 - 4 * error
    assert balance.coldest_p_value(members, connections, int(low[-1]) - 1) <= 0.025 + 4 * error
    assert balance.coldest_p_value(members, connections, math.ceil(low[-1])) >= 0.025 - 4 * error


def test_shares_fall_with_rank_and_add_up_to_one_on_average() -> None:
    band = balance.chance_band(7, 50)
    assert np.all(np.diff(band, axis=1) <= 0)
    assert np.all(np.diff(band, axis=0) >= 0)
    one_run = balance.chance_band(7, 50, replications=10_000)
    assert one_run.sum(axis=1) == pytest.approx([1, 1, 1], abs=0.01)


def test_a_band_of_averages_is_narrower_by_the_root_of_their_number() -> None:
    one, many = (balance.chance_band(20, 10_000, replications=n) for n in (1, 25))
    assert (one[2] - one[0])[0] / (many[2] - many[0])[0] == pytest.approx(5, rel=0.15)


def test_ten_connections_on_ten_pods_leave_three_and_a_half_idle() -> None:
    """Expected idle members: m (1 - 1/m)**n. The band's median run leaves 3 or 4."""
    idle = (balance.chance_band(10, 10)[1] == 0).sum()
    assert idle == pytest.approx(10 * 0.9**10, abs=0.5)


def test_no_connections_have_no_shares() -> None:
    assert not balance.chance_band(3, 0).any()
