"""The plain path in nodeportsim: the compiled engine, where only the walk has a price."""

from __future__ import annotations

from typing import Any

from plain import NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WARMUP_S, WORKERS, Measured

from nodeportsim.engine.simulate import Engine, simulate
from nodeportsim.scenario.clients import Clients, Entry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.profile import Profile, load_profile
from nodeportsim.scenario.spec import Cluster, Conntrack, Network, Pods, Run, Scenario, Service

DISTRIBUTION = "nodeportsim"
NOTE = "every packet of a request queues at the nodes, at no cost but the walk: 0.0012 ms more"


def walk_only() -> Profile:
    """Make a profile where a new connection costs its entry node the walk, and all else is free."""

    def free(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        return {name: 0.0 if name in ("value", "error") else free(inner) for name, inner in part.items()}

    prices = free(load_profile("kernel-6.18").model_dump())
    for mode in prices["modes"].values():
        mode["connect_nodeport_ns"]["value"] = WALK_S * 1e9
    return Profile.model_validate(prices)


def plain_path(duration_s: float, seed: int) -> Scenario:
    now = Network(client_node_s=0.0, node_node_s=0.0, wake_up_s=0.0)
    forgetful = Conntrack(max=1_000_000, time_wait_s=0.0)
    return Scenario(
        cluster=Cluster(nodes=NODES, cores=1, network=now, conntrack=forgetful),
        service=Service(replicas=PODS),
        pods=Pods(workers=WORKERS, service_time=Law(mean_s=SERVICE_S), backlog=1_000_000),
        clients=(
            Clients(
                count=100,
                rate_rps=RATE_RPS,
                entry=Entry(policy="random"),
                timeouts=Timeouts(connect_s=0.0, request_s=0.0),
            ),
        ),
        run=Run(duration_s=duration_s, warmup_s=WARMUP_S, seed=seed),
    )


def run(customers: int, seed: int, engine: Engine = "compiled") -> Measured:
    done = simulate(plain_path(customers / RATE_RPS, seed), engine=engine, profile=walk_only())
    assert done.succeeded == done.offered, "nobody may fail on the plain path"
    everybody = int(done.nodes[:, 0].sum())  # Connections are counted from the start, requests after warm-up.
    return Measured(everybody, int(done.latency_sum_ns.sum()) / done.succeeded * 1e-9)
