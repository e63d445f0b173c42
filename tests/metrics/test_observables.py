"""What one replication says: the summary's names, the summary's numbers, and NaN where it says nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import synthetic

from nodeportsim.errors import InputError
from nodeportsim.metrics.compare import TOTALS
from nodeportsim.metrics.observables import NAMES, chosen, observe
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.thresholds import METRICS
from nodeportsim.study.findings import PER_RUN, flattened

FAULT = (20.0, 30.0)


def test_every_replication_has_every_measure_in_the_same_order() -> None:
    runs = [
        synthetic.replication(0),
        synthetic.replication(1, fault=FAULT),
        synthetic.replication(rate_rps=0.0),
    ]
    for run in runs:
        assert tuple(observe(run)) == NAMES


def test_a_name_of_the_summary_means_the_same_number() -> None:
    run = synthetic.replication(3, fault=FAULT)
    summary = {row["metric"]: row["estimate"] for row in flattened(summarise([run]))}
    row = observe(run)
    shared = [name for name in NAMES if name in summary]
    assert len(shared) > 50  # Else the names have parted.
    for name in shared:
        expected = math.nan if summary[name] is None else summary[name]
        np.testing.assert_allclose(row[name], expected, rtol=1e-8, err_msg=name)


def test_it_agrees_with_what_comparisons_and_experiments_measure() -> None:
    run = synthetic.replication(3, fault=FAULT)
    row = observe(run)
    for name, measure in TOTALS.items():
        assert row["latency_s.mean" if name == "latency_mean_s" else name] == measure(run)
    for name in ("before_ratio", "rules_s", "conntrack_peak"):
        assert math.isclose(row[name], PER_RUN[name](run, None), abs_tol=1e-12)  # type: ignore[arg-type, call-arg]


def test_what_a_threshold_may_limit_can_be_measured() -> None:
    """Names of thresholds are paths of the summary; counts of causes and phases included."""
    paths = {".".join(metric.path) for metric in METRICS.values()}
    assert paths <= set(NAMES)


def test_the_throughput_is_what_succeeded_over_the_time_that_counts() -> None:
    run = synthetic.replication(duration_s=50)
    assert observe(run)["throughput_rps"] == run.succeeded / 50
    assert observe(run, counted_s=40.5)["throughput_rps"] == run.succeeded / 40.5


def test_a_sample_that_cannot_carry_a_quantile_has_none() -> None:
    few = observe(synthetic.replication(rate_rps=2.0, duration_s=60))  # 120 requests: one beyond p99.
    assert math.isnan(few["latency_s.p99"])
    assert few["latency_s.p50"] > 0


def test_nothing_offered_is_nan_and_not_zero() -> None:
    row = observe(synthetic.replication(rate_rps=0.0))
    assert row["requests.offered"] == 0
    for name in ("latency_s.mean", "phases.during.failed_ratio", "balance.pods.max_over_mean", "rules_s"):
        assert math.isnan(row[name])


def test_metrics_are_chosen_by_name_or_by_what_stands_before_a_dot() -> None:
    assert chosen(["latency_s.p99"]) == ("latency_s.p99",)
    assert chosen(["balance.pods", "failed_ratio"])[0] == "failed_ratio"  # In the order of the tables.
    assert all(name.startswith("latency_s.") for name in chosen(["latency_s"]))
    assert chosen([]) == NAMES


@pytest.mark.parametrize(
    ("metric", "hint"), [("latency_s.p98", "did you mean latency_s.p9"), ("zzz", "metrics begin with failed")]
)
def test_an_unknown_metric_is_refused_with_what_may_have_been_meant(metric: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        chosen([metric])
