"""Source ports: they run out, are held, come back, and what a node remembers of them then.

One client, fixed arrivals, no time lost anywhere but in the kernel: every instant is known by hand.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from closed_forms import STILL

from nodeportsim.engine.codes import CAUSES, STAGES
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.ports import Snat, SourcePorts
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

NO_PORTS, TIMED_OUT, REFUSED = (CAUSES.index(c) for c in ("no_ports", "connect_timeout", "refused"))
SUCCEEDED = -1
WORK_S = 0.001
QUICK = ControlPlane(
    lease_renew_interval_s=0.02,
    node_monitor_period_s=0.02,
    node_monitor_grace_period_s=2.0,
    pod_status_rate_rps=1000.0,
    slice_min_delay_s=0.0,
    watch_latency_s=0.0,
)


def ports(count: int, hold_s: float = 0.0, **more: Any) -> SourcePorts:
    return SourcePorts(count=count, pick="sequential", hold_s=hold_s, **more)


def clients(source_ports: SourcePorts | None, rate_rps: float = 10.0, **more: Any) -> Clients:
    """One client by the first node, a request every 1 / rate seconds, one SYN an attempt."""
    fields: dict[str, Any] = {
        "count": 1,
        "arrivals": "fixed",
        "rate_rps": rate_rps,
        "entry": Entry(policy="first"),
        "timeouts": Timeouts(connect_s=0.5, request_s=0.5),
        "source_ports": source_ports,
    }
    return Clients(**fields | more)


def play(given: Clients, duration_s: float, **fields: Any) -> Replication:
    """One pod on one node, unless more is said."""
    cluster = {"nodes": 1, "network": STILL, "control_plane": QUICK} | fields.pop("cluster", {})
    scenario = Scenario(
        cluster=Cluster.model_validate(cluster),
        service=fields.pop("service", Service(replicas=1)),
        pods=fields.pop("pods", Pods(workers=64, service_time=Law(dist="constant", mean_s=WORK_S))),
        clients=(given,),
        run=Run(duration_s=duration_s - 0.01),  # Whatever the rounding of a sum of tenths.
        **fields,
    )
    return simulate(scenario, engine="simpy", trace=100_000)


def causes(result: Replication) -> list[int]:
    """How each request ended, in the order of their arrival."""
    return [int(cause) for cause in np.sort(result.trace, order=["born_s", "number"])["cause"]]


def two_nodes(**cluster: Any) -> dict[str, Any]:
    """A pod on each of two nodes; the client enters by the first, and the second is cut at 1 s."""
    return {
        "cluster": {"nodes": 2, **cluster},
        "service": Service(replicas=2),
        "events": (Event(at_s=1.0, fault="cut", node="node-2"),),
    }


# -- a client's own ports ----------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["random", "sequential"])
def test_with_n_ports_connection_n_plus_1_to_a_node_fails_at_once(
    pick: Literal["random", "sequential"],
) -> None:
    # Measured: EADDRNOTAVAIL at once. Each port is held for 60 s after its connection, all run is 20 s.
    result = play(clients(SourcePorts(count=100, pick=pick)), 20.0)
    assert causes(result) == [SUCCEEDED] * 100 + [NO_PORTS] * 100
    failed = result.trace[result.trace["cause"] == NO_PORTS]
    assert (failed["ended_s"] == failed["born_s"]).all()


def test_every_node_is_a_destination_with_ports_of_its_own() -> None:
    result = play(clients(ports(30, 60.0), entry=Entry()), 9.0, cluster={"nodes": 3})
    assert causes(result) == [SUCCEEDED] * 90


def test_a_retry_at_the_next_node_finds_a_port() -> None:
    given = clients(ports(10, 60.0), retry=Retry(attempts=2, node="next"))
    result = play(given, 2.0, cluster={"nodes": 2})
    assert causes(result) == [SUCCEEDED] * 20
    assert result.attempt_errors[NO_PORTS] == 10


def test_a_port_is_free_again_a_time_wait_after_the_client_closed() -> None:
    # Requests 0 .. 4 take ports 0 .. 4 at 0, 1 .. 4 s; port k is free from k + 5.5 s and a little on.
    result = play(clients(ports(5, hold_s=5.5), rate_rps=1.0), 14.0)
    # 5 s: none; 6 s: port 0 is; and so on, until 11 s, when port 0 is held until 11.5 s.
    assert causes(result) == [SUCCEEDED] * 5 + [NO_PORTS] + [SUCCEEDED] * 5 + [NO_PORTS] + [SUCCEEDED] * 2


def test_a_port_is_free_at_once_where_the_server_closed_first_or_refused() -> None:
    assert set(causes(play(clients(ports(1)), 5.0))) == {SUCCEEDED}
    crash = (Event(at_s=1.0, fault="pod-crash", pod="web-0"),)
    result = play(clients(ports(20, 60.0)), 2.0, events=crash)
    assert causes(result) == [SUCCEEDED] * 10 + [REFUSED] * 10


def test_an_open_connection_keeps_its_port() -> None:
    slow = Pods(workers=64, service_time=Law(dist="constant", mean_s=1.05))
    given = clients(ports(5), timeouts=Timeouts(connect_s=0.5, request_s=5.0))
    # Ten requests a second, each open for 1.05 s: of 22, five begin in 0 .. 0.4 s and five in 1.1 .. 1.5 s.
    expected = [SUCCEEDED] * 5 + [NO_PORTS] * 6
    assert causes(play(given, 2.2, pods=slow)) == expected * 2
    kept = given.model_copy(update={"connections": Connections(reuse="lifo", size=5)})
    assert set(causes(play(kept, 2.2, pods=slow))) == {SUCCEEDED}


def test_clients_behind_one_address_share_its_ports_and_its_affinity() -> None:
    alone = play(clients(ports(10, 60.0), count=2), 2.0)
    shared = play(clients(ports(10, 60.0, hosts=1), count=2), 2.0)
    assert (alone.errors[NO_PORTS], shared.errors[NO_PORTS]) == (0, 10)
    sticky = {"service": Service(replicas=7, session_affinity="ClientIP"), "cluster": {"nodes": 1}}
    served = [
        np.count_nonzero(
            play(clients(ports(500, hosts=hosts), count=20, arrivals="poisson"), 5.0, **sticky).pods[:, 0]
        )
        for hosts in (1, 20)
    ]
    assert served[0] == 1 < served[1]


# -- what conntrack remembers ------------------------------------------------------------------------


def stale(source_ports: SourcePorts | None, **cluster: Any) -> list[int]:
    """Numbers of the requests that fail while a cut node's pods are in the rules, and afterwards."""
    cluster = {"proxy": Proxy(min_sync_period_s=0.0)} | cluster
    result = play(clients(source_ports), 20.0, **two_nodes(**cluster))
    updated_s = next(t for t, name, _ in result.milestones if name == "rules updated everywhere")
    assert 3.0 < updated_s < 3.1  # Noticed 2 s after the cut at 1 s, so requests 10 .. 30 are at risk.
    assert set(causes(result)) == {SUCCEEDED, TIMED_OUT}
    return sorted(int(n) for n in result.trace["number"][result.trace["cause"] == TIMED_OUT])


