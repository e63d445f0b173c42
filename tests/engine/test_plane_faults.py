"""Faults of the control plane, of kube-proxy and of a balancer; many targets; faults that come and go.

Five nodes in two zones, ten pods (two a node), a new connection for every request, one attempt, unless a test
says otherwise. Where instants are known they are computed here from the clocks' phases, which are draws.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np
import pytest

from nodeportsim.engine import draws
from nodeportsim.engine.codes import CAUSES, SUCCEEDED
from nodeportsim.engine.rules import Rules
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.events import TARGETS, Event
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import (
    Balancer,
    Check,
    Cluster,
    ControlPlane,
    Pods,
    Probe,
    Proxy,
    Run,
    Scenario,
    Service,
)
from nodeportsim.theory import failure

NODES, PODS, SEED = 5, 10, 1
ITS_PODS = {2, 7}  # of node-3
LEASE_S, PASS_S, GRACE_S, ELECTION_S = 10.0, 5.0, 50.0, 15.0
TOLD = ("fault", "repair")

Milestones = list[tuple[float, str, str]]


def run(*events: Event, duration_s: float = 75.0, **changes: Any) -> Replication:
    """Simulate events; every request is traced."""
    clients = Clients(rate_rps=changes.get("rate_rps", 60.0), timeouts=Timeouts(connect_s=3.0, request_s=3.0))
    scenario = Scenario(
        cluster=Cluster(
            nodes=NODES,
            zones=2,
            control_plane=changes.get("clocks", ControlPlane()),
            proxy=changes.get("proxy", Proxy()),
        ),
        service=Service(replicas=PODS, type=changes.get("type", "NodePort")),
        pods=Pods(readiness_probe=Probe(period_s=2.0), service_time=Law(dist="constant", mean_s=0.001)),
        clients=(changes.get("clients", clients),),
        balancer=changes.get("balancer", Balancer()),
        events=events,
        run=Run(duration_s=duration_s, seed=SEED),
    )
    return simulate(scenario, engine="simpy", trace=200_000)


def calm(*events: Event, duration_s: float, **changes: Any) -> Replication:
    """Simulate events with hardly any traffic, where only the control plane is looked at."""
    return run(*events, duration_s=duration_s, rate_rps=1.0, **changes)


def instants(result: Replication, name: str, subject: str = "") -> list[float]:
    """Instants of the milestones of a name, about one subject or about all."""
    return [t for t, what, whom in result.milestones if what == name and subject in ("", whom)]


def others(result: Replication) -> Milestones:
    """Milestones without those of the script itself."""
    return [milestone for milestone in result.milestones if milestone[1] not in TOLD]


def between(result: Replication, start_s: float, end_s: float) -> Any:
    return result.trace[(result.trace["born_s"] >= start_s) & (result.trace["born_s"] < end_s)]


def causes(rows: Any) -> set[str]:
    return {CAUSES[c] for c in rows["cause"] if c != SUCCEEDED}


def assert_share(rows: Any, expected: float) -> None:
    """The failing share lies within four standard errors of the expectation (two-sided 6e-5)."""
    error = sqrt(expected * (1 - expected) / len(rows))

    assert abs(float(np.mean(rows["cause"] != SUCCEEDED)) - expected) < 4 * error


def phase(purpose: int, entity: int) -> float:
    """Phase of a clock, as a part of its period."""
    return draws.uniform2(SEED, 0, purpose, entity, 0, 0)[0]


def renewal_s(n: int, after_s: float) -> float:
    """Instant of the first renewal of node n's lease after an instant."""
    first_s = phase(draws.LEASE, n) * LEASE_S
    return first_s + ceil((after_s - first_s) / LEASE_S) * LEASE_S


def pass_s(after_s: float) -> float:
    """Instant of the node controller's first pass at or after an instant."""
    first_s = phase(draws.MONITOR, 0) * PASS_S
    return first_s + ceil((after_s - first_s) / PASS_S) * PASS_S


