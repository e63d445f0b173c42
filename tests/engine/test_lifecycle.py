"""A pod's end and its beginning, by the clock: preStop, SIGTERM, SIGKILL, crash loops, slow starts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from nodeportsim.engine.codes import CAUSES, SUCCEEDED
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import (
    Cluster,
    ControlPlane,
    Event,
    Network,
    Placement,
    Pods,
    Probe,
    Run,
    Scenario,
    Service,
    SlowStart,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

AT_S = 5.0
WAY_S = 0.01
AWAY = Event(at_s=AT_S, fault="scale", replicas=0)
FAR = Network(client_node_s=WAY_S, node_node_s=0.0, wake_up_s=0.0)


def run(
    instants_s: Iterable[float],
    *events: Event,
    work_s: float = 0.001,
    replicas: int = 1,
    cluster: Cluster | None = None,
    **fields: Any,
) -> Replication:
    """Requests at these instants, of one client after the other, to pods on a node a long way off."""
    pods = {"startup_s": 1.0, "readiness_probe": Probe(period_s=0.5), "workers": 4} | fields.pop("pods", {})
    instants = tuple(instants_s)
    clients = Clients(
        count=fields.pop("count", len(instants)),
        arrivals="trace",
        trace_s=instants,
        entry=Entry(policy="first"),
        connections=fields.pop("connections", Connections()),
        timeouts=Timeouts(connect_s=3.5, request_s=20.0),
    )
    scenario = Scenario(
        cluster=cluster or Cluster(nodes=1, network=FAR),
        service=Service(replicas=replicas),
        pods=Pods(service_time=Law(dist="constant", mean_s=work_s), **pods),
        clients=(clients,),
        events=events or (AWAY,),
        run=Run(duration_s=fields.pop("duration_s", 60.0)),
    )
    assert not fields
    return simulate(scenario, engine="simpy", trace=1000)


def when(result: Replication, name: str) -> list[float]:
    return [t for t, what, _ in result.milestones if what == name]


def causes(result: Replication) -> list[str]:
    """How each request ended, by its number of client."""
    rows = sorted(result.trace, key=lambda row: (row["client"], row["number"]))
    return ["ok" if row["cause"] == SUCCEEDED else CAUSES[row["cause"]] for row in rows]


@pytest.mark.parametrize(
    ("on_term", "pre_stop_s", "grace_s", "ended_s"),
    [
        ("exit", 0.0, 30, 0.0),
        ("exit", 3.0, 30, 3.0),
        ("drain", 3.0, 30, 3.0),  # It holds nothing.
        ("ignore", 0.0, 30, 30.0),
        ("ignore", 3.0, 30, 30.0),  # The hook counts into the grace period,
        ("ignore", 29.5, 30, 31.5),  # of which 2 s are left at least,
        ("ignore", 50.0, 10, 12.0),  # even where the hook is cut short.
        ("exit", 50.0, 10, 10.0),
        ("ignore", 0.0, 0, 2.0),
    ],
)
def test_a_deleted_pod_ends_after_its_hook_by_sigterm_or_after_its_grace_period_by_sigkill(
    on_term: str, pre_stop_s: float, grace_s: int, ended_s: float
) -> None:
    clock = {"on_term": on_term, "pre_stop_s": pre_stop_s, "termination_grace_period_seconds": grace_s}
    result = run([0.0], pods=clock)

    assert when(result, "pod deleted") == [AT_S]
    # Its address lives 100 ms longer.
    assert when(result, "pod gone") == [pytest.approx(AT_S + ended_s + 0.1)]


@pytest.mark.parametrize(
    ("on_term", "cause", "gone_s"), [("drain", "ok", 6.0), ("exit", "reset", 5.0), ("ignore", "ok", 35.0)]
)
def test_work_in_hand_at_sigterm_is_finished_by_a_drain_and_lost_by_an_exit(
    on_term: str, cause: str, gone_s: float
) -> None:
    result = run([4.0 - 2 * WAY_S - WAY_S], work_s=2.0, pods={"on_term": on_term})

    assert causes(result) == [cause]
    ended_s = 6.0 if cause == "ok" else AT_S
    assert result.trace["ended_s"][0] == pytest.approx(ended_s + WAY_S, abs=1e-4)
    assert when(result, "pod gone")[0] == pytest.approx(gone_s + 0.1, abs=1e-4)


def test_a_draining_process_refuses_what_is_new_and_after_its_end_its_kernel_does() -> None:
    """The only pod: it is used while it terminates, since there is no ready one (KEP-1669)."""
    instants = [3.0, 4.9, 5.5, 5.95 + 0.1]
    result = run(instants, work_s=3.0 - 3 * WAY_S, pods={"on_term": "drain"})

    # The second works until 7.9 and keeps it alive; 5.5 and 6.05 find nobody who listens.
    assert causes(result) == ["ok", "ok", "refused", "refused"]
    assert when(result, "pod gone")[0] == pytest.approx(7.9 + 0.1, abs=1e-3)


def test_during_pre_stop_a_pod_serves_as_ever_and_the_last_one_is_still_given_new_connections() -> None:
    result = run([5.5, 8.0, 9.9], pods={"pre_stop_s": 5.0, "on_term": "exit"})

    assert causes(result) == ["ok"] * 3


@pytest.mark.parametrize(("node_hop", "cause"), [("silent", "connect_timeout"), ("no-route", "no_route")])
def test_once_the_address_is_gone_stale_rules_lead_into_silence_or_to_no_route(
    node_hop: str, cause: str
) -> None:
    stale = Event(at_s=1.0, fault="proxy-stop", node="node-1")
    cluster = Cluster(nodes=1, network=FAR.model_copy(update={"node_hop": node_hop}))
    times = {"teardown_s": 0.5, "on_term": "exit"}
    assert causes(run([5.2, 5.6], stale, AWAY, cluster=cluster, pods=times)) == ["refused", cause]


def crossing(streams: int) -> Replication:
    """Four clients keep a connection: one has work there at SIGTERM, the others ask at about that time."""
    return run(
        [0.5, 0.6, 0.7, 0.8, 4.5, AT_S - WAY_S / 2, AT_S + WAY_S / 2, AT_S + 2 * WAY_S],
        work_s=3.0,
        count=4,
        connections=Connections(reuse="lifo", streams=streams),
        pods={"on_term": "drain"},
    )


def test_a_request_that_crosses_the_fin_of_a_draining_pod_is_reset() -> None:
    # The request was on the wire when the pod closed its idle connection, or the FIN was when it was sent.
    # The last client has heard of it, and finds nobody who takes a new one.
    assert causes(crossing(streams=1)) == ["ok", "ok", "ok", "reset", "ok", "reset", "ok", "refused"]


def test_a_stream_that_crosses_goaway_is_served() -> None:
    assert causes(crossing(streams=10)) == ["ok"] * 7 + ["refused"]


def test_a_client_that_has_heard_of_the_end_opens_a_new_connection_and_loses_nothing() -> None:
    placed = tuple(Placement(name=f"web-{p}", node="node-1") for p in range(2))
    result = run(
        [1.0, 1.0, 1.0, 1.0, 8.0, 8.0, 8.0, 8.0],
        Event(at_s=AT_S, fault="scale", replicas=1),
        count=4,
        replicas=2,
        connections=Connections(reuse="lifo"),
        pods={"on_term": "drain", "placement": placed},
    )
    removed = result.pods[~result.lasting]

    assert causes(result) == ["ok"] * 8
    # Each connection of the pod that went is opened once more, at the pod that stays.
    assert result.pods[:, 0].sum() == 4 + removed[:, 0].sum()


def test_a_container_in_a_crash_loop_starts_at_once_then_ten_twenty_forty_seconds_after_its_exit() -> None:
    event = Event(at_s=AT_S, fault="crash-loop", pod="web-0", alive_s=5.0)
    result = run([0.0], event, duration_s=1500.0)
    crashes = when(result, "pod crashed")
    gaps = [b - a for a, b in pairwise(crashes)]

    # Start-up takes 1 s, then it runs for 5 s. The first restart waits for the kubelet's look alone.
    assert 6.0 < gaps[0] < 7.0
    assert gaps[1:] == pytest.approx(
        [wait_s + 6.0 for wait_s in (10, 20, 40, 80, 160, 300, 300, 300)][: len(gaps) - 1]
    )
    assert len(gaps) >= 8


def test_a_container_that_ran_for_ten_minutes_is_started_at_once_again() -> None:
    event = Event(at_s=AT_S, fault="crash-loop", pod="web-0", alive_s=600.0)
    crashes = when(run([0.0], event, duration_s=2500.0), "pod crashed")

    assert len(crashes) == 5
    assert all(601.0 < b - a < 602.0 for a, b in pairwise(crashes))


def test_after_the_end_of_a_crash_loop_the_pod_stays() -> None:
    event = Event(at_s=AT_S, fault="crash-loop", pod="web-0", alive_s=2.0, for_s=20.0)
    result = run([4.0, 59.0], event)

    # 5.0, then some 8 to 9 s, then not before 10 + 1 + 2 s later: three crashes, the last before 25 s.
    assert len(when(result, "pod crashed")) == 3
    assert causes(result) == ["ok", "ok"]


def test_a_pod_that_says_it_is_not_ready_leaves_after_its_threshold_and_answers_on() -> None:
    instants = [0.1 * k for k in range(300)]
    result = run(
        instants,
        Event(at_s=AT_S, fault="pod-not-ready", pod="web-0", for_s=10.0),
        replicas=2,
        duration_s=30.0,
        pods={"readiness_probe": Probe(period_s=1.0)},
    )
    left_s, back_s = when(result, "endpoints changed")
    rows = result.trace[result.trace["pod"] == 0]["born_s"]

    assert AT_S + 2.0 <= left_s <= AT_S + 3.0  # The third failure, at the phase of the probe.
    assert AT_S + 10.0 <= back_s <= AT_S + 11.0
    assert set(causes(result)) == {"ok"}
    assert not [t for t in rows if left_s + 0.1 < t < back_s]
    assert [t for t in rows if t > back_s]


def test_a_container_that_has_just_started_is_slower_and_catches_up_in_a_straight_line() -> None:
    crash = Event(at_s=AT_S, fault="pod-crash", pod="web-0", for_s=1.0)
    up_s = AT_S + 1.0 + 1.0  # Down for 1 s, starting for 1 s; ready soon after.
    asked_s = [8.0, 10.0, 14.0, up_s + 20.0 - 0.1, up_s + 20.1]
    slow = SlowStart(slowdown=5.0, over_s=20.0)
    took = [
        sorted(
            row["ended_s"] - row["born_s"] for row in run([1.0, *asked_s], crash, work_s=0.1, pods=pods).trace
        )
        for pods in ({"slow_start": slow}, {})
    ]
    arrived_s = [t + 3 * WAY_S for t in asked_s]
    more_s = [0.1 * 4.0 * max(0.0, 1.0 - (t - up_s) / 20.0) for t in arrived_s]

    # The one before the crash is not slower: that container had been up for ever.
    longer = [a - b for a, b in zip(*took, strict=True)]
    assert longer == pytest.approx(sorted([0.0, *more_s]), abs=1e-5)


def test_a_pod_that_replaces_an_evicted_one_is_another_one_and_the_old_one_never_comes_back() -> None:
    clocks = ControlPlane(
        lease_renew_interval_s=1.0,
        node_monitor_period_s=0.5,
        node_monitor_grace_period_s=2.0,
        toleration_s=3.0,
    )
    cluster = Cluster(nodes=2, control_plane=clocks, network=FAR)
    placed = (Placement(name="web-0", node="node-1"), Placement(name="web-1", node="node-2"))
    result = run(
        [0.25 * k for k in range(160)],
        Event(at_s=AT_S, fault="power-off", node="node-2", for_s=15.0),
        replicas=2,
        cluster=cluster,
        duration_s=40.0,
        pods={"placement": placed},
    )
    late = result.trace[result.trace["born_s"] > 12.0]

    assert result.lasting.tolist() == [True, False, False]
    assert set(late["pod"]) == {0, 2}
    assert {name for _, what, name in result.milestones if what == "pod created"} == {"web-2"}
    # The kubelet that is back does not start it again: it has been deleted.
    assert 20.0 < when(result, "pod gone")[0] < 20.0 + 1.0 + 0.2


def test_a_pod_whose_kubelet_cannot_hear_of_its_deletion_serves_on_by_frozen_rules_until_it_can() -> None:
    cut = Event(at_s=1.0, fault="cut-control-plane", node="node-1", for_s=20.0)
    result = run([6.0, 15.0, 20.5], cut, AWAY, pods={"on_term": "exit"})

    assert causes(result) == ["ok"] * 3
    assert when(result, "pod deleted") == [AT_S]
    assert (
        21.0 <= when(result, "pod gone")[0] <= 21.0 + 10.0 + 0.1
    )  # It asks again within a lease's interval.


def test_a_node_that_shuts_down_lets_its_pods_drain_where_they_know_how_to() -> None:
    shutdown = Event(at_s=AT_S, fault="shutdown", node="node-1")
    late = [5.5]
    serving = run(late, shutdown, pods={"termination_grace_period_seconds": 10})
    draining = run(late, shutdown, pods={"termination_grace_period_seconds": 10, "on_term": "drain"})

    assert causes(serving) == ["ok"]
    assert causes(draining) == ["refused"]


def test_a_container_that_dies_while_its_pod_terminates_is_not_started_again() -> None:
    crash = Event(at_s=AT_S + 1.0, fault="pod-crash", pod="web-0", for_s=1.0)
    result = run([5.5, 15.0], AWAY, crash, pods={"pre_stop_s": 20.0})

    assert causes(result) == ["ok", "refused"]
