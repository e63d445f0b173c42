"""Gray faults, one-way cuts and a virtual IP that moves: exact traces, worked out by hand.

Wires take no time and CPUs some microseconds, so everything happens at the instants of SYNs (0, 1, 2 ... s
after the first) and of retransmitted data (0.2, 0.4, 0.8 ... s after the first sending).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from closed_forms import STILL

from nodeportsim.engine import draws
from nodeportsim.engine import simulate as simulation
from nodeportsim.engine.build import NO_ROUTE_S
from nodeportsim.engine.codes import CAUSES, PASSING, SUCCEEDED
from nodeportsim.engine.faults import pods as pod_faults
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.events import PARAMETERS, TARGETS, Event
from nodeportsim.scenario.spec import (
    Balancer,
    Check,
    Cluster,
    Conntrack,
    Network,
    Placement,
    Pods,
    Run,
    Scenario,
    Service,
)
from nodeportsim.theory.failure import Detection

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_S = 2e-3  # More than all CPU of a request, less than anything else.
NODE, PEER, POD = "node-1", "node-2", "web-0"
HARD = {
    "factor": 3.0,
    "loss_ratio": 0.3,
    "errors_ratio": 0.5,
    "answer": "drop",
    "entries": 50,
    "period_s": 100.0,
    "delay_s": 1.0,
    "flush": False,
}
KEPT = Connections(reuse="lifo", size=1)


def work(mean_s: float, workers: int = 8, **fields: Any) -> Pods:
    """Pods whose work takes a constant time."""
    return Pods(workers=workers, service_time=Law(dist="constant", mean_s=mean_s), **fields)


def fault(name: str, at_s: float, for_s: float | None = None, **given: Any) -> Event:
    """Something that happens to the first node, to the pod or to the cluster, with its parameters."""
    targets: dict[str, dict[str, str]] = {"node": {"node": NODE}, "pod": {"pod": POD}, "cluster": {}}
    target = targets[TARGETS[name]]  # type: ignore[index]
    needed = {field: HARD[field] for field, those in PARAMETERS.items() if name in those}
    return Event.model_validate({"at_s": at_s, "fault": name, "for_s": for_s} | target | needed | given)


def scene(*events: Event, at_s: tuple[float, ...] = (1.0,), **changes: Any) -> Scenario:
    """One client that asks at the given instants, one node and one pod, no time-outs."""
    clients = {"count": 1, "arrivals": "trace", "trace_s": at_s, "entry": Entry(policy="first")}
    limits = {"timeouts": Timeouts(connect_s=0.0, request_s=0.0)}
    base = {
        "cluster": Cluster(nodes=1, network=STILL),
        "service": Service(replicas=1),
        "pods": work(0.1),
        "clients": (Clients.model_validate(clients | limits | changes.pop("clients", {})),),
        "events": events,
        "run": Run(duration_s=10.0),
    }
    return Scenario.model_validate(base | changes)


def traced(scenario: Scenario) -> Replication:
    return simulate(scenario, engine="simpy", trace=10_000)


def ended_s(scenario: Scenario) -> list[float]:
    """When the requests ended, by the order of their arrival; all succeeded."""
    rows = traced(scenario).trace
    assert (rows["cause"] == SUCCEEDED).all()
    return [float(row["ended_s"]) for row in sorted(rows, key=lambda row: row["born_s"])]


def outcomes(scenario: Scenario) -> list[tuple[str, Any]]:
    """Cause and end of every request, by the order of arrival."""
    rows = sorted(traced(scenario).trace, key=lambda row: row["born_s"])
    return [
        ("" if row["cause"] == SUCCEEDED else CAUSES[row["cause"]], pytest.approx(row["ended_s"], abs=CPU_S))
        for row in rows
    ]


def looks(scenario: Scenario, look: Callable[[Any], Any], *instants: float) -> list[Any]:
    """What there is to see in the world at some instants, in their order."""
    seen: list[Any] = []

    def watch(_scenario: Scenario, plane: Any) -> float:
        for t in instants:
            plane.advance(t)
            seen.append(look(plane.world))
        return max(instants)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_run", watch)
        simulate(scenario, engine="simpy")
    return seen


def two_nodes(place: str = PEER, **network: Any) -> dict[str, Any]:
    """Two nodes, and the one pod on one of them."""
    pods = work(0.1, placement=(Placement(name=POD, node=place),))
    return {"cluster": Cluster(nodes=2, network=STILL.model_copy(update=network)), "pods": pods}


# -- slow ----------------------------------------------------------------------------------------


def test_on_a_slow_node_everything_takes_as_many_times_as_long() -> None:
    """Wires take no time: all of a request's time is the node's CPU and its pod's work."""
    (plain_s,) = ended_s(scene())
    (slow_s,) = ended_s(scene(fault("slow-node", 0.0, factor=7.0)))

    assert slow_s - 1.0 == pytest.approx(7.0 * (plain_s - 1.0), rel=1e-9)


