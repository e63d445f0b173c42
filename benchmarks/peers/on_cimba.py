"""The plain path in Cimba: processes compiled onto its C engine, stores of arrival times between them."""

from __future__ import annotations

import cimba as cb
from plain import NODES, PODS, RATE_RPS, SERVICE_S, WALK_S, WARMUP_S, WORKERS, Measured

DISTRIBUTION = "cimba"
NOTE = "a process per server, not per customer"


class Pod(cb.Model):
    path: cb.Ref[Path]
    queue: cb.Store[float]

    @cb.process(copies=WORKERS)
    def worker(self) -> None:
        while True:
            arrival_s = self.queue.get()
            cb.hold(cb.random.exponential(SERVICE_S))
            self.path.responses_s.record(cb.now() - arrival_s)


class Node(cb.Model):
    path: cb.Ref[Path]
    queue: cb.Store[float]

    @cb.process
    def walk(self) -> None:
        while True:
            arrival_s = self.queue.get()
            cb.hold(WALK_S)
            self.path.pods[cb.random.dice(0, PODS - 1)].queue.put(arrival_s)


class Path(cb.Model):
    nodes: list[Node]
    pods: list[Pod]
    responses_s: cb.Dataset
    mean_s: cb.Output[float]

    @cb.process
    def source(self) -> None:
        while True:
            cb.hold(cb.random.exponential(1 / RATE_RPS))
            self.nodes[cb.random.dice(0, NODES - 1)].queue.put(cb.now())

    @cb.on_end
    def collect(self) -> None:
        self.mean_s = self.responses_s.sample_mean()


def run(customers: int, seed: int) -> Measured:
    path = Path()
    path.nodes, path.pods = [Node() for _ in range(NODES)], [Pod() for _ in range(PODS)]
    for station in (*path.nodes, *path.pods):
        station.path = path
    window = cb.Window(warmup=WARMUP_S, duration=customers / RATE_RPS - WARMUP_S)
    results = cb.Experiment(path, window=window, seed=seed).run(workers=1)
    return Measured(customers, float(results[path].mean_s[0, 0]))
