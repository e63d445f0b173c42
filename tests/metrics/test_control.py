"""Laws of control variates: what is known of the inputs is taken off, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nodeportsim.metrics.control import controlled_mean, independent, linearised
from nodeportsim.metrics.intervals import mean_interval, ratio_interval


def band(trials: int, p: float) -> tuple[float, float]:
    """Central 99.9 % of the successes in so many trials."""
    return stats.binom.interval(0.999, trials, p)


def test_the_mean_is_the_intercept_of_the_textbooks_regression() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 2))
    y = 5 + x @ [1.0, -2.0] + rng.normal(size=20)
    found = controlled_mean(y, x)
    design = np.column_stack([np.ones(20), x])
    beta, squares, *_ = np.linalg.lstsq(design, y, rcond=None)
    error = np.sqrt(squares[0] / 17 * np.linalg.inv(design.T @ design)[0, 0])
    half = stats.t.ppf(0.975, 17) * error
    assert (found.estimate, found.low, found.high) == pytest.approx((beta[0], beta[0] - half, beta[0] + half))


def test_what_the_controls_explain_leaves_no_doubt() -> None:
    x = np.random.default_rng(2).normal(size=(20, 1))
    found = controlled_mean(3 + 4 * x[:, 0], x)
    assert (found.estimate, found.low, found.high) == pytest.approx((3, 3, 3))


def test_without_controls_it_is_the_t_interval() -> None:
    y = np.random.default_rng(3).normal(size=15)
    found, plain = controlled_mean(y, np.zeros((15, 2))), mean_interval(y)
    assert (found.estimate, found.low, found.high) == pytest.approx((plain.estimate, plain.low, plain.high))


def test_a_control_that_says_what_others_say_is_left_out() -> None:
    x = np.random.default_rng(4).normal(size=(20, 2))
    table = np.column_stack([x[:, 0], 3 * x[:, 0], np.full(20, 7.0), x[:, 1], x[:, 0] - x[:, 1]])
    assert independent(table).tolist() == x.tolist()


def test_an_estimate_is_unbiased_its_interval_covers_and_the_variance_falls_as_promised() -> None:
    """Correlation 0.8 with one control: the variance falls by 1 - 0.64, and rises by (n - 2) / (n - 3)."""
    rng, trials, n = np.random.default_rng(5), 4000, 12
    x = rng.normal(size=(trials, n))
    y = 1 + 0.8 * x + 0.6 * rng.normal(size=(trials, n))
    found = [controlled_mean(row, control[:, None]) for row, control in zip(y, x, strict=True)]
    means = np.array([each.estimate for each in found])
    assert abs(means.mean() - 1) < 4 * means.std() / np.sqrt(trials)
    expected = 0.36 / n * (n - 2) / (n - 3)
    assert means.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / trials))
    covered = sum(each.low <= 1 <= each.high for each in found)
    low, high = band(trials, 0.95)
    assert low <= covered <= high


def test_a_linearised_ratio_has_its_mean_and_its_interval() -> None:
    rng = np.random.default_rng(6)
    wholes = rng.poisson(100, 20)
    parts = rng.gamma(wholes, 0.01)
    ratio, mean = ratio_interval(parts, wholes), mean_interval(linearised(parts, wholes))
    assert (mean.estimate, mean.low, mean.high) == pytest.approx((ratio.estimate, ratio.low, ratio.high))


def test_each_control_asks_for_one_replication_more() -> None:
    rng = np.random.default_rng(7)
    few = controlled_mean(rng.normal(size=11), rng.normal(size=(11, 2)))
    assert few.low is None
    assert controlled_mean(rng.normal(size=12), rng.normal(size=(12, 2))).low is not None
