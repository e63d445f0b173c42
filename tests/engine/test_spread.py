"""What first packets cost spreads around their price: log-normal, mean unchanged, no other draw moved."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from strategies import uneven

from nodeportsim.engine.build import Plain, world_of
from nodeportsim.engine.codes import STAGES
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.simulate import simulate
from nodeportsim.metrics import histogram
from nodeportsim.scenario.clients import Clients, Entry
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Network, Placement, Pods, Run, Scenario, Service

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Replication

SIGMA = 0.7
LEVEL = 0.001  # Error level of each statistical test here.
REQUESTS = 2000
RULES = STAGES.index("rules")


def lonely(nodes: int, jitter_s: float = 0.0) -> Scenario:
    """One client that enters at node-1, a pod at the last node, no work in it: nothing ever waits."""
    return Scenario(
        cluster=Cluster(nodes=nodes, network=Network(jitter_s=jitter_s)),
        service=Service(replicas=1),
        pods=Pods(
            service_time=Law(dist="constant", mean_s=0.0),
            placement=(Placement(name="web-0", node=f"node-{nodes}"),),
        ),
        clients=(Clients(count=1, rate_rps=100.0, arrivals="fixed", entry=Entry(policy="pinned")),),
        run=Run(duration_s=REQUESTS / 100.0),
    )


@lru_cache
def run(sigma: float, nodes: int = 1, jitter_s: float = 0.0) -> Replication:
    return simulate(lonely(nodes, jitter_s), engine="simpy", profile=uneven(sigma), trace=REQUESTS)


def latencies_s(result: Replication) -> np.ndarray:
    return np.asarray(result.trace["ended_s"] - result.trace["born_s"])


def price_s() -> float:
    """What each first packet costs without spread."""
    even = run(0.0)
    return float(even.stage_sum_ns[:, RULES].sum()) * 1e-9 / even.succeeded


def test_a_first_packets_cost_over_its_price_is_log_normal_with_the_profiles_sigma() -> None:
    """Latency = rest + price * factor, so ln(factor) is seen request by request: N(-s**2 / 2, s**2)."""
    price = price_s()
    rest_s = latencies_s(run(0.0)) - price
    logs = np.log((latencies_s(run(SIGMA)) - rest_s) / price)
    low, high = stats.chi2.interval(1 - LEVEL, len(logs))
    squares = float(((logs + SIGMA**2 / 2) ** 2).sum()) / SIGMA**2
    assert len(logs) == REQUESTS
    assert low <= squares <= high
    assert abs(logs.mean() + SIGMA**2 / 2) <= stats.norm.isf(LEVEL / 2) * SIGMA / math.sqrt(len(logs))
    assert stats.kstest(logs, stats.norm(-(SIGMA**2) / 2, SIGMA).cdf).pvalue > LEVEL


def test_the_mean_cost_of_first_packets_is_their_price() -> None:
    price = price_s()
    spread = run(SIGMA)
    mean_s = float(spread.stage_sum_ns[:, RULES].sum()) * 1e-9 / spread.succeeded
    sd_s = price * math.sqrt(math.expm1(SIGMA**2))
    assert abs(mean_s - price) <= stats.norm.isf(LEVEL / 2) * sd_s / math.sqrt(REQUESTS)
    assert mean_s != pytest.approx(price, rel=1e-6)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_quantiles_of_the_first_packet_follow_the_spread(q: float) -> None:
    """At the quantile: rest + price * exp(s z - s**2 / 2); so many below it as a binomial law allows."""
    price = price_s()
    rest_s = histogram.quantile(run(0.0).first_packet, 0.5) - price
    at_s = rest_s + price * math.exp(SIGMA * stats.norm.ppf(q) - SIGMA**2 / 2)
    below = int(run(SIGMA).first_packet[: histogram.bucket(at_s)].sum())
    low, high = stats.binom.interval(1 - LEVEL, REQUESTS, q)
    bucket = run(SIGMA).first_packet[histogram.bucket(at_s)]
    assert below <= high
    assert below + bucket >= low


def test_each_node_that_a_first_packet_crosses_draws_for_itself() -> None:
    """So variances add: of one factor for both nodes the variance would be that of the sum of prices."""
    sigma = 0.3
    moved_s = latencies_s(run(sigma, 2)) - latencies_s(run(0.0, 2))
    entry_s, peer_s = prices_s(lonely(2))
    expected = (entry_s**2 + peer_s**2) * math.expm1(sigma**2)
    # The fourth moment of this law is below 5 variances squared: four standard errors are 4 * sqrt(4 / n).
    assert (moved_s**2).mean() == pytest.approx(expected, rel=8 / math.sqrt(REQUESTS))
    assert (entry_s + peer_s) ** 2 > 1.5 * (entry_s**2 + peer_s**2)


def prices_s(scenario: Scenario) -> tuple[float, float]:
    """Price of a first packet at node-1, where it enters, and at node-2, where the pod is."""
    world = world_of(scenario, 0, Plain, warmup_s=0.0, trace=0)
    Control(scenario=scenario, profile=uneven(0.0), plane=Interpreter(world), key0=1, key1=0)
    entry, peer = world.nodes
    return entry.walk_s + entry.endpoint_s, peer.transit_s + world.config.accept_s


def test_a_spread_moves_no_other_draw() -> None:
    """Losses, delays, choices and demands are those of the run without it: only costs differ."""
    even, spread = (run(sigma, 2, 0.001).trace for sigma in (0.0, SIGMA))
    for name in ("number", "client", "node", "pod", "born_s"):
        assert np.array_equal(even[name], spread[name])
    moved_s = spread["ended_s"] - even["ended_s"]
    assert np.abs(moved_s).max() < 0.001
    assert np.abs(moved_s).max() > 0.0
