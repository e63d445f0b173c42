"""The one test that looks at CPU time, as a ratio: how the engine is compiled is worth what it is said to be.

`engine/compiled/world.py` and `options.py` extend Numba by its own protocols. A new Numba may give them
another meaning, and nothing else would fail: counted references made an earlier kernel four times as slow.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cases import cluster_case
from sides import Scheduler, cpu_s

from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Run

LEAST = 40.0
"""Of some 130 (results/benchmarks/start.md): a busy neighbour takes a part of it, not two thirds."""
ROUNDS = 5


def test_the_compiled_scheduler_is_many_times_as_fast_as_simpy_on_the_same_requests() -> None:
    scenario = cluster_case(run=Run(duration_s=0.5))
    profile = load_profile(scenario.cluster.profile)
    Scheduler(scenario, profile, "compiled").run()  # Compiles, where nothing is kept.
    compiled_s = simpy_s = float("inf")
    for _ in range(ROUNDS):
        compiled_s = min(compiled_s, cpu_s(Scheduler(scenario, profile, "compiled")))
        simpy_s = min(simpy_s, cpu_s(Scheduler(scenario, profile, "simpy")))
        if simpy_s > LEAST * compiled_s:
            break  # A quiet moment is enough.
    assert simpy_s > LEAST * compiled_s