def test_a_slow_peer_makes_its_own_part_slow_and_not_the_entry_nodes() -> None:
    here, there = ({"node": name} for name in (NODE, PEER))
    (plain_s,) = ended_s(scene(**two_nodes()))
    slow_s = [
        ended_s(scene(fault("slow-node", 0.0, factor=7.0, **which), **two_nodes()))[0] - plain_s
        for which in (here, there)
    ]

    assert 0.0 < slow_s[0] < CPU_S
    assert slow_s[1] == pytest.approx(6.0 * 0.1, abs=CPU_S)
    assert sum(slow_s) == pytest.approx(6.0 * (plain_s - 1.0), rel=1e-9)


@pytest.mark.parametrize("name", ["slow-node", "slow-pod"])
def test_work_that_has_begun_and_work_that_waits_are_stretched_and_let_go_again(name: str) -> None:
    """Half of 1 s is done; a quarter of the pace for 1 s does another quarter; the last takes its quarter."""
    times = (1.0, 1.1, 2.0, 6.0)
    result = ended_s(scene(fault(name, 1.5, 1.0, factor=4.0), at_s=times, pods=work(1.0, workers=1)))

    assert result == pytest.approx([2.75, 3.75, 4.75, 7.0], abs=4 * CPU_S)


def test_requests_over_a_kept_connection_wait_and_are_stretched_as_well() -> None:
    """Three streams of one connection: the second and third are not in the accept queue."""
    clients = {"connections": Connections(reuse="lifo", size=1, streams=3)}
    case = scene(
        fault("slow-pod", 2.5, 1.0, factor=4.0),
        at_s=(1.0, 2.0, 2.1),
        pods=work(1.0, workers=1),
        clients=clients,
    )

    assert ended_s(case) == pytest.approx([2.0, 3.75, 4.75], abs=4 * CPU_S)


def test_stretched_work_is_counted_as_work_and_waiting_as_waiting() -> None:
    """One worker: 1 s of work takes 1.75 s, as above, and the second request waits for it from 1.1 s on."""
    case = scene(fault("slow-pod", 1.5, 1.0, factor=4.0), at_s=(1.0, 1.1), pods=work(1.0, workers=1))
    result = traced(case)
    stages = dict(zip(simulation.STAGES, result.stage_sum_ns.sum(axis=0) / 1e9, strict=True))

    assert stages["service"] == pytest.approx(1.75 + 1.0, abs=4 * CPU_S)
    assert stages["pod_queue"] == pytest.approx(2.75 - 1.1, abs=4 * CPU_S)
    assert result.pod_utilisation[0] == pytest.approx(2.75 / 10.0, abs=CPU_S)


def test_all_pods_can_be_slowed_at_once() -> None:
    """Two pods by name, or all: the same to the last bit."""
    base: dict[str, Any] = {
        "at_s": tuple(0.25 * k for k in range(30)),
        "service": Service(replicas=2),
        "pods": work(0.4, 1),
    }
    each = [fault("slow-pod", 1.0, 3.0, pod=f"web-{p}") for p in range(2)]

    assert ended_s(scene(fault("slow-pod", 1.0, 3.0, pod="*"), **base)) == ended_s(scene(*each, **base))


def test_a_pod_that_hangs_is_not_stretched_while_it_hangs() -> None:
    """Work of 1 s ends when the pod comes round at 3 s; what came later is done at a quarter of the pace."""
    case = scene(
        fault("pod-hang", 1.5, 1.5),
        fault("slow-pod", 2.0, factor=4.0),
        at_s=(1.0, 1.75),
        pods=work(1.0, workers=1),
    )

    assert ended_s(case) == pytest.approx([3.0, 3.0 + 4.0], abs=8 * CPU_S)