# -- targets -------------------------------------------------------------------------------------


def test_the_nodes_of_a_zone_fail_at_one_instant_in_the_order_of_names() -> None:
    result = calm(Event(at_s=5.0, fault="power-off", zone="zone-1", for_s=3.0), duration_s=20.0)
    told = [milestone for milestone in result.milestones if milestone[1] in TOLD]

    assert told == [
        (t, what, f"node-{n} power-off") for t, what in ((5.0, "fault"), (8.0, "repair")) for n in (1, 3, 5)
    ]


@pytest.mark.parametrize(
    ("fault", "target", "names"),
    [
        ("proxy-stop", {"node": "*"}, [f"node-{n + 1}" for n in range(NODES)]),
        ("pod-crash", {"pod": "*"}, [f"web-{p}" for p in range(PODS)]),
        ("api-outage", {}, ["cluster"]),
    ],
)
def test_a_star_is_each_one_at_the_same_instant(fault: Any, target: dict[str, str], names: list[str]) -> None:
    result = calm(Event(at_s=5.0, fault=fault, for_s=2.0, **target), duration_s=10.0)

    assert [milestone for milestone in result.milestones if milestone[1] == "fault"] == [
        (5.0, "fault", f"{name} {fault}") for name in names
    ]


# -- overlaps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "cut-control-plane",
        "proxy-stop",
        "proxy-hang",
        "api-outage",
        "controller-manager-outage",
        "balancer-failover",
    ],
)
def test_two_faults_of_a_kind_that_overlap_are_one_from_the_first_beginning_to_the_last_end(
    fault: Any,
) -> None:
    target = {"node": "node-3"} if TARGETS[fault] == "node" else {}
    crash = Event(at_s=7.0, fault="pod-crash", pod="web-1", for_s=20.0)
    behind = Clients(rate_rps=60.0, entry=Entry(policy="balancer"), timeouts=Timeouts(connect_s=3.0))

    def lasting(*spans: tuple[float, float]) -> Replication:
        events = [Event(at_s=t, fault=fault, for_s=for_s, **target) for t, for_s in spans]
        return run(crash, *events, duration_s=60.0, clients=behind)

    # Each of the two is shorter than the leader's renew deadline, both together are not.
    one, two = lasting((5.0, 13.0)), lasting((5.0, 8.0), (10.0, 8.0))
    nested = lasting((5.0, 13.0), (8.0, 3.0))

    assert one.trace.tobytes() == two.trace.tobytes() == nested.trace.tobytes()
    # A kube-proxy that is told once more draws the watch's delay anew: 0 to 20 ms.
    for other in (two, nested):
        assert [told[1:] for told in others(one)] == [told[1:] for told in others(other)]
        assert [told[0] for told in others(other)] == pytest.approx(
            [told[0] for told in others(one)], abs=0.02
        )


def test_a_node_boots_when_the_last_fault_that_keeps_it_off_is_over() -> None:
    off = [
        Event(at_s=t, fault="power-off", node="node-3", for_s=for_s) for t, for_s in ((5.0, 3.0), (6.0, 6.0))
    ]
    result = run(*off, duration_s=20.0)

    assert causes(between(result, 8.0, 9.0)) == {"connect_timeout"}
    assert min(instants(result, "rules updated", "node-3")) > 12.0
    assert causes(between(result, 16.0, 20.0)) == set()


def test_lags_add_up_and_are_taken_away_one_by_one() -> None:
    def lags(*spans: tuple[float, float, float]) -> float:
        events = [
            Event(at_s=t, fault="proxy-lag", node="node-3", for_s=for_s, delay_s=delay_s)
            for t, for_s, delay_s in spans
        ]
        crash = Event(at_s=10.0, fault="pod-crash", pod="web-1", for_s=100.0)
        return min(instants(calm(crash, *events, duration_s=30.0), "rules updated", "node-3"))

    prompt_s = lags()
    assert lags((1.0, 25.0, 3.0), (2.0, 25.0, 3.0)) == pytest.approx(prompt_s + 6.0)
    assert lags((1.0, 25.0, 3.0), (2.0, 5.0, 3.0)) == pytest.approx(prompt_s + 3.0)


