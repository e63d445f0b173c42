"""Whether an interval is narrow enough: what may be asked, and that it is the summary's own interval."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import synthetic

from nodeportsim.errors import InputError
from nodeportsim.metrics import precision
from nodeportsim.metrics.precision import NAMES, interval, looks, parse, reached
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.thresholds import METRICS

RUNS = synthetic.replications(12, duration_s=20, fault=(5.0, 10.0), connections=50)
SUMMARY = summarise(RUNS)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "errors"])
def test_the_interval_looked_at_is_that_of_the_summary(name: str) -> None:
    found = SUMMARY
    for key in METRICS[name].path:
        found = found[key]
    seen = interval(name, RUNS)
    for end in ("estimate", "low", "high"):
        value = getattr(seen, end)
        assert found[end] == (None if value is None else pytest.approx(value, rel=1e-8))


def test_the_failed_share_of_all_requests_has_an_interval_though_the_summary_lists_counts() -> None:
    requests = SUMMARY["requests"]
    seen = interval("errors", RUNS)
    assert seen.estimate == pytest.approx(requests["failed"] / requests["offered"])
    assert seen.low is not None
    assert seen.low < seen.estimate


def test_a_relative_width_is_a_share_of_the_estimate_and_an_absolute_one_is_not() -> None:
    seen = interval("latency.p50", RUNS)
    half = max(seen.high - seen.estimate, seen.estimate - seen.low)
    just, short = (f"{100 * half / seen.estimate * by:.12f}%" for by in (1.001, 0.999))
    wide, narrow = (f"{1e6 * half * by:.9f}us" for by in (1.001, 0.999))
    for width, ok in ((just, True), (short, False), (wide, True), (narrow, False)):
        (row,) = reached(parse({"latency.p50": width}), RUNS)
        assert (row["ok"], row["asked"]) == (ok, width)
        assert row["half_width"] == pytest.approx(half, rel=1e-8)


def test_percent_of_a_share_are_of_the_share() -> None:
    """A failed share of some 4 % within 4 % is within 0.16 %, not within 4 %; its half-width is 0.19 %."""
    aims = parse({"errors": "4%"}) + parse({"errors": "0.04"})
    relative, absolute = reached(aims, RUNS)
    assert 0.04 * relative["estimate"] < relative["half_width"] < 0.04
    assert (relative["ok"], absolute["ok"]) == (False, True)


def test_what_has_no_interval_is_never_precise_enough() -> None:
    quiet = synthetic.replications(12, duration_s=5)
    (row,) = reached(parse({"errors": "0.5"}), quiet)
    assert (row["ok"], row["half_width"]) == (False, None)
    assert "no failure in 12 replications" in row["reason"]


def test_with_drawn_prices_the_width_holds_what_they_add() -> None:
    nominal = synthetic.replications(12, duration_s=20)
    drawn = [synthetic.replication(n, duration_s=20, service_s=0.004 + 0.0002 * n) for n in range(12)]
    for name in ("latency.p50", "latency.mean"):
        alone, both = interval(name, nominal), interval(name, drawn, nominal)
        assert both.high - both.low > 5 * (alone.high - alone.low)


def test_the_looks_follow_from_the_first_and_the_most_alone() -> None:
    assert list(looks(20, 100)) == [20, 30, 45, 68, 100]
    assert list(looks(1, 10)) == [10]
    assert list(looks(3, 12)) == [10, 12]
    assert list(looks(50, 50)) == [50]
    *sizes, most = looks(10, 100_000)
    assert most == 100_000
    assert all(b == math.ceil(a * precision.GROWTH) for a, b in pairwise(sizes))


@pytest.mark.parametrize(
    ("name", "width", "words"),
    [
        ("latency.p98", "2%", "is not a metric"),
        ("latncy.p99", "2%", "did you mean latency.p99"),
        ("requests.failed", "2", "is a total"),
        ("errors.refused", "1%", "is a total"),
        ("latency.p99", "2", "one of the units"),
        ("errors", "1ms", "plain number"),
        ("pods.max_over_mean", "1ms", "must be a number"),
        ("latency.p99", "0%", "above zero"),
        ("latency.p99", "-1ms", "run.precision.latency.p99"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(name: str, width: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse({name: width})
    assert words in str(error.value)
