"""The benchmark cases: one scenario each, and the prices of the one that needs its own."""

from __future__ import annotations

from typing import Any

from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.prices import Host, ModePrices, Parameter, SyncPrice
from nodeportsim.scenario.profile import Profile
from nodeportsim.scenario.spec import (
    Background,
    Cluster,
    Conntrack,
    Network,
    Placement,
    Pods,
    Run,
    Scenario,
    Service,
)

PLAIN = "plain path"
NODE_S = 20e-6


def cluster_case(**changes: Any) -> Scenario:
    """10 nodes, 30 pods, 100 clients, 20,000 requests a second for 20 s; then the changes."""
    base = {
        "cluster": Cluster(nodes=10),
        "service": Service(replicas=30),
        "clients": (Clients(count=100, rate_rps=20_000.0),),
        "run": Run(duration_s=20.0),
    }
    return Scenario.model_validate(base | changes)


def keep_alive() -> Scenario:
    reuse = Connections(reuse="lifo", size=4, max_requests=10)
    return cluster_case(clients=(Clients(count=100, rate_rps=20_000.0, connections=reuse),))


def retry_storm() -> Scenario:
    """First attempts alone are 1.5 times what 30 pods x 2 workers / 5 ms can do.

    A full queue (120 requests, 2 workers) is a wait of 0.3 s: some attempts are told 503, others wait for
    longer than the client does and leave orphans, and nearly every request is tried again.
    """
    clients = Clients(
        count=100,
        rate_rps=18_000.0,
        timeouts=Timeouts(request_s=0.25),
        retry=Retry(attempts=3, backoff=Backoff(initial_s=0.02, max_s=0.1)),
    )
    pods = Pods(workers=2, service_time=Law(mean_s=0.005), overload="reject", queue_limit=120)
    return cluster_case(clients=(clients,), pods=pods, run=Run(duration_s=10.0))


def largest() -> Scenario:
    """As many nodes and pods as Kubernetes allows, 2.7 requests a pod."""
    return cluster_case(
        cluster=Cluster(nodes=5_000),
        service=Service(replicas=150_000),
        clients=(Clients(count=1_000, rate_rps=200_000.0),),
        run=Run(duration_s=2.0),
    )


def many_services() -> Scenario:
    """At 5,000/s a node's cores are a third busy with the rules.

    At 20,000/s they would be asked for 1.3 times what they can do, and queues that grow for as long as
    the run lasts would be measured instead of rules.
    """
    return cluster_case(
        cluster=Cluster(nodes=10, background=Background(services=50_000, node_ports=5_000)),
        clients=(Clients(count=100, rate_rps=5_000.0),),
        run=Run(duration_s=40.0),
    )


def plain_path() -> Scenario:
    """Poisson customers, a random node that takes 20 us, a random pod with 4 workers at utilisation 0.8.

    Nothing else takes time. The pods stand outside the cluster, so that no packet waits a second time at
    the node of its pod, and a customer's way is M/D/1, then M/M/4.
    """
    silent = Network(client_node_s=0.0, node_node_s=0.0, wake_up_s=0.0)
    forgetful = Conntrack(max=1_000_000, time_wait_s=0.0)  # Else a run of minutes would fill the table.
    return cluster_case(
        cluster=Cluster(nodes=10, cores=1, network=silent, conntrack=forgetful),
        clients=(
            Clients(
                count=100,
                rate_rps=0.8 * 30 * 4 / 0.005,
                entry=Entry(policy="random"),
                timeouts=Timeouts(connect_s=0.0, request_s=0.0),
            ),
        ),
        pods=Pods(
            workers=4,
            service_time=Law(mean_s=0.005),
            placement=tuple(Placement(name=f"web-{p}") for p in range(30)),
        ),
    )


def plain_profile() -> Profile:
    """Every price is zero but one: a request's packets cost their entry node 20 us.

    It is the request that pays, not the SYN: a SYN that costs nothing leaves the core's queue as it
    found it, so that of a connection's two visits only one is work.
    """
    nothing = Parameter(value=0.0, error=None, identified=False, source="the case says so")
    sync = SyncPrice(constant_s=nothing)
    base = {f"{what}_{to}_ns": nothing for what in ("connect", "request") for to in ("clusterip", "podip")}
    prices = ModePrices(
        **base,
        connect_nodeport_ns=nothing,
        request_nodeport_ns=nothing.model_copy(update={"value": NODE_S * 1e9}),
        cold_base_ratio=nothing,
        sync_partial=sync,
        sync_full=sync,
        sync_restart=sync,
    )
    return Profile(
        name="plain",
        description=PLAIN,
        environment={},
        host=Host(**dict.fromkeys(Host.model_fields, nothing)),
        modes={"iptables-nft": prices},
    )


CASES = {
    "new connection": cluster_case,
    "keep-alive": keep_alive,
    "retry storm": retry_storm,
    "5,000 x 150,000": largest,
    "50,000 services": many_services,
    PLAIN: plain_path,
}
"""Name of a case -> its scenario, made on demand: the largest takes seconds to declare."""

PROFILES = {PLAIN: plain_profile}
"""Cases with prices of their own; all others take those their scenario names."""
