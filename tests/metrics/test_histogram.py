"""Laws of the histogram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.engine import codes
from nodeportsim.metrics import histogram
from nodeportsim.metrics.replication import CAUSES, PHASES, STAGES

WIDTH = 2.0**-histogram.SUB  # A bucket's width over its lower edge is at most this.
inside_s = st.floats(2.0**-24, 4095.0)
samples_s = st.lists(inside_s, min_size=1, max_size=200)
shares = st.floats(0.001, 0.999)


def exact(times_s: list[float], q: float) -> float:
    """The observation of rank ceil(q n): the smallest whose share at or below it reaches q."""
    return float(np.sort(times_s)[int(np.ceil(q * len(times_s))) - 1])


def test_the_engine_uses_the_same_buckets_and_names() -> None:
    assert (codes.SUB, codes.BASE, codes.BUCKETS) == (histogram.SUB, histogram.BASE, histogram.BUCKETS)
    assert (codes.CAUSES, codes.STAGES, codes.PHASES) == (CAUSES, STAGES, PHASES)


@given(inside_s)
def test_a_time_lies_between_the_edges_of_its_bucket(time_s: float) -> None:
    edges = histogram.edges_s()
    k = int(histogram.bucket(time_s))
    assert edges[k] <= time_s < edges[k + 1]


def test_every_edge_opens_its_own_bucket() -> None:
    edges = histogram.edges_s()[:-1]
    assert np.array_equal(histogram.bucket(edges), np.arange(histogram.BUCKETS))
    assert np.array_equal(histogram.bucket(np.nextafter(edges[1:], 0)), np.arange(histogram.BUCKETS - 1))


def test_buckets_reach_from_60_ns_to_4096_s_and_are_at_most_a_256th_wide() -> None:
    edges = histogram.edges_s()
    assert (edges[0], edges[-1]) == (2.0**-24, 4096.0)
    assert np.max(np.diff(edges) / edges[:-1]) == WIDTH


@pytest.mark.parametrize(("time_s", "k"), [(0.0, 0), (1e-12, 0), (1e-300, 0), (4096.0, -1), (1e9, -1)])
def test_times_beyond_the_ends_are_counted_in_the_end_buckets(time_s: float, k: int) -> None:
    assert histogram.bucket(time_s) == k % histogram.BUCKETS


@given(inside_s)
def test_a_midpoint_is_within_a_512th_of_every_time_in_its_bucket(time_s: float) -> None:
    midpoint_s = histogram.midpoints_s()[histogram.bucket(time_s)]
    assert abs(midpoint_s - time_s) <= WIDTH / 2 * time_s


@given(samples_s, samples_s, samples_s)
@settings(max_examples=30)
def test_merging_is_counting_everything_together_in_any_order_and_grouping(
    a: list[float], b: list[float], c: list[float]
) -> None:
    parts = [histogram.count(part) for part in (a, b, c)]
    together = histogram.count(a + b + c)
    assert np.array_equal(histogram.merge(parts), together)
    assert np.array_equal(histogram.merge(reversed(parts)), together)
    assert np.array_equal(histogram.merge([parts[0], histogram.merge(parts[1:])]), together)


@given(samples_s, shares)
def test_a_quantile_is_within_a_256th_of_the_observation_of_rank_ceil_qn(
    times_s: list[float], q: float
) -> None:
    found, true = histogram.quantile(histogram.count(times_s), q), exact(times_s, q)
    assert abs(found - true) <= WIDTH * true


@given(samples_s, shares, shares)
def test_quantiles_do_not_fall(times_s: list[float], p: float, q: float) -> None:
    counts = histogram.count(times_s)
    assert histogram.quantile(counts, min(p, q)) <= histogram.quantile(counts, max(p, q))


@given(samples_s, shares, st.integers(1, 2000))
def test_quantiles_move_with_the_unit_of_octaves(times_s: list[float], q: float, repeats: int) -> None:
    """Doubling all times doubles a quantile exactly; counting all of them n times leaves it."""
    counts = histogram.count([time_s / 4096 + 2.0**-24 for time_s in times_s])
    doubled = np.roll(counts, 1 << histogram.SUB)
    quantile_s = histogram.quantile(counts, q)
    assert histogram.quantile(doubled, q) == 2 * quantile_s
    assert histogram.quantile(counts * repeats, q) == pytest.approx(quantile_s, rel=1e-12)


def test_inside_a_bucket_a_quantile_moves_on_a_straight_line() -> None:
    counts = np.zeros(histogram.BUCKETS, dtype=np.int64)
    k = int(histogram.bucket(1.0))
    counts[k] = 10
    for q in (0.0, 0.25, 0.5, 1.0):
        assert histogram.quantile(counts, q) == 1.0 + q * WIDTH


def test_lumps_of_one_second_stay_where_they_are() -> None:
    """1 % of requests at 1 s: p99.5 is there, where a rank-error sketch may answer 5 ms."""
    times_s = [0.005] * 99_000 + [1.0] * 1_000
    assert histogram.quantile(histogram.count(times_s), 0.995) == pytest.approx(1.0, rel=WIDTH)
    assert histogram.quantile(histogram.count(times_s), 0.985) == pytest.approx(0.005, rel=WIDTH)


def test_quantiles_of_a_smooth_law_agree_with_numpy_within_a_256th() -> None:
    times_s = np.random.default_rng(1).lognormal(-5, 1, 200_000)
    counts = histogram.count(times_s)
    for q in (0.01, 0.5, 0.9, 0.99, 0.999):
        assert histogram.quantile(counts, q) == pytest.approx(np.quantile(times_s, q), rel=WIDTH)
    assert histogram.mean_s(counts) == pytest.approx(times_s.mean(), rel=WIDTH / 2)


def test_a_quantile_needs_ten_observations_beyond_it() -> None:
    for q, fewest in ((0.5, 20), (0.9, 100), (0.99, 1_000), (0.999, 10_000)):
        enough, short = (histogram.count([1.0] * n) for n in (fewest, fewest - 1))
        assert histogram.quantile_or_reason(enough, q) == (histogram.quantile(enough, q), None)
        value, reason = histogram.quantile_or_reason(short, q)
        assert value is None
        assert reason == f"9 of {fewest - 1} observations lie beyond it, 10 are needed"


def test_an_empty_histogram_has_no_quantile_and_says_so() -> None:
    empty = histogram.merge([])
    assert histogram.quantile_or_reason(empty, 0.5) == (None, "there are no observations")
    with pytest.raises(ValueError, match="empty"):
        histogram.quantile(empty, 0.5)


@given(samples_s)
def test_the_ccdf_falls_from_one_to_zero_and_is_exact_at_its_edges(times_s: list[float]) -> None:
    edges, share = histogram.ccdf(histogram.count(times_s))
    assert (share[0], share[-1]) == (1.0, 0.0)
    assert np.all(np.diff(share) < 0)
    expected = [np.mean(np.asarray(times_s) >= edge) for edge in edges]
    assert share == pytest.approx(expected, abs=1e-12)


def test_the_ccdf_of_nothing_is_empty() -> None:
    edges, share = histogram.ccdf(histogram.merge([]))
    assert edges.size == share.size == 0
