"""The C floor is a yardstick only if it simulates the same: it leaves the engine's trace, bit for bit."""

from __future__ import annotations

import math
import sys
from dataclasses import fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Conntrack, Event, Network, Pods, Proxy, Run, Scenario, Service
from nodeportsim.theory.queues import mg1_wait_s, mmc_wait_s

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "floor")]

from cases import CASES, NODE_S, PLAIN, plain_path, plain_profile  # noqa: E402 - needs the path above.
from floor import compiler, plain, prepare  # noqa: E402

pytestmark = pytest.mark.skipif(compiler() is None, reason="the C floor needs gcc, and there is none")

TRACE = 5_000

AFTERMATH = ("load", "clients", "groups", "node_names", "node_failed", "fates", "standing", "lasting")
PLACES = ("pod_nodes", "node_zones")


def differences(scenario: Scenario, profile: Any = None, warmup_s: float = 0.0) -> list[str]:
    """Names of what engine and floor disagree on, floats compared as bits."""
    prepared = prepare(scenario, 3, profile=profile, trace=TRACE, warmup_s=warmup_s)
    prepared.run()
    ours, theirs = simulate(scenario, 3, profile=profile, trace=TRACE, warmup_s=warmup_s), prepared.read()
    # The floor has no control plane to write down milestones, and no failures whose aftermath it could count.
    names = [
        field.name for field in fields(Replication) if field.name not in {"milestones", *AFTERMATH, *PLACES}
    ]
    return [name for name in names if not _same(ours, theirs, name)]


def _same(one: Replication, other: Replication, name: str) -> bool:
    a, b = getattr(one, name), getattr(other, name)
    return a.tobytes() == b.tobytes() and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any scenario of the floor's model, small and short of everything so that trouble is common."""

    def of(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    return Scenario(
        cluster=Cluster(
            nodes=of(1, 2, 4),
            cores=of(1, 3),
            proxy=Proxy(mode=of("iptables", "nftables")),
            network=Network(overlay=of("none", "vxlan")),
            conntrack=Conntrack(max=of(None, 30, 300), time_wait_s=of(0.0, 2.5, 120.0)),
        ),
        service=Service(replicas=of(1, 3, 7)),
        pods=Pods(
            workers=of(1, 2),
            service_time=Law(dist=of("exponential", "constant"), mean_s=of(0.004, 0.03)),
            backlog=of(0, 3, 511),
            overload=of("queue", "reject"),
            queue_limit=of(0, 4),
        ),
        clients=(
            Clients(
                count=of(1, 7),
                rate_rps=of(40.0, 400.0),
                entry=Entry(policy=of("dns-round-robin", "random", "pinned")),
                connections=Connections(
                    reuse=of("none", "lifo"),
                    size=of(1, 4),
                    max_requests=of(0, 3),
                    idle_timeout_s=of(0.0, 0.02, 90.0),
                ),
                timeouts=Timeouts(connect_s=of(0.0, 0.02, 1.5), request_s=of(0.0, 0.03, 0.4)),
                retry=Retry(
                    attempts=of(1, 2, 5),
                    node=of("next", "same"),
                    backoff=Backoff(
                        initial_s=0.02, factor=of(1.0, 1.7), max_s=0.07, jitter=of("none", "equal", "full")
                    ),
                ),
                syn_schedule=of("linear", "doubling"),
            ),
        ),
        run=Run(duration_s=of(1.0, 2.3), seed=draw(st.integers(0, 99)), drain_s=of(None, 0.4)),
    )


@given(scenarios())
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_on_random_scenarios_of_its_model_the_floor_leaves_the_engines_trace(scenario: Scenario) -> None:
    assert differences(scenario) == []


@pytest.mark.soak  # The sixty above are part of every run.
@given(scenarios())
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
def test_on_a_thousand_random_scenarios_the_floor_leaves_the_engines_trace(scenario: Scenario) -> None:
    assert differences(scenario) == []


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("5,000")])
def test_a_benchmark_case_is_the_same_for_engine_and_floor(name: str) -> None:
    short = CASES[name]().model_copy(update={"run": Run(duration_s=1.0)})

    assert differences(short, plain_profile() if name == PLAIN else None, warmup_s=0.25) == []


