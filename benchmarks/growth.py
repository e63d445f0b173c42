"""What a request costs the compiled engine as a scenario grows: one thing at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cases import cluster_case
from sides import Scheduler, take_turns

from nodeportsim.scenario.clients import Clients, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Background, Cluster, Pods, Run, Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_RPS = 20_000.0
SLOW_RPS = 5_000.0  # What nodes with 50,000 Services in their rules can do.


class Growth(NamedTuple):
    """Something that grows."""

    words: str
    values: tuple[int, ...]
    scenario: Callable[[int], Scenario]


NODES = {30: 10, 1_000: 100, 10_000: 1_000, 150_000: 5_000}


def sized(pods: int) -> Scenario:
    return cluster_case(cluster=Cluster(nodes=NODES[pods]), service=Service(replicas=pods))


def with_services(services: int) -> Scenario:
    """All but one of the Services are background; one in ten has a NodePort."""
    background = Background(services=services - 1, node_ports=services // 10)
    return cluster_case(
        cluster=Cluster(nodes=10, background=background),
        clients=(Clients(count=100, rate_rps=SLOW_RPS),),
        run=Run(duration_s=40.0),
    )


def with_clients(count: int) -> Scenario:
    return cluster_case(clients=(Clients(count=count, rate_rps=RATE_RPS),))


def in_flight(count: int) -> Scenario:
    """So many requests are with a worker at a time: the service takes longer, and 80,000 workers wait."""
    return cluster_case(
        service=Service(replicas=10_000),
        pods=Pods(service_time=Law(mean_s=count / RATE_RPS)),
        clients=(Clients(count=100, rate_rps=RATE_RPS, timeouts=Timeouts(request_s=100.0)),),
    )


def with_workers(workers: int) -> Scenario:
    """300 pods, so that one worker each would do."""
    return cluster_case(service=Service(replicas=300), pods=Pods(workers=workers))


GROWTHS = {
    "pods": Growth("pods, on 10 to 5,000 nodes", tuple(NODES), sized),
    "services": Growth("Services in the cluster", (1, 100, 1_000, 10_000, 50_000), with_services),
    "clients": Growth("clients", (100, 1_000, 10_000, 100_000, 1_000_000), with_clients),
    "in_flight": Growth("requests with a worker at a time", (100, 1_000, 10_000, 60_000), in_flight),
    "workers": Growth("workers of a pod", (1, 8, 64, 512), with_workers),
}


def rows(what: str, rounds: int) -> list[dict[str, Any]]:
    """Time one growth: its values take turns."""
    growth = GROWTHS[what]
    scenarios = {str(value): growth.scenario(value) for value in growth.values}
    profile = load_profile(next(iter(scenarios.values())).cluster.profile)
    Scheduler(cluster_case(run=Run(duration_s=0.1)), profile).run()  # Compiles, where nothing is kept.
    timed = take_turns({v: lambda s=s: Scheduler(s, profile) for v, s in scenarios.items()}, rounds)
    assert all(best.answer.failed == 0 for best in timed.values()), "collapse is not what is measured here"
    return [
        {
            "what": what,
            "value": int(value),
            "nodes": scenarios[value].cluster.nodes,
            "pods": scenarios[value].service.replicas,
            "requests": best.answer.offered,
            "cpu_ns_per_request": round(1e9 / best.per_s, 1),
        }
        for value, best in timed.items()
    ]
