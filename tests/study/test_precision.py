"""A run that goes on until its intervals are narrow enough."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import synthetic

from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.spec import Run, Scenario
from nodeportsim.study.limits import expected_requests
from nodeportsim.study.precision import Watch
from nodeportsim.study.run import run

SMALL = Clients(rate_rps=50.0, count=10)


def scenario(**what: Any) -> Scenario:
    return Scenario(
        clients=(SMALL,), run=Run(**{"duration_s": 5.0, "replications": 10, "warmup_s": 0.0} | what)
    )


def looked(summary: dict[str, Any]) -> list[int]:
    return list(summary["precision"]["looks"])


def test_a_run_that_went_on_has_the_numbers_of_one_that_was_told_to() -> None:
    went_on = run(scenario(precision={"latency.mean": "4%"}), engine="simpy")
    made = len(went_on.replications)
    assert made > 10
    told = run(scenario(replications=made), engine="simpy")
    parts = [{**outcome.summary} for outcome in (went_on, told)]
    for part in parts:
        part.pop("precision", None)
        part["provenance"] = part["provenance"] | {"scenario_sha256": "-"}
    assert json.dumps(parts[0]) == json.dumps(parts[1])


def test_a_precision_run_is_the_same_bytes_for_any_number_of_processes() -> None:
    asked = scenario(precision={"latency.mean": "5%"})
    one, two = (run(asked, engine="simpy", jobs=jobs).summary for jobs in (1, 2))
    assert json.dumps(one) == json.dumps(two)


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose mean latency differs by a tenth from replication to replication."""

    def simulate(scenario: Scenario, replication: int = 0, **_: Any) -> synthetic.Replication:
        slower = 0.005 * np.random.default_rng([1, replication]).lognormal(0, 0.1)
        return synthetic.replication(replication, seed=scenario.run.seed, duration_s=5, service_s=slower)

    monkeypatch.setattr(engine, "simulate", simulate)


@pytest.mark.usefixtures("noisy")
def test_it_stops_where_the_width_holds_at_two_looks_in_succession() -> None:
    summary = run(scenario(precision={"latency.mean": "4%"})).summary
    before = run(scenario(replications=looked(summary)[-2])).summary
    mean = before["latency_s"]["mean"]
    assert (mean["high"] - mean["low"]) / 2 <= 0.04 * mean["estimate"]
    assert summary["precision"]["ok"]
    assert looked(summary) == [10, 15, 23, 35, 53, 80][: len(looked(summary))]
    one_earlier = run(scenario(replications=looked(summary)[-3])).summary["latency_s"]["mean"]
    assert (one_earlier["high"] - one_earlier["low"]) / 2 > 0.04 * one_earlier["estimate"]


@pytest.mark.usefixtures("noisy")
def test_all_widths_have_to_hold() -> None:
    coarse, both = (
        run(scenario(precision=asked)).summary["precision"]["replications"]
        for asked in ({"latency.mean": "10%"}, {"latency.mean": "10%", "latency.p50": "2.5%"})
    )
    assert coarse < both


@pytest.mark.usefixtures("noisy")
def test_a_precision_out_of_reach_is_said_after_the_last_look() -> None:
    found = run(scenario(precision={"latency.mean": "0.1%"}, max_replications=25)).summary
    assert not found["precision"]["ok"]
    assert looked(found) == [10, 15, 23, 25]
    assert found["precision"]["metrics"][0]["half_width"] > 0.001 * found["latency_s"]["mean"]["estimate"]
    assert (found["requests"]["replications"], found["provenance"]["replications"]) == (25, 25)


@pytest.mark.usefixtures("noisy")
def test_a_run_that_asks_for_nothing_says_nothing_of_precision() -> None:
    assert "precision" not in run(scenario()).summary


@pytest.mark.usefixtures("noisy")
def test_progress_counts_further_replications_too() -> None:
    told: list[tuple[int, int]] = []
    run(scenario(precision={"latency.mean": "4%"}), progress=lambda *done: told.append(done))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][0] == told[-1][1] > 10


def test_fewer_than_ten_or_than_were_asked_for_are_no_maximum() -> None:
    for what in ({"max_replications": 9, "replications": 5}, {"max_replications": 20, "replications": 21}):
        with pytest.raises(
            InputError, match=r"run.maxReplications must be at least run.replications, and 10"
        ):
            Watch(scenario(precision={"latency.mean": "4%"}, **what).run)


def test_what_a_run_may_take_is_bounded_by_the_most_replications() -> None:
    plain, open_ended = scenario(), scenario(precision={"latency.mean": "4%"}, max_replications=500)
    assert expected_requests(open_ended) == 50 * expected_requests(plain)