def test_a_port_whose_syn_was_not_answered_is_led_to_the_same_dead_pod_when_it_returns() -> None:
    # Played with a real kernel: docs/live.md, returning-ports. 60 ports in turn at 10/s return after 6 s.
    without, returning = stale(None), stale(ports(60))
    outage = [n for n in returning if n <= 30]
    assert 0 < len(outage) < 20
    assert without == outage  # The same choices, since a port is no reason to draw anew.
    # Each failure comes back with its port, and makes the entry young again.
    assert returning == [n + 60 * turn for turn in range(4) for n in outage if n + 60 * turn < 200]


def test_ports_that_do_not_return_within_two_minutes_are_forgotten() -> None:
    for turn_s, again in ((119.0, True), (122.0, False)):
        given = clients(ports(int(turn_s * 10)))
        result = play(given, 130.0, **two_nodes(proxy=Proxy(min_sync_period_s=0.0)))
        failed = result.trace["born_s"][result.trace["cause"] == TIMED_OUT]
        assert (failed < 3.1).any()
        assert (failed > 3.1).any() == again


def test_a_dead_process_answers_for_its_port_and_leaves_nothing_stale() -> None:
    # RST from the pod's kernel is an answer: the entry becomes CLOSE, and the next SYN begins anew.
    crash = (Event(at_s=1.0, fault="pod-crash", pod="web-0", for_s=1.0),)
    result = play(clients(ports(15)), 12.0, service=Service(replicas=2), events=crash)
    born_s = result.trace["born_s"][result.trace["cause"] == REFUSED]
    assert len(born_s) > 0
    assert born_s.max() < 4.5  # Down for 1 s and 2 s of start-up, at most, and a sync.


def test_a_reboot_of_the_entry_node_forgets_every_port() -> None:
    cut = Event(at_s=1.0, fault="cut", node="node-2")
    boot = Event(at_s=5.0, fault="power-off", node="node-1", for_s=1.0)
    late = []
    for events in ((cut,), (cut, boot)):
        result = play(clients(ports(60)), 20.0, **two_nodes() | {"events": events})
        failed_s = result.trace["born_s"][result.trace["cause"] == TIMED_OUT]
        late.append(int((failed_s > 12.0).sum()))
    assert late[0] > late[1] == 0


def test_a_returning_port_takes_the_place_of_its_old_entry_in_conntrack() -> None:
    # Without ports known: rate x 120 s. With 40 ports: 40, and the same entries again and again.
    assert play(clients(None), 20.0).conntrack_peak.tolist() == [200]
    assert play(clients(ports(40)), 20.0).conntrack_peak.tolist() == [40]
    few = {"cluster": {"nodes": 1, "conntrack": Conntrack(max=50)}}
    assert set(causes(play(clients(ports(40)), 20.0, **few))) == {SUCCEEDED}


