"""The fault table of docs/models/faults.md, row by row: what a SYN meets, what pods do, who notices, when.

Five nodes, ten pods (two a node), DNS round robin, a new connection for every request, one attempt. While the
rules are stale a request fails if it enters by the dead node or meets a dead endpoint.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from nodeportsim.engine.build import NO_ROUTE_S
from nodeportsim.engine.codes import CAUSES, PHASES, SUCCEEDED
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Timeouts
from nodeportsim.scenario.spec import Cluster, Event, Network, Pods, Probe, Run, Scenario, Service
from nodeportsim.theory.failure import Detection, failing_ratio

AT_S, NODE, POD = 5.0, "node-3", "web-2"  # web-2 and web-7 stand on node-3.
THERE, ITS_PODS = 2, {2, 7}


@cache
def run(fault: str, for_s: float | None = None, duration_s: float = 75.0, **changes: Any) -> Replication:
    """Simulate one fault at 5 s; every request is traced."""
    target = {"pod": POD} if fault.startswith("pod-") else {"node": NODE}
    clients = Clients(
        rate_rps=60.0, timeouts=Timeouts(connect_s=3.0, request_s=3.0), entry=changes.get("entry", Entry())
    )
    scenario = Scenario(
        cluster=Cluster(nodes=5, network=changes.get("network", Network())),
        service=Service(replicas=10),
        pods=Pods(readiness_probe=Probe(period_s=2.0), termination_grace_period_seconds=10),
        clients=(clients.model_copy(update={"connections": changes.get("connections", Connections())}),),
        events=(Event(at_s=AT_S, fault=fault, for_s=for_s, **target),),
        run=Run(duration_s=duration_s),
    )
    return simulate(scenario, engine="simpy", trace=100_000)


def when(result: Replication, name: str) -> float:
    """Instant of the first milestone of a name."""
    return min(t for t, what, _ in result.milestones if what == name)


def between(result: Replication, start_s: float, end_s: float) -> Any:
    """Traced requests whose intended arrival lies in a window."""
    return result.trace[(result.trace["born_s"] >= start_s) & (result.trace["born_s"] < end_s)]


def failed(rows: Any) -> float:
    return float(np.mean(rows["cause"] != SUCCEEDED))


def causes(rows: Any) -> set[str]:
    return {CAUSES[c] for c in rows["cause"] if c != SUCCEEDED}


def assert_share(rows: Any, expected: float) -> None:
    """The failing share lies within four standard errors of the expectation (two-sided 6e-5)."""
    error = np.sqrt(expected * (1 - expected) / len(rows))

    assert abs(failed(rows) - expected) < 4 * error


def test_power_off_fails_one_minus_the_square_of_the_living_share_until_the_rules_know() -> None:
    result = run("power-off")
    stale = between(result, AT_S, when(result, "rules updated everywhere") - 3.0)

    assert_share(stale, failing_ratio(1 / 5, 2 / 10))
    assert causes(stale) <= {"connect_timeout", "request_timeout"}


def test_after_power_off_is_detected_only_the_dead_entry_node_still_fails() -> None:
    result = run("power-off")
    after = between(result, when(result, "rules updated everywhere"), 75.0)

    assert set(after[after["cause"] != SUCCEEDED]["node"]) == {THERE}
    assert set(after[after["cause"] == SUCCEEDED]["node"]) == {0, 1, 3, 4}
    assert ITS_PODS.isdisjoint(after["pod"])


@pytest.mark.parametrize("fault", ["power-off", "cut", "cut-control-plane"])
def test_a_silent_node_is_noticed_by_its_lease_within_the_bounds_of_the_clocks(fault: str) -> None:
    clocks = Detection()
    noticed_s = when(run(fault), "node not ready") - AT_S

    assert clocks.min_s - 1e-9 <= noticed_s <= clocks.max_s + 1e-9


def test_a_power_cycle_shorter_than_the_detection_resets_old_flows_and_brings_rules_and_pods_back() -> None:
    kept = Connections(reuse="lifo", size=2)
    result = run("power-off", 2.0, 30.0, connections=kept, entry=Entry(policy="pinned"))
    late = between(result, 15.0, 30.0)

    # The reboot forgot its connections: the first use of each afterwards gets RST, then all is well.
    assert "reset" in causes(between(result, AT_S, 10.0))
    assert failed(late) == 0.0
    assert set(late["node"]) == {0, 1, 2, 3, 4}
    returned = set(between(run("power-off", 2.0, 30.0), 20.0, 30.0)["pod"])
    assert returned >= ITS_PODS


def test_cut_from_everybody_is_silence_and_heals_without_a_reset() -> None:
    kept = Connections(reuse="lifo", size=2)
    result = run("cut", 1.0, 20.0, connections=kept, entry=Entry(policy="pinned"))

    # conntrack is kept: a request caught by the cut succeeds at its next retransmission, none is reset.
    assert "reset" not in causes(result.trace)
    assert failed(between(result, 8.0, 20.0)) == 0.0
    caught = between(result, AT_S, AT_S + 1.0)
    slow = caught[(caught["cause"] == SUCCEEDED) & (caught["ended_s"] > AT_S + 1.0)]
    assert len(slow) > 0


def test_cut_from_the_control_plane_serves_by_frozen_rules_and_others_drop_its_pods() -> None:
    result = run("cut-control-plane")
    after = between(result, when(result, "endpoints changed") + 3.0, 75.0)
    through = after[after["node"] == THERE]

    assert failed(result.trace) == 0.0
    assert set(through["pod"]) >= ITS_PODS
    assert ITS_PODS.isdisjoint(set(after[after["node"] != THERE]["pod"]))


def test_cut_between_nodes_fails_every_pair_across_it_and_nobody_notices() -> None:
    result = run("cut-nodes", None, 65.0)
    rows = between(result, AT_S, 65.0)
    across = failing_ratio(0.0, 1 / 5 * 8 / 10 + 4 / 5 * 2 / 10)

    assert_share(rows, across)
    assert not [what for _, what, _ in result.milestones if what in ("node not ready", "endpoints changed")]
    good = rows[rows["cause"] == SUCCEEDED]
    assert all((row["node"] == THERE) == (row["pod"] in ITS_PODS) for row in good)


def test_graceful_shutdown_moves_new_connections_away_at_once_and_loses_nothing_before_the_stop() -> None:
    result = run("shutdown", None, 40.0)
    stop_s = when(result, "node stopped")
    told_s = when(result, "rules updated") + 0.1
    before = between(result, 0.0, stop_s - 3.0)

    assert stop_s == pytest.approx(AT_S + 10.0)
    assert failed(before) == 0.0
    assert ITS_PODS.isdisjoint(between(result, told_s, stop_s - 3.0)["pod"])


def test_a_stopped_kube_proxy_serves_on_by_its_frozen_rules() -> None:
    result = run("proxy-stop", None, 20.0)

    assert failed(result.trace) == 0.0
    assert result.milestones == ((AT_S, "fault", "node-3 proxy-stop"),)


def test_a_crashed_container_refuses_at_once_until_slice_and_sync_and_comes_back_after_start_and_probe() -> (
    None
):
    result = run("pod-crash", None, 30.0)
    noticed_s = when(result, "endpoints changed")
    stale = between(result, AT_S, noticed_s)

    # kubelet's relist within 1 s, then slice and sync.
    assert AT_S < noticed_s <= AT_S + 1.0
    assert_share(stale, 1 / 10)
    assert causes(result.trace) <= {"refused", "reset"}
    assert failed(between(result, noticed_s + 1.0, 30.0)) == 0.0
    assert 2 in set(between(result, 15.0, 30.0)["pod"])


def test_a_crash_sends_rst_to_the_clients_whose_work_it_held() -> None:
    result = run("pod-crash", None, 30.0)
    reset = result.trace[result.trace["cause"] == CAUSES.index("reset")]

    # Those in the pod at the crash hear of it within one trip, not at the end of their work.
    assert all(row["ended_s"] - AT_S < 0.01 for row in reset)


def test_a_hung_pod_accepts_and_never_answers_until_its_probe_has_failed_three_times() -> None:
    result = run("pod-hang", None, 30.0)
    noticed_s = when(result, "endpoints changed")
    stale = between(result, AT_S, noticed_s)

    # Probe period 2 s with a phase, three failures, then the time-out of 1 s.
    assert AT_S + 2 * 2.0 + 1.0 <= noticed_s <= AT_S + 3 * 2.0 + 1.0 + 0.1
    assert_share(stale, 1 / 10)
    assert causes(stale) == {"request_timeout"}
    assert failed(between(result, noticed_s + 1.0, 30.0)) == 0.0


def test_a_hung_pod_that_comes_round_answers_what_it_accepted() -> None:
    result = run("pod-hang", 2.0, 20.0)
    caught = between(result, AT_S, AT_S + 1.0)

    assert failed(caught) == 0.0
    assert any(AT_S + 2.0 <= row["ended_s"] < AT_S + 2.2 for row in caught)


def test_where_icmp_gets_through_an_absent_node_is_no_route_after_three_seconds_and_a_bit() -> None:
    network = Network(client_hop="no-route", node_hop="no-route")
    clients = Clients(rate_rps=60.0, timeouts=Timeouts(connect_s=10.0))
    scenario = Scenario(
        cluster=Cluster(nodes=5, network=network),
        service=Service(replicas=10),
        clients=(clients,),
        events=(Event(at_s=AT_S, fault="power-off", node=NODE),),
        run=Run(duration_s=20.0),
    )
    rows = simulate(scenario, engine="simpy", trace=100_000).trace
    lost = rows[rows["cause"] == CAUSES.index("no_route")]

    assert len(lost) > 100
    assert causes(between_rows(rows, AT_S + 0.1, 20.0)) == {"no_route"}
    # Those in flight at the fault count from their first SYN as well, which reached the node alive or not.
    waits_s = [row["ended_s"] - row["born_s"] for row in between_rows(lost, AT_S, 20.0)]
    assert waits_s == pytest.approx([NO_ROUTE_S] * len(waits_s))


def between_rows(rows: Any, start_s: float, end_s: float) -> Any:
    return rows[(rows["born_s"] >= start_s) & (rows["born_s"] < end_s)]


@pytest.mark.parametrize("fault", ["power-off", "cut", "cut-nodes", "pod-crash", "pod-hang"])
def test_requests_before_the_fault_are_of_the_phase_before_and_none_of_them_fails_unless_caught(
    fault: str,
) -> None:
    result = run(fault, None, 75.0) if fault in ("power-off", "cut") else run(fault, None, 30.0)
    offered, _, lost = result.phases[PHASES.index("before")]

    assert offered == len(between(result, 0.0, AT_S))
    assert lost <= 3
    assert Counter(what for _, what, _ in result.milestones)["fault"] == 1
