"""Copies of an attempt that race: hedged requests, happy eyeballs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from closed_forms import STILL
from scipy import stats

from nodeportsim.engine.codes import CAUSES, COPIES, STAGES, SUCCEEDED
from nodeportsim.engine.draws import ARRIVAL, CONSTANT, EXPONENTIAL, HEDGE, draw_law, uniform2
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Hedge, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import (
    Cluster,
    Event,
    Network,
    Placement,
    Pods,
    Run,
    Scenario,
    Service,
)

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Replication

LEVEL = 0.001  # A law that holds is refused for one seed in a thousand.
REQUESTS = 1000
MEAN_S, DELAY_S = 0.1, 0.137  # No multiple of the gap between arrivals: nobody queues at the node.
LAWS = {"constant": CONSTANT, "exponential": EXPONENTIAL}
OFF = Hedge()


def idle(hedge: Hedge, dist: Any = "exponential", **fields: Any) -> Scenario:
    """One client, one request at a time on its own connection, servers that are never busy."""
    return Scenario(
        cluster=Cluster(nodes=1, cores=256, network=STILL),
        service=Service(replicas=1),
        pods=Pods(workers=1000, service_time=Law(dist=dist, mean_s=MEAN_S)),
        clients=(
            Clients(
                count=1,
                rate_rps=20.0,
                arrivals="fixed",
                hedge=hedge,
                timeouts=Timeouts(request_s=100.0),
                **fields,
            ),
        ),
        run=Run(duration_s=REQUESTS / 20.0 - 0.01),
    )


def run(scenario: Scenario) -> Replication:
    """Simulate, or remember."""
    key = scenario.model_dump_json()
    if key not in remembered:
        remembered[key] = simulate(scenario, engine="simpy", trace=100_000)
    return remembered[key]


remembered: dict[str, Replication] = {}


def waits_s(result: Replication) -> Any:
    """Latencies by number of the request."""
    rows = np.sort(result.trace, order="number")
    return rows["ended_s"] - rows["born_s"]


def works_s(scenario: Scenario, purpose: int, attempt: int) -> Any:
    """What a worker needs for each request of the one client, or for a copy of it."""
    law = scenario.pods.service_time
    place = 1 if purpose == ARRIVAL else 0
    return np.array(
        [
            draw_law(
                LAWS[law.dist], law.mean_s, 0.0, uniform2(scenario.run.seed, 0, purpose, 0, k, attempt)[place]
            )
            for k in range(REQUESTS)
        ]
    )


def network_s() -> float:
    """All of a request's time but its work: the same for each, where nobody queues."""
    return float(waits_s(run(idle(OFF, "constant")))[0]) - MEAN_S


@pytest.mark.parametrize("dist", ["exponential", "constant"])
@pytest.mark.parametrize("delay_s", [0.043, DELAY_S])
def test_a_hedged_request_takes_the_lesser_of_its_work_and_of_the_delay_and_the_copys_work(
    dist: str, delay_s: float
) -> None:
    scenario = idle(Hedge(max=1, delay_s=delay_s), dist)
    first_s, second_s = works_s(scenario, ARRIVAL, 0), works_s(scenario, HEDGE, COPIES)
    expected_s = network_s() + np.minimum(first_s, delay_s + second_s)
    assert waits_s(run(scenario)) == pytest.approx(expected_s, abs=1e-9)


def test_the_hedged_share_is_the_share_slower_than_the_delay_and_so_is_the_extra_load() -> None:
    scenario = idle(Hedge(max=1, delay_s=DELAY_S))
    result, plain = run(scenario), run(idle(OFF))
    slow = waits_s(plain) > DELAY_S
    assert result.hedges == result.attempts - result.offered == slow.sum()
    # The law of large numbers: P(S > d) for exponential work.
    assert stats.binomtest(int(slow.sum()), REQUESTS, np.exp(-DELAY_S / MEAN_S)).pvalue > LEVEL
    # A loser's work is done all the same.
    work_s = works_s(scenario, ARRIVAL, 0).sum() + works_s(scenario, HEDGE, COPIES)[slow].sum()
    assert result.pod_utilisation.sum() * 1000 * scenario.run.duration_s == pytest.approx(work_s)
    assert result.overtaken == result.orphans == result.hedges


