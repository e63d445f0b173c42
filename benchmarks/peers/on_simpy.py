"""The plain path in SimPy: a process per customer, a Resource per station."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import simpy
from plain import NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WORKERS, Measured, measured

if TYPE_CHECKING:
    from collections.abc import Generator

    Process = Generator[simpy.Event, None, None]

DISTRIBUTION = "simpy"
NOTE = ""


def run(customers: int, seed: int) -> Measured:
    rng, env = Random(seed), simpy.Environment()
    nodes = [simpy.Resource(env) for _ in range(NODES)]
    pods = [simpy.Resource(env, capacity=WORKERS) for _ in range(PODS)]
    visits: list[tuple[float, float]] = []

    def customer() -> Process:
        arrival_s = env.now
        with rng.choice(nodes).request() as turn:
            yield turn
            yield env.timeout(WALK_S)
        with rng.choice(pods).request() as turn:
            yield turn
            yield env.timeout(rng.expovariate(1 / SERVICE_S))
        visits.append((arrival_s, env.now - arrival_s))

    def source() -> Process:
        for _ in range(customers):
            yield env.timeout(rng.expovariate(RATE_RPS))
            env.process(customer())

    env.process(source())
    env.run()
    return measured(visits)