def test_a_slow_pod_holds_a_request_a_worker_and_a_full_accept_queue_and_the_rest_is_dropped() -> None:
    """`backlog` + 1 connections may wait (sk_acceptq_is_full); further SYNs meet silence until then."""
    times = tuple(1.0 + 0.01 * k for k in range(10))
    case = scene(fault("slow-pod", 0.0, 2.5, factor=1e6), at_s=times, pods=work(0.001, workers=2, backlog=3))
    ((inside, queued, drops),) = looks(
        case, lambda w: (w.pods[0].inside, w.pods[0].queued, w.counts.backlog_drops), 1.5
    )

    assert (inside, queued) == (2 + 3 + 1, 3 + 1)
    assert drops == len(times) - inside
    # Its pace is back at 2.5 s: those inside are done in milliseconds, the dropped SYNs come again at 3 s.
    assert ended_s(case)[:inside] == pytest.approx([2.5] * inside, abs=8 * CPU_S)
    assert ended_s(case)[inside:] == pytest.approx([t + 2.0 for t in times[inside:]], abs=8 * CPU_S)


def test_a_slow_pod_that_rejects_answers_503_at_once_beyond_its_limit() -> None:
    pods = work(0.001, workers=2, overload="reject", queue_limit=3)
    times = tuple(1.0 + 0.01 * k for k in range(10))
    case = scene(fault("slow-pod", 0.0, 1.5, factor=1e6), at_s=times, pods=pods)

    held = [("", pytest.approx(1.5, abs=8 * CPU_S))] * (2 + 3)
    told = [("rejected", pytest.approx(t, abs=CPU_S)) for t in times[5:]]
    assert outcomes(case) == held + told


# -- one way -------------------------------------------------------------------------------------


def test_one_way_cuts_lose_syn_or_syn_ack_until_the_next_syn_finds_them_mended() -> None:
    """SYNs at 1, 2, 3 s; both ways are open again from 2.5 s on."""
    for name in ("cut-in", "cut-out", "cut"):
        case = scene(fault(name, 0.5, 2.0))
        assert ended_s(case) == pytest.approx([3.1], abs=CPU_S)
        assert traced(case).retransmissions == 2


def test_a_syn_that_arrives_makes_its_entry_though_the_answer_is_lost() -> None:
    """In, nothing arrives: no entry. Out, the SYN is tracked at the entry node and at the pod's."""
    for name, where, entries in (
        ("cut-in", NODE, [0, 0]),
        ("cut-out", NODE, [1, 0]),
        ("cut-in", PEER, [1, 0]),
        ("cut-out", PEER, [1, 1]),
        ("cut-nodes", PEER, [1, 0]),
    ):
        case = scene(fault(name, 0.5, node=where), **two_nodes())
        assert looks(case, lambda w: [node.conntrack for node in w.nodes], 1.5) == [entries], (name, where)


def test_data_into_a_deaf_node_is_sent_again_by_the_client_and_an_answer_from_a_mute_one_by_the_pod() -> None:
    """A kept connection. Request at 1 s, mended at 2 s: data again at 1.2, 1.4, 1.8, 2.6 s, then the work.

    Or the work is done at 1.1 s and the answer goes again at 1.3, 1.5, 1.9, 2.7 s.
    """
    for place in (NODE, PEER):
        base = {"at_s": (0.1, 1.0), "clients": {"connections": KEPT}} | two_nodes(place)
        node = {"node": place}
        assert ended_s(scene(fault("cut-in", 0.5, 1.5, **node), **base))[1] == pytest.approx(2.7, abs=CPU_S)
        assert ended_s(scene(fault("cut-out", 0.5, 1.5, **node), **base))[1] == pytest.approx(2.7, abs=CPU_S)
    base |= two_nodes(NODE)
    deaf, mute = (
        looks(scene(fault(name, 0.5, 1.5), **base), lambda w: w.pods[0].busy_s, 1.5)[0]
        for name in ("cut-in", "cut-out")
    )
    assert (deaf, mute) == pytest.approx((0.1, 0.2))


