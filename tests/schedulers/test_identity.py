"""Two schedulers, one meaning: the interpreted and the compiled steps leave the same trace, bit for bit."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from strategies import scenarios, uneven

from nodeportsim.engine import build, records
from nodeportsim.engine.codes import CAUSES, CIRCUIT_OPEN
from nodeportsim.engine.compiled import kernel
from nodeportsim.engine.rules import Rules
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.restraint import Breaker, Budget, Ejection
from nodeportsim.scenario.spec import Background, Balancer, Cluster, Event, Proxy, Run, Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.scenario.profile import Profile

TRACE = 5_000


@pytest.fixture(params=["room", "no room"], scope="module")
def _room(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begin with the usual room, or with so little that everything must grow again and again."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "no room":
            patch.setattr(build, "POOL", 4)
            patch.setattr(kernel, "RING", 16)
            patch.setattr(kernel, "HEAP_ROOM", 16)
        yield


def differences(scenario: Scenario, profile: Profile | None = None) -> list[str]:
    """Names of what the two schedulers disagree on, floats compared as bits."""
    one, other = (
        simulate(scenario, 3, engine=engine, profile=profile, trace=TRACE) for engine in ("simpy", "compiled")
    )
    return [field.name for field in fields(Replication) if not _same(one, other, field.name)]


def _same(one: Replication, other: Replication, name: str) -> bool:
    a, b = getattr(one, name), getattr(other, name)
    return a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) else a == b


def busy(**changes: object) -> Scenario:
    """Fixed arrivals and constant work: instants coincide by the thousand, across a node's crash."""
    base = {
        "cluster": Cluster(nodes=3),
        "service": Service(replicas=6),
        "clients": (Clients(count=20, rate_rps=400.0, arrivals="fixed", retry=Retry(attempts=2)),),
        "pods": {"service_time": Law(dist="constant", mean_s=0.01), "workers": 2},
        "events": (Event(at_s=1.0, fault="power-off", node="node-2", for_s=1.0),),
        "run": Run(duration_s=4.0),
    }
    return Scenario.model_validate(base | changes)


@pytest.mark.usefixtures("_room")
@given(scenarios())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_on_random_scenarios_both_schedulers_leave_the_same_trace(scenario: Scenario) -> None:
    assert differences(scenario) == []


@given(scenarios())
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_where_first_packets_spread_both_schedulers_leave_the_same_trace(scenario: Scenario) -> None:
    assert differences(scenario, uneven(1.0)) == []


@pytest.mark.long
@pytest.mark.usefixtures("_room")
@given(scenarios())
@settings(max_examples=250, suppress_health_check=list(HealthCheck))
def test_on_five_hundred_random_scenarios_both_schedulers_leave_the_same_trace(scenario: Scenario) -> None:
    assert differences(scenario) == []


@pytest.mark.soak
@pytest.mark.usefixtures("_room")
@pytest.mark.parametrize("seed", range(10))
def test_on_twenty_thousand_random_scenarios_both_schedulers_leave_the_same_trace(seed: int) -> None:
    @hypothesis.seed(seed)
    @given(scenarios())
    @settings(max_examples=1000, suppress_health_check=list(HealthCheck), database=None)
    def holds(scenario: Scenario) -> None:
        assert differences(scenario) == []

    holds()


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
@pytest.mark.parametrize("reuse", ["none", "lifo", "fifo", "random"])
def test_where_instants_coincide_both_schedulers_keep_the_same_order(mode: str, reuse: str) -> None:
    clients = Clients(
        count=20,
        rate_rps=400.0,
        arrivals="fixed",
        connections=Connections(reuse=reuse, size=3),
        retry=Retry(attempts=2),
    )
    scenario = busy(cluster=Cluster(nodes=3, proxy=Proxy(mode=mode)), clients=(clients,))

    assert differences(scenario) == []


