"""The engine against `tests/oracle.py`: request by request the same node, pod, attempts, cause and end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import oracle
import pytest
from oracle import Happening, Oracle, Rules

from nodeportsim.engine.codes import CAUSES
from nodeportsim.engine.control import Control
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Backoff, Clients, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, ControlPlane, Event, Pods, Proxy, Run, Scenario, Service

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Replication

PRICES = (
    *("walk_s", "endpoint_s", "refuse_s", "transit_s", "packet_s", "transit_packet_s"),  # of a node
    *("accept_s", "accept_packet_s"),
)
RELATIVE = 1e-9  # The oracle's clock adds delays, the engine's takes instants: the last bits differ.
QUICK = ControlPlane(
    lease_renew_interval_s=1.0,
    node_monitor_period_s=0.5,
    node_monitor_grace_period_s=2.0,
    slice_min_delay_s=0.5,
)
RETRY = Retry(attempts=3, backoff=Backoff(initial_s=0.05, jitter="full"))
LIMITS = Timeouts(connect_s=1.7, request_s=0.7)  # No limit coincides with a SYN's instant.
DEATH = (Event(at_s=1.18, fault="power-off", node="node-2"),)


def scenario(
    *,
    policy: str = "dns-round-robin",
    proxy: Proxy | None = None,
    pods: Pods | None = None,
    replicas: int = 6,
    nodes: int = 3,
    retry: Retry | None = None,
    events: tuple[Event, ...] = (),
    rate_rps: float = 150.0,
) -> Scenario:
    clients = Clients(
        count=7,
        rate_rps=rate_rps,
        entry=Entry.model_validate({"policy": policy}),
        timeouts=LIMITS,
        retry=retry or Retry(),
    )
    return Scenario(
        cluster=Cluster(
            nodes=nodes, cores=2, proxy=proxy or Proxy(min_sync_period_s=0.1), control_plane=QUICK
        ),
        service=Service(replicas=replicas),
        pods=pods or Pods(workers=4, service_time=Law(mean_s=0.05)),
        clients=(clients,),
        events=events,
        run=Run(duration_s=5.0, seed=11),
    )


SCENARIOS: dict[str, tuple[Scenario, set[str]]] = {
    "no fault": (scenario(), set()),
    "a pod behind another node": (scenario(policy="pinned", replicas=1, nodes=4, rate_rps=60.0), set()),
    "pods overloaded, accept queues full": (
        scenario(pods=Pods(workers=1, backlog=3, service_time=Law(mean_s=0.2))),
        {"connect_timeout", "request_timeout"},
    ),
    "a node dies": (scenario(events=DEATH), {"connect_timeout", "request_timeout"}),
    "a node dies, retries on the next": (
        scenario(policy="random", retry=RETRY, events=DEATH),
        {"connect_timeout", "request_timeout"},
    ),
    "a node dies, retries on the same": (
        scenario(policy="pinned", retry=RETRY.model_copy(update={"node": "same"}), events=DEATH),
        {"connect_timeout", "request_timeout"},
    ),
    "ipvs takes turns": (scenario(proxy=Proxy(mode="ipvs"), policy="random"), set()),
    "ipvs takes turns, a node dies": (
        scenario(proxy=Proxy(mode="ipvs", min_sync_period_s=0.1), retry=RETRY, events=DEATH),
        {"connect_timeout", "request_timeout"},
    ),
    "every pod dies": (
        scenario(replicas=2, events=(*DEATH, Event(at_s=0.9, fault="power-off", node="node-1"))),
        {"connect_timeout", "refused", "request_timeout"},
    ),
}


def run(case: Scenario, slow: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Replication, list[Happening]]:
    """Run the engine with rules `slow` times as dear, and write down what its control plane did."""
    happenings: list[Happening] = [
        (event.at_s, case.cluster.names.index(event.node or ""), None) for event in case.events
    ]
    program = Control._program

    def noted(self: Control, n: int) -> None:
        program(self, n)
        node, config = self.world.nodes[n], self.world.config
        node.walk_s, node.transit_s = node.walk_s * slow, node.transit_s * slow
        rules = Rules(
            endpoints=tuple(self.world.endpoints[node.first : node.first + node.endpoints]),
            turn=node.turn,
            price={name: getattr(node if hasattr(node, name) else config, name) for name in PRICES},
        )
        happenings.append((self.env.now, n, rules))

    monkeypatch.setattr(Control, "_program", noted)
    return simulate(case, engine="simpy", trace=20_000), happenings


def rows(result: Replication) -> list[tuple[Any, ...]]:
    traced = result.trace[["client", "number", "born_s", "ended_s", "node", "pod", "attempts", "cause"]]
    return sorted((*row[:-1], "" if row[-1] < 0 else CAUSES[row[-1]]) for row in traced.tolist())


def assert_equal(case: Scenario, slow: float, monkeypatch: pytest.MonkeyPatch) -> Replication:
    result, happenings = run(case, slow, monkeypatch)
    engine, reference_rows = rows(result), Oracle(case, 0, happenings).run()
    assert len(engine) == result.offered > 200
    for mine, reference in zip(engine, reference_rows, strict=True):
        assert (*mine[:2], *mine[4:]) == (*reference[:2], *reference[4:])
        assert mine[2:4] == pytest.approx(reference[2:4], rel=RELATIVE)
    return result


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_request_ends_as_in_the_oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, expected = SCENARIOS[name]
    result = assert_equal(case, 1.0, monkeypatch)
    seen = {CAUSES[k] for k in result.attempt_errors.nonzero()[0]}
    assert seen == expected  # The scenario is about what its name says.


def test_requests_queue_for_a_slow_core_as_in_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    result = assert_equal(scenario(policy="random"), 2000.0, monkeypatch)
    assert result.node_utilisation.max() > 0.2


def test_the_oracle_is_short_enough_to_read() -> None:
    text = Path(oracle.__file__).read_text().split('"""', 2)[2]
    assert len([line for line in text.splitlines() if line.strip()]) <= 150
