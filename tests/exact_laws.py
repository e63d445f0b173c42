"""Laws of the engine that hold to the last request: no interval, no luck. Each asserts its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from closed_forms import LONG_S, STILL, outage

from nodeportsim.engine.codes import CAUSES, PHASES, STAGES
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import (
    Cluster,
    Conntrack,
    ControlPlane,
    Event,
    Placement,
    Pods,
    Proxy,
    Run,
    Scenario,
    Service,
)
from nodeportsim.theory import balance, failure, limits

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Replication

AFTER = PHASES.index("after")
DURING = PHASES.index("during")
INSTANT = Law(dist="constant", mean_s=0.001)
QUICK = ControlPlane(
    lease_renew_interval_s=0.5,
    node_monitor_period_s=0.25,
    node_monitor_grace_period_s=1.0,
    slice_min_delay_s=0.25,
)


def run(scenario: Scenario, **update: Any) -> Replication:
    return simulate(scenario.model_copy(update=update), engine="simpy", trace=20_000)


def steady(rate_rps: float, **fields: Any) -> tuple[Clients]:
    """Clients whose requests come at equal intervals, each over a connection of its own."""
    return (Clients(count=1, rate_rps=rate_rps, arrivals="fixed", **fields),)


def plain(**cluster: Any) -> Scenario:
    """One node, one pod, fixed arrivals, no time lost anywhere but in the kernel."""
    return Scenario(
        cluster=Cluster.model_validate({"nodes": 1, "network": STILL} | cluster),
        service=Service(replicas=1),
        pods=Pods(workers=64, service_time=INSTANT),
        clients=steady(100.0),
        run=Run(duration_s=2.0),
    )


def ipvs_turns_are_exact() -> None:
    """Round robin gives every pod floor(k/n) or ceil(k/n) of the k connections of a node."""
    result = run(plain(proxy=Proxy(mode="ipvs")), service=Service(replicas=7))
    counts = result.pods[:, 0]
    low, high = balance.rotation_range([result.offered], 7)
    assert counts.sum() == result.offered
    assert counts.min() == low
    assert counts.max() == high == low + 1


def policy_local_divides_by_node_first() -> None:
    """Two pods here, one there: a quarter, a quarter, a half."""
    places = [Placement(name=f"p{k}", node=node) for k, node in enumerate(("node-1", "node-1", "node-2"))]
    result = run(
        plain(nodes=2, proxy=Proxy(mode="ipvs")),
        service=Service(replicas=3, external_traffic_policy="Local"),
        pods=Pods(workers=64, service_time=INSTANT, placement=tuple(places)),
    )
    expected = [share * result.offered for share in balance.local_shares([2, 1])]
    assert result.pods[:, 0] == pytest.approx(expected, abs=1)


def detected(**clients: Any) -> Replication:
    """A node dies at 1 s and is found out; a request has one SYN an attempt."""
    timeouts = Timeouts(connect_s=0.5, request_s=0.5)
    cluster = Cluster(nodes=3, network=STILL, control_plane=QUICK)
    return run(
        outage(),
        cluster=cluster,
        clients=(Clients(rate_rps=300.0, timeouts=timeouts, **clients),),
        events=(Event(at_s=1.0, fault="power-off", node="node-2"),),
    )


def dns_round_robin_goes_on_failing() -> None:
    """Once the rules are right, only the dead node's own share of new connections fails: 1 / N."""
    offered, succeeded, failed = detected().phases[AFTER].tolist()
    assert offered > 1000
    assert succeeded + failed == offered
    assert abs(failed - offered * failure.failing_ratio(1 / 3, 0.0)) <= 1


def the_next_node_rescues() -> None:
    """Once the rules are right, a second attempt on the next node never fails."""
    offered, succeeded, _ = detected(retry=Retry(attempts=2)).phases[AFTER].tolist()
    assert failure.all_fail_ratio(2, nodes=3, dead_nodes=1, dead_endpoint_ratio=0.0) == 0.0
    assert succeeded == offered > 1000


def the_pin_holds() -> None:
    """No SYN sent again is ever answered: it goes to the endpoint that did not answer the first."""
    result = run(outage())
    assert result.retransmissions == 3 * result.failed > 100
    assert result.stage_sum_ns.sum(axis=0)[STAGES.index("syn_backoff")] == 0


def dead_node(schedule: Any, connect_s: float) -> Replication:
    clients = Clients(
        count=1,
        arrivals="trace",
        trace_s=(0.0,),
        syn_schedule=schedule,
        timeouts=Timeouts(connect_s=connect_s, request_s=1.0),
    )
    event = Event(at_s=0.0, fault="power-off", node="node-1")
    return run(plain(), clients=(clients,), events=(event,), run=Run(duration_s=1.0, drain_s=200.0))


