"""Measure one peer in this process, and print what was found as JSON.

Usage: python benchmarks/peers/measure.py PEER CUSTOMERS RUNS

A first small run, which compiles where there is something to compile, does not count. The runs have seeds of
their own, so that their means are independent and the standard error of their mean is s / sqrt(RUNS).
"""

from __future__ import annotations

import importlib
import json
import math
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

import plain

FEW = 20_000


def measure(peer: str, customers: int, runs: int) -> dict[str, Any]:
    module = importlib.import_module(f"on_{peer}")
    module.run(FEW, 0)
    means_s, done, cpu_s = [], 0, 0.0
    for seed in range(1, runs + 1):
        begun = time.process_time()
        found: plain.Measured = module.run(customers, seed)
        cpu_s += time.process_time() - begun
        means_s.append(found.mean_s)
        done += found.customers
    return {
        "tool": peer,
        "version": version(module.DISTRIBUTION),
        "customers": done,
        "per_cpu_second": done / cpu_s,
        "mean_ms": 1e3 * statistics.mean(means_s),
        "error_ms": 1e3 * statistics.stdev(means_s) / math.sqrt(runs),
        "theory_ms": 1e3 * getattr(module, "theory_s", plain.theory_s)(),
        "note": module.NOTE,
    }


if __name__ == "__main__":
    json.dump(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
