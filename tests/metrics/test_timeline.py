"""Laws of timelines, outages, milestones and warm-up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nodeportsim.metrics import timeline

tables = arrays.arrays(np.int64, st.tuples(st.integers(1, 30), st.just(4)), elements=st.integers(0, 50))


def table(succeeded: list[int], failed: list[int]) -> np.ndarray:
    """A timeline with one cause."""
    return np.array([[s + f, s, f] for s, f in zip(succeeded, failed, strict=True)])


@given(st.lists(tables, min_size=1, max_size=5))
def test_merging_keeps_every_count_in_its_second(parts: list[np.ndarray]) -> None:
    merged = timeline.merge(parts)
    assert len(merged) == max(map(len, parts))
    for second, row in enumerate(merged):
        assert np.array_equal(row, sum(part[second] for part in parts if second < len(part)))


def test_an_outage_runs_from_the_first_to_the_last_failing_second() -> None:
    found = timeline.outage(table([100, 60, 80, 100, 99, 100], [0, 40, 20, 0, 1, 0]))
    assert found == timeline.Outage(
        first_s=1,
        last_s=4,
        seconds=3,
        lost=61,
        worst_s=1,
        worst_ratio=0.4,
        recovered_99_s=3,
        recovered_999_s=5,
    )


def test_the_worst_second_lost_the_largest_share_not_the_most() -> None:
    found = timeline.outage(table([90, 0, 5], [10, 1, 5]))
    assert (found.worst_s, found.worst_ratio) == (1, 1.0)


def test_recovery_is_success_of_99_percent_or_99_point_9_percent_exactly() -> None:
    found = timeline.outage(table([989, 990, 9490, 999], [11, 10, 10, 1]))
    assert (found.recovered_99_s, found.recovered_999_s) == (1, 3)


def test_what_never_recovers_has_no_recovery() -> None:
    found = timeline.outage(table([10, 0], [0, 10]))
    assert (found.recovered_99_s, found.recovered_999_s) == (None, None)


def test_without_failures_there_is_no_outage() -> None:
    assert timeline.outage(table([10, 10], [0, 0])) is None
    assert timeline.outage_summary([table([1], [0])] * 3) is None


@given(tables)
def test_after_recovery_every_second_succeeds_to_99_percent_and_the_one_before_does_not(
    part: np.ndarray,
) -> None:
    found = timeline.outage(part)
    if found is None or found.recovered_99_s is None:
        return
    failed = part[:, timeline.CAUSES :].sum(axis=1)
    bad = failed > 0.01 * (failed + part[:, timeline.SUCCEEDED])
    assert not bad[found.recovered_99_s :].any()
    assert found.recovered_99_s == 0 or bad[found.recovered_99_s - 1]


def test_an_outage_summary_averages_over_the_replications_that_saw_one() -> None:
    early, late, never = table([0, 9, 9], [9, 0, 0]), table([9, 9, 6], [0, 0, 3]), table([9, 9, 9], [0, 0, 0])
    summary = timeline.outage_summary([early, late, never])
    assert summary["replications"] == 2
    assert (summary["first_s"]["estimate"], summary["last_s"]["estimate"]) == (1.0, 1.0)
    assert summary["lost"]["estimate"] == 6.0
    assert summary["recovered_99_s"]["estimate"] == 1.0  # Only the first one recovered.
    assert (summary["worst_second_s"], summary["worst_failed_ratio"]) == (0, 9 / 27)


def test_milestones_have_a_first_and_a_last_instant_averaged_over_replications() -> None:
    runs = [[(8.0 + r, "synced", "b"), (6.0 + r, "synced", "a"), (5.0, "fault", "c off")] for r in range(10)]
    runs.append([])
    summary = timeline.milestone_summary(runs)
    assert list(summary) == ["fault", "synced"]
    synced = summary["synced"]
    assert (synced["first_s"]["estimate"], synced["last_s"]["estimate"]) == (10.5, 12.5)
    assert synced["first_s"]["low"] < 10.5 < synced["first_s"]["high"]
    assert (synced["replications"], synced["subjects"]) == (10, ["a", "b"])


def test_a_milestone_lists_at_most_ten_subjects() -> None:
    run = [(1.0, "synced", f"node-{n:02}") for n in range(50)]
    assert timeline.milestone_summary([run])["synced"]["subjects"] == [f"node-{n:02}" for n in range(10)]


def mser5_by_definition(series: np.ndarray) -> int | None:
    """White 1997, term by term."""
    batches = [series[k : k + 5].mean() for k in range(0, len(series) - 4, 5)]
    scores = [
        np.sum((batches[d:] - np.mean(batches[d:])) ** 2) / (len(batches) - d) ** 2
        for d in range(len(batches) - 1)
    ]
    best = int(np.argmin(scores))
    return 5 * best if best <= len(batches) // 2 else None


@given(st.integers(0, 2**32), st.integers(10, 120), st.floats(0, 20))
def test_mser5_is_its_definition(seed: int, length: int, start: float) -> None:
    noise = np.random.default_rng(seed).normal(size=length)
    series = 5 + noise + start * np.exp(-np.arange(length) / 10)
    assert timeline.mser5(series) == mser5_by_definition(series)


def test_mser5_cuts_a_transient_and_keeps_a_steady_series() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 500)
    step = np.where(np.arange(500) < 50, 3.0, 0.0)
    assert timeline.mser5(noise + step) == pytest.approx(50, abs=5)
    assert timeline.mser5(noise) <= 100


def test_mser5_refuses_a_series_that_never_settles_or_is_too_short() -> None:
    assert timeline.mser5(np.arange(100.0) ** 2) is None
    assert timeline.mser5(np.ones(9)) is None
