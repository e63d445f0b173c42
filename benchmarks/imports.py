"""What `import` takes: CPU time and memory for dumps of growing clusters, piped as kubectl pipes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from large_dump import pieces  # beside the tests: they hold the same dumps to their limits

SIZES = ((50, 500, 1_500), (500, 5_000, 15_000), (5_000, 50_000, 150_000))
COMMAND = [sys.executable, "-m", "nodeportsim", "import", "--service", "space-0/service-0"]


def measure(rounds: int) -> list[dict[str, Any]]:
    """Measure each size, the least of so many rounds."""
    return [min((_once(*size) for _ in range(rounds)), key=lambda row: row["cpu_s"]) for size in SIZES]


def _once(nodes: int, services: int, pods: int) -> dict[str, Any]:
    size = 0
    child = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin
    for piece in pieces(nodes, services, pods):
        size += child.stdin.write(piece.encode())
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    cpu_s = usage.ru_utime + usage.ru_stime
    row = {"nodes": nodes, "services": services, "pods": pods, "dump_mib": round(size / 2**20)}
    return row | {"cpu_s": round(cpu_s, 2), "peak_mib": round(usage.ru_maxrss / 2**10)}
