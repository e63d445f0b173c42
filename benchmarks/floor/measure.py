"""Requests per CPU second of the C floor beside the compiled engine, for every case: compare the columns.

Usage: python benchmarks/floor/measure.py [RUNS] [CASE ...]

Each figure is the best of RUNS (default 3) runs after a first one that does not count. ``floor`` is the C
program alone. ``engine`` is the run alone as well, from the first arrival to the last answer; ``simulate`` is
the whole call, which also builds the world and reads the counters. ``plain.c`` knows the last case only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import CASES, PLAIN, PROFILES
from floor import plain, prepare

from nodeportsim.engine.build import Structs, world_of
from nodeportsim.engine.compiled.kernel import Kernel
from nodeportsim.engine.control import Control
from nodeportsim.engine.simulate import drain_s, simulate
from nodeportsim.scenario.profile import Profile, load_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.scenario.spec import Scenario


def best_s(runs: int, make: Callable[[], Any], work: Callable[[Any], Any]) -> float:
    """Least CPU time of `work` on what `make` gives; making it does not count."""
    work(make())
    least = float("inf")
    for _ in range(runs):
        made = make()
        begun = time.process_time()
        work(made)
        least = min(least, time.process_time() - begun)
    return least


def kernel(scenario: Scenario, profile: Profile) -> Kernel:
    """Make what `simulate` runs, at time 0."""
    plane = Kernel(world_of(scenario, 0, Structs, warmup_s=0.0, trace=0))
    Control(scenario=scenario, profile=profile, plane=plane, key0=scenario.run.seed, key1=0).start()
    plane.start()
    return plane


def drive(scenario: Scenario, plane: Kernel) -> None:
    """Run to the end of arrivals, then second by second, as `simulate` does."""
    end_s = scenario.run.duration_s
    plane.advance(end_s)
    last_s = end_s + drain_s(scenario)
    while plane.world.counts.open_requests and end_s < last_s:
        end_s = min(end_s + 1.0, last_s)
        plane.advance(end_s)


def main(runs: int, names: list[str]) -> None:
    heads = "".join(f"{head:>12}" for head in ("floor", "engine", "simulate"))
    print(f"{'requests per CPU second':26}{heads}{'engine/floor':>15}{'us/request':>12}")
    for name in names:
        scenario = CASES[name]()
        profile = PROFILES[name]() if name in PROFILES else load_profile(scenario.cluster.profile)
        prepared = prepare(scenario, profile=profile)
        floor_s = best_s(runs, lambda p=prepared: p, lambda p: p.run())
        done = prepared.question.offered
        engine_s = best_s(
            runs, lambda s=scenario, p=profile: kernel(s, p), lambda plane, s=scenario: drive(s, plane)
        )
        whole_s = best_s(runs, lambda s=scenario: s, lambda s, p=profile: simulate(s, profile=p))
        rates = "".join(f"{done / cpu_s:12,.0f}" for cpu_s in (floor_s, engine_s, whole_s))
        print(f"{name:26}{rates}{floor_s / engine_s:15.2f}{1e6 * floor_s / done:12.2f}", flush=True)
        if name == PLAIN:
            plain_s = best_s(runs, lambda p=prepared: p, plain)
            print(f"{'  plain.c':26}{done / plain_s:12,.0f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or list(CASES))
