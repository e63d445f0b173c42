"""What a failure leaves behind, counted by the engine, against what must come out by hand."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from strategies import scenarios

from nodeportsim.engine.codes import AS_USUAL, SUCCEEDED, TIMED_OUT, TORN
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Event, Placement, Pods, Run, Scenario, Service

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIENTS = 100
HOME = (Placement(name="web-0", node="node-1"),)  # The one pod.


def run(event: Event, *, duration_s: float = 30.0, **clients: Any) -> Replication:
    """A hundred clients with a request a second each, in turn, over kept connections; work takes 1 ms."""
    kept = Connections(reuse="lifo")
    given = {"connections": kept, "entry": Entry(policy="pinned"), "arrivals": "fixed", **clients}
    scenario = Scenario(
        cluster=Cluster(nodes=5),
        service=Service(replicas=1),
        pods=Pods(workers=10, service_time=Law(dist="constant", mean_s=0.001), placement=HOME),
        clients=(Clients(count=CLIENTS, rate_rps=float(CLIENTS), **given),),
        events=(event,),
        run=Run(duration_s=duration_s),
    )
    return simulate(scenario, engine="simpy")


def totals(result: Replication) -> list[int]:
    return result.fates.sum(axis=0).tolist()


def ends(result: Replication, fate: int) -> dict[int, int]:
    """How many ended so, by second since the fault."""
    column: NDArray[np.int64] = result.fates[:, fate]
    return {int(second): int(column[second]) for second in np.flatnonzero(column)}


HARMLESS = Event(at_s=12.0, fault="proxy-stop", node="node-2")


def test_connections_of_one_lifetime_all_end_at_that_age() -> None:
    """Client k opens at k/100 s and finds its connection too old (9.5 s) at 10 s and at 20 s and k/100."""
    result = run(HARMLESS, connections=Connections(reuse="lifo", max_age_s=9.5))

    assert ends(result, AS_USUAL) == {20 - 12: CLIENTS}
    assert totals(result) == [CLIENTS, 0, 0]
    assert result.standing.tolist() == [0, 0]


def test_connections_that_nothing_ends_stand_to_the_end() -> None:
    result = run(HARMLESS)

    assert totals(result) == [0, 0, 0]
    assert result.standing.tolist() == [CLIENTS, 0]


def test_the_death_of_a_container_is_told_and_known_at_the_next_use() -> None:
    """Every client uses its connection once within a second."""
    result = run(Event(at_s=12.0, fault="pod-crash", pod="web-0"))

    assert ends(result, TORN) == {0: CLIENTS}


def test_the_death_of_a_node_is_silent_and_known_when_a_request_times_out() -> None:
    """A fifth of the clients entered by node-3; each asks within a second and gives up 3 s later."""
    result = run(Event(at_s=12.0, fault="power-off", node="node-3"), timeouts=Timeouts(request_s=3.0))

    assert ends(result, TIMED_OUT) == {3: CLIENTS // 5}
    assert totals(result) == [0, 0, CLIENTS // 5]
    assert result.standing.tolist() == [CLIENTS - CLIENTS // 5, 0]


def test_a_connection_that_nobody_uses_is_dead_without_its_client_s_knowledge() -> None:
    """No request comes after 13 s, so no client finds out."""
    instants = tuple(k / 100 for k in range(CLIENTS))
    result = run(
        Event(at_s=12.0, fault="power-off", node="node-3"),
        arrivals="trace",
        trace_s=instants,
        connections=Connections(reuse="lifo", idle_timeout_s=0.0),
    )

    assert totals(result) == [0, 0, 0]
    assert result.standing.tolist() == [CLIENTS - CLIENTS // 5, CLIENTS // 5]


def test_an_idle_connection_is_closed_at_its_limit_though_nobody_looks() -> None:
    """Used last before 1 s, idle for 15 s: closed between 15 s and 16 s, three seconds after the fault."""
    instants = tuple(k / 100 for k in range(CLIENTS))
    idle = Connections(reuse="lifo", idle_timeout_s=15.0)
    result = run(HARMLESS, arrivals="trace", trace_s=instants, connections=idle)

    assert sum(ends(result, AS_USUAL).values()) == CLIENTS
    assert set(ends(result, AS_USUAL)) <= {3, 4}


def test_of_pinned_clients_exactly_those_of_the_dead_node_are_hit() -> None:
    result = run(Event(at_s=12.0, fault="power-off", node="node-3"), connections=Connections())
    hit = result.clients[result.clients[:, 1] > 0]

    assert hit[:, 2].sum() == CLIENTS // 5
    assert result.node_failed.tolist() == [0, 0, result.failed, 0, 0]
    assert result.failed == (30 - 12) * CLIENTS // 5


def test_three_attempts_that_fail_with_probability_p_are_1_plus_p_plus_p_squared() -> None:
    """Every attempt meets one of ten endpoints at random; the two on the dead node never answer."""
    scenario = Scenario(
        cluster=Cluster(nodes=5),
        service=Service(replicas=10),
        clients=(
            Clients(
                rate_rps=200.0,
                entry=Entry(policy="first"),
                timeouts=Timeouts(connect_s=0.5),
                retry=Retry(attempts=3, node="same"),
            ),
        ),
        events=(Event(at_s=0.0, fault="power-off", node="node-3"),),
        run=Run(duration_s=25.0),  # Nothing is noticed before 40 s.
    )
    result = simulate(scenario, engine="simpy")
    p = 2 / 10
    mean, square = 1 + p + p * p, 1 * (1 - p) + 4 * p * (1 - p) + 9 * p * p
    error = sqrt((square - mean * mean) / result.offered)

    assert abs(result.attempts / result.offered - mean) < 4 * error  # Two-sided 6e-5.
    assert result.load[:, 0].sum() == result.attempts


def test_attempts_and_answers_stand_in_the_second_in_which_they_happen() -> None:
    """The node dies at 12 s; what its clients want is tried at once, again 3 s later, and never answered."""
    result = run(
        Event(at_s=12.0, fault="power-off", node="node-3"),
        connections=Connections(),
        timeouts=Timeouts(connect_s=3.0),
        retry=Retry(attempts=2, node="same", backoff=Backoff(initial_s=0.0)),
    )

    assert result.load[:12, 0].tolist() == [CLIENTS] * 12
    assert result.load[12:15, 0].tolist() == [CLIENTS] * 3
    assert result.load[15:30, 0].tolist() == [CLIENTS + CLIENTS // 5] * 15
    assert result.load[12:30, 1].tolist() == [CLIENTS - CLIENTS // 5] * 18


@given(scenarios())
@settings(max_examples=40)
def test_seconds_clients_and_nodes_add_up_to_the_totals(scenario: Scenario) -> None:
    result = simulate(scenario, 5, engine="simpy")

    assert result.load[:, :3].sum(axis=0).tolist() == [result.attempts, result.succeeded, result.orphans]
    assert (result.clients[:, 1] * result.clients[:, 2]).sum() == result.failed
    assert result.clients[:, 3].sum() == result.offered
    assert result.node_failed.sum() <= result.failed
    assert result.load[:, 3].sum() <= result.succeeded
    assert (result.fates >= 0).all()
    if not scenario.events:
        assert totals(result) == [0, 0, 0]
        assert result.standing.tolist() == [0, 0]


def test_late_answers_are_those_of_retries_that_outlast_the_wrong_rules() -> None:
    """A connect to a dead endpoint gives up after 3 s; the next attempt is made by rules that are right."""
    scenario = Scenario(
        cluster=Cluster(nodes=5),
        service=Service(replicas=10),
        clients=(
            Clients(
                rate_rps=60.0,
                entry=Entry(policy="first"),
                timeouts=Timeouts(connect_s=3.0),
                retry=Retry(attempts=3),
            ),
        ),
        events=(Event(at_s=2.0, fault="power-off", node="node-3"),),
        run=Run(duration_s=65.0),
    )
    result = simulate(scenario, engine="simpy", trace=10_000)
    right_s = max(t for t, name, _ in result.milestones if name == "rules updated everywhere")
    rows = result.trace[(result.trace["cause"] == SUCCEEDED) & (result.trace["born_s"] < right_s)]
    late = rows[(rows["ended_s"] >= right_s) & (rows["attempts"] > 1)]

    assert len(late) > 10
    assert result.load[:, 3].sum() == len(late)
    assert np.flatnonzero(result.load[:, 3]).tolist() == sorted({int(t) for t in late["ended_s"]})