# -- API server and controllers --------------------------------------------------------------------


def test_a_node_that_dies_while_the_api_server_is_out_is_noticed_a_grace_after_a_new_leader_looks() -> None:
    result = run(
        Event(at_s=5.0, fault="api-outage", for_s=60.0),
        Event(at_s=10.0, fault="power-off", node="node-3"),
        duration_s=145.0,
    )
    leader_s = 65.0 + ELECTION_S  # The old leader gave up after 10 s; its lease is seen again at 65 s.

    assert instants(result, "new leader") == [leader_s]
    assert [m for m in result.milestones if m[1] == "node not ready"] == [
        (pytest.approx(leader_s + GRACE_S), "node not ready", "node-3")
    ]
    assert min(instants(result, "endpoints changed")) > leader_s + GRACE_S
    # All that time the frozen rules send their share to the dead.
    assert_share(between(result, 10.0, leader_s + GRACE_S - 3.0), failure.failing_ratio(1 / 5, 2 / 10))


def test_an_outage_shorter_than_the_renew_deadline_leaves_the_leader_and_delays_no_detection() -> None:
    dies = Event(at_s=10.0, fault="power-off", node="node-3")
    seen_s = pass_s(renewal_s(2, 10.0) - LEASE_S)  # The pass that saw its last renewal.
    outage = Event(at_s=seen_s + 0.1, fault="api-outage", for_s=9.0)
    result = calm(outage, dies, duration_s=75.0)

    assert instants(result, "new leader") == []
    assert instants(result, "node not ready") == pytest.approx([seen_s + GRACE_S])


def test_nobody_is_lost_for_an_outage_alone_however_long() -> None:
    result = calm(Event(at_s=5.0, fault="api-outage", for_s=200.0), duration_s=400.0)

    assert [what for _, what, _ in result.milestones] == ["fault", "repair", "new leader"]


def test_an_outage_amid_the_marking_of_a_lost_nodes_pods_delays_it_and_no_more() -> None:
    dies = Event(at_s=5.0, fault="power-off", node="node-3")
    (lost_s,) = instants(calm(dies, duration_s=70.0), "node not ready")
    outage = Event(at_s=lost_s + 0.06, fault="api-outage", for_s=5.0)  # A call a pod, 20/s.
    result = run(dies, outage, duration_s=80.0)
    stale, after = between(result, lost_s + 2.0, lost_s + 5.0), between(result, lost_s + 8.0, 80.0)

    assert {2} < set(stale[stale["cause"] != SUCCEEDED]["node"])  # By other nodes too.
    assert {2} == set(after[after["cause"] != SUCCEEDED]["node"])


def test_a_kubelet_writes_what_it_owes_with_its_first_renewal_after_the_outage() -> None:
    # The probe has failed three times by 5 + 3 * 2 + 1 s; the API server answers again at 14 s.
    result = run(
        Event(at_s=5.0, fault="api-outage", for_s=9.0),
        Event(at_s=5.0, fault="pod-hang", pod="web-2"),
        duration_s=40.0,
    )
    written_s = renewal_s(2, 14.0)

    assert instants(result, "endpoints changed") == pytest.approx([written_s])
    assert_share(between(result, 5.0, written_s), 1 / PODS)
    assert causes(between(result, written_s + 1.0, 40.0)) == set()


def test_a_shutdown_is_told_once_the_api_server_listens() -> None:
    outage = Event(at_s=5.0, fault="api-outage", for_s=9.0)
    result = calm(outage, Event(at_s=6.0, fault="shutdown", node="node-3"), duration_s=30.0)

    assert instants(result, "endpoints changed") == pytest.approx([renewal_s(2, 14.0)])