# -- ipvs --------------------------------------------------------------------------------------------


def ipvs(port_reuse: Literal["new", "drop", "keep"]) -> dict[str, Any]:
    return {"proxy": Proxy(mode="ipvs", port_reuse=port_reuse, min_sync_period_s=0.0)}


def test_a_port_in_time_wait_loses_its_first_syn_before_linux_5_9() -> None:
    patient = clients(ports(10), timeouts=Timeouts(connect_s=5.0))
    slow_s = STAGES.index("syn_backoff")
    for reuse, lost in (("new", 0), ("drop", 10), ("keep", 0)):
        result = play(patient, 2.0, cluster=ipvs(reuse))  # type: ignore[arg-type]  # Of the three.
        assert result.succeeded == result.offered == 20
        assert result.retransmissions == lost
        assert result.stage_sum_ns.sum(axis=0)[slow_s] == lost * 10**9  # The next SYN, 1 s later, passes.


def test_a_port_in_time_wait_keeps_its_pod_with_conn_reuse_mode_0() -> None:
    # Round robin over three pods; 10 ports in turn, so that port k meets pod k mod 3 the first time.
    for reuse, expected in (("keep", [80, 60, 60]), ("new", [67, 67, 66])):
        result = play(clients(ports(10)), 20.0, service=Service(replicas=3), cluster=ipvs(reuse))  # type: ignore[arg-type]
        assert sorted(result.pods[:, 0].tolist(), reverse=True) == expected


def test_conn_reuse_mode_0_sends_returning_ports_to_a_pod_that_has_left_the_rules() -> None:
    # kubernetes/kubernetes#81775: half of the ports belong to the dead pod, and half of the requests fail
    # however long the rules are right. Since 5.9 an unanswered SYN's port costs one SYN, which is lost.
    for reuse, share in (("keep", 0.5), ("new", 0.0)):
        result = play(clients(ports(20)), 20.0, **two_nodes(**ipvs(reuse)))  # type: ignore[arg-type]
        late = result.trace[result.trace["born_s"] > 7.95]
        assert np.count_nonzero(late["cause"] == TIMED_OUT) == share * len(late)


# -- masquerade ports --------------------------------------------------------------------------------


def test_a_node_without_a_free_masquerade_port_drops_the_syn_in_silence() -> None:
    # 10 ports towards the one pod, held for 120 s: too few to be searched twice, all are tried at once.
    snat = {"nodes": 1, "snat": Snat(ports=10, evict_closing=False)}
    result = play(clients(None), 2.0, cluster=snat)
    assert causes(result) == [SUCCEEDED] * 10 + [TIMED_OUT] * 10
    assert result.snat_drops == 10
    assert result.conntrack_peak.tolist() == [11]  # What is not confirmed counts while it is looked at.


def test_every_pod_is_a_destination_with_masquerade_ports_of_its_own() -> None:
    snat = {"nodes": 1, "snat": Snat(ports=10, evict_closing=False), "proxy": Proxy(mode="ipvs")}
    result = play(clients(None), 3.0, cluster=snat, service=Service(replicas=3))
    assert causes(result) == [SUCCEEDED] * 30


def test_recent_kernels_take_masquerade_ports_in_time_wait() -> None:
    snat = {"nodes": 1, "snat": Snat(ports=10)}
    assert set(causes(play(clients(None), 5.0, cluster=snat))) == {SUCCEEDED}
    # But never one that is open: 20 at once.
    slow = Pods(workers=64, service_time=Law(dist="constant", mean_s=0.4))
    burst = clients(None, arrivals="trace", trace_s=(0.0,) * 20)
    result = play(burst, 1.0, cluster=snat, pods=slow)
    assert sorted(causes(result)) == [SUCCEEDED] * 10 + [TIMED_OUT] * 10


def test_policy_local_masquerades_nothing() -> None:
    local = Service(replicas=1, external_traffic_policy="Local")
    result = play(
        clients(None), 2.0, service=local, cluster={"nodes": 1, "snat": Snat(ports=1, evict_closing=False)}
    )
    assert set(causes(result)) == {SUCCEEDED}


def test_a_lost_syn_is_sent_again_and_may_meet_another_pod() -> None:
    # Pod 0 has one port, and is chosen half of the time; the next SYN chooses anew.
    places = tuple(Placement(name=f"web-{p}", node="node-1") for p in range(2))
    pods = Pods(workers=64, service_time=Law(dist="constant", mean_s=WORK_S), placement=places)
    given = clients(None, rate_rps=5.0, timeouts=Timeouts(connect_s=60.0))
    snat = {"nodes": 1, "snat": Snat(ports=6, evict_closing=False)}
    result = play(given, 2.0, cluster=snat, service=Service(replicas=2), pods=pods)
    assert result.pods[:, 0].sum() == result.succeeded == 10
    assert result.pods[:, 0].max() == 6 or result.snat_drops == 0
