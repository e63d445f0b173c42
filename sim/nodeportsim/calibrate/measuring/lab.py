"""What all cells of a measurement share, and the rows their timings become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.measuring import backends, tables
from nodeportsim.calibrate.measuring.plans import Cell
from nodeportsim.calibrate.measuring.scene import Scene, Subject, pod_target
from nodeportsim.calibrate.measuring.timing import MESSAGE_BYTES, quantiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from nodeportsim.calibrate.measuring.plans import Plan
    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.calibrate.measuring.tables import Tables
    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.calibrate.measuring.timing import Timer, Timing


@dataclass
class Lab:
    """A testbed per backend and per baseline, a timer, and where rows go."""

    beds: Mapping[str, Bed]
    timer: Timer
    plan: Plan
    rng: Random
    tables: Tables
    _baselines: int = field(default=0, init=False)

    def connections(self, cell: Cell) -> int:
        """Give the connections of one repetition."""
        return self.plan.count(cell.backend, cell.services)

    def connect(
        self, file: str, cell: Cell, target: Target, repetition: int, *, count: int = 0, **more: Any
    ) -> None:
        """Time connections to a target and add their row."""
        count = count or self.connections(cell)
        timing = self.timer.time(
            self.beds[cell.backend],
            target,
            "connections",
            count,
            cold_mib=more.get("thrash_mib_before_connect", 0),
        )
        row = connect_columns(timing) | {
            "connections_per_s": round(timing.per_s, 1),
            "process_user_s": round(timing.user_s, 4),
            "process_system_s": round(timing.system_s, 4),
        }
        self.add(file, cell, place(cell, target, repetition) | row | more)

    def request(self, cell: Cell, target: Target, repetition: int) -> None:
        """Time requests on one connection to a target and add their row."""
        timing = self.timer.time(self.beds[cell.backend], target, "requests", self.plan.requests)
        row = quantiles("cycle", timing.cycle_ns) | {
            "requests": self.plan.requests,
            "request_bytes": MESSAGE_BYTES,
            "response_bytes": MESSAGE_BYTES,
            "requests_per_s": round(timing.per_s, 1),
        }
        self.add(tables.REQUESTS, cell, place(cell, target, repetition) | row)

    def programming(self, cell: Cell, op: str, seconds: float, repetition: int | None = None) -> None:
        """Add a row on how long a change of the rules took."""
        row = {
            "mode": cell.backend,
            "services": cell.services,
            "endpoints_per_service": 1,
            "repetition": cell.round if repetition is None else repetition,
            "op": op,
            "seconds": seconds,
        }
        self.add(tables.PROGRAMMING, cell, row)

    def baselines(self) -> None:
        """Time both baselines, in between the rest: quiet and slow spells of the machine hit all alike."""
        for name in backends.BASELINES:
            cell = Cell(experiment="services", backend=name, scene=Scene(services=0))
            target = pod_target(Scene(services=1).view())
            count = self.plan.connections
            self.connect(tables.SERVICES, cell, target, self._baselines, count=count)
            self.request(cell, target, self._baselines)
        self._baselines += 1

    def add(self, file: str, cell: Cell, row: Mapping[str, Any]) -> None:
        """Add a row of a cell; what is true of all its rows is put in."""
        ruled = cell.backend not in backends.BASELINES
        linear = backends.BACKENDS.get(cell.backend) == "iptables"
        common = {
            "rules_per_node_port": cell.scene.shape.rules_per_node_port if linear else int(ruled),
            "kubernetes_services": int(ruled),
            "affinity": int(cell.experiment == "affinity"),
            "timer": self.timer.name,
        }
        self.tables.add(file, {**common, **row})


def place(cell: Cell, target: Target, repetition: int) -> dict[str, Any]:
    """Say where a row was measured."""
    own = cell.scene.tested.get(target.position)
    first = next(iter(cell.scene.tested.values()), Subject(endpoints=1))
    return {
        "mode": cell.backend,
        "services": cell.services,
        "endpoints_per_service": (own or first).endpoints,
        "target": target.kind,
        "service_position": target.position,
        "repetition": repetition,
    }


def connect_columns(timing: Timing) -> dict[str, float]:
    """Give the columns of timed connections."""
    return {
        "connections": len(timing.connect_ns),
        **quantiles("connect", timing.connect_ns),
        **quantiles("cycle", timing.cycle_ns),
    }
