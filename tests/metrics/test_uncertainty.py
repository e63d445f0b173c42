"""Intervals cover the answer on a node whose prices nobody knows exactly, with any number of replications."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import synthetic
from scipy import stats

from nodeportsim.metrics import histogram
from nodeportsim.metrics.compare import compare
from nodeportsim.metrics.intervals import Estimate, mean_interval, quantile_interval, t_factor
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.uncertainty import NOT_SEEN, moved, widened, with_prices

PRICE_SD, CHANCE_SD = 2.0, 3.0


def band(trials: int) -> tuple[float, float]:
    """Central 99.9 % of the number of intervals that cover, if each covers with 95 %."""
    low, high = stats.binom.interval(0.999, trials, 0.95)
    return float(low), float(high)


def linear(rng: np.random.Generator, replications: int, chance_sd: float) -> tuple[Estimate, float]:
    """A model that is linear in its price: the interval, and the answer on a node that has the true price."""
    price = rng.normal(0.0, PRICE_SD, replications)
    chance = rng.normal(0.0, chance_sd, replications)
    own, plain = 100.0 + price + chance, 100.0 + chance
    return widened(mean_interval(own), own - plain), 100.0 + rng.normal(0.0, PRICE_SD)


@pytest.mark.parametrize("replications", [10, 20, 200])
@pytest.mark.parametrize("chance_sd", [0.0, 0.3 * PRICE_SD, CHANCE_SD])
def test_an_interval_covers_the_answer_at_the_true_prices_in_95_percent(
    replications: int, chance_sd: float
) -> None:
    """The truth is drawn from the profile's errors, as each replication's prices are."""
    rng = np.random.default_rng([1, replications])
    found = [linear(rng, replications, chance_sd) for _ in range(2000)]
    covered = sum(e.low <= truth <= e.high for e, truth in found)
    assert band(2000)[0] <= covered <= band(2000)[1]


def test_more_replications_narrow_chance_and_not_the_prices() -> None:
    """Half-width tends to 1.96 standard deviations of the prices; without them it would go to zero."""
    rng = np.random.default_rng(2)
    for replications in (20, 2000, 20_000):
        found, _ = linear(rng, replications, CHANCE_SD)
        expected = t_factor(replications) * math.sqrt(
            PRICE_SD**2 + (PRICE_SD**2 + CHANCE_SD**2) / replications
        )
        # The relative standard error of a standard deviation is 1 / sqrt(2 n).
        assert (found.high - found.low) / 2 == pytest.approx(expected, rel=4 / math.sqrt(2 * replications))
    assert (found.high - found.low) / 2 > 1.9 * PRICE_SD


def test_prices_known_exactly_leave_the_interval_as_it_was() -> None:
    values = np.random.default_rng(3).normal(10.0, 1.0, 20)
    assert widened(mean_interval(values), np.zeros(20)) == mean_interval(values)
    counts = np.stack([histogram.count(np.full(100, value)) for value in values])
    assert moved(quantile_interval(counts, 0.5), np.zeros(20)) == quantile_interval(counts, 0.5)


@pytest.mark.parametrize(("replications", "requests"), [(20, 200), (60, 100)])
def test_a_quantile_covers_its_value_at_the_true_prices_though_the_pooled_one_lies_farther_out(
    replications: int, requests: int
) -> None:
    """Times are 10 ms + price (1 ms) + chance (50 us): the pooled p90 is that of all these nodes together."""
    rng = np.random.default_rng([4, replications])
    trials, covered, pooled_covered = 300, 0, 0
    for _ in range(trials):
        rest_s = 0.010 + rng.normal(0.0, 50e-6, (replications, requests))
        price_s = rng.normal(0.0, 0.001, replications)
        plain, own = (
            np.stack([histogram.count(row) for row in times])
            for times in (rest_s, rest_s + price_s[:, np.newaxis])
        )
        effects = [
            histogram.quantile(a, 0.9) - histogram.quantile(b, 0.9) for a, b in zip(own, plain, strict=True)
        ]
        truth_s = 0.010 + 50e-6 * stats.norm.ppf(0.9) + rng.normal(0.0, 0.001)
        found, pooled = moved(quantile_interval(plain, 0.9), effects), quantile_interval(own, 0.9)
        covered += found.low <= truth_s <= found.high
        pooled_covered += widened(pooled, effects).low <= truth_s <= widened(pooled, effects).high
    assert band(trials)[0] <= covered <= band(trials)[1]
    assert pooled_covered < band(trials)[0]


def test_an_interval_stays_where_its_quantity_can_be() -> None:
    def tree(runs: list[float]) -> dict[str, Any]:
        row = {"estimate": float(np.mean(runs)), "low": 0.8, "high": 0.95}
        return {"share": row, "times": [row]}

    found = with_prices(tree, [0.1, 1.7] * 10, [0.9] * 20)  # type: ignore[arg-type]  # Any runs will do.
    assert (found["share"]["low"], found["share"]["high"]) == (0.0, 1.0)
    assert found["times"][0]["low"] == 0.0
    assert found["times"][0]["high"] > 1.0


def test_what_has_no_interval_gets_none_and_effects_too_few_take_it_away() -> None:
    without = Estimate(estimate=1.0, reason="why")
    assert widened(without, [0.0] * 20) == without
    assert moved(without, [1.0] * 20) == Estimate(estimate=2.0, reason="why")
    assert moved(Estimate(estimate=None, reason="why"), []).estimate is None
    for change in (widened, moved):
        few = change(Estimate(estimate=1.0, low=0.9, high=1.1), [0.5] * 9)
        assert (few.low, few.high, few.reason) == (None, None, NOT_SEEN)


def test_no_failure_anywhere_keeps_the_bound_by_replications() -> None:
    none = Estimate(estimate=0.0, low=0.0, reason="no failure in 20 replications")
    assert widened(none, [0.0] * 20) == none


@pytest.fixture(scope="module")
def sides() -> tuple[list[synthetic.Replication], list[synthetic.Replication]]:
    """Replications whose pods work for as long as drawn, and the same ones at 5 ms."""
    draws = np.random.default_rng(5).normal(0.005, 0.0005, 12)
    own = [synthetic.replication(k, service_s=float(s), fault=(20, 45)) for k, s in enumerate(draws)]
    return own, synthetic.replications(12, service_s=0.005, fault=(20, 45))


def test_a_summary_widens_every_interval_and_changes_no_count(
    sides: tuple[list[synthetic.Replication], list[synthetic.Replication]],
) -> None:
    own, plain = sides
    wide, narrow = summarise(own, nominal=plain), summarise(own)
    assert wide["requests"] == narrow["requests"]
    assert wide["timeline"] == narrow["timeline"]
    assert wide["latency_s"]["mean"]["estimate"] == narrow["latency_s"]["mean"]["estimate"]
    means = [[float(r.latency_sum_ns.sum()) * 1e-9 / r.succeeded for r in side] for side in sides]
    mean, effects = narrow["latency_s"]["mean"], np.subtract(*means)
    half = math.hypot(mean["high"] - mean["estimate"], t_factor(12) * effects.std(ddof=1))
    assert wide["latency_s"]["mean"]["high"] == pytest.approx(mean["estimate"] + half, rel=1e-6)
    at_values = summarise(plain)["latency_s"]["p90"]
    p90s = [[summarise([r])["latency_s"]["p90"]["estimate"] for r in side] for side in sides]
    moves = np.subtract(*p90s)
    found, half = wide["latency_s"]["p90"], t_factor(12) * moves.std(ddof=1) * math.sqrt(1 + 1 / 12)
    up = math.hypot(at_values["high"] - at_values["estimate"], half)
    assert found["estimate"] == pytest.approx(at_values["estimate"] + moves.mean(), rel=1e-6)
    assert found["high"] - found["estimate"] == pytest.approx(up, rel=1e-6)
    share = wide["phases"]["during"]["failed_ratio"]
    assert share == narrow["phases"]["during"]["failed_ratio"]  # No price has a part in it.


def test_a_comparison_is_of_what_the_prices_do_to_the_difference() -> None:
    """Against itself nothing is left. Against runs that no price moves, their effects on one side are all."""
    draws = np.random.default_rng(6).normal(0.005, 0.0005, 12)
    own, plain = (
        [synthetic.replication(k, service_s=float(s)) for k, s in enumerate(each)]
        for each in (draws, np.full(12, 0.005))
    )
    same = compare(own, own, nominal=(plain, plain))
    assert {
        (row["difference"], row["low"], row["high"]) for row in same if row["metric"] != "failed_ratio"
    } == {(0.0, 0.0, 0.0)}
    rows = {row["metric"]: row for row in compare(plain, own, nominal=(plain, plain))}
    for metric, name in (("latency_mean_s", "mean"), ("latency_p50_s", "p50")):
        each = [[summarise([r])["latency_s"][name]["estimate"] for r in side] for side in (own, plain)]
        effects, row = np.subtract(*each), rows[metric]
        half = t_factor(12) * effects.std(ddof=1) * math.sqrt(1 + 1 / 12)
        assert row["difference"] == pytest.approx(effects.mean(), rel=1e-4)
        assert row["high"] - row["difference"] == pytest.approx(half, rel=1e-4)
        assert row["b"] - row["a"] == pytest.approx(row["difference"])
