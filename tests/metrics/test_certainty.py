"""Laws of how sure a difference is: p-values, many of them together, and the best of many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nodeportsim.metrics.certainty import (
    ALPHA,
    MOST_REPLICATIONS,
    holm,
    p_value,
    replications_for,
    select,
    word,
)
from nodeportsim.metrics.intervals import Estimate, mean_interval, paired_difference

samples = st.lists(st.floats(-100, 100), min_size=10, max_size=30).filter(lambda x: np.std(x) > 1e-3)


def band(trials: int, p: float) -> tuple[float, float]:
    """Central 99.9 % of the successes in so many trials."""
    return stats.binom.interval(0.999, trials, p)


@given(samples)
def test_the_p_value_of_a_mean_is_that_of_the_t_test(sample: list[float]) -> None:
    found = p_value(mean_interval(sample), len(sample))
    assert found == pytest.approx(stats.ttest_1samp(sample, 0.0).pvalue, rel=1e-6, abs=1e-12)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.01, 5))
def test_an_interval_holds_zero_exactly_where_p_is_above_5_percent(
    middle: float, below: float, above: float
) -> None:
    found = Estimate(estimate=middle, low=middle - below, high=middle + above)
    p = p_value(found, 20)
    assert p is not None
    if abs(p - ALPHA) > 1e-9:
        assert (found.low <= 0.0 <= found.high) == (p > ALPHA)


def test_without_an_interval_there_is_no_p_value_and_nobody_can_tell() -> None:
    alone = Estimate(estimate=3.0, reason="9 replications; an interval needs 10")
    assert p_value(alone, 9) is None
    assert word(alone, None) == "cannot tell"


def test_what_never_varies_is_certain_and_what_never_differs_is_not_seen() -> None:
    always, never = (Estimate(estimate=x, low=x, high=x) for x in (2.0, 0.0))
    assert (p_value(always, 20), p_value(never, 20)) == (0.0, 1.0)
    assert (word(always, 0.0), word(never, 1.0)) == ("very sure", "none seen")


def test_holm_is_the_textbooks() -> None:
    """Holm 1979: the smallest times k, the next times k - 1 ..., never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None, 0.8]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_where_nothing_differs_one_table_in_twenty_says_sure_at_most() -> None:
    """Eight rows that share half of their noise, as metrics of one run do; each alone errs in 5 %."""
    rng, tables, rows = np.random.default_rng(1), 2000, 8
    wrong = 0
    for _ in range(tables):
        noise = rng.normal(size=(20, 1)) + rng.normal(size=(20, rows))
        found = [mean_interval(noise[:, row]) for row in range(rows)]
        adjusted = holm([p_value(each, 20) for each in found])
        wrong += any(word(each, p) != "cannot tell" for each, p in zip(found, adjusted, strict=True))
    assert wrong <= band(tables, ALPHA)[1]


def test_the_replications_advised_find_the_difference_in_four_of_five_tries() -> None:
    """At the advised number the chance of p <= 0.05 is the power asked for, as a z test promises."""
    rng = np.random.default_rng(2)
    pilot = rng.normal(size=40)
    pilot = 0.3 + (pilot - pilot.mean()) / pilot.std(ddof=1)  # Mean 0.3, deviation 1: exactly.
    needed = replications_for(mean_interval(pilot), 40, 1)
    assert needed == 88  # ((1.960 + 0.842) / 0.3)**2
    p_values = stats.ttest_1samp(rng.normal(0.3, 1.0, size=(needed, 4000)), 0.0).pvalue
    low, high = band(4000, 0.79)[0], band(4000, 0.80)[1]
    assert low <= (p_values <= ALPHA).sum() <= high


def test_no_more_replications_are_advised_than_anybody_would_run() -> None:
    tiny = Estimate(estimate=1e-6, low=-1.0, high=1.0)
    assert replications_for(tiny, 20, 1) is None
    assert replications_for(Estimate(estimate=0.0, low=0.0, high=0.0), 20, 1) is None
    assert (replications_for(Estimate(estimate=0.1, low=-0.9, high=1.1), 20, 1) or 0) < MOST_REPLICATIONS


