"""How long a change takes into the rules of every node, and what pods made within the run get to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodeportsim.engine.programming import Programming
from nodeportsim.engine.rules import Rules
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.engine.slices import Listed, Version
from nodeportsim.scenario.clients import Clients, Connections
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import (
    Background,
    Cluster,
    ControlPlane,
    Event,
    Pods,
    Probe,
    Proxy,
    Run,
    Scenario,
    Service,
)

NODES, WATCH_S, GRACE_S = 5, 0.25, 1.0
NOT_READY = Event(at_s=2.0, pod="web-0", fault="pod-not-ready", for_s=60.0)


def scenario(*events: Event, **changes: Any) -> Scenario:
    return Scenario(
        cluster=Cluster(
            nodes=NODES,
            control_plane=ControlPlane(watch_latency_s=WATCH_S, slice_min_delay_s=GRACE_S),
            background=Background(services=500),
            proxy=changes.pop("proxy", Proxy()),
        ),
        service=Service(replicas=4),
        pods=Pods(readiness_probe=Probe(period_s=0.5), startup_s=0.5, termination_grace_period_seconds=3),
        clients=(changes.pop("clients", Clients(rate_rps=40.0)),),
        events=events,
        run=Run(duration_s=changes.pop("duration_s", 12.0)),
    )


def ran(case: Scenario) -> Replication:
    return simulate(case, engine="simpy")


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
def test_a_lone_change_takes_the_watch_and_one_partial_sync(mode: Any) -> None:
    """The watch is uniform from 0 to twice its mean; the sync begins at once after idleness."""
    case = scenario(NOT_READY, proxy=Proxy(mode=mode))
    rows = ran(case).programming
    sync_s = Rules(case, load_profile("kernel-6.18")).sync_s(4, "partial")
    assert sorted(rows[:, 1]) == list(range(NODES))
    assert ((rows[:, 2] >= sync_s) & (rows[:, 2] <= sync_s + 2 * WATCH_S + 1e-9)).all()
    assert len(set(rows[:, 0])) == 1
    assert len(set(rows[:, 2])) == NODES  # A watch of its own each.


def test_a_change_soon_after_another_waits_for_slices_and_sync() -> None:
    """The slices are written 1 s after the last time, and counted from the change itself."""
    second = Event(at_s=2.0, pod="web-1", fault="pod-crash", for_s=60.0)
    first = Event(at_s=1.95, pod="web-0", fault="pod-crash", for_s=60.0)
    rows = ran(scenario(first, second)).programming
    early, late = (rows[rows[:, 0] == changed_s, 2] for changed_s in np.unique(rows[:, 0]))
    gap_s = float(np.ptp(rows[:, 0]))
    assert gap_s < GRACE_S
    assert late.min() >= GRACE_S - gap_s
    assert early.max() < late.max() + gap_s


def test_changes_of_one_version_count_from_the_first_of_them() -> None:
    programming = Programming()
    programming.change(1.0)
    programming.change(1.5)
    programming.publish(version(0, ()), version(1, (0,)))
    programming.write(3, 0, 1, booted_s=-1.0, now_s=2.25)
    assert programming.rows == [(1.0, 3, 1.25)]


def version(number: int, pods: tuple[int, ...]) -> Version:
    everywhere = Listed(first=0, pods=pods)
    return Version(local=False, everywhere=everywhere, here={}, ready=frozenset(), number=number, near={})


def test_a_version_that_changes_nobodys_endpoints_does_not_count() -> None:
    """A pod that is deleted leaves the rules when it terminates; that it is gone at last changes nothing."""
    result = ran(scenario(Event(at_s=2.0, fault="scale", replicas=3)))
    versions = sum(name == "endpoints changed" for _, name, _ in result.milestones)
    assert versions == 2
    assert set(result.programming[:, 0]) == {2.0}


def test_a_node_that_was_down_meanwhile_does_not_count() -> None:
    off = Event(at_s=1.0, node="node-5", fault="power-off", for_s=4.0)
    rows = ran(scenario(off, NOT_READY)).programming
    assert 4 not in rows[rows[:, 0] < 5.0, 1]
    assert {0, 1, 2, 3} <= set(rows[:, 1])


def test_new_pods_answer_by_second_what_they_answer_in_all() -> None:
    result = ran(scenario(Event(at_s=2.0, fault="scale", replicas=8)))
    new, served, ready, pods = result.newborns.T
    assert new.sum() <= result.pods[4:, 1].sum()
    assert served.sum() <= result.succeeded
    assert served[:2].sum() > 0
    assert new[:2].sum() == 0
    assert (ready[-1], pods[-1]) == (4, 8)
    assert ran(scenario(NOT_READY)).newborns.shape == (0, 4)


def test_clients_that_keep_their_connections_never_meet_new_pods() -> None:
    kept = Clients(rate_rps=40.0, count=10, connections=Connections(reuse="lifo", size=1, idle_timeout_s=0.0))
    result = ran(scenario(Event(at_s=4.0, fault="scale", replicas=8), clients=kept))
    assert result.newborns[-1].tolist()[2:] == [4, 8]
    assert result.newborns[:, 0].sum() == 0
