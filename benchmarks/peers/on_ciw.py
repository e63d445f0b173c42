"""The plain path in Ciw: a network of 40 nodes, the first ten with arrivals, routed by a matrix."""

from __future__ import annotations

import ciw
from plain import NODE_RPS, NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WORKERS, Measured, measured

DISTRIBUTION = "ciw"
NOTE = "arrivals split beforehand: ten Poisson streams"
COOLDOWN_S = 0.2  # Arrivals go on to the end of a run: who comes last is not counted, for he may not be done.


def run(customers: int, seed: int) -> Measured:
    ciw.seed(seed)
    to_pods = [0.0] * NODES + [1 / PODS] * PODS
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(NODE_RPS)] * NODES + [None] * PODS,
        service_distributions=[ciw.dists.Deterministic(WALK_S)] * NODES
        + [ciw.dists.Exponential(1 / SERVICE_S)] * PODS,
        number_of_servers=[1] * NODES + [WORKERS] * PODS,
        routing=[to_pods] * NODES + [[0.0] * (NODES + PODS)] * PODS,
    )
    simulation = ciw.Simulation(network)
    duration_s = customers / RATE_RPS
    simulation.simulate_until_max_time(duration_s)
    records = (person.data_records for person in simulation.nodes[-1].all_individuals)
    visits = ((node.arrival_date, pod.exit_date - node.arrival_date) for node, pod in records)
    return measured(visits, until_s=duration_s - COOLDOWN_S)
