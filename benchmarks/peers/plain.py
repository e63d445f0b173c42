"""The plain path: what every peer simulates, and the mean response that theory expects of it.

Poisson customers -> one of the nodes, uniformly at random: one server, a constant time, first come first
served -> one of the pods, uniformly at random: some workers, exponential times, first come first served.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

NODES = 10
WALK_S = 20e-6
PODS = 30
WORKERS = 4
SERVICE_S = 0.005
RATE_RPS = 0.8 * PODS * WORKERS / SERVICE_S
NODE_RPS, POD_RPS = RATE_RPS / NODES, RATE_RPS / PODS

WARMUP_S = 0.5
"""A run starts empty: who arrives earlier is left out. M/M/4 at 0.8 forgets its start with a time constant
of 1 / (4 mu (1 - sqrt(rho))^2) = 0.11 s."""


class Measured(NamedTuple):
    """One run: how many customers it simulated, and the mean response of those after the warm-up."""

    customers: int
    mean_s: float


def measured(visits: Iterable[tuple[float, float]], until_s: float = math.inf) -> Measured:
    """Measure (arrival, response) of every customer of a run; who arrives after `until_s` is not judged."""
    everybody = list(visits)
    judged = [response_s for arrival_s, response_s in everybody if WARMUP_S <= arrival_s < until_s]
    return Measured(len(everybody), sum(judged) / len(judged))


def theory_s() -> float:
    """Mean response: M/D/1 at a node, then M/M/4 at a pod.

    What leaves M/D/1 is not quite Poisson, but a node is busy for 4 % of the time only and its departures
    are dealt at random to 30 pods: a pod sees Poisson arrivals but for some 1e-4 of its wait.
    """
    from nodeportsim.theory.queues import mg1_wait_s, mmc_wait_s

    node_s = mg1_wait_s(NODE_RPS, WALK_S, scv=0.0) + WALK_S
    return node_s + mmc_wait_s(POD_RPS, SERVICE_S, WORKERS) + SERVICE_S