def test_a_crash_that_is_over_before_the_api_server_is_back_never_shows_in_the_slices() -> None:
    result = run(
        Event(at_s=5.0, fault="api-outage", for_s=30.0),
        Event(at_s=10.0, fault="pod-crash", pod="web-2"),
        duration_s=70.0,
    )

    assert instants(result, "endpoints changed") == []
    assert causes(between(result, 10.0, 13.0)) == {"refused"}  # relist and start-up take at most 3 s.
    assert causes(between(result, 13.0, 70.0)) == set()


def test_a_node_that_boots_while_the_api_server_is_out_has_no_rules_until_that_is_back() -> None:
    result = run(
        Event(at_s=5.0, fault="api-outage", for_s=20.0),
        Event(at_s=6.0, fault="power-off", node="node-3", for_s=2.0),
        duration_s=40.0,
    )
    booted = between(result, 12.0, 25.0)  # Its pods have started again.

    assert (
        set(booted[booted["cause"] != SUCCEEDED]["node"]) == {2} == set(booted[booted["node"] == 2]["node"])
    )
    assert causes(booted) == {"refused"}
    assert 25.0 < min(instants(result, "rules updated", "node-3")) < 25.5


def test_without_a_controller_manager_slices_stand_still_until_a_new_leader_begins() -> None:
    result = run(
        Event(at_s=5.0, fault="controller-manager-outage", for_s=20.0),
        Event(at_s=5.0, fault="pod-hang", pod="web-2"),
        duration_s=60.0,
    )

    assert instants(result, "new leader") == [25.0 + ELECTION_S]
    assert instants(result, "endpoints changed") == [25.0 + ELECTION_S]
    assert_share(between(result, 5.0, 25.0 + ELECTION_S), 1 / PODS)


def test_a_toleration_counts_anew_under_a_new_leader() -> None:
    clocks = ControlPlane(toleration_s=20.0)
    dies = Event(at_s=5.0, fault="power-off", node="node-3")
    lost_s = calm(dies, duration_s=70.0, clocks=clocks).milestones[1][0]
    outage = Event(at_s=lost_s + 10.0, fault="controller-manager-outage", for_s=1.0)
    evicted_s = instants(calm(dies, outage, duration_s=120.0, clocks=clocks), "pod evicted")

    assert evicted_s == pytest.approx([lost_s + 10.0 + 1.0 + ELECTION_S + 20.0] * 2)


def test_while_every_node_is_lost_none_is_evicted_and_then_the_toleration_counts_anew() -> None:
    clocks = ControlPlane(toleration_s=20.0)
    away = Event(at_s=5.0, fault="cut-control-plane", node="*", for_s=145.0)
    longer = Event(at_s=5.0, fault="cut-control-plane", node="node-3")
    result = calm(away, longer, duration_s=200.0, clocks=clocks)
    back_s = min(instants(result, "node ready"))

    assert len(instants(result, "node not ready")) == NODES
    assert back_s == pytest.approx(min(renewal_s(n, 150.0) for n in (0, 1, 3, 4)))
    assert all(back_s + 20.0 <= t <= back_s + 20.0 + PASS_S for t in instants(result, "pod evicted"))
    assert len(instants(result, "pod evicted")) == 2


def test_a_node_that_comes_and_goes_is_not_evicted_for_an_earlier_loss() -> None:
    # Lost every 60 s for 5 to 10 s: the toleration of one loss ends within the next.
    clocks = ControlPlane(toleration_s=61.0)
    flap = Event(at_s=1.0, fault="lease-flap", node="node-3", period_s=60.0)
    result = calm(flap, duration_s=400.0, clocks=clocks)

    assert len(instants(result, "node not ready", "node-3")) >= 5
    assert instants(result, "pod evicted") == []


# -- leases ----------------------------------------------------------------------------------------


