"""The plain path in salabim: a Component per customer, a Resource per station."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import salabim as sim
from plain import NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WORKERS, Measured, measured

if TYPE_CHECKING:
    from collections.abc import Generator

DISTRIBUTION = "salabim"
NOTE = "generators (its greenlets were no faster), monitors of stations off"

sim.yieldless(False)


def run(customers: int, seed: int) -> Measured:
    env = sim.Environment(trace=False, random_seed=seed)
    random.seed(seed)
    nodes = [sim.Resource(f"node {n}", monitor=False) for n in range(NODES)]
    pods = [sim.Resource(f"pod {p}", capacity=WORKERS, monitor=False) for p in range(PODS)]
    visits: list[tuple[float, float]] = []

    class Customer(sim.Component):
        def process(self) -> Generator[None, None, None]:
            arrival_s = env.now()
            yield self.request(random.choice(nodes))
            yield self.hold(WALK_S)
            self.release()
            yield self.request(random.choice(pods))
            yield self.hold(random.expovariate(1 / SERVICE_S))
            self.release()
            visits.append((arrival_s, env.now() - arrival_s))

    sim.ComponentGenerator(Customer, iat=sim.Exponential(rate=RATE_RPS), number=customers)
    env.run()
    return measured(visits)
