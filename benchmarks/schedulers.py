"""Requests per CPU second under each scheduler, in one run: compare the columns, not the machine.

Usage: python benchmarks/schedulers.py [RUNS]

Every case is run RUNS times (default 3) under the compiled scheduler, under SimPy, and, where it covers the
case, by the idiomatic SimPy program of tests/oracle.py; the best of each counts. A first run of each, which
compiles, does not.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracle import Oracle, Rules

from nodeportsim.engine.build import Plain, world_of
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Clients, Connections
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Cluster, Run, Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Callable

PRICES = (
    *("walk_s", "endpoint_s", "refuse_s", "transit_s", "packet_s", "transit_packet_s"),
    *("accept_s", "accept_packet_s"),
)


def case(rate_rps: float, duration_s: float, connections: Connections) -> Scenario:
    return Scenario(
        cluster=Cluster(nodes=10),
        service=Service(replicas=30),
        clients=(Clients(count=100, rate_rps=rate_rps, connections=connections),),
        run=Run(duration_s=duration_s),
    )


CASES = {
    "a new connection each": Connections(),
    "10 requests a connection": Connections(reuse="lifo", size=4, max_requests=10),
}


def oracle(scenario: Scenario) -> int:
    """Run the oracle with the prices that the engine would write; how many requests it carried."""
    world = world_of(scenario, 0, Plain, warmup_s=0.0, trace=0)
    plane = Interpreter(world)
    Control(scenario=scenario, profile=load_profile("kernel-6.18"), plane=plane, key0=1, key1=0)
    rules = []
    for n, node in enumerate(plane.world.nodes):
        price = {name: getattr(node, name, None) or getattr(plane.world.config, name, 0.0) for name in PRICES}
        endpoints = tuple(plane.world.endpoints[node.first : node.first + node.endpoints])
        rules.append((0.0, n, Rules(endpoints, node.turn, price)))
    return len(Oracle(scenario, 0, rules).run())


def per_second(work: Callable[[], int], runs: int) -> float:
    """Best rate of some runs, in requests per CPU second."""
    work()
    best = 0.0
    for _ in range(runs):
        begun = time.process_time()
        done = work()
        best = max(best, done / (time.process_time() - begun))
    return best


def main(runs: int) -> None:
    heads = ("compiled", "SimPy", "oracle")
    print(f"{'':28}{heads[0]:>12}{heads[1]:>10}{heads[2]:>10}   {' : '.join(heads)}")
    for name, connections in CASES.items():
        large, small = case(20_000.0, 20.0, connections), case(2_000.0, 5.0, connections)
        compiled = per_second(lambda s=large: simulate(s, engine="compiled").succeeded, runs)
        interpreted = per_second(lambda s=small: simulate(s, engine="simpy").succeeded, runs)
        plain = per_second(lambda s=small: oracle(s), runs) if connections.reuse == "none" else None
        shares = f"1 : 1/{compiled / interpreted:.0f}" + (f" : 1/{compiled / plain:.0f}" if plain else "")
        print(f"{name:28}{compiled:12,.0f}{interpreted:10,.0f}{plain or float('nan'):10,.0f}   {shares}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
