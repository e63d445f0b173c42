"""How live runs are counted, replayed and judged. No kernel is needed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nodeportsim.calibrate.live import cases
from nodeportsim.calibrate.live.cases import TOO_LATE_S, Overheads, adjusted, calmly, case
from nodeportsim.calibrate.live.compare import Row, compare, pooled, simulate
from nodeportsim.calibrate.live.lab import Answer, view
from nodeportsim.calibrate.live.replay import replay
from nodeportsim.calibrate.live.seen import measures, of_answers, of_replication
from nodeportsim.engine.codes import CAUSES, STAGES
from nodeportsim.engine.simulate import simulate as simulate_one
from nodeportsim.study.wanted import wanted

if TYPE_CHECKING:
    from nodeportsim.scenario.spec import Scenario

ROOT = Path(__file__).parents[2]
MACHINE = Overheads(way_s=2e-4, hop_s=3e-5, turn_s=5e-4)
CUT = {"at_s": 1.5, "fault": "cut", "node": "node-2"}
RULES_S = 1e-4
"""More than the profile's CPU costs of a request."""


def simulated(scenario: Scenario, number: int = 0) -> list[Answer]:
    """What a client would have written down of a simulated run."""
    nominal = dict(zip(*(row.tolist() for row in wanted(scenario, number)), strict=True))
    rows = np.sort(
        simulate_one(adjusted(scenario, MACHINE), number, engine="simpy", trace=10_000).trace, order="born_s"
    )
    return [
        Answer(
            born_s=row["born_s"],
            demand_s=nominal[row["born_s"]],
            cause=None if row["cause"] < 0 else CAUSES[row["cause"]],
            begun_s=row["born_s"],
            connected_s=row["born_s"],
            ended_s=row["ended_s"],
            pod=None if row["cause"] >= 0 else int(row["pod"]),
            work_begun_s=row["born_s"],
            work_ended_s=row["born_s"] + nominal[row["born_s"]],
        )
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("law", ["constant", "exponential"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_replay_gives_every_latency_the_engine_gives(law: str, workers: int) -> None:
    work = {"dist": law, "mean_s": 0.02 * workers}
    scenario = case("replayed", "nftables", rate=140.0, seconds=5.0, law=work, workers=workers)
    answers = simulated(scenario)
    # The engine stretches a demand in proportion, a worker's turn is the same for every request.
    told = [replace(row, demand_s=row.demand_s * (1 + MACHINE.turn_s / work["mean_s"])) for row in answers]
    due_s = replay(scenario, told, replace(MACHINE, turn_s=0.0))
    assert due_s == pytest.approx([row.latency_s for row in answers], abs=RULES_S)


@pytest.mark.parametrize("events", [[], [CUT]])
def test_live_and_simulated_runs_are_counted_alike(events: list[dict[str, object]]) -> None:
    scenario = case("counted", "nftables", rate=70.0, seconds=6.0, events=events, noticed_s=3.0)
    one = simulate_one(adjusted(scenario, MACHINE), engine="simpy", warmup_s=scenario.run.warmup_s)
    told = measures(of_replication(one, STAGES), scenario)
    live = measures(of_answers(simulated(scenario), scenario), scenario)
    shared = [name for name in live if name.startswith(("latency", "failed", "recovered"))]
    assert len(shared) == (6 if events else 3)
    assert [live[name] for name in shared] == pytest.approx([told[name] for name in shared], rel=1e-9)


def test_one_more_replication_holds_and_longer_work_does_not() -> None:
    scenario = case("judged", "nftables", rate=100.0, seconds=8.0)
    answers = simulated(scenario, 999)
    runs = simulate(adjusted(scenario, MACHINE))
    assert all(row.holds is not False for row in compare(scenario, answers, runs, MACHINE))
    slower = replace(MACHINE, turn_s=0.005)
    missed = {row.measure for row in compare(scenario, answers, runs, slower) if row.holds is False}
    assert {"replayed.p50", "replayed.p90", "replayed.p99"} <= missed


@pytest.mark.parametrize(
    ("live", "holds", "within"),
    [(1.0, True, True), (1.2, True, False), (0.71, True, False), (1.31, False, False), (0.69, False, False)],
)
def test_a_number_holds_up_to_its_reach_beyond_what_one_run_scatters(
    live: float, holds: bool, within: bool
) -> None:
    row = Row(case="", measure="", live=live, simulated=1.0, low=0.8, high=1.2, reach=0.1)
    assert (row.holds, row.within_reach) == (holds, within)


def test_a_mean_ratio_is_geometric() -> None:
    rows = [
        Row(case="", measure=f"latency.{name}", live=ratio * 3.0, simulated=3.0, low=3.0, high=3.0)
        for ratio in (0.5, 1.0, 4.0)
        for name in ("p50", "p90", "p99")
    ]
    assert [row.live for row in pooled(rows)] == pytest.approx([2 ** (1 / 3)] * 3)


def test_endpoints_of_a_cut_node_leave_the_rules_and_local_ones_are_told() -> None:
    scenario = case("seen", "nftables", rate=1.0, seconds=2.0)
    (before,), (after,) = view(scenario).ports, view(scenario, machines=(0,)).ports
    assert [e.address for e in before.endpoints] == ["10.20.0.1", "10.20.0.3", "10.22.0.2", "10.22.0.4"]
    assert [e for e in before.endpoints if e.local] == list(after.endpoints)


@pytest.mark.parametrize(("late_s", "plays"), [(0.5 * TOO_LATE_S, 1), (2.0 * TOO_LATE_S, 2)])
def test_a_disturbed_run_is_played_once_more_and_no_oftener(
    monkeypatch: pytest.MonkeyPatch, late_s: float, plays: int
) -> None:
    scenario = case("late", "nftables", rate=50.0, seconds=2.0)
    late = [replace(row, begun_s=row.born_s + late_s) for row in simulated(scenario)]
    played: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(
        cases, "live", lambda _bed, backend, _scenario, _ports: played.append(backend) or late
    )
    assert calmly(None, "nftables", scenario, said.append) is late  # type: ignore[arg-type]
    assert (len(played), len(said)) == (plays, plays - 1)


@pytest.mark.parametrize("backend", ["iptables-legacy", "nftables"])
def test_failures_return_with_their_ports_in_the_seconds_of_the_recorded_run(backend: str) -> None:
    (scenario,) = (s for s in cases.all_cases(backend, 40.0) if s.name == cases.RETURNING)
    result = simulate_one(scenario, 0, engine="simpy", trace=10_000)
    with (ROOT / "results/live/timeline.csv").open() as file:
        live = [row for row in csv.DictReader(file) if row["case"] == f"{cases.RETURNING} {backend}"]
    offered = np.array([int(row["live_offered"]) for row in live])
    failed = np.rint(offered * [float(row["live_failed_ratio"]) for row in live]).astype(int)
    assert offered.tolist() == result.timeline[:, 0].tolist()  # The same arrivals.
    played = result.timeline[:, 2:].sum(axis=1)
    rules_s = 20
    assert np.flatnonzero(failed).max() == np.flatnonzero(played).max() > rules_s
    for ours in (failed, played):
        # A port that failed in the outage fails again, but where its turn came while the rules were changing.
        assert 0 <= ours[: rules_s + 1].sum() - ours[rules_s + 1 :].sum() <= 6
    # Each request in the outage meets a dead pod with chance 1/2: no count rarer than 1 in 1,000.
    at_risk = 2 * played[: rules_s + 1].sum()
    assert abs(failed.sum() - played.sum()) / 2 < 3.3 * np.sqrt(2 * at_risk / 4)


def test_the_recorded_run_is_judged_by_the_rule_and_its_misses_are_told() -> None:
    text = (ROOT / "results" / "live" / "comparison.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    page = (ROOT / "docs" / "live.md").read_text()
    assert len({row["case"] for row in rows}) > 18
    for row in rows:
        numbers = {key: float(row[key]) for key in ("live", "simulated", "low", "high")}
        reach = float(row["reach"]) if row["reach"] else None
        judged = Row(case=row["case"], measure=row["measure"], reach=reach, **numbers)
        told = [
            str(verdict) if verdict is not None else "" for verdict in (judged.within_reach, judged.holds)
        ]
        assert [row["within_reach"], row["holds"]] == told
        assert row["holds"] != "False" or f"| {row['case']} | {row['measure']} |" in page
