"""Variants of a question: what differs, how sure it is, and when nobody can tell."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import synthetic

from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError
from nodeportsim.metrics.certainty import replications_for
from nodeportsim.metrics.compare import compare
from nodeportsim.metrics.histogram import quantile
from nodeportsim.metrics.intervals import Estimate, paired_difference, paired_quantile_difference
from nodeportsim.metrics.observables import NAMES
from nodeportsim.metrics.variants import HIGHER_IS_BETTER, METRICS, Variant, best, differences, sample
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.spec import Run, Scenario, Service
from nodeportsim.study.compare import compare_scenarios

SMALL = Scenario(clients=(Clients(rate_rps=50.0, count=10),), run=Run(duration_s=5.0, replications=12))


def variant(name: str, replications: int = 12, metrics: tuple[str, ...] = METRICS, **what: Any) -> Variant:
    runs = synthetic.replications(replications, duration_s=5, **what)
    return Variant(name=name, own=sample(runs, metrics))


def with_replicas(count: int) -> Scenario:
    return SMALL.model_copy(update={"service": Service(replicas=count)})


def test_a_row_is_the_paired_difference_of_its_metric() -> None:
    slow, fast = variant("slow", service_s=0.010), variant("fast", service_s=0.005)
    rows = {row["metric"]: row for row in differences([slow, fast], slow, METRICS)}
    a, b = (v.own.measured["latency_s.mean"] for v in (slow, fast))
    mean = paired_difference(a, b)
    assert rows["latency_s.mean"]["difference"] == pytest.approx(mean.estimate, rel=1e-8)
    assert rows["latency_s.mean"]["low_ratio"] == pytest.approx(mean.low / a.mean(), rel=1e-8)
    counts = [v.own.histograms["latency_s"] for v in (slow, fast)]
    tail = paired_quantile_difference(*counts, 0.99)
    row = rows["latency_s.p99"]
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((tail.estimate, tail.low, tail.high))
    assert row["before"] == pytest.approx(quantile(counts[0].sum(axis=0), 0.99))


def test_what_pairs_share_cancels_and_the_variance_ratio_says_by_how_much() -> None:
    """Twice the same demands: var a + var 2a = 5 var a, var (2a - a) = var a."""
    slow, fast = variant("slow", service_s=0.010), variant("fast", service_s=0.005)
    rows = {row["metric"]: row for row in differences([fast, slow], fast, METRICS)}
    assert rows["latency_s.mean"]["variance_ratio"] == pytest.approx(5.0, rel=0.05)
    assert rows["latency_s.mean"]["sure"] == "very sure"


def test_with_drawn_prices_a_row_is_that_of_the_comparison_in_python() -> None:
    """Both sides at prices of their own and at the profile's: the interval holds what the prices do."""
    sides = []
    for own_s, plain_s in ((0.010, 0.009), (0.006, 0.005)):
        drawn = [synthetic.replication(n, duration_s=5, service_s=own_s + 1e-4 * n) for n in range(12)]
        sides.append((drawn, synthetic.replications(12, duration_s=5, service_s=plain_s)))
    expected = {
        row["metric"]: row for row in compare(sides[0][0], sides[1][0], nominal=(sides[0][1], sides[1][1]))
    }
    metrics = ("latency_s.p50", "latency_s.mean")
    variants = [
        Variant(name=name, own=sample(own, metrics), nominal=sample(nominal, metrics))
        for name, (own, nominal) in zip("ab", sides, strict=True)
    ]
    names = ("latency_p50_s", "latency_mean_s")
    for row, name in zip(differences(variants, variants[0], metrics), names, strict=True):
        for end in ("difference", "low", "high"):
            assert row[end] == pytest.approx(expected[name][end], rel=1e-8)


def test_the_more_rows_are_asked_for_the_more_replications_are_needed_and_the_less_is_sure() -> None:
    one, other = variant("one"), variant("other", seed=2)
    (alone,) = differences([one, other], one, ("latency_s.mean",))
    among = next(r for r in differences([one, other], one, METRICS) if r["metric"] == "latency_s.mean")
    assert (alone["sure"], among["sure"]) == ("cannot tell", "cannot tell")
    assert among["p_value"] == alone["p_value"] == alone["p_adjusted"] < among["p_adjusted"]
    found = Estimate(estimate=alone["difference"], low=alone["low"], high=alone["high"])
    for row, rows in ((alone, 1), (among, len(METRICS))):
        assert row["replications_needed"] == replications_for(found, 12, rows)


def test_under_ten_replications_nobody_can_tell_and_ten_are_advised() -> None:
    slow, fast = variant("slow", 9, service_s=0.010), variant("fast", 9, service_s=0.005)
    (row,) = differences([slow, fast], slow, ("latency_s.mean",))
    assert (row["low"], row["p_value"], row["sure"]) == (None, None, "cannot tell")
    assert row["reason"] == "9 replications; an interval needs 10"
    assert row["replications_needed"] == 10