def test_a_kubelet_that_renews_late_makes_a_node_flap_that_works() -> None:
    at_s, period_s = 1.0, 60.0
    flap = Event(at_s=at_s, fault="lease-flap", node="node-3", period_s=period_s)
    late_s = [at_s + (phase(draws.LEASE, 2) + k) * period_s for k in range(5)]
    before_s = renewal_s(2, at_s) - LEASE_S
    renewed_s = [t for t in (before_s, *late_s) if t < 240.0]
    lost_s = [pass_s(t) + GRACE_S for t in renewed_s]
    result = run(flap, duration_s=240.0, rate_rps=30.0)

    pairs = [(lost, back) for lost, back in zip(lost_s, [*renewed_s[1:], 1e9], strict=True) if lost < back]
    assert instants(result, "node not ready") == pytest.approx([lost for lost, _ in pairs if lost < 240.0])
    assert instants(result, "node ready") == pytest.approx([back for _, back in pairs if back < 240.0])
    assert causes(result.trace) == set()  # Nothing fails: the others have its load to carry.
    shunned = between(result, lost_s[1] + 2.0, renewed_s[2])
    welcome = between(result, renewed_s[2] + 2.0, lost_s[2])
    assert ITS_PODS.isdisjoint(shunned["pod"])
    assert set(welcome["pod"]) >= ITS_PODS
    gap_s = renewed_s[2] - lost_s[1]
    shortest, longest = failure.flapping_ratio(period_s, grace_s=GRACE_S, pass_s=PASS_S)
    assert shortest <= gap_s / period_s <= longest


# -- kube-proxy ------------------------------------------------------------------------------------


def test_a_hung_proxy_sends_its_share_of_the_traffic_to_the_dead_and_no_other_node_does() -> None:
    """Blast radius: connections that enter by the node, times dead endpoints among those of its rules."""
    result = run(
        Event(at_s=1.0, fault="proxy-hang", node="node-1"),
        Event(at_s=5.0, fault="pod-crash", pod="web-2", for_s=1000.0),
        duration_s=75.0,
        rate_rps=200.0,
    )
    late = between(result, 8.0, 75.0)

    assert_share(late, 1 / NODES * 1 / PODS)
    assert_share(late[late["node"] == 0], 1 / PODS)
    assert set(late[late["cause"] != SUCCEEDED]["node"]) == {0}
    assert instants(result, "rules updated", "node-1") == []


def test_a_hung_proxy_is_restarted_and_catches_up() -> None:
    result = run(
        Event(at_s=1.0, fault="proxy-hang", node="node-1", for_s=19.0),
        Event(at_s=5.0, fault="pod-crash", pod="web-2", for_s=1000.0),
        duration_s=40.0,
    )

    assert 20.0 < instants(result, "rules updated", "node-1")[0] < 21.0
    assert causes(between(result, 21.0, 40.0)) == set()


CHECK = Check(kind="healthz", interval_s=1.0, timeout_s=0.5, fall=1, rise=1)


@pytest.mark.parametrize(("fault", "waits_s"), [("proxy-hang", 60.0), ("proxy-stop", 0.0)])
def test_healthz_fails_at_once_without_a_process_and_after_twice_the_sync_period_where_it_hangs(
    fault: Any, waits_s: float
) -> None:
    behind = Clients(rate_rps=1.0, entry=Entry(policy="balancer"))
    result = run(
        Event(at_s=6.0, fault=fault, node="node-1"),
        Event(at_s=5.0, fault="pod-crash", pod="web-2", for_s=1000.0),
        Event(at_s=7.0, fault="pod-crash", pod="web-4", for_s=1000.0),
        Event(at_s=30.0, fault="pod-crash", pod="web-6", for_s=1000.0),  # The oldest change counts.
        duration_s=90.0,
        clients=behind,
        balancer=Balancer(check=CHECK),
    )
    (out_s,) = instants(result, "node taken out", "node-1")
    waits_since_s = instants(result, "endpoints changed")[1] if waits_s else 6.0

    # A check a second, and its time-out.
    assert waits_since_s + waits_s <= out_s <= waits_since_s + waits_s + 1.0 + CHECK.timeout_s + 0.1


