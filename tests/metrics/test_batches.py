"""Laws of batch means: what one long run carries, and when it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from nodeportsim.metrics.batches import JOINED, SHORT, batch_ratio, depend, of_run
from nodeportsim.metrics.intervals import ANY, ratio_interval


def autoregressive(rng: np.random.Generator, length: int, rho: float) -> np.ndarray:
    """A stationary series whose neighbours have the correlation rho."""
    noise = rng.normal(size=length)
    noise[0] /= np.sqrt(1 - rho**2)
    return signal.lfilter([1.0], [1.0, -rho], noise)


def band(trials: int, p: float) -> tuple[float, float]:
    """Central 99.9 % of the successes in so many trials."""
    return stats.binom.interval(0.999, trials, p)


def test_the_interval_is_that_of_batches_taken_for_replications() -> None:
    """160 s: batches of 4 times 4 s, ten of them, none left over: the ratio estimator of their totals."""
    rng = np.random.default_rng(1)
    wholes = rng.poisson(50, 160)
    parts = rng.gamma(wholes, 0.005)
    found, how = batch_ratio(parts, wholes)
    assert how == {"method": "batch means", "batches": 10, "batch_s": 16}
    totals = [series.reshape(10, 16).sum(axis=1) for series in (parts, wholes)]
    expected = ratio_interval(*totals)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.estimate == parts.sum() / wholes.sum()


@given(st.integers(SHORT, 3000))
def test_there_are_ten_to_nineteen_batches_whatever_the_length(seconds: int) -> None:
    parts = np.random.default_rng(seconds).normal(10, 1, seconds)
    found, how = batch_ratio(parts, np.ones(seconds))
    if how:
        assert 10 <= how["batches"] <= 19
        assert how["batch_s"] % JOINED == 0
        assert 0 <= seconds - how["batches"] * how["batch_s"] < how["batch_s"]
        assert found.low < found.estimate < found.high


def test_what_fills_no_batch_is_left_out_at_the_beginning() -> None:
    """165 s: ten batches of 16 s and five seconds before them, however wild these are.

    A second is left over of the short batches; the four after it add up to what is usual.
    """
    parts = np.random.default_rng(1).normal(10, 1, 165)
    wild = np.concatenate([[1e3, -500, 540, -500, 500], parts[5:]])
    calm, found = (batch_ratio(series, np.ones(165), ANY)[0] for series in (parts, wild))
    assert found.high - found.low == pytest.approx(calm.high - calm.low)


def test_independent_batches_are_told_to_depend_in_one_of_ten_runs() -> None:
    rng = np.random.default_rng(2)
    refused = sum(depend(rng.normal(size=40)) for _ in range(4000))
    low, high = band(4000, 0.09)[0], band(4000, 0.11)[1]
    assert low <= refused <= high


def test_dependent_batches_are_refused_with_the_reason_but_not_their_mean() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        parts = 10 + autoregressive(rng, 400, 0.98)
        found, how = batch_ratio(parts, np.ones(400))
        assert how == {}
        assert (found.low, found.high) == (None, None)
        assert found.estimate == pytest.approx(parts.mean())
        assert found.reason == "1 replication, and batches of 10 s depend on each other: make 10 replications"


def test_what_alternates_does_not_count_as_dependent() -> None:
    """Negative correlation makes an interval too wide, never too narrow."""
    assert not depend(np.tile([1.0, -1.0], 20))
    assert not depend(np.ones(40))


def test_a_short_run_is_refused() -> None:
    found, how = batch_ratio(np.ones(SHORT - 1), np.ones(SHORT - 1))
    assert (found.estimate, found.low, how) == (1.0, None, {})
    assert found.reason == "1 replication of 39 s; batch means need 40 s, replications 10"
    assert batch_ratio(np.zeros(50), np.zeros(50))[0].estimate is None


def test_the_intervals_of_a_dependent_series_cover_its_mean() -> None:
    """Neighbouring seconds correlated by one half; t over seconds would cover in 74 % of the runs."""
    rng, covered, made = np.random.default_rng(4), 0, 0
    for _ in range(2000):
        found, how = batch_ratio(autoregressive(rng, 600, 0.5), np.ones(600), ANY)
        if how:
            made, covered = made + 1, covered + (found.low <= 0.0 <= found.high)
    assert made > 1500
    low, high = band(made, 0.935)[0], band(made, 0.965)[1]
    assert low <= covered <= high


def test_a_run_gives_its_mean_latency_and_failed_share_from_the_end_of_the_warm_up_on() -> None:
    run = synthetic.replication(duration_s=100, fault=(0.0, 100.0), nodes=5)
    found = of_run(run, 9.5)
    answered = run.timeline[10:, 1]
    expected = run.second_latency_ns[10:].sum() * 1e-9 / answered.sum()
    assert found["latency_s.mean"]["estimate"] == pytest.approx(expected)
    lost = run.timeline[10:, 2:].sum() / run.timeline[10:, 0].sum()
    assert found["failed_ratio"]["estimate"] == pytest.approx(lost)


def test_no_failure_in_one_run_bounds_nothing() -> None:
    assert "failed_ratio" not in of_run(synthetic.replication(duration_s=100), 0.0)