def syns_follow_the_schedule() -> None:
    """As many SYNs as the schedule has instants before the limit; without a limit the kernel gives up."""
    for schedule, instants in (("linear", failure.SYN_LINEAR_S), ("doubling", failure.SYN_DOUBLING_S)):
        for connect_s in (0.5, *(at_s + shift_s for at_s in instants[1:] for shift_s in (-0.01, 0.01))):
            result = dead_node(schedule, connect_s)
            assert result.retransmissions == sum(0 < at_s < connect_s for at_s in instants)
            assert result.trace["ended_s"][0] == pytest.approx(connect_s)
    assert dead_node("linear", 0.0).trace["ended_s"][0] == pytest.approx(134.8)
    assert dead_node("doubling", 0.0).trace["ended_s"][0] == pytest.approx(127.0)


def conntrack_is_rate_times_lifetime() -> None:
    """Little's law: an entry lives as long as its connection, TIME_WAIT and what is left of the second."""
    rate_rps, wait_s = 20.0, 50.0
    result = run(
        plain(conntrack=Conntrack(time_wait_s=wait_s)), clients=steady(rate_rps), run=Run(duration_s=80.0)
    )
    assert rate_rps * wait_s <= result.conntrack_peak[0] <= rate_rps * (wait_s + 1.0) + 1


def conntrack_is_a_wall() -> None:
    """A full table drops every SYN from the instant that arithmetic names, until entries end."""
    rate_rps, room, wait_s = 20.0, 200, 30.0
    full_s = limits.fill_time_s(rate_rps, wait_s, room)
    timeouts = Timeouts(connect_s=0.5, request_s=0.5)
    result = run(
        plain(conntrack=Conntrack(max=room, time_wait_s=wait_s)),
        clients=steady(rate_rps, timeouts=timeouts),
        run=Run(duration_s=60.0),
    )
    failed = result.timeline[:, 2:].sum(axis=1)
    first, last = int(full_s), int(wait_s)
    assert result.conntrack_peak[0] == room
    assert failed[:first].sum() == 0
    assert (failed[first:last] == rate_rps).all()
    assert result.succeeded <= limits.wall_rps(room, wait_s) * 60.0 + room


def a_queue_grows_by_what_it_cannot_serve() -> None:
    """D/D/1: request k waits k (service - gap), while service takes longer than the gap."""
    service_s, gap_s = 0.12, 0.1
    limits_s = Timeouts(connect_s=0.0, request_s=0.0)
    result = run(
        plain(),
        pods=Pods(workers=1, service_time=Law(dist="constant", mean_s=service_s)),
        clients=(
            Clients(
                count=1,
                rate_rps=1 / gap_s,
                arrivals="fixed",
                timeouts=limits_s,
                connections=Connections(reuse="lifo", size=1000),
            ),
        ),
        run=Run(duration_s=20.0, drain_s=200.0),
    )
    k = result.trace["number"]
    times_s = result.trace["ended_s"] - result.trace["born_s"]
    assert len(k) == 200
    assert times_s == pytest.approx(service_s + k * (service_s - gap_s), abs=1e-3)


def control_goes_first() -> None:
    """A fault at the instant of a request is there before the request."""
    clients = Clients(count=1, arrivals="trace", trace_s=(0.5, 1.0), entry=Entry(policy="first"))
    event = Event(at_s=1.0, fault="power-off", node="node-1")
    result = run(plain(nodes=2), clients=(clients,), events=(event,))
    assert result.phases[:, 0].tolist() == [1, 1, 0]
    assert (result.succeeded, result.failed) == (1, 1)


def a_healthy_cluster_refuses_nobody() -> None:
    """A request that found no room in the pool has met no node yet; its retry goes to a live one."""
    for node in ("same", "next"):
        clients = Clients(
            count=1,
            rate_rps=10.0,
            arrivals="fixed",
            connections=Connections(reuse="lifo", size=1, max_requests=1),
            timeouts=Timeouts(pool_s=0.05),
            retry=Retry.model_validate({"attempts": 20, "node": node}),
        )
        service = Law(dist="constant", mean_s=0.13)
        result = run(plain(), pods=Pods(service_time=service), clients=(clients,))
        met = {CAUSES[k] for k in result.attempt_errors.nonzero()[0]}
        assert met == {"pool_timeout"}


LAWS = (
    ipvs_turns_are_exact,
    policy_local_divides_by_node_first,
    dns_round_robin_goes_on_failing,
    the_next_node_rescues,
    the_pin_holds,
    syns_follow_the_schedule,
    conntrack_is_rate_times_lifetime,
    conntrack_is_a_wall,
    a_queue_grows_by_what_it_cannot_serve,
    control_goes_first,
    a_healthy_cluster_refuses_nobody,
)
assert QUICK.toleration_s > LONG_S  # Nobody is evicted meanwhile.