def test_two_exponential_servers_give_the_closed_form_of_the_hedged_latency() -> None:
    """P(T > x) = exp(-x / m) before the delay, exp(-(2 x - d) / m) after it."""

    def below(x_s: Any) -> Any:
        return 1.0 - np.exp(-(x_s + np.maximum(x_s - DELAY_S, 0.0)) / MEAN_S)

    latency_s = waits_s(run(idle(Hedge(max=1, delay_s=DELAY_S)))) - network_s()
    assert stats.kstest(latency_s, below).pvalue > LEVEL


def test_where_the_work_is_the_requests_own_a_copy_gains_nothing() -> None:
    plain, hedged = run(idle(OFF)), run(idle(Hedge(max=2, delay_s=0.02, work="shared")))
    assert waits_s(hedged) == pytest.approx(waits_s(plain), abs=1e-9)
    assert hedged.hedges > plain.offered


def test_hedging_moves_no_draw_of_the_requests_that_need_no_copy() -> None:
    plain, hedged = waits_s(run(idle(OFF))), waits_s(run(idle(Hedge(max=1, delay_s=DELAY_S))))
    assert hedged[plain <= DELAY_S] == pytest.approx(plain[plain <= DELAY_S], abs=1e-9)


def test_the_time_before_the_winning_copy_counts_as_failed_attempts() -> None:
    plain = waits_s(run(idle(OFF)))
    scenario = idle(Hedge(max=1, delay_s=DELAY_S))
    result = run(scenario)
    won = (plain > DELAY_S) & (waits_s(result) < plain)
    stages_s = 1e-9 * result.stage_sum_ns.sum(axis=0)
    assert stages_s[STAGES.index("failed_attempts")] == pytest.approx(won.sum() * DELAY_S)


def silent(nodes: int, dead: tuple[int, ...], **clients: Any) -> Scenario:
    """Pods on the last node alone; some of the others are dead from the start. A client for each node."""
    names = [f"node-{n + 1}" for n in range(nodes)]
    clients = {"count": nodes, "entry": Entry(ttl_s=100.0)} | clients
    return Scenario(
        cluster=Cluster(nodes=nodes, network=Network(client_node_s=0.01)),
        service=Service(replicas=1),
        pods=Pods(
            service_time=Law(dist="constant", mean_s=0.001),
            placement=(Placement(name="web-0", node=names[-1]),),
        ),
        clients=(Clients(arrivals="trace", trace_s=tuple(0.5 * k for k in range(nodes)), **clients),),
        events=tuple(Event(at_s=0.0, fault="cut", node=names[n]) for n in dead),
        run=Run(duration_s=float(nodes)),
    )


def test_a_copy_to_the_next_node_rescues_a_request_that_met_a_dead_one_after_the_delay() -> None:
    result = run(silent(4, (1,), hedge=Hedge(max=1, delay_s=0.2)))
    first, second, third, _ = (row["ended_s"] - row["born_s"] for row in result.trace)
    assert result.succeeded == 4
    assert second == pytest.approx(0.2 + third)
    assert first == pytest.approx(third)
    assert result.hedges == result.overtaken == 1
    assert result.retransmissions == 0


def test_a_copy_to_the_same_node_does_not() -> None:
    result = run(silent(4, (1,), hedge=Hedge(max=1, delay_s=0.2, node="same")))
    assert result.succeeded == 3
    assert result.errors[CAUSES.index("connect_timeout")] == 1
    assert result.attempt_errors.sum() == 2


def test_a_try_fails_when_its_last_copy_has_and_the_next_one_races_again() -> None:
    retry = Retry(attempts=2, backoff=Backoff(initial_s=0.1, jitter="none"))
    case = silent(
        2, (0, 1), hedge=Hedge(max=1, delay_s=0.2), retry=retry, timeouts=Timeouts(connect_s=0.5), count=1
    )
    result = run(case)
    took_s = result.trace["ended_s"] - result.trace["born_s"]
    assert took_s == pytest.approx([2 * (0.2 + 0.5) + 0.1] * 2)
    assert result.attempts == 2 * 2 * 2
    assert result.trace["attempts"].tolist() == [2, 2]


