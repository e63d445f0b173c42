"""The steps choose as the readable references of `kubeproxy.choice` do, choice after choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeportsim.engine import node as steps
from nodeportsim.engine.build import SCHEDULERS, Plain, world_of
from nodeportsim.kubeproxy import choice
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.spec import Cluster, Proxy, Scenario, Service

if TYPE_CHECKING:
    from nodeportsim.engine.records import World

TURNS = 40


def world(scheduler: str, pods: int) -> World:
    """One ipvs node that has programmed every pod, at the head of its list."""
    scenario = Scenario.model_validate(
        {
            "cluster": Cluster(nodes=1, proxy=Proxy(mode="ipvs", scheduler=scheduler)),
            "service": Service(replicas=pods),
            "clients": (Clients(count=TURNS),),
        }
    )
    w = world_of(scenario, 0, Plain, warmup_s=0.0, trace=0)
    w.endpoints.extend(range(pods))
    w.nodes[0].endpoints, w.nodes[0].turn = pods, choice.HEAD
    assert w.config.choice == SCHEDULERS[scheduler]
    return w


@given(st.integers(1, 9))
def test_rr_takes_turns_as_the_kernel_does(pods: int) -> None:
    w, last = world("rr", pods), choice.HEAD
    for _ in range(TURNS):
        expected, last = choice.round_robin([1] * pods, last)

        assert steps.choose(w, 0, 0, 0.5) == expected


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6).filter(lambda weights: 1 in weights))
def test_wrr_takes_turns_by_weight_as_the_kernel_does(weights: list[int]) -> None:
    # With a weight of 1 in it the list's common divisor is 1; kube-proxy's weights are all 1.
    w, state = world("wrr", len(weights)), choice.Wrr()
    for pod, weight in zip(w.pods, weights, strict=True):
        pod.weight = weight
    for _ in range(TURNS):
        expected, state = choice.weighted_round_robin(weights, state)

        assert steps.choose(w, 0, 0, 0.5) == expected


@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
@example([(1, 0, 256), (1, 1, 0)])  # Equals: 256 inactive ones weigh as much as an active one.
@example([(1, 1, 0), (1, 0, 256)])
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 600)), min_size=1, max_size=6))
def test_least_connections_weigh_an_active_one_as_the_kernel_does(
    scheduler: str, pods: list[tuple[int, int, int]]
) -> None:
    w = world(scheduler, len(pods))
    weights, active, inactive = ([pod[k] for pod in pods] for k in range(3))
    w.active[0][:], w.inactive[0][:] = active, inactive
    for pod, weight in zip(w.pods, weights, strict=True):
        pod.weight = weight
    reference = choice.least_connections if scheduler == "lc" else choice.weighted_least_connections

    assert steps.choose(w, 0, 0, 0.5) == reference(weights, active, inactive)


@given(st.integers(1, 9))
def test_sh_hashes_the_clients_address_as_the_kernel_does(pods: int) -> None:
    w = world("sh", pods)
    for c in range(TURNS):
        assert steps.choose(w, 0, c, 0.5) == choice.source_hash([1] * pods, 0x0A000000 + c)