def problem(rng: np.random.Generator, means: np.ndarray) -> np.ndarray:
    """Twenty replications of variants that share most of their noise, each spread in its own way."""
    spread = np.linspace(0.5, 2.0, len(means))
    return means + 3 * rng.normal(size=(20, 1)) + spread * rng.normal(size=(20, len(means)))


def screened(values: np.ndarray, *, highest: bool = False) -> tuple[int, ...]:
    found = select(
        values.mean(axis=0).tolist(),
        lambda i, j: paired_difference(values[:, i], values[:, j]),
        len(values),
        highest=highest,
    )
    assert found.best in found.survivors
    return found.survivors


def test_the_best_variant_survives_in_95_percent_of_the_problems_however_alike_the_others_are() -> None:
    """Five variants that are all as good as the first: the hardest case for a screening."""
    rng, trials = np.random.default_rng(3), 2000
    kept = sum(0 in screened(problem(rng, np.zeros(5))) for _ in range(trials))
    assert kept >= band(trials, 0.95)[0]


def test_screening_leaves_the_best_alone_where_it_is_far_better() -> None:
    rng = np.random.default_rng(4)
    means = np.array([4.0, 0.0, 4.0, 5.0])
    assert all(screened(problem(rng, means)) == (1,) for _ in range(100))
    assert all(screened(-problem(rng, means), highest=True) == (1,) for _ in range(100))


def test_the_confidence_in_the_best_is_the_level_at_which_it_is_left_alone() -> None:
    rng = np.random.default_rng(5)
    for gap in (0.5, 1.0, 2.0):
        values = problem(rng, np.array([0.0, gap, gap + 1]))
        differences = {
            (i, j): paired_difference(values[:, i], values[:, j]) for i in range(3) for j in range(3)
        }
        found = select(values.mean(axis=0).tolist(), lambda i, j: differences[i, j], 20)  # noqa: B023  (called here)
        alone = found.survivors == (found.best,)
        assert alone == (found.confidence is not None and found.confidence >= 0.95)


def test_a_confidence_is_one_less_the_errors_of_all_rivals() -> None:
    """Two rivals, each worse at a one-sided p of 1 %: the best is screened out at most 2 % of the time."""
    t = float(stats.t.isf(0.01, 19))
    half = float(stats.t.isf(0.025, 19))

    def difference(i: int, j: int) -> Estimate:
        away = t * ((j > 0) - (i > 0))
        return Estimate(estimate=away, low=away - half, high=away + half)

    assert select([0.0, 1.0, 1.0], difference, 20).confidence == pytest.approx(0.98)


def test_a_confidence_of_95_percent_is_right_in_95_percent_of_the_problems() -> None:
    """Among problems whose winner is said with at least 95 %, even where the true gap is small."""
    rng, wrong, said = np.random.default_rng(6), 0, 0
    for _ in range(2000):
        values = problem(rng, np.array([0.0, 0.2, 0.4]))
        found = select(
            values.mean(axis=0).tolist(),
            lambda i, j, v=values: paired_difference(v[:, i], v[:, j]),  # type: ignore[misc]
            20,
        )
        if (found.confidence or 0.0) >= 0.95:
            said, wrong = said + 1, wrong + (found.best != 0)
    assert said > 0
    assert wrong <= band(2000, ALPHA)[1]


def test_variants_without_an_estimate_are_left_out_of_the_ranking() -> None:
    nothing = Estimate(estimate=None, reason="there are no observations")
    found = select([None, 2.0, None], lambda _i, _j: nothing, 20)
    assert (found.best, found.survivors, found.confidence) == (1, (1,), None)
    assert select([None], lambda _i, _j: nothing, 20).best is None
