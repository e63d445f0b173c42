"""Laws of thresholds."""

import math

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.metrics import thresholds
from nodeportsim.metrics.summarise import summarise


@pytest.fixture(scope="module")
def summary() -> dict:
    return summarise(synthetic.replications(10, fault=(20, 45)))


def test_a_row_says_what_was_asked_what_was_found_and_whether_it_holds(summary: dict) -> None:
    p99_s = summary["latency_s"]["p99"]["estimate"]
    assert thresholds.check({"latency.p99": "<50ms", "latency.p50": " <= 1m"}, summary) == [
        {"name": "latency.p99", "limit": "<50ms", "value": p99_s, "ok": False},
        {
            "name": "latency.p50",
            "limit": " <= 1m",
            "value": summary["latency_s"]["p50"]["estimate"],
            "ok": True,
        },
    ]


@pytest.mark.parametrize(
    ("limit", "ok"),
    [("<2", False), ("<=2", True), ("==2", True), (">=2", True), (">2", False), (">1.9", True)],
)
def test_comparisons_mean_what_they_say(limit: str, ok: bool) -> None:
    summary = {"balance": {"pods": {"idle": {"estimate": 2.0}}}}
    assert thresholds.check({"pods.idle": limit}, summary)[0]["ok"] is ok


def test_units_are_read(summary: dict) -> None:
    for limit, bound in (("<50ms", 0.05), ("<1m30s", 90.0), ("<0", 0.0)):
        assert thresholds.parse({"latency.p99": limit})[0].bound == bound
    assert thresholds.parse({"errors": "<0.5%"})[0].bound == 0.005
    failed, offered = summary["requests"]["failed"], summary["requests"]["offered"]
    assert thresholds.check({"errors": "<0.5%"}, summary)[0]["value"] == failed / offered


def test_the_errors_are_the_sum_of_the_errors_by_cause(summary: dict) -> None:
    names = [name for name in thresholds.METRICS if name.startswith("errors.")]
    rows = thresholds.check(dict.fromkeys(["errors", *names], ">=0"), summary)
    assert rows[0]["value"] == pytest.approx(sum(row["value"] for row in rows[1:]))


def test_every_metric_finds_its_value_in_a_full_summary(summary: dict) -> None:
    rows = thresholds.check(dict.fromkeys(thresholds.METRICS, ">=0"), summary)
    missing = {row["name"] for row in rows if row["value"] is None}
    assert missing == set()
    assert all(row["ok"] for row in rows)


def test_what_a_run_cannot_say_holds_no_threshold() -> None:
    """Neither a limit nor its opposite: nothing succeeded, and no phase is called `during`."""
    empty = summarise(synthetic.replications(10, rate_rps=1e-9, duration_s=2))
    for name in ("latency.p99", "errors", "during.errors", "during.latency.p99", "pods.jain"):
        for limit in (">=0", "<=0"):
            assert thresholds.check({name: limit}, empty)[0] == {
                "name": name,
                "limit": limit,
                "value": None,
                "ok": False,
            }


@pytest.mark.parametrize(
    ("name", "limit", "says"),
    [
        ("latency.p9", "<5ms", "did you mean latency.p99?"),
        ("latncy.p50", "<5ms", "did you mean latency.p50?"),
        ("weather", "<5ms", "The metrics are errors, errors.CAUSE"),
        ("latency.p99", "<5", "must be a number with one of the units"),
        ("latency.p99", "50ms", "must be a comparison"),
        ("latency.p99", "=<50ms", "must be a comparison"),
        ("errors", "<0.5", "must be a number with one of the units %"),
        ("pods.jain", ">nan", "must be a number"),
        ("pods.jain", ">0.9x", "must be a number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field_and_what_to_do(
    name: str, limit: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        thresholds.parse({name: limit})
    assert caught.value.field == f"thresholds.{name}"
    assert says in str(caught.value)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_text_leads_to_anything_but_a_threshold_or_an_input_error(name: str, limit: str) -> None:
    for known in (name, "latency.p99", "errors", "pods.idle"):
        try:
            (read,) = thresholds.parse({known: limit})
        except InputError:
            continue
        assert (read.name, read.limit) == (known, limit)
        assert math.isfinite(read.bound)