def test_a_quantile_beyond_the_sample_is_refused_with_the_number_that_would_carry_it() -> None:
    """Some 1000 requests a replication: ten beyond p99.9 need about eleven replications."""
    few = [variant(name, 4, ("latency_s.p999",), service_s=s) for name, s in (("a", 0.01), ("b", 0.005))]
    (row,) = differences(few, few[0], ("latency_s.p999",))
    assert row["before"] is None
    assert "lie beyond it, 10 are needed" in row["reason"]
    enough = row["replications_needed"]
    many = [variant(v.name, enough, ("latency_s.p999",)) for v in few]
    assert differences(many, many[0], ("latency_s.p999",))[0]["before"] is not None


def test_a_metric_that_some_replications_lack_is_compared_in_the_others() -> None:
    """A replication without a failure has no first second of an outage."""
    pairs = (("a", 1), ("b", 2))
    variants = [variant(n, 20, ("outage.lost",), fault=(1.0, 1.02), nodes=8, seed=s) for n, s in pairs]
    values = [v.own.measured["outage.lost"] for v in variants]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    assert 0 < known.sum() < 20
    (row,) = differences(variants, variants[0], ("outage.lost",))
    assert row["before"] == pytest.approx(values[0][known].mean())


def test_the_best_variant_is_named_with_those_that_may_be_as_good() -> None:
    fast, again, slow = variant("fast"), variant("again", seed=2), variant("slow", service_s=0.05)
    rows = {row["metric"]: row for row in best([slow, fast, again], METRICS)}
    assert set(rows["latency_s.mean"]["survivors"]) == {"fast", "again"}
    assert rows["latency_s.mean"]["best"] in {"fast", "again"}
    assert set(rows["failed_ratio"]["survivors"]) == {"slow", "fast", "again"}
    assert rows["failed_ratio"]["confidence"] is None


def test_more_answers_are_better_and_so_is_more_evenness() -> None:
    few, many = variant("few", rate_rps=100.0), variant("many", rate_rps=200.0)
    (row,) = best([few, many], ("throughput_rps",))
    assert row["survivors"] == ["many"]
    uneven, even = (variant(f"{n}", connections=n, metrics=("balance.pods.jain",)) for n in (10, 1000))
    assert best([uneven, even], ("balance.pods.jain",))[0]["best"] == "1000"
    assert set(HIGHER_IS_BETTER) <= set(NAMES)


@pytest.fixture
def synthetic_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(scenario: Scenario, replication: int = 0, **_: Any) -> synthetic.Replication:
        slower = 0.001 * scenario.service.replicas
        return synthetic.replication(replication, seed=scenario.run.seed, duration_s=5, service_s=slower)

    monkeypatch.setattr(engine, "simulate", simulate)


@pytest.mark.usefixtures("synthetic_engine")
def test_all_scenarios_are_compared_with_the_baseline_named() -> None:
    scenarios = {f"{n}": with_replicas(n) for n in (3, 4, 5)}
    told: list[tuple[int, int]] = []
    found = compare_scenarios(scenarios, baseline="4", progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [row["variant"] for row in found.differences] == ["3"] * len(METRICS) + ["5"] * len(METRICS)
    assert {row["baseline"] for row in found.differences} == {"4"}
    fastest = next(row for row in found.best if row["metric"] == "latency_s.mean")
    assert fastest["survivors"] == ["3"]
    assert found.provenance["variants"].keys() == scenarios.keys()
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("synthetic_engine")
def test_the_tables_of_a_comparison_are_tidy_and_the_figure_draws_rows_with_an_interval() -> None:
    tables = compare_scenarios({f"{n}": with_replicas(n) for n in (3, 4)}).tables
    assert len(tables["differences"]) == len(tables["best"]) == len(METRICS)
    assert set(tables["paired"]["metric"]) == set(METRICS) - {"failed_ratio"}  # Nothing failed.


@pytest.mark.parametrize(
    ("scenarios", "options", "words"),
    [
        ({"a": SMALL}, {}, "one value: nothing to compare"),
        ({"a": SMALL, "b": SMALL.model_copy(update={"name": "other"})}, {}, "a and b ask the same question"),
        (
            {"a": SMALL, "b": SMALL.model_copy(update={"run": Run(seed=2, duration_s=5.0, replications=12)})},
            {},
            "run.seed must be the same",
        ),
        (
            {"a": SMALL, "b": SMALL.model_copy(update={"run": Run(duration_s=5.0, replications=13)})},
            {},
            "run.replications must be the same",
        ),
        ({f"{n}": with_replicas(n) for n in range(1, 52)}, {}, "51 variants"),
        ({"ipvs": SMALL, "nftables": with_replicas(7)}, {"baseline": "ipv"}, "did you mean ipvs"),
        ({"a": SMALL, "b": with_replicas(7)}, {"metrics": ["latency_s.p98"]}, "did you mean latency_s.p9"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_work(
    scenarios: dict[str, Scenario], options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "simulate", None)
    with pytest.raises(InputError, match=words):
        compare_scenarios(scenarios, **options)