def test_the_entry_node_of_a_remote_pod_hears_no_answer_when_it_is_deaf() -> None:
    """Work begun at 1 s is done at 1.1 s; the entry node is deaf from 1.05 to 1.2 s: again at 1.3 s."""
    case = scene(fault("cut-in", 1.05, 0.15), **two_nodes())

    assert ended_s(case) == pytest.approx([1.3], abs=CPU_S)
    # The other way round: out of the pod's node, as deaf as that, the answer leaves at once.
    case = scene(fault("cut-in", 1.05, 0.15, node=PEER), **two_nodes())
    assert ended_s(case) == pytest.approx([1.1], abs=CPU_S)


def test_nobody_hears_of_no_route_through_a_mute_node() -> None:
    """The pod's node is gone: the entry node's ICMP comes after 3.06 s, unless the entry node is mute."""
    gone = Event(at_s=0.5, fault="power-off", node=PEER)
    base = two_nodes(node_hop="no-route") | {"clients": {"timeouts": Timeouts(connect_s=6.0)}}

    assert outcomes(scene(gone, **base)) == [("no_route", 1.0 + NO_ROUTE_S)]
    assert outcomes(scene(gone, fault("cut-out", 0.6), **base)) == [("connect_timeout", 7.0)]


def test_a_deaf_node_answers_no_neighbour_probe_and_a_mute_one_still_gets_packets() -> None:
    base = two_nodes(NODE, client_hop="no-route") | {"clients": {"timeouts": Timeouts(connect_s=6.0)}}

    assert outcomes(scene(fault("cut-in", 0.5), **base)) == [("no_route", 1.0 + NO_ROUTE_S)]
    assert outcomes(scene(fault("cut-out", 0.5), **base)) == [("connect_timeout", 7.0)]


def test_a_mute_node_cannot_even_refuse() -> None:
    """No endpoint: REJECT, but the ICMP does not get out before 2.5 s."""
    case = scene(fault("cut-out", 0.5, 2.0), service=Service(replicas=0))

    assert outcomes(case) == [("refused", 3.0)]


def test_a_mute_node_that_rebooted_cannot_reset_what_it_does_not_know() -> None:
    """Data of 1 s arrives, the RST does not get out; neither at 1.2 and 1.4 s, but at 1.8 s."""
    case = scene(
        fault("power-off", 0.5, 0.1),
        fault("cut-out", 0.7, 0.8),
        at_s=(0.1, 1.0),
        clients={"connections": KEPT},
    )

    assert outcomes(case) == [("", 0.2), ("reset", 1.8)]


@pytest.mark.parametrize("name", ["cut-in", "cut-out"])
def test_a_one_way_cut_stops_the_lease_for_a_renewal_needs_both_ways(name: str) -> None:
    case = scene(fault(name, 5.0), run=Run(duration_s=75.0))
    noticed_s = min(t for t, what, _ in traced(case).milestones if what == "node not ready") - 5.0

    assert Detection().min_s - 1e-9 <= noticed_s <= Detection().max_s + 1e-9


@pytest.mark.parametrize(
    "name", ["slow-node", "slow-pod", "pod-errors", "loss", "firewall", "conntrack-fill"]
)
def test_nobody_notices_a_gray_fault(name: str) -> None:
    case = scene(fault(name, 5.0), at_s=(5.5,), run=Run(duration_s=75.0))

    assert [what for _, what, _ in traced(case).milestones] == ["fault"]


# -- blocked, full, wrong ------------------------------------------------------------------------


def test_a_firewall_that_drops_is_silence_and_one_that_rejects_a_refusal_at_once() -> None:
    limits = {"clients": {"timeouts": Timeouts(connect_s=2.5)}}

    assert outcomes(scene(fault("firewall", 0.5, answer="drop"), **limits)) == [("connect_timeout", 3.5)]
    assert outcomes(scene(fault("firewall", 0.5, answer="reject"), **limits)) == [("refused", 1.0)]
    assert outcomes(scene(fault("firewall", 0.5, 1.0), **limits)) == [("", 2.1)]


def test_a_firewall_lets_open_connections_go_on_and_its_nodes_pods_are_reached_through_others() -> None:
    open_ = {"at_s": (0.1, 1.0), "clients": {"connections": KEPT}}
    through_peer = two_nodes(NODE) | {"clients": {"entry": Entry(policy="dns-round-robin")}}

    assert outcomes(scene(fault("firewall", 0.5), **open_))[1] == ("", 1.1)
    assert outcomes(scene(fault("firewall", 0.5, node=PEER), **through_peer)) == [("", 1.1)]
    assert outcomes(scene(fault("firewall", 0.5), at_s=(0.1, 1.0), **through_peer)) == [
        ("", 0.2),
        ("", 1.1),
    ]