def test_a_hung_proxy_without_anything_to_do_stays_healthy() -> None:
    behind = Clients(rate_rps=1.0, entry=Entry(policy="balancer"))
    hang = Event(at_s=6.0, fault="proxy-hang", node="node-1")
    again = Event(at_s=10.0, fault="cut-control-plane", node="node-1", for_s=1.0)  # It lists anew: no news.
    result = run(hang, again, duration_s=90.0, clients=behind, balancer=Balancer(check=CHECK))

    assert instants(result, "node taken out") == []


def test_a_lag_moves_every_sync_of_its_node_and_of_no_other() -> None:
    crash = Event(at_s=5.0, fault="pod-crash", pod="web-2", for_s=100.0)
    lag = Event(at_s=1.0, fault="proxy-lag", node="node-3", delay_s=30.0)
    prompt, late = calm(crash, duration_s=60.0), calm(crash, lag, duration_s=60.0)

    for n in range(NODES):
        one, other = (instants(result, "rules updated", f"node-{n + 1}") for result in (prompt, late))
        assert other == pytest.approx([t + 30.0 * (n == 2) for t in one])


def test_a_restart_hurts_nobody_and_one_that_flushes_refuses_new_connections_until_its_full_sync() -> None:
    kept = Clients(
        name="kept",
        rate_rps=20.0,
        count=5,
        entry=Entry(policy="pinned"),
        connections=Connections(reuse="lifo"),
    )
    restart = Event(at_s=5.0, fault="proxy-restart", node="node-3", for_s=2.0)
    flushed = restart.model_copy(update={"flush": True})
    gentle, harsh = run(restart, duration_s=20.0), run(flushed, duration_s=20.0)
    synced_s = instants(harsh, "rules updated", "node-3")[0]

    assert causes(gentle.trace) == causes(run(flushed, duration_s=20.0, clients=kept).trace) == set()
    entered = harsh.trace[harsh.trace["node"] == 2]
    hit = (entered["born_s"] >= 5.0) & (entered["born_s"] < synced_s)
    rules = Rules(Scenario(service=Service(replicas=PODS)), load_profile("kernel-6.18"))
    more_s = rules.sync_s(PODS, "full") - rules.sync_s(PODS, "restart")
    assert more_s != 0.0
    assert synced_s == pytest.approx(instants(gentle, "rules updated", "node-3")[0] + more_s)
    assert 7.0 < synced_s < 8.0
    assert (hit == (entered["cause"] == CAUSES.index("refused"))).all()
    assert causes(harsh.trace) == {"refused"}


def test_a_cluster_ip_without_rules_is_an_address_that_nobody_answers() -> None:
    own = Clients(rate_rps=60.0, count=5, entry=Entry(policy="own-node"), timeouts=Timeouts(connect_s=0.5))
    stop = Event(at_s=5.0, fault="proxy-stop", node="node-3", flush=True)
    result = run(stop, duration_s=10.0, clients=own, type="ClusterIP")
    late = between(result, 5.0, 10.0)

    assert set(late[late["cause"] != SUCCEEDED]["node"]) == {2} == set(late[late["node"] == 2]["node"])
    assert causes(late) == {"connect_timeout"}


# -- balancer --------------------------------------------------------------------------------------


def behind(*born_s: float, size: int = 1) -> Clients:
    """One client behind a balancer, that keeps its connection."""
    return Clients(
        arrivals="trace",
        trace_s=born_s,
        count=1,
        entry=Entry(policy="balancer"),
        connections=Connections(reuse="lifo", size=size, idle_timeout_s=0.0),
        timeouts=Timeouts(connect_s=10.0, request_s=3.0),
    )