def overloaded(**changes: Any) -> Scenario:
    """One pod that can do 50 requests a second is offered 200."""
    base = {
        "service": Service(replicas=1),
        "pods": Pods(workers=1, service_time=Law(mean_s=0.02)),
        "clients": (Clients(count=5, rate_rps=200.0, timeouts=Timeouts(request_s=0.3)),),
        "run": Run(duration_s=2.0),
    }
    return Scenario.model_validate(base | changes)


TROUBLES = {
    "orphans": overloaded(),
    "backlog_drops": overloaded(pods=Pods(workers=1, service_time=Law(mean_s=0.02), backlog=3)),
    "conntrack_drops": overloaded(cluster=Cluster(conntrack=Conntrack(max=20))),
    "retransmissions": overloaded(cluster=Cluster(conntrack=Conntrack(max=20, time_wait_s=0.0))),
    "failed": overloaded(pods=Pods(workers=1, overload="reject", queue_limit=0)),
}


@pytest.mark.parametrize("counter", TROUBLES)
def test_every_trouble_the_floor_knows_happens_in_some_case_and_alike(counter: str) -> None:
    assert getattr(simulate(TROUBLES[counter], 3), counter) > 0
    assert differences(TROUBLES[counter]) == []


def test_a_prepared_floor_starts_every_run_anew() -> None:
    prepared = prepare(overloaded(cluster=Cluster(nodes=7)), trace=TRACE)
    prepared.run()
    first = prepared.read()
    prepared.run()

    assert [f.name for f in fields(Replication) if not _same(first, prepared.read(), f.name)] == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("clients.loop", {"clients": (Clients(loop="closed"),)}),
        ("clients.connections.reuse", {"clients": (Clients(connections=Connections(reuse="fifo")),)}),
        ("clients.entry.ttl", {"clients": (Clients(entry=Entry(ttl_s=5.0)),)}),
        ("cluster.network.loss", {"cluster": Cluster(network=Network(loss_ratio=0.1))}),
        ("service.replicas", {"service": Service(replicas=0)}),
        ("events", {"events": (Event(at_s=1.0, fault="power-off", node="node-1"),)}),
    ],
)
def test_what_the_floor_leaves_out_it_refuses_by_the_fields_name(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        prepare(overloaded(**change))


def test_the_plain_program_serves_the_same_customers_as_the_engine() -> None:
    short = plain_path().model_copy(update={"run": Run(duration_s=2.0)})
    path = plain(prepare(short, 3, profile=plain_profile()))
    engine = simulate(short, 3, profile=plain_profile())

    assert (path.offered, path.succeeded) == (engine.offered, engine.succeeded)
    # The engine rounds an instant twice where a request waits for a worker: a nanosecond a request at most.
    assert abs(path.latency_ns - int(engine.latency_sum_ns.sum())) <= engine.succeeded


def test_the_plain_programs_mean_is_that_of_a_node_and_a_pod_in_theory() -> None:
    means = []
    for replication in range(10):
        path = plain(prepare(plain_path(), replication, profile=plain_profile(), warmup_s=2.0))
        means.append(path.latency_ns * 1e-9 / path.succeeded)
    rate_rps, service_s = plain_path().clients[0].rate_rps, 0.005
    node_s = NODE_S + mg1_wait_s(rate_rps / 10, NODE_S, scv=0.0)
    pod_s = service_s + mmc_wait_s(rate_rps / 30, service_s, 4)
    # Student's t, 9 degrees of freedom, 99.9 %.
    assert abs(fmean(means) - (node_s + pod_s)) < 4.781 * stdev(means) / math.sqrt(len(means))