def test_of_the_checks_only_the_one_of_the_node_port_meets_the_firewall() -> None:
    """Three failures a second apart, each after a time-out of 0.5 s."""
    for kind, names in (("node-port", {"fault", "node taken out"}), ("healthz", {"fault"})):
        check = Check.model_validate({"kind": kind, "interval_s": 1.0, "timeout_s": 0.5})
        case = scene(
            fault("firewall", 0.5),
            clients={"entry": Entry(policy="balancer"), "timeouts": Timeouts()},
            balancer=Balancer(check=check),
            **two_nodes(),
        )
        assert {what for _, what, _ in traced(case).milestones} == names


def test_other_traffic_that_fills_the_table_drops_every_syn_until_it_is_gone_and_is_told_each_time() -> None:
    """Full from 0.5 to 2.5 s: SYNs at 1 and 2 s are dropped. Full again from 5 to 5.9 s."""
    case = scene(
        fault("conntrack-fill", 0.5, 2.0, entries=100),
        fault("conntrack-fill", 5.0, 0.9, entries=100),
        at_s=(1.0, 5.5),
        cluster=Cluster(nodes=1, network=STILL, conntrack=Conntrack(max=100)),
    )
    result = traced(case)

    assert ended_s(case) == pytest.approx([3.1, 6.6], abs=CPU_S)
    assert result.conntrack_drops == 3
    assert result.conntrack_peak[0] == 100
    assert [t for t, what, _ in result.milestones if what == "conntrack table full"] == pytest.approx(
        [1.0, 5.5], abs=CPU_S
    )


def test_other_traffic_leaves_the_places_that_are_left() -> None:
    """Of 100 places 95 are taken: five connections of ten, closing for 120 s, fit in."""
    case = scene(
        fault("conntrack-fill", 0.5, entries=95),
        at_s=tuple(1.0 + 0.2 * k for k in range(10)),
        cluster=Cluster(nodes=1, network=STILL, conntrack=Conntrack(max=100)),
        clients={"timeouts": Timeouts(connect_s=0.5)},
    )

    assert [cause for cause, _ in outcomes(case)] == [""] * 5 + ["connect_timeout"] * 5
    assert traced(case).conntrack_peak[0] == 100


def test_an_application_that_errs_answers_500_after_its_work_and_keeps_the_connection() -> None:
    case = scene(
        fault("pod-errors", 0.0, 2.0, errors_ratio=1.0),
        at_s=(1.0, 3.0),
        clients={"connections": KEPT},
    )

    assert outcomes(case) == [("server_error", 1.1), ("", 3.1)]
    assert traced(case).nodes[0, 0] == 1


def test_an_error_or_a_503_that_is_lost_is_sent_again_as_what_it_is() -> None:
    """The node is mute until 1.18 s. The answer of 1.1 s goes again at 1.3 s, the 503 of 1 s at 1.2 s."""
    mute = fault("cut-out", 0.95, 0.23)
    kept = {"at_s": (0.1, 1.0), "clients": {"connections": KEPT}}
    full = work(0.1, workers=1, overload="reject", queue_limit=0)
    slow = fault("slow-pod", 0.9, factor=1e6)

    assert outcomes(scene(mute, fault("pod-errors", 0.9, errors_ratio=1.0), **kept))[1] == (
        "server_error",
        1.3,
    )
    busy = {"at_s": (0.1, 0.92, 1.0), "pods": full, "run": Run(duration_s=2.0, drain_s=1.0)}
    kept["clients"] = {"connections": Connections(reuse="lifo", size=1, streams=9)}
    assert outcomes(scene(slow, mute, **(kept | busy))) == [("", 0.2), ("rejected", 1.2)]


# -- a virtual IP --------------------------------------------------------------------------------


def moving(cut: str = "cut", arp_s: float = 0.0, **changes: Any) -> Scenario:
    """The owner falls silent at 0.55 s; the other takes over at 1.6 or 1.7 s: it looks every 0.1 s."""
    clients = {"entry": Entry(policy="virtual-ip")} | changes.pop("clients", {})
    return scene(
        fault(cut, 0.55),
        clients=clients,
        balancer=Balancer(failover_s=1.0, arp_s=arp_s),
        **(two_nodes() | changes),
    )


