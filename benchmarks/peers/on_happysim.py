"""The plain path in happysim: Source -> RandomRouter -> Servers -> RandomRouter -> Servers -> Sink."""

from __future__ import annotations

import random

import numpy as np
from happysimulator import ConstantLatency, ExponentialLatency, Instant, Server, Simulation, Sink, Source
from happysimulator.components.random_router import RandomRouter
from plain import NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WORKERS, Measured, measured

DISTRIBUTION = "happysim"
NOTE = ""
DRAIN_S = 0.5


def run(customers: int, seed: int) -> Measured:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the library draws arrivals from numpy's global generator.
    sink, duration_s = Sink(), customers / RATE_RPS
    service = ExponentialLatency(SERVICE_S)
    pods = [Server(f"pod {p}", WORKERS, service, downstream=sink) for p in range(PODS)]
    to_pods = RandomRouter("to pods", targets=pods)
    nodes = [Server(f"node {n}", 1, ConstantLatency(WALK_S), downstream=to_pods) for n in range(NODES)]
    to_nodes = RandomRouter("to nodes", targets=nodes)
    Simulation(
        sources=[Source.poisson(RATE_RPS, to_nodes, stop_after=duration_s)],
        entities=[to_nodes, *nodes, to_pods, *pods, sink],
        end_time=Instant.from_seconds(duration_s + DRAIN_S),
    ).run()
    times_s, responses_s = sink.latency_time_series_seconds()
    return measured((end_s - took_s, took_s) for end_s, took_s in zip(times_s, responses_s, strict=True))
