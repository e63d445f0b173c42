"""What the data plane tells the control plane: a full conntrack table is a milestone at its instant."""

from __future__ import annotations

import pytest

from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.spec import Cluster, Conntrack, Event, Network, Run, Scenario, Service

RATE_RPS, PLACES, NAME = 64.0, 100, "conntrack table full"


def replications(*, nodes: int = 1, events: tuple[Event, ...] = ()) -> list[Replication]:
    """Run 4 s of one client that asks 64 times a second at even gaps, on wires without delay, both ways."""
    scenario = Scenario(
        cluster=Cluster(
            nodes=nodes,
            network=Network(client_node_s=0.0, wake_up_s=0.0),
            conntrack=Conntrack(max=PLACES),
        ),
        service=Service(replicas=nodes, external_traffic_policy="Local"),
        clients=(Clients(count=1, rate_rps=RATE_RPS, arrivals="fixed"),),
        events=events,
        run=Run(duration_s=4.0),
    )
    return [simulate(scenario, engine=engine) for engine in ("simpy", "compiled")]


def test_a_full_conntrack_table_is_a_milestone_at_the_same_instant_under_both_schedulers() -> None:
    """Entries outlive the run: SYN number `PLACES`, from 0, sent at its number / rate, finds no room."""
    one, other = replications()

    assert one.milestones == other.milestones == ((PLACES / RATE_RPS, NAME, "node-1"),)


def test_a_table_that_never_fills_is_no_milestone() -> None:
    """Two nodes in turn: 4 s x 64/s / 2 = 128 each is too many, on four nodes 64 is not."""
    assert [{name for _, name, _ in r.milestones} for r in replications(nodes=2)] == [{NAME}] * 2
    assert [r.milestones for r in replications(nodes=4)] == [(), ()]


def test_a_full_table_is_told_once_for_each_node_and_before_the_fault_that_follows() -> None:
    """The node fills at 1.5625 s and drops SYNs to the end; the fault at 2 s is told after it."""
    fault = Event(at_s=2.0, fault="proxy-stop", node="node-1")
    one, other = replications(events=(fault,))
    times = [t for t, name, _ in one.milestones if name == NAME]

    assert one.milestones == other.milestones
    assert times == pytest.approx([PLACES / RATE_RPS])
    assert [t for t, _, _ in one.milestones] == sorted(t for t, _, _ in one.milestones)
