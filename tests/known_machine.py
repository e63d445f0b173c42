"""A machine whose prices are known, and its measurements as `measure` would write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENVIRONMENT = {
    "env_label": "known",
    "kernel": "0.0",
    "cpu": "made up",
    "virtualised": 0,
    "vcpus": 1,
    "spectre_v2_mitigation": "none",
}


@dataclass(frozen=True)
class Machine:
    """Prices in ns; a chain is cold, all of it, once it walks more than `capacity` bytes."""

    base: float = 10_000.0
    address: float = 6.0
    loopback: float = 9.0
    node_port: float = 40.0
    statistic: float = 30.0
    cold: float = 4.0
    node_port_cold: float = 1.2
    capacity: float = 2.1e6
    noise: float = 0.02

    def connect_ns(self, target: str, services: int, position: int, endpoints: int, rules: int) -> float:
        """Price a connect by hand: what stands in the chains of kube-proxy before the rule that matches."""
        addresses = position if target == "clusterip" else services
        ports = position + 1 if target == "nodeport" else 0
        loopbacks = ports * (rules - 1)
        statistic = 0.0 if target == "podip" else (endpoints + 1) / 2 * self.statistic
        touched = (addresses + loopbacks) * 244 + ports * 550
        cold = touched > self.capacity
        mismatches = (addresses * self.address + loopbacks * self.loopback) * (self.cold if cold else 1)
        matches = ports * self.node_port * (self.node_port_cold if cold else 1)
        return self.base + mismatches + matches + statistic

    def sweep(
        self,
        sizes: Sequence[int],
        *,
        rules: Sequence[int] = (1,),
        endpoints: Sequence[int] = (3,),
        seed: int = 0,
        slow: float = 0.0,
    ) -> pd.DataFrame:
        """Measure five places in rule sets of these sizes; a share of the cells has no quiet repetition."""
        chance = np.random.default_rng(seed)
        rows = []
        for services in sizes:
            places = sorted({0, services // 4, services // 2, 3 * services // 4, services - 1})
            cases = [(t, p) for t in ("clusterip", "nodeport") for p in places] + [("podip", -1)]
            for (target, place), n, e in ((c, n, e) for c in cases for n in rules for e in endpoints):
                speed = 1.5 if chance.random() < slow else 1.0
                quiet = self.connect_ns(target, services, place, e, n) * speed
                for repetition in range(3):
                    time = quiet * (1 + abs(chance.normal(0, self.noise)))
                    row = ("iptables-legacy", services, e, target, place, repetition, time, time * 1.1, n)
                    rows.append((*ENVIRONMENT.values(), *row))
        case = ["mode", "services", "endpoints_per_service", "target", "service_position", "repetition"]
        columns = [*ENVIRONMENT, *case, "connect_p25_ns", "connect_p50_ns", "rules_per_node_port"]
        return pd.DataFrame(rows, columns=columns)


def written(place: Path, **tables: pd.DataFrame) -> Path:
    """Write tables by name into a folder of measurements."""
    place.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.to_csv(place / f"{name}.csv", index=False)
    return place