@pytest.mark.parametrize("cut", ["power-off", "cut", "cut-in", "cut-out"])
def test_a_syn_sent_again_goes_to_the_present_owner_of_a_virtual_ip(cut: str) -> None:
    """Moved by 1.7 s: the SYN of 1 s is lost, that of 2 s is answered by the other node."""
    result = traced(moving(cut))
    (row,) = result.trace

    assert row["ended_s"] == pytest.approx(2.1, abs=CPU_S)
    assert row["node"] == 1
    assert result.nodes[:, 0].tolist() == [0, 1]


def test_routers_that_keep_the_old_address_send_syns_to_the_old_owner_as_long() -> None:
    """Moved by 1.7 s, known by 3.7 s: SYNs of 1, 2, 3 s are lost."""
    assert ended_s(moving(arp_s=2.0)) == pytest.approx([4.1], abs=CPU_S)


def test_the_old_owner_lets_go_of_the_syn_it_tracked() -> None:
    """Nothing leaves the mute owner, but its entry is there; it goes a TIME_WAIT after the SYN of 2 s."""
    parts = two_nodes(PEER)
    parts["cluster"] = parts["cluster"].model_copy(update={"conntrack": Conntrack(time_wait_s=1.0)})

    def entries(w: Any) -> list[int]:
        for n in range(2):
            simulation.faults.paths.drain_conntrack(w, float(w.queue.now), n)
        return [int(node.conntrack) for node in w.nodes]

    assert looks(moving("cut-out", **parts), entries, 1.5, 2.05, 8.0) == [[1, 0], [1, 1], [0, 0]]
    # The same where the new owner has no endpoint to give, and so never an entry.
    local = Service(replicas=1, external_traffic_policy="Local")
    clients = {"timeouts": Timeouts(connect_s=2.5)}
    parts["pods"] = work(0.1, placement=(Placement(name=POD, node=NODE),))
    case = moving("cut-out", service=local, clients=clients, **parts)
    assert looks(case, entries, 1.5, 2.05, 8.0) == [[1, 0], [1, 0], [0, 0]]


def test_data_of_an_open_connection_meets_a_new_owner_that_does_not_know_it_and_resets_it() -> None:
    """Sent at 1 s into silence, at 1.2, 1.4 and, to the new owner, 1.8 s: RST. Then a new connection."""
    clients = {"connections": KEPT, "entry": Entry(policy="virtual-ip"), "retry": Retry(attempts=1)}
    base = {"at_s": (0.1, 1.0, 3.0), "clients": clients}

    assert outcomes(moving(**base)) == [("", 0.2), ("reset", 1.8), ("", 3.1)]
    # Known 1.5 s later: 1.8 and 2.6 s are lost too; 4.2 s meets the new owner.
    late = base | {"at_s": (0.1, 1.0, 5.0)}
    assert outcomes(moving(arp_s=1.5, **late)) == [("", 0.2), ("reset", 4.2), ("", 5.1)]


def test_data_finds_its_connection_again_where_the_virtual_ip_comes_back_in_time() -> None:
    """Away at 1.7 s to a node that falls mute: no RST at 1.8 and 2.6 s. Back before 3 s: answered then."""
    clients = {"connections": KEPT, "entry": Entry(policy="virtual-ip")}
    case = scene(
        fault("cut", 0.55, 1.2),
        fault("cut-out", 1.75, node=PEER),
        at_s=(0.1, 1.0),
        clients=clients,
        balancer=Balancer(failover_s=1.0),
        **two_nodes(NODE),
    )

    assert outcomes(case) == [("", 0.2), ("", 4.3)]


def test_an_idle_connection_of_a_moved_virtual_ip_is_reset_at_its_first_use() -> None:
    """At 3 s the address has moved: RST at once, though the old owner has only gone deaf to its peers."""
    clients = {"connections": KEPT, "entry": Entry(policy="virtual-ip")}

    assert outcomes(moving(at_s=(0.1, 3.0, 4.0), clients=clients)) == [("", 0.2), ("reset", 3.0), ("", 4.1)]


# -- overlaps ------------------------------------------------------------------------------------

