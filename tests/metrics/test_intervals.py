"""Laws of estimates and intervals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nodeportsim.metrics import histogram, intervals
from nodeportsim.metrics.intervals import SHARE, Estimate

values = st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=30)


def histograms(rng: np.random.Generator, replications: int, requests: int = 100) -> np.ndarray:
    """Exponential times whose mean differs from replication to replication, as a random load makes it."""
    means_s = rng.lognormal(-5, 0.3, replications)
    return np.stack([histogram.count(rng.exponential(mean_s, requests)) for mean_s in means_s])


def coverage_band(trials: int, p: float) -> tuple[float, float]:
    """Central 99.9 % of the number of intervals that cover, if each covers with probability p."""
    return stats.binom.interval(0.999, trials, p)


@given(values)
def test_a_t_interval_is_the_textbooks(sample: list[float]) -> None:
    found = intervals.mean_interval(sample)
    mean, error = np.mean(sample), stats.sem(sample)
    half = stats.t.ppf(0.975, len(sample) - 1) * error
    assert found.estimate == pytest.approx(mean, rel=1e-12, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), rel=1e-9, abs=1e-6)


def test_columns_are_estimated_each_by_itself() -> None:
    table = np.random.default_rng(1).normal(size=(12, 5))
    for found, column in zip(intervals.mean_intervals(table), table.T, strict=True):
        alone = intervals.mean_interval(column)
        assert (found.estimate, found.low, found.high) == pytest.approx(
            (alone.estimate, alone.low, alone.high)
        )


def test_a_t_interval_covers_the_mean_in_95_percent_of_experiments() -> None:
    samples = np.random.default_rng(2).normal(3.0, 2.0, size=(20, 2000))
    covered = sum(e.low <= 3.0 <= e.high for e in intervals.mean_intervals(samples))
    low, high = coverage_band(2000, 0.95)
    assert low <= covered <= high


def test_under_ten_replications_there_is_an_estimate_but_no_interval() -> None:
    nine = np.arange(1.0, 10.0)
    reason = "9 replications; an interval needs 10"
    expected = Estimate(estimate=5.0, reason=reason)
    assert intervals.mean_interval(nine) == expected
    assert intervals.ratio_interval(5 * nine, nine) == expected
    counts = np.stack([histogram.count([1.0] * 100)] * 9)
    assert intervals.quantile_interval(counts, 0.5).reason == reason
    assert intervals.quantile_interval(counts, 0.5).low is None


def test_no_replication_at_all_gives_no_estimate() -> None:
    assert intervals.mean_interval([]).estimate is None
    assert intervals.ratio_interval([0] * 10, [0] * 10).estimate is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(50, 99)), min_size=10, max_size=30))
def test_a_ratio_is_total_over_total_and_stays_within_its_limits(pairs: list[tuple[int, int]]) -> None:
    parts, wholes = zip(*pairs, strict=True)
    found = intervals.ratio_interval(parts, wholes, SHARE)
    assert found.estimate == sum(parts) / sum(wholes)
    assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0


def test_parts_in_proportion_to_their_wholes_leave_no_doubt_about_the_ratio() -> None:
    wholes = np.arange(10, 40)
    found = intervals.ratio_interval(3 * wholes, wholes)
    assert (found.estimate, found.low, found.high) == pytest.approx((3, 3, 3))


def test_an_interval_of_a_share_ends_at_zero_and_one() -> None:
    hundreds = [100] * 20
    mostly, rarely = (
        intervals.ratio_interval([many] * 19 + [one], hundreds, SHARE) for many, one in ((100, 0), (0, 100))
    )
    assert (mostly.estimate, mostly.high) == (0.95, 1.0)
    assert (rarely.estimate, rarely.low) == (0.05, 0.0)


def test_with_equal_wholes_a_ratio_interval_is_the_t_interval_of_the_shares() -> None:
    parts = np.random.default_rng(3).integers(10, 90, 20)
    ratio, mean = intervals.ratio_interval(parts, [100] * 20), intervals.mean_interval(parts / 100)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((mean.estimate, mean.low, mean.high))


def test_a_ratio_interval_covers_in_about_95_percent_of_experiments() -> None:
    """Bursts of failures, unequal loads; a ratio estimator's bias is of order 1/n, hence 93 to 96 %."""
    rng = np.random.default_rng(4)
    wholes = rng.poisson(1000, size=(1000, 20))
    parts = rng.binomial(wholes, rng.beta(20, 180, size=wholes.shape))
    found = [intervals.ratio_interval(p, w, SHARE) for p, w in zip(parts, wholes, strict=True)]
    covered = sum(e.low <= 0.1 <= e.high for e in found)
    assert coverage_band(1000, 0.93)[0] <= covered <= coverage_band(1000, 0.96)[1]


