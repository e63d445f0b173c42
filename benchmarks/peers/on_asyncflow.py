"""The nearest that AsyncFlow can say: client -> a node's server -> a pod's server, all times constant."""

from __future__ import annotations

import itertools

import numpy as np
import simpy
from asyncflow import AsyncFlow, SimulationRunner
from asyncflow.components import Client, Edge, Endpoint, Server
from asyncflow.settings import SimulationSettings
from asyncflow.workload import RqsGenerator
from plain import POD_RPS, SERVICE_S, WALK_S, WORKERS, Measured, measured

DISTRIBUTION = "asyncflow-sim"
NOTE = "one node and one pod, constant 5 ms: it has no random choice of a server, no random CPU time"

USERS = 1_000_000
"""The number of users is itself drawn once a window: with so many it moves the rate by 0.1 % only."""
WIRE_S = 1e-12  # Every edge must take some time.
COOLDOWN_S = 0.2  # A run ends with its clock, not with its last customer.


def theory_s() -> float:
    """Mean response: M/D/1, then M/D/4."""
    from nodeportsim.theory.queues import mdc_wait_s, mg1_wait_s

    node_s = mg1_wait_s(POD_RPS, WALK_S, scv=0.0) + WALK_S
    return node_s + mdc_wait_s(POD_RPS, SERVICE_S, WORKERS) + SERVICE_S


def server(name: str, cores: int, cpu_s: float) -> Server:
    steps = [{"kind": "cpu_bound_operation", "step_operation": {"cpu_time": cpu_s}}]
    return Server(
        id=name,
        server_resources={"cpu_cores": cores, "ram_mb": 1024},
        endpoints=[Endpoint(endpoint_name="serve", steps=steps)],
    )


def run(customers: int, seed: int) -> Measured:
    duration_s = round(customers / POD_RPS)
    per_minute = {"mean": 60 * POD_RPS / USERS, "distribution": "poisson"}
    hops = ("users", "client", "node", "pod", "client")
    wire = {"mean": WIRE_S, "distribution": "exponential"}
    flow = (
        AsyncFlow()
        .add_generator(
            RqsGenerator(
                id="users", avg_active_users={"mean": USERS}, avg_request_per_minute_per_user=per_minute
            )
        )
        .add_client(Client(id="client"))
        .add_servers(server("node", 1, WALK_S), server("pod", WORKERS, SERVICE_S))
        .add_edges(
            *(
                Edge(id=f"{a} {b}", source=a, target=b, latency=wire, dropout_rate=0.0)
                for a, b in itertools.pairwise(hops)
            )
        )
        .add_simulation_settings(
            SimulationSettings(total_simulation_time=duration_s, enabled_sample_metrics=set())
        )
    )
    runner = SimulationRunner(env=simpy.Environment(), simulation_input=flow.build_payload())
    runner.rng = np.random.default_rng(seed)
    result = runner.run()
    clocks = result._client.rqs_clock  # noqa: SLF001 - the public figures do not know the warm-up.
    visits = ((clock.start, clock.finish - clock.start) for clock in clocks)
    return measured(visits, until_s=duration_s - COOLDOWN_S)
