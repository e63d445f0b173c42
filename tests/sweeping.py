"""What the tests of sweeps share: a small scenario, its sweep, and what stands in a folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from nodeportsim.scenario.read import read
from nodeportsim.study.design import parse_vary
from nodeportsim.study.sweep import Sweep, designed

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = """\
apiVersion: nodeportsim/v1
kind: Scenario
name: tiny
clients: {rate: 40/s, count: 5}
run: {duration: 1500ms, replications: 2}
"""
VARY = ("replicas=2,3,5", "proxy.mode=iptables,ipvs")
TABLES = ("points.csv", "results.csv", "summary.csv", "sweep.json")


def scenario(folder: Path, extra: str = "") -> Path:
    """Write the scenario."""
    file = folder / "tiny.yaml"
    file.write_text(SCENARIO + extra)
    return file


def sweep(folder: Path, *vary: str, sets: tuple[str, ...] = (), **how: Any) -> Sweep:
    """Make a sweep of it."""
    file = scenario(folder)
    return designed(lambda more: read(file, sets=(*sets, *more)), parse_vary(vary or VARY), **how)


def hashes(folder: Path) -> dict[str, str]:
    """Give the SHA-256 of every result file."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in TABLES}


def command(*words: str | Path) -> list[str]:
    """Write the command line of a sweep, as another process takes it."""
    return [sys.executable, "-m", "nodeportsim", "sweep", *map(str, words)]


def process(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a sweep as another process."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, check=False, timeout=300, **options
    )