def test_zero_failures_are_bounded_by_replications_not_by_requests() -> None:
    """If a run fails with the bound's probability, n clean runs have probability 5 %."""
    for replications in (1, 20, 300):
        assert (1 - intervals.zero_bound(replications)) ** replications == pytest.approx(0.05)
    assert intervals.zero_bound(300) == pytest.approx(3 / 300, rel=0.01)
    few, many = (intervals.failed_ratio([0] * 20, [requests] * 20) for requests in (10, 10**9))
    assert few == many
    assert few.as_dict() == {
        "estimate": 0.0,
        "low": 0.0,
        "high": None,
        "reason": "no failure in 20 replications: at most 14 % of such runs hold one (95 %)",
    }


def test_seen_failures_have_the_interval_of_their_ratio() -> None:
    failed, offered = [1] + [0] * 19, [100] * 20
    assert intervals.failed_ratio(failed, offered) == intervals.ratio_interval(failed, offered, SHARE)


def test_a_resampled_quantile_is_the_quantile_of_the_resampled_histogram() -> None:
    """The search over all samples at once, against merging each sample's histograms."""
    counts = histograms(np.random.default_rng(5), 12)
    weights = intervals._weights(12)
    for q in (0.01, 0.5, 0.99):
        found = intervals.resampled_quantiles(counts, q)
        for sample in range(0, intervals.RESAMPLES, 97):
            merged = (weights[sample][:, np.newaxis] * counts).sum(axis=0)
            assert found[sample] == histogram.quantile(merged, q)


def test_a_bootstrap_draws_as_many_replications_as_there_are_and_each_alike() -> None:
    weights = intervals._weights(20)
    assert np.all(weights.sum(axis=1) == 20)
    drawn = weights.sum(axis=0)
    assert stats.chisquare(drawn).pvalue > 0.001


def test_a_quantile_interval_does_not_depend_on_what_else_was_computed() -> None:
    counts = histograms(np.random.default_rng(6), 20)
    first = intervals.quantile_interval(counts, 0.9)
    intervals.quantile_interval(counts[:15], 0.5)
    intervals._weights.cache_clear()
    assert intervals.quantile_interval(counts, 0.9) == first


def test_equal_replications_leave_no_doubt_about_a_quantile() -> None:
    counts = np.stack([histogram.count(np.linspace(0.001, 0.1, 300))] * 20)
    found = intervals.quantile_interval(counts, 0.9)
    assert found.low == pytest.approx(found.estimate)
    assert found.high == pytest.approx(found.estimate)


def test_replications_without_observations_are_left_out_of_a_quantile() -> None:
    counts = histograms(np.random.default_rng(7), 15)
    padded = np.concatenate([counts, np.zeros((5, histogram.BUCKETS), dtype=np.int64)])
    assert intervals.quantile_interval(padded, 0.9) == intervals.quantile_interval(counts, 0.9)


@pytest.mark.parametrize(("replications", "q"), [(20, 0.5), (20, 0.9), (10, 0.5)])
def test_a_quantile_interval_covers_in_about_95_percent_of_experiments(replications: int, q: float) -> None:
    """The true quantile is that of ten thousand replications; the expansion keeps coverage above 92 %.

    The plain percentile interval would cover in 90 % at ten replications.
    """
    rng = np.random.default_rng([8, replications])
    true_s = histogram.quantile(histograms(rng, 4000).sum(axis=0), q)
    trials = 250
    found = [intervals.quantile_interval(histograms(rng, replications), q) for _ in range(trials)]
    covered = sum(e.low <= true_s <= e.high for e in found)
    assert coverage_band(trials, 0.92)[0] <= covered <= coverage_band(trials, 0.97)[1]


def test_the_expanded_interval_is_wider_than_the_plain_one_by_t_over_z() -> None:
    samples = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    low, high = intervals._expanded_percentiles(samples, 20)
    expected = stats.t.ppf(0.975, 19) * math.sqrt(20 / 19)
    assert (low, high) == pytest.approx((-expected, expected), rel=1e-3)


def test_pairs_cancel_what_they_share() -> None:
    """b = a + 1 in every pair: the difference is known, however much a varies."""
    a = np.random.default_rng(9).normal(0, 1e3, 20)
    found = intervals.paired_difference(a, a + 1)
    assert (found.estimate, found.low, found.high) == pytest.approx((1, 1, 1))


def test_paired_quantiles_of_equal_runs_differ_by_nothing_at_all() -> None:
    counts = histograms(np.random.default_rng(10), 20)
    assert intervals.paired_quantile_difference(counts, counts, 0.9) == Estimate(
        estimate=0.0, low=0.0, high=0.0
    )


def test_paired_quantiles_of_runs_twice_as_slow_differ_by_the_quantile() -> None:
    counts = histograms(np.random.default_rng(11), 20)
    doubled = np.roll(counts, 1 << histogram.SUB, axis=1)
    assert intervals.paired_quantile_difference(counts, doubled, 0.9) == intervals.quantile_interval(
        counts, 0.9
    )


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
@settings(max_examples=50)
def test_the_search_finds_the_first_position(size: int, searches: int, seed: int) -> None:
    first = np.random.default_rng(seed).integers(0, size, searches)
    assert np.array_equal(intervals._first(lambda at: at >= first, size, searches), first)