@pytest.mark.parametrize(
    ("connections", "cause", "took_s"),
    [("reset", "reset", 0.0), ("silent", "request_timeout", 3.0), ("kept", None, 0.0)],
)
def test_after_a_failover_an_old_connection_is_reset_silent_or_kept_and_the_next_one_works(
    connections: Any, cause: str | None, took_s: float
) -> None:
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=2.0, connections=connections)
    result = run(failover, duration_s=20.0, clients=behind(1.0, 10.0, 15.0))
    first, second, third = result.trace

    assert first["cause"] == third["cause"] == SUCCEEDED
    assert second["cause"] == (SUCCEEDED if cause is None else CAUSES.index(cause))
    assert second["ended_s"] - second["born_s"] == pytest.approx(took_s, abs=0.01)


def test_during_a_failover_a_new_connection_waits_for_the_first_syn_after_the_takeover() -> None:
    # SYNs at 5.5, 6.5, 7.5, 8.5, 9.5 s; the standby is there at 8.6 s.
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=3.6)
    (row,) = run(failover, duration_s=20.0, clients=behind(5.5)).trace

    assert row["cause"] == SUCCEEDED
    assert row["ended_s"] == pytest.approx(9.5, abs=0.01)


def test_during_a_failover_data_of_a_kept_connection_waits_for_its_retransmission() -> None:
    # Data at 5.5 s and 0.2, 0.4, 0.8 ... s after it; the standby is there at 6 s.
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=1.0, connections="kept")
    first, second = run(failover, duration_s=20.0, clients=behind(1.0, 5.5)).trace

    assert first["cause"] == second["cause"] == SUCCEEDED
    assert second["ended_s"] == pytest.approx(5.5 + 0.8, abs=0.01)


def test_a_syn_on_its_way_when_the_active_dies_is_known_to_the_standby_when_it_is_sent_again() -> None:
    # It reaches the balancer just after 5 s, and again after 5.9999 s.
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=0.5)
    (row,) = run(failover, duration_s=20.0, clients=behind(4.9999)).trace

    assert row["cause"] == SUCCEEDED
    assert row["ended_s"] == pytest.approx(5.9999, abs=0.01)


@pytest.mark.parametrize(("connections", "took_s"), [("kept", 0.8), ("reset", 3.0)])
def test_an_answer_that_meets_no_active_balancer_comes_again_and_is_known_or_not(
    connections: Any, took_s: float
) -> None:
    # The answer is sent just after 5 s and 0.2, 0.4, 0.8 ... s later; the standby is there at 5.5 s.
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=0.5, connections=connections)
    _, second = run(failover, duration_s=20.0, clients=behind(1.0, 4.9995)).trace

    assert second["ended_s"] - second["born_s"] == pytest.approx(took_s, abs=0.01)


def test_nothing_gets_to_the_nodes_while_nobody_is_active() -> None:
    new = run(Event(at_s=0.5, fault="balancer-failover"), duration_s=5.0, clients=behind(1.0))
    dies = Event(at_s=5.0, fault="balancer-failover", connections="kept")
    kept = run(dies, duration_s=10.0, clients=behind(1.0, 6.0))

    assert new.conntrack_peak.max() == 0
    assert kept.pod_utilisation.sum() * 8 * 10.0 == pytest.approx(0.001)  # One request of 1 ms, of 8 workers.


def test_a_failover_is_nothing_to_clients_that_ask_the_nodes_themselves() -> None:
    failover = Event(at_s=5.0, fault="balancer-failover", for_s=5.0)

    assert run(failover, duration_s=20.0).trace.tobytes() == run(duration_s=20.0).trace.tobytes()


@pytest.mark.parametrize(("drain_s", "cause"), [(None, None), (30.0, None), (4.0, "reset"), (0.0, "reset")])
def test_a_connection_to_a_node_taken_out_is_kept_or_closed_after_the_drain(
    drain_s: float | None, cause: str | None
) -> None:
    # The first connection of a round robin goes to node-2. Checks a second: out by 7 s, asked again at 15 s.
    stop = Event(at_s=5.0, fault="proxy-stop", node="node-2")
    balancer = Balancer(check=CHECK, drain_s=drain_s)
    result = run(stop, duration_s=30.0, clients=behind(1.0, 15.0), balancer=balancer)
    first, second = result.trace

    assert first["node"] == 1
    assert instants(result, "node taken out", "node-2")[0] < 7.0
    assert second["cause"] == (SUCCEEDED if cause is None else CAUSES.index(cause))


