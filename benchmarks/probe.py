"""What can only be measured in a process of its own: start, memory, several cores. Prints JSON.

Usage: python benchmarks/probe.py first | large | many | in-flight NUMBER | schedulers | cores RUNS
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from cases import cluster_case, largest

from nodeportsim.scenario.clients import Clients, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Cluster, Conntrack, Pods, Run, Scenario, Service

ONE_SECOND = Run(duration_s=1.0)
MANY_S = 5_000.0  # At 20,000/s: 10^8 requests.
HELD_S = 10.0
GROWING = ("requests", "connections", "flights", "heap", "ring")
CORES_S = 100.0


def memory_bytes(field: str) -> int:
    """Resident memory of this process: VmRSS now, VmHWM at most.

    Not getrusage: a child inherits its parent's maximum from before it began its own program.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def first() -> dict[str, Any]:
    """Simulate one second and be done: who started this process looks at the clock."""
    from nodeportsim.engine.simulate import simulate

    return {"requests": simulate(cluster_case(run=ONE_SECOND)).offered}


def large() -> dict[str, Any]:
    """Declare the largest world, then build it, then run it."""
    from sides import Scheduler

    begun_s = time.process_time()
    scenario = largest()
    names = len(scenario.cluster.names), len(scenario.placement)  # Made up on demand.
    declared_s = time.process_time()
    side = Scheduler(scenario, load_profile(scenario.cluster.profile))
    built_s = time.process_time()
    built_bytes = memory_bytes("VmHWM")
    side.run()
    return {
        "nodes": names[0],
        "pods": names[1],
        "declare_cpu_s": declared_s - begun_s,
        "build_cpu_s": built_s - declared_s,
        "peak_built_bytes": built_bytes,
        "peak_run_bytes": memory_bytes("VmHWM"),
        "requests": side.read().offered,
    }


def lasting(duration_s: float, replications: int = 1) -> Scenario:
    """A new connection each for so long that the default conntrack table would fill up after a minute."""
    return cluster_case(
        cluster=Cluster(nodes=10, conntrack=Conntrack(max=1_000_000)),
        run=Run(duration_s=duration_s, replications=replications, warmup_s=0.0),
    )


def many() -> dict[str, Any]:
    """Simulate 10^8 requests, a new connection each, without a trace."""
    from nodeportsim.engine.simulate import simulate

    begun_s = time.process_time()
    done = simulate(lasting(MANY_S))
    assert done.failed == done.conntrack_drops == 0
    return {
        "requests": done.offered,
        "cpu_s": time.process_time() - begun_s,
        "peak_bytes": memory_bytes("VmHWM"),
    }


def held(count: int) -> Scenario:
    """Everyone who comes is still with a worker when the last one has come."""
    return cluster_case(
        service=Service(replicas=3_000),
        pods=Pods(workers=128, service_time=Law(dist="constant", mean_s=6 * HELD_S)),
        clients=(Clients(count=100, rate_rps=count / HELD_S, timeouts=Timeouts(request_s=0.0)),),
        run=Run(duration_s=HELD_S),
    )


def in_flight(count: int) -> dict[str, Any]:
    """Hold so many requests, and tell what the process holds then."""
    from sides import Scheduler

    scenario = held(count)
    side = Scheduler(scenario, load_profile(scenario.cluster.profile))
    side.plane.start()
    side.plane.advance(HELD_S)
    arrays = side.plane.handle.arrays
    return {
        "in_flight": int(side.plane.world.counts.open_requests),
        "array_bytes": sum(arrays[name].nbytes for name in GROWING),
        "bytes": memory_bytes("VmRSS"),
    }


def schedulers() -> dict[str, Any]:
    """Compare the compiled scheduler with SimPy."""
    from sides import Scheduler, take_turns

    scenario = cluster_case(run=ONE_SECOND)
    profile = load_profile(scenario.cluster.profile)
    Scheduler(scenario, profile).run()
    makers = {name: lambda e=name: Scheduler(scenario, profile, e) for name in ("compiled", "simpy")}
    timed = take_turns(makers, 5)
    assert (timed["compiled"].answer.latency == timed["simpy"].answer.latency).all()
    return {name: best.per_s for name, best in timed.items()}


def cores(runs: str) -> dict[str, Any]:
    """Time eight replications in one process and in two, on the clock, taking turns."""
    from nodeportsim.study.run import run

    scenario = lasting(CORES_S, replications=8)
    load = os.getloadavg()[0]
    run(lasting(1.0, replications=4), engine="compiled", jobs=2)  # Starts the processes.
    took_s: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(int(runs)):
        for jobs, times_s in took_s.items():
            begun_s = time.perf_counter()
            run(scenario, engine="compiled", jobs=jobs)
            times_s.append(time.perf_counter() - begun_s)
    one_s, two_s = (statistics.median(times_s) for times_s in took_s.values())
    return {"one_s": one_s, "two_s": two_s, "load_average_before": load}


PROBES = {
    "first": first,
    "large": large,
    "many": many,
    "in-flight": lambda count: in_flight(int(count)),
    "schedulers": schedulers,
    "cores": cores,
}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])))
