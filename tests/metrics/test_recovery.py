"""Laws of what a fault cost: windows, recovery, load, late answers, connections, clients; all by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.metrics import causes
from nodeportsim.metrics.blast import blast, gini, top_ratio
from nodeportsim.metrics.compare import compare
from nodeportsim.metrics.recovery import before_ratio, recovered_ratio, recovery, windows
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.survival import curve, survival
from nodeportsim.metrics.why import why

RATE = 1000  # Requests a second: enough to judge 99.9 %.
FAULT_S, RIGHT_S, LENGTH = 10, 20, 40


def run(failed: dict[int, int] | None = None, number: int = 0, **changes: Any) -> synthetic.Replication:
    """A run of 40 s with a fault at 10 s that the rules know of at 20 s; seconds to losses in `failed`."""
    table = np.zeros((LENGTH, 2 + len(synthetic.CAUSES)), np.int64)
    table[:, 0] = RATE
    for second, lost in (failed or {}).items():
        table[second, 2] = lost
    table[:, 1] = table[:, 0] - table[:, 2:].sum(axis=1)
    load = np.zeros((LENGTH, 4), np.int64)
    load[:, 0], load[:, 1] = table[:, 0], table[:, 1]
    phases = np.array([[table[part, 0].sum(), table[part, 1].sum(), 0] for part in parts()])
    made = replace(
        synthetic.replication(number, duration_s=2),
        timeline=table,
        load=load,
        phases=phases,
        milestones=(
            (10.0, "fault", "node-3 power-off"),
            (14.5, "node not ready", "node-3"),
            (16.0, "rules updated", "node-1"),
            (19.5, "rules updated", "node-2"),
            (19.5, "rules updated everywhere", ""),
        ),
    )
    return replace(made, **changes)


def parts() -> tuple[slice, slice, slice]:
    return slice(0, FAULT_S), slice(FAULT_S, RIGHT_S), slice(RIGHT_S, LENGTH)


def found(*runs: synthetic.Replication) -> dict[str, Any]:
    summary = recovery(runs)
    assert summary is not None
    return summary


def test_without_a_fault_there_is_nothing_to_recover_from() -> None:
    assert recovery(synthetic.replications(2)) is None


def test_the_windows_are_whole_seconds_around_fault_and_last_rule() -> None:
    one = windows(run())
    assert (one.before, one.during, one.after) == parts()
    assert one.since == slice(FAULT_S, LENGTH)


def test_rules_that_are_never_right_leave_no_after_and_none_that_were_wrong_no_during() -> None:
    never = run(milestones=((10.0, "fault", "node-3 cut-nodes"),))
    assert windows(never).during == slice(FAULT_S, LENGTH)
    calm = replace(never, phases=np.array([[10_000, 10_000, 0], [0, 0, 0], [30_000, 30_000, 0]]))
    assert (windows(calm).during, windows(calm).after) == (slice(10, 10), slice(FAULT_S, LENGTH))


def test_detection_is_counted_from_the_fault() -> None:
    noticed = {name: row["estimate"] for name, row in found(run())["detection_s"].items()}
    assert noticed == {"node_not_ready": 4.5, "endpoints_changed": None, "first_rules": 6.0, "all_rules": 9.5}


def test_recovery_is_the_second_after_the_last_one_that_lost_more_than_its_level() -> None:
    """Of 1,000 requests a second 10 lost are 99 %, 11 are not; 1 lost is 99.9 %, 2 are not."""
    back = found(run({10: 500, 15: 11, 16: 10, 25: 2, 30: 1}))["recovery_s"]
    assert back["success_99"]["each"]["estimate"] == 15 + 1 - FAULT_S
    assert back["success_999"]["each"]["estimate"] == 25 + 1 - FAULT_S
    assert (back["success_99"]["recovered"], back["success_99"]["merged"]["estimate"]) == (1, 6)


def test_a_run_that_never_fails_has_recovered_at_once_and_one_that_ends_failing_has_not() -> None:
    assert found(run())["recovery_s"]["success_999"]["each"]["estimate"] == 0
    stuck = found(run({39: 500}))["recovery_s"]["success_99"]
    assert (stuck["recovered"], stuck["each"]["estimate"]) == (0, None)
    assert stuck["each"]["reason"] == "no replication recovered"
    half = found(run({39: 500}), run({12: 500}))["recovery_s"]["success_99"]
    assert (half["recovered"], half["each"]["estimate"]) == (1, 3)


def test_a_level_is_judged_only_by_seconds_with_requests_enough_to_show_it() -> None:
    """100 requests a second can show 99 % and not 99.9 %; ten replications of them together can."""
    few = [replace(run(number=n), timeline=run({12: 10 * RATE // 100}).timeline // 10) for n in range(10)]
    back = found(*few)["recovery_s"]
    assert back["success_99"]["each"]["estimate"] == 3
    assert back["success_999"]["recovered"] is None
    assert back["success_999"]["each"]["reason"] == "100 resolved requests a second; 99.9 % needs 1000"
    assert back["success_999"]["merged"]["estimate"] == 3


def test_losses_belong_to_the_last_fault_before_them() -> None:
    faults = ((10.0, "fault", "a"), (10.5, "fault", "b"), (25.0, "fault", "c"))
    lost = found(run({5: 7, 12: 100, 24: 1, 25: 20}, milestones=faults))["lost"]
    assert [(row["fault"], row["lost"]["estimate"]) for row in lost["by_fault"]] == [("a, b", 101), ("c", 20)]
    assert lost["total"]["estimate"] == 128


def test_amplification_and_goodput_are_counted_where_they_happen() -> None:
    one = run()
    one.load[parts()[1], 0] = 3 * RATE
    one.load[12, 0] = 4 * RATE
    one.load[parts()[1], 1] = RATE // 2
    one.load[13, 1] = RATE // 4
    summary = found(one)
    load, good = summary["amplification"], summary["goodput_rps"]
    assert (load["before"]["estimate"], load["during"]["estimate"], load["after"]["estimate"]) == (1, 3.1, 1)
    assert (load["worst_second_s"], load["worst_ratio"]) == (12, 4)
    assert (good["before"]["estimate"], good["during"]["estimate"], good["after"]["estimate"]) == (
        1000,
        475,
        1000,
    )
    assert (good["least_second_s"], good["least_ratio"]) == (13, 0.25)
    assert load["all"]["estimate"] == one.load[:, 0].sum() / one.timeline[:, 0].sum()


def test_late_answers_are_a_share_of_the_requests_of_that_time() -> None:
    one = run()
    one.load[[21, 26], 3] = 30, 20
    late = found(one)["late"]
    assert late["requests"]["estimate"] == 50
    assert late["of_during_ratio"]["estimate"] == 50 / (RATE * (RIGHT_S - FAULT_S))
    assert late["last_s"]["estimate"] == 26 + 1 - RIGHT_S


def test_closed_loops_that_send_less_are_found_out_and_open_ones_are_not_accused() -> None:
    """At half the rate for 30 s a closed loop withholds 15 s of requests."""
    held = run(groups=(("clients", "closed"),))
    held.timeline[FAULT_S:, :2] //= 2
    assert found(held)["not_sent"]["estimate"] == RATE * (LENGTH - FAULT_S) / 2
    assert found(replace(held, groups=(("clients", "open"),)))["not_sent"] is None


def test_the_sentence_says_what_closed_loops_hide() -> None:
    runs = [replace(r, groups=(("clients", "closed"),)) for r in synthetic.replications(10, fault=(20, 45))]
    for r in runs:
        r.timeline[20:, :] //= 2
    summary = summarise(runs)
    held = summary["recovery"]["not_sent"]["estimate"]
    assert f"{held:,.0f} requests a run were not sent that an open loop would have sent." in why(summary)
    assert "not sent" not in why(summarise(synthetic.replications(10, fault=(20, 45))))


def test_the_share_of_the_last_quarter_is_its_answers_over_its_requests() -> None:
    one = run()
    one.load[30:, 1] = RATE // 5
    assert recovered_ratio(one) == 0.2
    assert before_ratio(one) == 1.0
    one.load[:FAULT_S, 1] = RATE // 2
    assert before_ratio(one) == 0.5


def test_policies_are_paired_by_lost_requests_and_by_extra_load() -> None:
    runs = [replace(run({12: 100 + n}, n), failed=100 + n) for n in range(10)]
    saved = [replace(r, failed=0, attempts=r.attempts + r.offered) for r in runs]
    rows = {row["metric"]: row for row in compare(runs, saved)}
    assert rows["failed_requests"]["difference"] == -104.5
    assert rows["attempts_per_request"]["difference"] == pytest.approx(1.0)


# -- connections -----------------------------------------------------------------------------------


def test_every_connection_that_stood_has_one_fate_and_the_curve_only_falls() -> None:
    fates = np.array([[0, 0, 0], [4, 0, 1], [0, 2, 0], [0, 0, 1]])
    one = run(fates=fates, standing=np.array([10, 2]))
    summary = survival([one])
    assert summary is not None
    assert summary["connections"]["estimate"] == 20
    shares = ("closed_ratio", "torn_ratio", "timed_out_ratio", "usable_ratio", "dead_unnoticed_ratio")
    assert [summary[name]["estimate"] for name in shares] == [0.2, 0.1, 0.1, 0.5, 0.1]
    assert (summary["noticed_half_s"], summary["noticed_last_s"]) == (3, 4)
    table = curve([one])
    assert len(table) == LENGTH - FAULT_S + 1
    assert table[:6, 0].tolist() == [20, 20, 15, 13, 12, 12]
    assert (table.sum(axis=1) == 20).all()


def test_where_no_connection_stood_there_is_no_curve() -> None:
    assert survival([run(fates=np.zeros((0, 3), np.int64), standing=np.zeros(2, np.int64))]) is None


# -- clients ---------------------------------------------------------------------------------------


def clients(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64)


def test_the_blast_radius_is_the_share_of_clients_that_lost_a_request() -> None:
    one = run(clients=clients((0, 0, 80, 800), (0, 5, 20, 200)), node_failed=np.array([0, 0, 100, 0, 0]))
    summary = blast([one])
    assert summary["hit_ratio"]["estimate"] == 0.2
    assert summary["most_failed"]["estimate"] == 5
    assert summary["top_1_percent_ratio"]["estimate"] == pytest.approx(0.01 / 0.2)
    # Four fifths have nothing, one fifth shares all evenly: Lorenz's curve is a straight line from 0.8.
    assert summary["gini"]["estimate"] == pytest.approx(0.8)
    assert [row["node"] for row in summary["nodes"]] == [one.node_names[2]]
    assert summary["groups"] == {}


def test_groups_are_told_apart() -> None:
    rows = clients((0, 0, 10, 100), (1, 2, 5, 50), (1, 0, 5, 50))
    groups = blast([run(clients=rows, groups=(("web", "open"), ("batch", "open")))])["groups"]
    assert (groups["web"]["hit_ratio"]["estimate"], groups["batch"]["hit_ratio"]["estimate"]) == (0.0, 0.5)
    assert groups["batch"]["failed_ratio"]["estimate"] == 10 / 100


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any), st.floats(0.01, 1.0))
def test_unevenness_is_that_of_the_sorted_list(losses: list[int], share: float) -> None:
    """Gini: mean absolute difference over twice the mean; the top share: the head of the sorted list."""
    table = clients(*((k % 2, lost, 1, 10) for k, lost in enumerate(losses)))
    each = np.sort(losses)[::-1]
    differences = np.abs(each[:, np.newaxis] - each).mean()
    assert gini(table) == pytest.approx(differences / (2 * each.mean()))
    room = share * len(each) - np.arange(len(each))
    assert top_ratio(table, share) == pytest.approx((each * np.clip(room, 0, 1)).sum() / each.sum())


# -- words -----------------------------------------------------------------------------------------


def test_every_cause_has_words_and_a_place_and_a_new_one_breaks_nothing() -> None:
    assert set(synthetic.CAUSES) <= set(causes.ORDER)
    places = [causes.cause(name).place for name in causes.ORDER]
    assert len(set(places)) == len(places)
    assert causes.UNKNOWN_PLACE not in places
    assert causes.cause("moon_phase") == ("moon phase", "by moon phase", causes.UNKNOWN_PLACE)
    assert causes.in_order({"moon_phase", "reset", "connect_timeout"}) == [
        "connect_timeout",
        "reset",
        "moon_phase",
    ]