def test_a_hedged_request_that_is_refused_goes_on_at_once_and_not_after_the_delay() -> None:
    result = run(silent(3, (), hedge=Hedge(max=2, delay_s=0.2)).model_copy(update=crashed()))
    late = result.trace[result.trace["born_s"] > 0.25]
    assert {CAUSES[c] for c in late["cause"]} == {"refused"}
    assert all(late["ended_s"] - late["born_s"] < 0.2)
    assert result.attempt_errors[CAUSES.index("refused")] == 3 * len(late)


def crashed() -> dict[str, Any]:
    """The only pod has no listener from 0.25 s on; nobody takes note within the run."""
    return {"events": (Event(at_s=0.25, fault="pod-crash", pod="web-0"),), "run": Run(duration_s=1.1)}


def eyeballs(nodes: int, dead: tuple[int, ...], **clients: Any) -> Replication:
    entry = Entry(ttl_s=100.0, attempt_delay_s=0.25)
    return run(silent(nodes, dead, **({"entry": entry} | clients)))


def test_with_one_silent_address_its_clients_connect_one_delay_later_and_no_syn_is_sent_again() -> None:
    result = eyeballs(5, (1,))
    took_s = result.trace["ended_s"] - result.trace["born_s"]
    assert result.succeeded == 5
    assert took_s[1] == pytest.approx(0.25 + took_s[2], abs=1e-9)
    assert took_s[[0, 2, 3]] == pytest.approx([took_s[2]] * 3, abs=1e-9)
    assert result.retransmissions == 0
    assert result.hedges == result.overtaken == 1


def test_silent_addresses_in_a_row_cost_a_delay_each() -> None:
    result = eyeballs(5, (1, 2))
    took_s = result.trace["ended_s"] - result.trace["born_s"]
    assert took_s[1] - took_s[3] == pytest.approx(2 * 0.25, abs=1e-9)
    assert took_s[2] - took_s[3] == pytest.approx(0.25, abs=1e-9)


def test_all_dials_share_the_limit_of_the_connect() -> None:
    result = eyeballs(3, (0, 1, 2), timeouts=Timeouts(connect_s=0.9))
    took_s = result.trace["ended_s"] - result.trace["born_s"]
    assert took_s == pytest.approx([0.9] * 3)
    assert {CAUSES[c] for c in result.trace["cause"]} == {"connect_timeout"}
    assert result.attempts == 3 * 3


def test_a_refused_dial_is_followed_at_once_by_the_next_address_until_all_have_refused() -> None:
    case = silent(3, (), entry=Entry(ttl_s=100.0, attempt_delay_s=0.25)).model_copy(update=crashed())
    result = run(case)
    late = result.trace[result.trace["born_s"] > 0.25]
    assert {CAUSES[c] for c in late["cause"]} == {"refused"}
    assert result.attempt_errors[CAUSES.index("refused")] == 3 * len(late)
    assert all(late["ended_s"] - late["born_s"] < 0.25)


def test_a_pool_of_one_connection_is_no_hindrance_to_a_race_of_dials() -> None:
    result = eyeballs(5, (1,), connections=Connections(reuse="lifo", size=1))
    took_s = result.trace["ended_s"] - result.trace["born_s"]
    assert result.succeeded == 5
    assert took_s[1] == pytest.approx(0.25 + took_s[2], abs=1e-9)


def test_a_pool_whose_streams_are_shared_loses_only_the_stream_of_a_copy_called_off() -> None:
    """The connection lives on: one for all requests, although one in five is hedged over it."""
    kept = Connections(reuse="lifo", size=1, streams=100)
    result = run(idle(Hedge(max=1, delay_s=DELAY_S), connections=kept))
    assert result.overtaken == result.hedges > 100
    assert result.nodes[:, 0].sum() == 1
    assert (result.trace["cause"] == SUCCEEDED).all()
