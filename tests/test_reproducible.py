"""The same question gives the same bytes, on any number of processes, with any hash seed, on any engine.

`--engine` is the one thing that provenance tells and that does not change a number, so between engines
its own entry is left out of the comparison, and the page that prints it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FAILURE = """\
name: failure
cluster:
  nodes: 3
  controlPlane: {nodeMonitorGracePeriod: 2s, nodeMonitorPeriod: 1s, leaseRenewInterval: 1s}
service: {replicas: 4}
clients:
  - {rate: 40/s, count: 10, timeouts: {connect: 1s}, retry: {attempts: 2}}
  - {name: kept, rate: 20/s, count: 4, connections: {reuse: lifo, size: 2}}
events: [{at: 3s, fault: power-off, node: node-2}]
run: {duration: 10s, replications: 11}
thresholds: {errors: "<90%"}
"""
STEADY = "name: steady\nclients: {rate: 100/s}\nrun: {duration: 12s, replications: 3}\n"


@pytest.fixture(params=[FAILURE, STEADY], ids=["failure", "steady"])
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(request.param)
    return path


def folder(scenario: Path, name: str, *options: str, **environment: str) -> dict[str, bytes]:
    """Every file of a run made by a process of its own."""
    out = scenario.parent / name
    command = [sys.executable, "-m", "nodeportsim", "run", str(scenario), "--out", str(out), *options]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment, timeout=120)
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_command_of_the_page_gives_the_same_bytes_on_more_processes_with_another_hash_seed(
    scenario: Path,
) -> None:
    first = folder(scenario, "first", PYTHONHASHSEED="1")
    assert {"summary.json", "report.html", "timeline.csv", "figures/latency_ccdf.svg"} <= first.keys()
    assert b"<code>nodeportsim run scenario.yaml --out .</code>" in first["report.html"]
    again = folder(scenario.parent / "first" / "scenario.yaml", ".", "-j", "2", PYTHONHASHSEED="2")
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []


@pytest.mark.long  # The kernel compiles for a minute where its cache is cold.
def test_both_engines_give_the_same_bytes_but_for_their_own_name(scenario: Path) -> None:
    plain, compiled = (folder(scenario, engine, "--engine", engine) for engine in ("simpy", "compiled"))
    told = {"summary.json", "provenance.json", "report.html", "manifest.json"}  # The last holds their hashes.
    assert plain.keys() == compiled.keys()
    assert {name for name in plain if plain[name] != compiled[name]} == told
    assert nameless(plain["summary.json"]) == nameless(compiled["summary.json"])
    pages = [
        files["report.html"].replace(b"<dd>compiled</dd>", b"<dd>simpy</dd>") for files in (plain, compiled)
    ]
    assert pages[0] == pages[1]


def nameless(summary: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(summary)
    del found["provenance"]["engine"]
    return found