# -- faults that come and go -----------------------------------------------------------------------

UP_S, DOWN_S, LONG_S = 60.0, 20.0, 20_000.0


def spells(result: Replication, name: str) -> list[tuple[float, float]]:
    """Times a target was down, the last one perhaps cut off."""
    begun = [t for t, what, whom in result.milestones if what == "fault" and whom.startswith(f"{name} ")]
    ended = [t for t, what, whom in result.milestones if what == "repair" and whom.startswith(f"{name} ")]
    return list(zip(begun, [*ended, LONG_S][: len(begun)], strict=True))


@pytest.fixture(scope="module")
def seldom() -> Replication:
    """Every kube-proxy comes and goes on a clock of its own, for many hours."""
    event = Event(at_s=0.0, fault="proxy-hang", node="*", up_s=UP_S, down_s=DOWN_S)
    clients = Clients(rate_rps=0.001)
    return run(event, duration_s=LONG_S, clients=clients)


def test_the_share_of_time_down_is_that_of_two_exponential_times(seldom: Replication) -> None:
    """Over T its variance is 2 a b / (a + b)^3 / T with rates a = 1/up, b = 1/down; nodes are independent."""
    down = [sum(min(b, LONG_S) - a for a, b in spells(seldom, f"node-{n + 1}")) for n in range(NODES)]
    a, b = 1 / UP_S, 1 / DOWN_S
    error = sqrt(2 * a * b / (a + b) ** 3 / LONG_S / NODES)

    # It begins up, so the mean over T lies lower by share / (a + b) / T.
    expected = DOWN_S / (UP_S + DOWN_S) * (1 - 1 / (a + b) / LONG_S)
    assert abs(sum(down) / NODES / LONG_S - expected) < 4 * error


def test_up_and_down_times_are_exponential_each_with_its_mean(seldom: Replication) -> None:
    from scipy import stats

    times = [spells(seldom, f"node-{n + 1}") for n in range(NODES)]
    down = [b - a for each in times for a, b in each if b < LONG_S]
    up = [a - b for each in times for (_, b), (a, _) in zip([(0.0, 0.0), *each], each, strict=False)]

    assert stats.kstest(down, "expon", args=(0, DOWN_S)).pvalue > 1e-3
    assert stats.kstest(up, "expon", args=(0, UP_S)).pvalue > 1e-3


def test_nodes_with_clocks_of_their_own_hardly_ever_fail_together_and_those_of_a_zone_always() -> None:
    def begun(**target: str) -> dict[str, list[float]]:
        event = Event(at_s=3.0, fault="proxy-stop", up_s=10.0, down_s=5.0, **target)
        result = calm(event, duration_s=300.0)
        return {f"node-{n}": [a for a, _ in spells(result, f"node-{n}")] for n in (1, 2, 3, 5)}

    each, together = begun(node="*"), begun(zone="zone-1")
    assert len({t for times in each.values() for t in times}) == sum(map(len, each.values()))
    assert together["node-1"] == together["node-3"] == together["node-5"] != []
    assert together["node-2"] == []
    assert min(together["node-1"]) > 3.0


def test_another_event_moves_no_clock_of_those_before_it() -> None:
    comes = Event(at_s=0.0, fault="proxy-stop", node="node-1", up_s=10.0, down_s=5.0)
    more = comes.model_copy(update={"node": "node-2"})

    alone, both = (calm(*events, duration_s=100.0) for events in ((comes,), (comes, more)))
    assert spells(alone, "node-1") == spells(both, "node-1")
    assert spells(both, "node-1") != spells(both, "node-2")
