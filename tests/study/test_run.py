"""A run is its replications: in any order of work, with balanced books, provenance and paired comparison."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import synthetic

from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError, NodePortSimError
from nodeportsim.scenario.spec import Clients, Law, Pods, Run, Scenario
from nodeportsim.study.run import (
    INTERPRETED_REQUESTS,
    assert_conserved,
    choose_engine,
    compare,
    expected_requests,
    run,
    scenario_sha256,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Scenario(clients=(Clients(rate_rps=50.0, count=10),), run=Run(duration_s=5.0, replications=12))


def made_up(**what: Any) -> Callable[..., synthetic.Replication]:
    """An engine that makes replications up, without work."""

    def simulate(scenario: Scenario, replication: int = 0, **_: Any) -> synthetic.Replication:
        return synthetic.replication(replication, seed=scenario.run.seed, duration_s=5, **what)

    return simulate


@pytest.fixture
def synthetic_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "simulate", made_up())


def test_the_summary_is_the_same_bytes_for_any_number_of_processes() -> None:
    one, two = (run(SMALL, engine="simpy", jobs=jobs) for jobs in (1, 2))
    assert json.dumps(one.summary) == json.dumps(two.summary)
    assert [r.number for r in two.replications] == list(range(12))


def test_another_seed_is_another_run() -> None:
    other = SMALL.model_copy(update={"run": Run(duration_s=5.0, replications=12, seed=2)})
    assert run(SMALL, engine="simpy").summary["latency_s"] != run(other, engine="simpy").summary["latency_s"]


@pytest.mark.usefixtures("synthetic_engine")
def test_progress_counts_every_replication_once() -> None:
    told: list[tuple[int, int]] = []
    run(SMALL, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]


@pytest.mark.usefixtures("synthetic_engine")
def test_provenance_names_what_made_the_numbers_and_no_machine() -> None:
    provenance = run(SMALL).summary["provenance"]
    assert provenance["scenario_sha256"] == scenario_sha256(SMALL)
    assert (provenance["seed"], provenance["replications"], provenance["engine"]) == (1, 12, "simpy")
    assert {"numpy", "simpy"} <= provenance["libraries"].keys()
    assert provenance["assumptions"]
    assert "/" not in json.dumps(provenance["libraries"])


def test_the_hash_is_of_the_meaning_not_of_the_spelling() -> None:
    spelled_out = Scenario(clients=(Clients(rate_rps=50, count=10, name="clients"),), run=SMALL.run)
    assert scenario_sha256(spelled_out) == scenario_sha256(SMALL)
    assert scenario_sha256(Scenario(name="other")) != scenario_sha256(Scenario())


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("offered", lambda r: r.offered + 1),
        ("succeeded", lambda r: r.succeeded - 1),
        ("failed", lambda r: r.failed + 1),
        ("in_flight", lambda r: r.in_flight + 1),
        ("errors", lambda r: np.roll(r.errors, 1)),
        ("latency", lambda r: r.latency * 2),
        ("timeline", lambda r: r.timeline[1:]),
        ("phases", lambda r: r.phases + 1),
        ("stage_sum_ns", lambda r: r.stage_sum_ns + 1),
    ],
)
def test_unbalanced_books_stop_the_run(field: str, change: Callable[[Any], Any]) -> None:
    fair = synthetic.replication(3, fault=(20.0, 40.0))
    assert_conserved(fair, SMALL)
    with pytest.raises(NodePortSimError, match=r"do not balance.*replication 3, seed 1") as error:
        assert_conserved(dataclasses.replace(fair, **{field: change(fair)}), SMALL)
    assert error.value.exit_code == 3


def test_expected_requests_follow_the_declared_load() -> None:
    length = Run(duration_s=10.0, replications=3)
    open_loop = Clients(rate_rps=200.0)
    trace = Clients(arrivals="trace", trace_s=(0.0, 1.0))
    closed = Clients(loop="closed", count=10, think_time=Law(mean_s=1.0))
    pods = Pods(service_time=Law(mean_s=0.0))
    assert expected_requests(Scenario(clients=(open_loop, trace), run=length)) == 3 * (200 * 10 + 2)
    assert expected_requests(Scenario(clients=(closed,), pods=pods, run=length)) == pytest.approx(
        300, rel=1e-3
    )


def test_small_runs_are_interpreted_large_ones_compiled_and_a_wish_is_an_order() -> None:
    replications = INTERPRETED_REQUESTS // 1000
    small = Scenario(clients=(Clients(rate_rps=100.0),), run=Run(duration_s=10.0, replications=replications))
    large = small.model_copy(update={"run": Run(duration_s=10.0, replications=replications + 1)})
    assert choose_engine(small, None) == "simpy"
    assert choose_engine(large, None) == "compiled"
    assert choose_engine(large, "simpy") == "simpy"


def test_a_misspelt_threshold_stops_the_run_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "simulate", None)
    with pytest.raises(InputError, match="latency"):
        run(SMALL.model_copy(update={"thresholds": {"latencey.p99": "<1s"}}))


@pytest.mark.usefixtures("synthetic_engine")
def test_a_run_does_not_differ_from_itself() -> None:
    table = compare(run(SMALL), run(SMALL))
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)


def test_a_paired_difference_is_far_narrower_than_its_terms() -> None:
    # Both variants draw the same demands, one twice the other, at a load where nothing waits: the mean
    # difference is 5 ms whatever arrives, and only the demands' own mean leaves an error.
    fast, slow = (
        run(
            SMALL.model_copy(update={"pods": Pods(workers=100, service_time=Law(mean_s=mean_s))}),
            engine="simpy",
        )
        for mean_s in (0.005, 0.010)
    )
    row = compare(fast, slow).set_index("metric").loc["latency_mean_s"]
    assert row["low"] <= 0.005 <= row["high"]
    mean = slow.summary["latency_s"]["mean"]
    assert row["high"] - row["low"] < 0.6 * (mean["high"] - mean["low"])


@pytest.mark.usefixtures("synthetic_engine")
def test_only_runs_that_share_their_draws_are_compared() -> None:
    other = SMALL.model_copy(update={"run": Run(duration_s=5.0, replications=11)})
    with pytest.raises(InputError, match="same seed and replications"):
        compare(run(SMALL), run(other))


@pytest.mark.usefixtures("synthetic_engine")
def test_a_result_pastes_back() -> None:
    assert repr(run(SMALL)) == f"simulate({SMALL!r})"
