"""A run is its replications: in any order of work, with balanced books, provenance and paired comparison."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import synthetic

from nodeportsim.engine import cache
from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError, NodePortSimError
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Background, Cluster, Event, Pods, Proxy, Run, Scenario, Service
from nodeportsim.study.limits import assert_bounded, expected_bytes, expected_requests
from nodeportsim.study.provenance import provenance, scenario_sha256
from nodeportsim.study.run import (
    INTERPRETED_REQUESTS,
    MEASURES,
    assert_conserved,
    choose_engine,
    compare,
    run,
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
    assert (provenance["seed"], provenance["replications"], provenance["engine"]) == (1, 12, "compiled")
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


def test_with_drawn_prices_twice_the_requests_and_replications_are_expected() -> None:
    certain, drawn = (
        SMALL.model_copy(update={"run": SMALL.run.model_copy(update={"uncertainty": is_drawn})})
        for is_drawn in (False, True)
    )
    assert expected_requests(drawn) == 2 * expected_requests(certain)
    world = 2 * expected_bytes(certain, "simpy") - expected_bytes(drawn, "simpy")
    assert 0 < world < expected_bytes(certain, "simpy")


def slow_start(scenario: Scenario, replication: int = 0, *, warmup_s: float, **_: Any) -> Any:
    """An engine whose first ten seconds are a hundred times slower; it notes what it was asked for."""
    made = synthetic.replication(replication, seed=scenario.run.seed, duration_s=60)
    mean_ns = np.where(np.arange(60) < 10, 600_000, 6000)
    ASKED.append((replication, warmup_s))
    return dataclasses.replace(made, second_latency_ns=made.timeline[:, 1] * mean_ns)


ASKED: list[tuple[int, float]] = []


@pytest.mark.parametrize(
    ("change", "warmup_s", "asked"),
    [
        ({}, 10.0, [(0, 0.0), (0, 10.0), (1, 10.0)]),
        ({"run": Run(replications=2, warmup_s=3.0)}, 3.0, [(0, 3.0), (1, 3.0)]),
        ({"events": (Event(at_s=20.0, fault="cut", node="node-1"),)}, 0.0, [(0, 0.0), (1, 0.0)]),
    ],
)
def test_the_warm_up_is_what_mser_5_finds_in_a_pilot_unless_it_is_declared_or_something_happens(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], warmup_s: float, asked: list[Any]
) -> None:
    ASKED.clear()
    monkeypatch.setattr(engine, "simulate", slow_start)
    outcome = run(Scenario(**{"run": Run(replications=2), **change}))
    assert (outcome.warmup_s, ASKED) == (warmup_s, asked)
    assert outcome.summary["provenance"]["warmup_s"] == warmup_s
    told = [text for text in outcome.summary["provenance"]["assumptions"] if "warm-up" in text]
    assert len(told) == (1 if warmup_s else 0)


def test_a_pilot_that_finds_no_warm_up_is_the_first_replication(monkeypatch: pytest.MonkeyPatch) -> None:
    def unanswered(scenario: Scenario, replication: int = 0, **what: Any) -> Any:
        made = slow_start(scenario, replication, **what)
        made.timeline[3, 1:3] = 0, made.timeline[3, 1]  # Second 3 has no answer at all.
        return made

    ASKED.clear()
    monkeypatch.setattr(engine, "simulate", unanswered)
    monkeypatch.setattr("nodeportsim.study.run.assert_conserved", lambda *_: None)
    assert run(Scenario(run=Run(replications=2))).warmup_s == 0.0
    assert ASKED == [(0, 0.0), (1, 0.0)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"clients": (Clients(rate_rps=1e8),), "run": Run(duration_s=600.0)},
            r"offers some 1.2e\+12 requests: 133 hours of one core",
        ),
        ({"run": Run(duration_s=1e9, replications=1), "clients": (Clients(rate_rps=1.0),)}, "89 GiB"),
        ({"run": Run(replications=100_000), "clients": (Clients(rate_rps=1.0),)}, "98 GiB of memory"),
        (
            {
                "service": Service(session_affinity="ClientIP"),
                "cluster": Cluster(nodes=5000),
                "clients": (Clients(count=1_000_000),),
            },
            "GiB of memory",
        ),
        (
            {
                "service": Service(replicas=150_000),
                "cluster": Cluster(nodes=5000, proxy=Proxy(mode="ipvs", scheduler="lc")),
            },
            "GiB of memory",
        ),
    ],
)
def test_what_takes_a_day_or_all_memory_is_refused_with_the_estimate(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        assert_bounded(Scenario(**change), "compiled")


def test_what_is_too_large_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "simulate", None)
    with pytest.raises(InputError, match="133 hours of one core"):
        run(Scenario(clients=(Clients(rate_rps=1e8),), run=Run(duration_s=600.0)))


def test_a_cluster_as_large_as_kubernetes_allows_is_taken_on() -> None:
    service = Service(replicas=150_000, session_affinity="ClientIP")
    assert_bounded(Scenario(service=service, cluster=Cluster(nodes=5000)), "compiled")


def test_an_event_after_the_end_is_an_assumption_not_a_silence() -> None:
    late = SMALL.model_copy(update={"events": (Event(at_s=5.0, fault="power-off", node="node-2"),)})
    assert "power-off of node-2 at 5 s is left out: the run ends at 5 s" in assumptions(late)
    soon = SMALL.model_copy(update={"events": (Event(at_s=4.9, fault="power-off", node="node-2"),)})
    assert "power-off" not in assumptions(soon)


def assumptions(scenario: Scenario) -> str:
    found = provenance(scenario, load_profile(scenario.cluster.profile), "simpy", 0.0)["assumptions"]
    return "\n".join(found)


def test_what_reading_took_for_granted_is_said_with_the_results() -> None:
    assert "told" in assumptions(SMALL.model_copy(update={"assumptions": ("told",)})).splitlines()


def test_only_a_small_cold_run_is_interpreted_and_a_wish_is_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    replications = INTERPRETED_REQUESTS // 1000
    small = Scenario(clients=(Clients(rate_rps=100.0),), run=Run(duration_s=10.0, replications=replications))
    large = small.model_copy(update={"run": Run(duration_s=10.0, replications=replications + 1)})
    for is_warm, first in ((True, "compiled"), (False, "simpy")):
        monkeypatch.setattr(cache, "is_warm", lambda warm=is_warm: warm)
        assert choose_engine(small, None) == first
        assert choose_engine(large, None) == "compiled"
        assert choose_engine(large, "simpy") == "simpy"
        assert choose_engine(small, "compiled") == "compiled"


def test_a_summary_does_not_tell_what_has_been_compiled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    summaries = []
    for is_warm in (True, False):
        monkeypatch.setattr(cache, "is_warm", lambda warm=is_warm: warm)
        summaries.append(run(SMALL).summary)
    assert summaries[0] == summaries[1]


def test_a_misspelt_threshold_stops_the_run_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "simulate", None)
    with pytest.raises(InputError, match="latency"):
        run(SMALL.model_copy(update={"thresholds": {"latencey.p99": "<1s"}}))


@pytest.mark.usefixtures("synthetic_engine")
def test_a_run_does_not_differ_from_itself() -> None:
    table = compare(run(SMALL), run(SMALL)).set_index("metric")
    assert (table.loc[list(MEASURES), ["difference", "low", "high"]] == 0).all(axis=None)
    assert {"latency_p50_s", "latency_p99_s"} <= set(table.index)
    assert (table["before"] == table["after"]).all()


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


@pytest.mark.parametrize(
    ("replications", "events", "made"), [(1, False, True), (1, True, False), (2, False, False)]
)
def test_one_run_without_events_has_an_interval_by_batch_means(
    monkeypatch: pytest.MonkeyPatch, replications: int, events: bool, made: bool
) -> None:
    """Two runs are replications, too few of them; in one with events nothing stands still."""

    def simulate(scenario: Scenario, replication: int = 0, **_: Any) -> synthetic.Replication:
        return synthetic.replication(replication, seed=scenario.run.seed, duration_s=120)

    monkeypatch.setattr(engine, "simulate", simulate)
    fault = (Event(at_s=60.0, fault="cut", node="node-1"),) if events else ()
    length = Run(duration_s=120.0, replications=replications, warmup_s=0.0)
    summary = run(Scenario(run=length, events=fault)).summary
    mean = summary["latency_s"]["mean"]
    assert (mean.get("method") == "batch means") == made
    assert (mean["low"] is not None) == made
    assert summary["phases"]["before"]["latency_s"]["mean"] == mean
    assert summary["latency_s"]["p50"]["low"] is None


@pytest.mark.usefixtures("synthetic_engine")
def test_only_runs_that_share_their_draws_are_compared() -> None:
    other = SMALL.model_copy(update={"run": Run(duration_s=5.0, replications=11)})
    with pytest.raises(InputError, match="same seed and replications"):
        compare(run(SMALL), run(other))


@pytest.mark.usefixtures("synthetic_engine")
def test_a_result_pastes_back() -> None:
    assert repr(run(SMALL)) == f"simulate({SMALL!r})"


@pytest.mark.parametrize(("services", "said"), [(2001, False), (2002, True), (2000, False)])
def test_syncs_beyond_the_measured_sizes_are_said_to_be_extrapolated(services: int, said: bool) -> None:
    """kernel-6.18 timed kube-proxy with up to 2,001 service ports and 20,001 endpoints."""
    cluster = Cluster(background=Background(services=services, endpoints_per_service=3))
    told = provenance(Scenario(cluster=cluster), load_profile("kernel-6.18"), "simpy", 0.0)
    assert any("extrapolated to" in line for line in told["assumed_prices"]) == said
