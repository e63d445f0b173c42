"""What the documentation promises: measure, calibrate, run, typed one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import namespaces
import pytest

if TYPE_CHECKING:
    from pathlib import Path

LACKING = namespaces.missing("iptables-legacy-restore", "nft")


def typed(folder: Path, *words: str) -> str:
    """Type a command; give what it prints."""
    command = [sys.executable, "-m", "nodeportsim", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
def test_a_node_is_measured_and_its_prices_carry_a_run(tmp_path: Path) -> None:
    typed(tmp_path, "measure", "--smoke", "--quiet", "--out", "measured")
    told = json.loads(typed(tmp_path, "calibrate", "measured", "--out", "mine", "-o", "json"))
    fitted = {
        price["price"]: price["value"] for price in told["prices"] if price["mode"] == "iptables-legacy"
    }
    assert fitted["node_port_match_hot_ns"] > fitted["address_mismatch_hot_ns"] > 0
    proxy = ("--set", "proxy.mode=iptables", "--set", "proxy.backend=legacy")
    run = ("run", "--example", "node-failure", *proxy, "--quiet", "-o", "json", "--replications", "2")
    own, shipped = (json.loads(typed(tmp_path, *run, *more)) for more in (("--profile", "mine"), ()))
    assert own["provenance"]["profile"] == "mine"
    assert own["provenance"]["profile_sha256"] != shipped["provenance"]["profile_sha256"]
    assert own["requests"]["offered"] == shipped["requests"]["offered"]
