"""How the answer must move when the question does: laws between two runs, over random scenarios."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import laws, scenarios

from nodeportsim.engine.codes import BASE, CIRCUIT_OPEN, SUB
from nodeportsim.engine.rules import Rules
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Clients, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Event, Network, Pods, Proxy, Run, Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.engine.records import Config, Node
    from nodeportsim.engine.simulate import Replication

NEVER_S = 1e6  # Far beyond the end of every run here.
OCTAVE = 1 << SUB
CPU_S = 1e-4  # A node works microseconds for a packet; two of them may change places.


def run(scenario: Scenario, **options: Any) -> Replication:
    return simulate(scenario, engine="simpy", trace=50_000, **options)


def differences(one: Replication, other: Replication) -> list[str]:
    """Name the fields in which two replications differ."""
    names = [field.name for field in fields(one)]
    return [name for name in names if not np.array_equal(getattr(one, name), getattr(other, name))]


@pytest.fixture
def free_rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let rules and kernels cost nothing, so that modes differ in their choice alone."""

    def nothing(self: Rules, node: Node, config: Config) -> None:  # noqa: ARG001 - it stands in for another.
        node.packet_s = node.transit_packet_s = config.accept_s = config.accept_packet_s = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(Rules, "program", lambda *_: None)
        patch.setattr(Rules, "established", nothing)
        yield


@given(scenarios(events=0))
@settings(max_examples=20)
def test_a_run_without_events_is_all_before(scenario: Scenario) -> None:
    result = run(scenario)
    assert result.phases[1:].sum() == 0
    assert result.phases[0].tolist() == [result.offered, result.succeeded, result.failed]


@given(scenarios(events=0))
@settings(max_examples=20)
def test_a_fault_after_the_end_changes_nothing(scenario: Scenario) -> None:
    event = Event(at_s=NEVER_S, fault="power-off", node=scenario.cluster.names[0])
    assert differences(run(scenario), run(scenario.model_copy(update={"events": (event,)}))) == []


@given(scenarios())
@settings(max_examples=20)
def test_names_mean_nothing(scenario: Scenario) -> None:
    """Other names for the nodes: the same run, but for the names in the milestones."""
    new = {name: f"worker-{n}" for n, name in enumerate(reversed(scenario.cluster.names))}
    cluster = scenario.cluster.model_copy(
        update={"node_names": tuple(new[n] for n in scenario.cluster.names)}
    )
    places = tuple(p.model_copy(update={"node": p.node and new[p.node]}) for p in scenario.pods.placement)
    events = tuple(e.model_copy(update={"node": e.node and new.get(e.node, e.node)}) for e in scenario.events)
    pods = scenario.pods.model_copy(update={"placement": places})
    renamed = scenario.model_copy(update={"cluster": cluster, "pods": pods, "events": events})
    assert set(differences(run(scenario), run(renamed))) <= {"milestones", "node_names"}


@given(scenarios(), st.sampled_from((0.25, 0.5)))
@settings(max_examples=20)
def test_warm_up_only_leaves_out_what_came_earlier(scenario: Scenario, warmup_s: float) -> None:
    whole, later = run(scenario), run(scenario, warmup_s=warmup_s)
    assume(whole.in_flight == 0)
    kept = whole.trace[whole.trace["born_s"] >= warmup_s]
    assert later.offered == len(kept)
    assert later.succeeded == (kept["cause"] < 0).sum()
    # A trace's attempts are tries: a copy is none of its own, one that a breaker stopped is one.
    stopped = later.attempt_errors[CIRCUIT_OPEN]
    assert later.attempts - later.hedges + stopped == kept["attempts"].sum()
    assert np.array_equal(whole.trace, later.trace)


def one_pod(law: Law, *, workers: int = 1, mode: str = "iptables", scale: float = 1.0) -> Scenario:
    """One pod; all its times are multiples of `scale`."""
    return Scenario(
        cluster=Cluster(
            nodes=1,
            network=Network(client_node_s=0.001 * scale, wake_up_s=0.0),
            proxy=Proxy.model_validate({"mode": mode}),
        ),
        service=Service(replicas=1),
        pods=Pods(workers=workers, service_time=law, backlog=100_000),
        clients=(
            Clients(
                count=3,
                rate_rps=100.0 / scale,
                timeouts=Timeouts(connect_s=0.0, request_s=0.0),
            ),
        ),
        run=Run(duration_s=2.0 * scale, drain_s=1000.0),
    )


@pytest.mark.usefixtures("free_rules")
@pytest.mark.parametrize("mode", ["ipvs", "nftables"])
def test_the_mode_is_irrelevant_where_there_is_no_choice_and_no_price(mode: str) -> None:
    law = Law(mean_s=0.008)
    assert differences(run(one_pod(law)), run(one_pod(law, mode=mode))) == []


@pytest.mark.usefixtures("free_rules")
@pytest.mark.parametrize("dist", ["constant", "exponential", "uniform"])
def test_twice_the_time_is_the_same_run_in_other_units(dist: str) -> None:
    """Exactly: doubling a float changes its exponent alone. Every latency moves up by one octave."""
    law = Law.model_validate({"dist": dist, "mean_s": 0.012})
    slower = law.model_copy(update={"mean_s": 2.0 * law.mean_s})
    one, two = run(one_pod(law)), run(one_pod(slower, scale=2.0))
    for name in ("born_s", "ended_s"):
        assert np.array_equal(2.0 * one.trace[name], two.trace[name])
    assert BASE % OCTAVE == 0
    assert np.array_equal(one.latency[0, :-OCTAVE], two.latency[0, OCTAVE:])


@given(laws((0.008, 0.02)), st.integers(1, 3))
@settings(max_examples=20)
def test_one_more_worker_makes_nobody_wait_longer(law: Law, workers: int) -> None:
    """First come first served: with the same arrivals and demands nobody starts later."""
    few, more = (run(one_pod(law, workers=w)).trace for w in (workers, workers + 1))
    few, more = (np.sort(trace, order=("client", "number")) for trace in (few, more))
    assert len(few) == len(more) > 100
    assert (more["ended_s"] <= few["ended_s"] + CPU_S).all()