NODE_STATE = (
    *("up", "cut", "deaf", "mute", "cut_nodes"),
    *("slow", "loss_ratio", "firewall", "occupied", "endpoints"),
)
POD_STATE = ("up", "slow", "errors_ratio")
STANDING = (  # Faults that are a state while they last, and nothing afterwards.
    *("cut", "cut-in", "cut-out", "cut-nodes", "loss", "firewall", "conntrack-fill"),
    *("slow-node", "slow-pod", "pod-errors"),
    *("cut-control-plane", "lease-flap", "proxy-stop", "proxy-hang", "proxy-lag", "api-outage"),
)


def state(w: Any) -> tuple[Any, ...]:
    """What faults change of the first node, its pod and its kube-proxy; whether packets are drawn for."""
    node = [getattr(w.nodes[0], name) for name in NODE_STATE]
    control = w.queue.listener.__self__
    proxy = control.proxies[0]
    told = control.connected(0), control.late[0], proxy.syncing, sum(proxy.lags_s), w.config.noisy
    return *node, *(getattr(w.pods[0], name) for name in POD_STATE), *told


@pytest.mark.parametrize("name", STANDING)
@pytest.mark.parametrize(("first_s", "second_s"), [(3.0, 1.0), (1.0, 3.0)])
def test_of_two_overlapping_faults_the_end_of_one_leaves_the_other_and_the_end_of_both_nothing(
    name: str, first_s: float, second_s: float
) -> None:
    """Two of a kind from 1 s and 1.5 s on; what one alone does is seen without the other."""
    both = scene(fault(name, 1.0, first_s), fault(name, 1.5, second_s), at_s=(0.1,))
    alone = scene(fault(name, 1.0, 6.0), at_s=(0.1,))
    before, _, left, after = looks(both, state, 0.5, 1.75, 3.0, 9.0)
    _, one = looks(alone, state, 0.5, 3.0)

    assert after == before
    assert left == one


def test_overlapping_faults_of_different_kinds_do_not_end_each_other() -> None:
    """A cut of 1 s within a one-way cut of 3 s: SYNs are lost to the end of the longer one."""
    case = scene(fault("cut-in", 0.5, 3.0), fault("cut", 0.75, 1.0))
    assert ended_s(case) == pytest.approx([4.1], abs=CPU_S)
    walls = [fault("firewall", 0.5, 2.0, answer="reject"), fault("firewall", 0.6, 0.9, answer="drop")]
    # The silent one decides until 1.5 s: the SYN of 1 s is lost, that of 2 s refused.
    assert outcomes(scene(*walls)) == [("refused", 2.0)]
    assert looks(scene(*walls), lambda w: w.nodes[0].firewall, 9.0) == [PASSING]


def test_two_faults_lose_packets_independently() -> None:
    """1 - (1 - 0.3)(1 - 0.5)."""
    case = scene(fault("loss", 0.5), fault("loss", 0.6, loss_ratio=0.5))

    assert looks(case, lambda w: w.nodes[0].loss_ratio, 0.9) == pytest.approx([1 - 0.7 * 0.5])


def test_two_crashes_at_one_instant_have_draws_of_their_own_and_one_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The container starts once, when the kubelet's later relist of the two has come round."""
    starts: list[float] = []
    bring_up = pod_faults.bring_up

    def noted(control: Any, p: int) -> Any:
        starts.append(control.env.now)
        return bring_up(control, p)

    monkeypatch.setattr(pod_faults, "bring_up", noted)
    case = scene(fault("pod-crash", 1.0), fault("pod-crash", 1.0), at_s=(0.1, 9.0))
    relist_s = [draws.uniform2(case.run.seed, 0, draws.RELIST, 0, 2 * k + 1, 0)[0] for k in range(2)]

    assert len(ended_s(case)) == 2
    assert starts == pytest.approx([1.0 + max(relist_s)])
    assert abs(relist_s[0] - relist_s[1]) > CPU_S


def test_without_a_fault_of_loss_packets_are_not_drawn_for_and_afterwards_neither() -> None:
    case = scene(fault("loss", 1.0, 2.0))

    assert looks(case, lambda w: w.config.noisy, 0.5, 1.5, 3.5) == [0, 1, 0]
    noisy = scene(cluster=Cluster(nodes=1, network=Network(loss_ratio=0.1)))
    assert looks(noisy, lambda w: w.config.noisy, 0.5) == [1]
