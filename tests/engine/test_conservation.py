"""Nothing gets lost, nothing is counted twice: over random scenarios, in the counters and in the records."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import scenarios

from nodeportsim.engine import node as node_steps
from nodeportsim.engine import simulate as simulation
from nodeportsim.engine.codes import BACKING_OFF, CIRCUIT_OPEN, FREE, STAGES
from nodeportsim.scenario.clients import Clients, Entry
from nodeportsim.scenario.spec import (
    Cluster,
    Conntrack,
    Event,
    Network,
    Placement,
    Pods,
    Run,
    Scenario,
    Service,
)

if TYPE_CHECKING:
    from nodeportsim.engine.records import World
    from nodeportsim.engine.simulate import Replication

QUIET_S = 130.0  # Longer than TIME_WAIT (120 s) and than any retransmission of requests of some seconds.
ROUNDING_NS = 5  # Of eight stages rounded to whole nanoseconds, the wire is what remains.


def watched(scenario: Scenario) -> tuple[Replication, World]:
    """Run, and keep the world as it is when everything has come to rest."""
    planes: list[Any] = []
    read = simulation._read

    def noted(number: int, plane: Any, control: Any) -> Replication:
        planes.append(plane)
        return read(number, plane, control)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_read", noted)
        result = simulation.simulate(scenario, engine="simpy", trace=50_000)
    plane = planes[0]
    rest_s = plane.env.now + QUIET_S
    plane.advance(rest_s)
    for n in range(len(plane.world.nodes)):
        node_steps.drain_conntrack(plane.world, rest_s, n)
    return result, plane.world


def free_slots(pool: list[Any], head: int) -> int:
    count = 0
    while head >= 0:
        head, count = pool[head].next, count + 1
    return count


def assert_counters_agree(result: Replication) -> None:
    assert result.offered == result.succeeded + result.failed + result.in_flight
    assert result.nodes.sum(axis=0).tolist() <= result.pods.sum(axis=0).tolist()  # Nodes within the cluster.
    assert result.pods[:, 1].sum() == result.succeeded
    assert result.pods[:, 0].sum() == result.nodes[:, 0].sum()
    assert len(result.trace) == result.succeeded + result.failed
    assert len(set(zip(result.trace["client"], result.trace["number"], strict=True))) == len(result.trace)
    assert (result.trace["ended_s"] >= result.trace["born_s"]).all()
    assert (result.conntrack_peak >= 0).all()


def assert_stages_explain_latency(result: Replication) -> None:
    answered = result.latency.sum(axis=0)
    assert result.stage_sum_ns.sum() == result.latency_sum_ns.sum()
    wire = result.stage_sum_ns[:, STAGES.index("wire")]
    assert (wire >= -ROUNDING_NS * answered).all()
    assert (np.delete(result.stage_sum_ns, STAGES.index("wire"), axis=1) >= 0).all()
    latency_s = (result.trace["ended_s"] - result.trace["born_s"])[result.trace["cause"] < 0]
    assert result.latency_sum_ns.sum() == pytest.approx(1e9 * latency_s.sum(), abs=len(latency_s))


def assert_records_agree(w: World, result: Replication) -> None:
    counts = w.counts
    waiting = [request for request in w.requests if request.state != FREE]
    assert (
        counts.open_requests == len(waiting) == len(w.requests) - free_slots(w.requests, counts.request_free)
    )
    assert counts.open_flights == len(w.flights) - free_slots(w.flights, counts.flight_free)
    assert counts.open_connections == len(w.connections) - free_slots(w.connections, counts.connection_free)
    assert counts.open_connections == sum(client.open for client in w.clients)
    begun = sum(request.state != BACKING_OFF for request in waiting)
    went_out = np.delete(np.array(w.errors)[1], CIRCUIT_OPEN)
    ended = counts.succeeded + counts.overtaken + sum(map(int, went_out))
    assert counts.attempts == ended + begun
    assert counts.offered == result.offered
    if not counts.open_requests:
        assert counts.overtaken <= counts.hedges < counts.attempts or counts.attempts == 0


def assert_rest(w: World) -> None:
    """At rest only hung pods hold packets, and conntrack knows the open connections alone."""
    if w.counts.open_requests:
        return  # Some request waits without a limit: there is no rest.
    assert w.counts.open_flights == sum(pod.inside for pod in w.pods)
    assert all(pod.inside == pod.queued == 0 for pod in w.pods if pod.hung_until_s < np.inf)
    tracked = [0] * len(w.nodes)
    free = set()
    head = w.counts.connection_free
    while head >= 0:
        free.add(head)
        head = w.connections[head].next
    for k, connection in enumerate(w.connections):
        if k in free:
            continue
        if connection.tracked >= 1 and w.nodes[connection.node].epoch == connection.node_epoch:
            tracked[connection.node] += 1
        if connection.tracked >= 2 and w.nodes[connection.peer].epoch == connection.peer_epoch:
            tracked[connection.peer] += 1
    assert [node.conntrack for node in w.nodes] == tracked


@given(scenarios())
@settings(max_examples=60)
def test_requests_packets_and_entries_are_conserved(scenario: Scenario) -> None:
    result, w = watched(scenario)
    assert_counters_agree(result)
    assert_stages_explain_latency(result)
    assert_records_agree(w, result)
    assert_rest(w)
    assert all(0 <= node.conntrack <= node.conntrack_peak <= node.conntrack_max for node in w.nodes)


def test_a_connection_pinned_again_after_a_boot_leaves_no_entry_behind() -> None:
    """The entry node boots while the SYN is on its way to the pod's node, which keeps that SYN's entry."""
    case = Scenario(
        cluster=Cluster(
            nodes=2,
            network=Network(client_node_s=0.0, wake_up_s=0.0, node_node_s=0.01),
            conntrack=Conntrack(time_wait_s=1.0),
        ),
        service=Service(replicas=1),
        pods=Pods(placement=(Placement(name="web-0", node="node-2"),)),
        clients=(Clients(count=1, arrivals="trace", trace_s=(0.0,), entry=Entry(policy="pinned")),),
        events=(Event(at_s=0.005, fault="power-off", node="node-1", for_s=0.25),),
        run=Run(duration_s=2.0, drain_s=30.0),
    )
    result, w = watched(case)
    assert result.succeeded == 1
    assert_rest(w)


def equal(one: Replication, other: Replication, *but: str) -> bool:
    """Tell whether two replications are the same to the last bit."""
    names = [field.name for field in fields(one) if field.name not in but]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@given(scenarios())
@settings(max_examples=25)
def test_the_same_seed_gives_the_same_run(scenario: Scenario) -> None:
    one, other = (simulation.simulate(scenario, 3, engine="simpy", trace=50_000) for _ in range(2))
    assert equal(one, other)
