"""Laws of the stage split."""

import itertools

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.metrics import histogram, stages
from nodeportsim.metrics.replication import STAGES

counts = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(np.array)
cuts = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted)


@given(counts, cuts)
def test_bands_that_tile_the_ranks_hold_every_request_once(
    histogram_: np.ndarray, inner: list[float]
) -> None:
    limits = [0.0, *inner, 1.0]
    tiles = [stages.band(histogram_, low, high) for low, high in itertools.pairwise(limits)]
    assert np.sum(tiles, axis=0) == pytest.approx(histogram_, abs=1e-9)


@given(counts, cuts)
def test_a_band_holds_its_share_of_the_requests(histogram_: np.ndarray, inner: list[float]) -> None:
    low, high = inner[0], inner[-1]
    inside = stages.band(histogram_, low, high)
    assert inside.sum() == pytest.approx((high - low) * histogram_.sum(), abs=1e-9)
    assert np.all(inside <= histogram_ + 1e-9)


def test_the_mean_split_adds_up_to_the_mean_latency_to_the_nanosecond() -> None:
    runs = synthetic.replications(3, fault=(20, 45))
    total_ns = sum(int(r.latency_sum_ns.sum()) for r in runs)
    succeeded = sum(r.succeeded for r in runs)
    assert sum(int(r.stage_sum_ns.sum()) for r in runs) == total_ns
    assert stages.splits(runs)["mean"].sum() == pytest.approx(total_ns / succeeded * 1e-9, rel=1e-12)


@pytest.mark.parametrize(("name", "q"), [("at_p50", 0.5), ("at_p99", 0.99)])
def test_a_split_at_a_percentile_adds_up_to_about_that_percentile(name: str, q: float) -> None:
    """The mean latency of the band lies between the band's ends, give or take a bucket."""
    runs = synthetic.replications(5)
    merged = histogram.merge(r.latency.sum(axis=0) for r in runs)
    low, high = (histogram.quantile(merged, q + side * stages.HALF_BAND) for side in (-1, 1))
    assert low * (1 - 1 / 256) <= stages.splits(runs)[name].sum() <= high * (1 + 1 / 256)


def test_the_split_is_that_of_the_very_requests_in_the_band() -> None:
    """Every request alone in its bucket: the band's requests are known one by one."""
    size = 2000
    each = np.ones(size, dtype=np.int64)
    sums_ns = np.random.default_rng(1).integers(0, 10**9, (size, 3))
    expected = sums_ns[990:1010].mean(axis=0)  # Ranks 49.5 % to 50.5 % of 2000.
    assert stages.split(each, sums_ns, 0.5) * 1e9 == pytest.approx(expected)


def test_queueing_that_only_the_slow_meet_shows_at_p99_and_not_at_p50() -> None:
    runs = synthetic.replications(5, fault=(10, 50))
    splits, syn = stages.splits(runs), STAGES.index("syn_backoff")
    assert splits["at_p50"][syn] == 0
    assert splits["at_p99"][syn] > 0.9 * splits["at_p99"].sum()


def test_a_sample_that_cannot_carry_a_percentile_has_no_split_at_it() -> None:
    few = np.full(10, 5)
    sums_ns = np.ones((10, 2), dtype=np.int64)
    assert stages.split(few, sums_ns, 0.99) is None
    assert stages.split(few, sums_ns, 0.5) is not None
    assert stages.split(0 * few, sums_ns) is None
