"""Memory, start and what else a rate does not show; each in a process of its own (`probe.py`)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ratios import rounded

from nodeportsim.engine.records import Connection, Flight, Request, struct

HERE = Path(__file__).parent
HELD = (127_000, 254_000)
"""Just below powers of two, to which the pools grow: all slots are in use."""
CORES_RUNS = 5
BUSY = 1.5
"""Load average from which two processes have no two cores: the benchmark itself is one of it."""

Found = dict[str, Any]


def probe(*words: str, cache: str | None = None) -> tuple[Found, float, float]:
    """Run a probe; what it found, its time on the clock and its CPU time."""
    env = dict(os.environ) | ({"NODEPORTSIM_CACHE": cache} if cache else {})
    before, begun_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "probe.py"), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=env,
    )
    took_s, after = time.perf_counter() - begun_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), took_s, cpu_s


def starts(rounds: int) -> Found:
    """From the start of the process to the result of one second of 20,000 requests."""
    with tempfile.TemporaryDirectory() as empty:
        _, cold_s, cold_cpu_s = probe("first", cache=empty)
        warm = [probe("first", cache=empty) for _ in range(rounds)]
    return {
        "cold_s": cold_s,
        "cold_cpu_s": cold_cpu_s,
        "warm_s": min(took_s for _, took_s, _ in warm),
        "warm_cpu_s": min(cpu_s for _, _, cpu_s in warm),
    }


def request_bytes() -> Found:
    """What a request in flight takes: its records, and what the process grows by."""
    from nodeportsim.engine.compiled.queues import EVENT

    kinds = {"request": Request, "connection": Connection, "flight": Flight}
    sizes = {name: struct(kind).itemsize for name, kind in kinds.items()} | {"event": EVENT.itemsize}
    few, many = (probe("in-flight", str(count))[0] for count in HELD)
    more = many["in_flight"] - few["in_flight"]
    return sizes | {
        "records": sum(sizes.values()),
        "arrays": (many["array_bytes"] - few["array_bytes"]) / more,
        "resident": (many["bytes"] - few["bytes"]) / more,
        "in_flight": many["in_flight"],
    }


def schedulers() -> Found:
    """Compare the compiled scheduler with SimPy."""
    found, _, _ = probe("schedulers")
    return {
        "simpy_per_s": found["simpy"],
        "compiled_per_s": found["compiled"],
        "compiled_over_simpy": found["compiled"] / found["simpy"],
    }


def cores() -> Found:
    """Say what a second process gains: None where others wanted the second core too."""
    found, _, _ = probe("cores", str(CORES_RUNS))
    quiet = found["load_average_before"] < BUSY
    return {"speed_up": found["one_s"] / found["two_s"] if quiet else None} | found


def measure(rounds: int, kept: Found, *, long: bool) -> Found:
    """Measure everything; what takes long is kept from an earlier run unless asked for."""
    many = probe("many")[0] if long else kept.get("hundred_million")
    parts: Found = {
        "start": starts(rounds),
        "bytes_per_request_in_flight": request_bytes(),
        "largest_world": probe("large")[0],
        "two_cores": cores(),
        "schedulers": schedulers(),
        "hundred_million": many,
    }
    return {
        name: part and {key: rounded(number) for key, number in part.items()} for name, part in parts.items()
    }