@pytest.mark.parametrize("kind", ["ratio", "tokens"])
@pytest.mark.parametrize("policy", ["dns-round-robin", "random", "list"])
def test_clients_that_hold_back_in_every_way_leave_the_same_trace(kind: str, policy: str) -> None:
    dns = policy == "dns-round-robin"
    clients = Clients(
        count=20,
        rate_rps=400.0,
        arrivals="fixed",
        entry=Entry.model_validate(
            {"policy": policy, "ttl_s": 0.5} | ({"withdraw_s": 0.3, "ignore_ttl_ratio": 0.3} if dns else {})
        ),
        timeouts=Timeouts(connect_s=0.05, request_s=0.05),
        retry=Retry(
            attempts=3,
            idempotent_ratio=0.7,
            backoff=Backoff(initial_s=0.01, jitter="decorrelated"),
            budget=Budget.model_validate({"kind": kind, "ratio": 0.1, "min_per_second": 0}),
        ),
        breaker=Breaker(failures=1, open_s=0.1),
        ejection=Ejection(failures=2, base_s=0.2, share_ratio=0.5),
    )
    scenario = busy(clients=(clients,))
    result = simulate(scenario, 3, engine="simpy")

    assert min(result.budget_refusals, result.ejections, result.errors[CIRCUIT_OPEN]) > 0
    assert dns == any(name == "record withdrawn" for _, name, _ in result.milestones)
    assert differences(scenario) == []


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
def test_with_topology_hints_that_come_and_go_both_schedulers_leave_the_same_trace(mode: str) -> None:
    """Three zones, two pods each: the crash of node-2 takes a zone's last ready pods, for a while."""
    service = Service(replicas=6, traffic_distribution="PreferSameZone")
    scenario = busy(cluster=Cluster(nodes=3, zones=3, proxy=Proxy(mode=mode)), service=service)
    assert differences(scenario) == []


def test_a_known_first_place_holds_until_a_nodes_first_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three nodes are programmed at the start; the one that crashes is programmed anew, at a drawn place."""
    background = Background(services=500, node_ports=500)
    scenario = busy(cluster=Cluster(nodes=3, background=background, proxy=Proxy(first_position=501)))
    assert differences(scenario) == []
    given: list[int | None] = []
    program = Rules.program

    def watched(rules: Rules, *arguments: Any) -> None:
        given.append(arguments[-1])
        program(rules, *arguments)

    monkeypatch.setattr(Rules, "program", watched)
    simulate(scenario, 3, engine="simpy")
    assert given[:3] == [501] * 3
    assert set(given[3:]) == {None}


def test_with_every_gray_fault_on_at_once_both_schedulers_leave_the_same_trace() -> None:
    """Work is stretched and let go again twice over, by node, pod and everywhere, while packets are lost."""
    at_s = {"at_s": 0.5, "for_s": 2.0}
    events = (
        Event(fault="slow-node", node="node-1", factor=3.0, **at_s),
        Event(fault="slow-pod", pod="*", factor=2.5, at_s=1.0, for_s=0.5),
        Event(fault="slow-pod", pod="web-1", factor=7.0, at_s=1.2, for_s=2.0),
        Event(fault="pod-errors", pod="web-2", errors_ratio=0.4, **at_s),
        Event(fault="loss", node="node-2", loss_ratio=0.2, **at_s),
        Event(fault="firewall", node="node-3", answer="reject", at_s=1.5, for_s=0.5),
        Event(fault="conntrack-fill", node="node-3", entries=131_000, **at_s),
        Event(fault="cut-out", node="node-2", at_s=2.0, for_s=0.5),
        Event(fault="cut-in", node="node-2", at_s=2.2, for_s=0.5),
        Event(fault="pod-crash", pod="web-1", at_s=1.4),
    )
    for policy, expected in (("dns-round-robin", {"server_error", "refused"}), ("virtual-ip", {"reset"})):
        clients = Clients(
            count=20,
            rate_rps=400.0,
            arrivals="fixed",
            entry=Entry(policy=policy),
            connections=Connections(reuse="lifo", size=3),
            retry=Retry(attempts=3),
        )
        scenario = busy(events=events, clients=(clients,), balancer=Balancer(failover_s=0.2, arp_s=0.1))
        result = simulate(scenario, 3, engine="simpy")

        assert {CAUSES[k] for k in result.attempt_errors.nonzero()[0]} >= expected
        assert differences(scenario) == []


def test_pools_grow_in_both_schedulers_without_a_trace_of_it() -> None:
    # 3,000 requests in a burst hold more slots at once than any pool begins with.
    clients = Clients(count=3, rate_rps=3000.0, arrivals="bursty", burst=1000)
    scenario = busy(clients=(clients,), events=(), run=Run(duration_s=2.0))
    result = simulate(scenario, engine="compiled")

    assert result.offered > 2 * 256
    assert differences(scenario) == []


def test_no_field_of_a_record_hides_an_attribute_of_a_numpy_record() -> None:
    # `record.size` is numpy's own: outside the kernel a field of that name would be read wrongly.
    classes = [
        c for c in vars(records).values() if isinstance(c, type) and hasattr(c, "__dataclass_fields__")
    ]
    hidden = {f.name for c in classes for f in fields(c)} & set(dir(np.record))

    assert classes
    assert hidden == set()
