"""The plain path in nodeportsim: the compiled engine on the benchmark case of that name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import plain_path, plain_profile
from plain import RATE_RPS, WARMUP_S, Measured

from nodeportsim.engine.simulate import Engine, simulate
from nodeportsim.scenario.spec import Run, Scenario

DISTRIBUTION = "nodeportsim"
NOTE = "each customer opens a connection, which takes no time"


def scenario(customers: int, seed: int) -> Scenario:
    run = Run(duration_s=customers / RATE_RPS, warmup_s=WARMUP_S, seed=seed)
    return plain_path().model_copy(update={"run": run})


def run(customers: int, seed: int, engine: Engine = "compiled") -> Measured:
    done = simulate(scenario(customers, seed), engine=engine, profile=plain_profile())
    assert done.succeeded == done.offered, "nobody may fail on the plain path"
    everybody = int(done.nodes[:, 0].sum())  # Connections are counted from the start, requests after warm-up.
    return Measured(everybody, int(done.latency_sum_ns.sum()) / done.succeeded * 1e-9)
