"""What is timed: the engine under either scheduler, the C floor, the SimPy program of tests/oracle.py.

A side makes its world first, which is not timed; then `run` is what is timed, from the first arrival to the
last answer; `read` tells what was done. Sides take turns, so that what else the machine does falls on all of
them, and the least CPU time of each counts.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent / "floor"))

from floor import Prepared, plain, prepare
from oracle import Oracle, Rules

from nodeportsim.engine.build import Plain, Structs, world_of
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.simulate import _plane, _read, _run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nodeportsim.engine.simulate import Engine, Replication
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

OUTSIDE = "outside"
UNREACHED_S = 200.0  # Longer than any connect or answer of a benchmark.
PRICES = (
    *("walk_s", "endpoint_s", "refuse_s", "transit_s", "packet_s", "transit_packet_s"),  # of a node
    *("accept_s", "accept_packet_s"),
)


class Side(Protocol):
    """Something that does a scenario's work once."""

    def run(self) -> Any:
        """Do it."""

    def read(self) -> Any:
        """Tell what was done."""


class Timed(NamedTuple):
    """The best of a side's runs, and what the last one did."""

    cpu_s: float
    answer: Any

    @property
    def per_s(self) -> float:
        """Requests per CPU second."""
        return float(self.answer.offered / self.cpu_s)


def cpu_s(side: Side) -> float:
    """CPU time of a run; what was left over from making the world is swept away before."""
    gc.collect()
    begun_s = time.process_time()
    side.run()
    return time.process_time() - begun_s


def take_turns(
    makers: Mapping[str, Callable[[], Side]], rounds: int, fewer: Mapping[str, int] | None = None
) -> dict[str, Timed]:
    """Run every side once a round, each in a world of its own; `fewer` is for sides that take long."""
    best: dict[str, Timed] = {}
    for k in range(rounds):
        for name, make in makers.items():
            if k < (fewer or {}).get(name, rounds):
                side = make()
                took_s = cpu_s(side)
                least_s = min(took_s, best[name].cpu_s) if name in best else took_s
                best[name] = Timed(least_s, side.read())
    return best


class Scheduler:
    """What `simulate` does, in three parts."""

    def __init__(self, scenario: Scenario, profile: Profile, engine: Engine = "compiled") -> None:
        self.scenario = scenario
        shape = Structs if engine == "compiled" else Plain
        self.plane = _plane(world_of(scenario, 0, shape, warmup_s=0.0, trace=0), engine)
        self.control = Control(
            scenario=scenario, profile=profile, plane=self.plane, key0=scenario.run.seed, key1=0
        )
        self.control.start()

    def run(self) -> None:
        self.plane.start()
        _run(self.scenario, self.plane)

    def read(self) -> Replication:
        return _read(0, self.plane, self.control)


class PlainC:
    """The plain path in plain.c."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared

    def run(self) -> None:
        self.path = plain(self.prepared)

    def read(self) -> Any:
        return self.path


class Ended(NamedTuple):
    """What the oracle did."""

    offered: int
    succeeded: int


class Reference:
    """The oracle, with the prices that the engine would write."""

    def __init__(self, scenario: Scenario, profile: Profile) -> None:
        plane = Interpreter(world_of(scenario, 0, Plain, warmup_s=0.0, trace=0))
        Control(scenario=scenario, profile=profile, plane=plane, key0=scenario.run.seed, key1=0)
        happenings = _rules(plane)
        self.oracle = Oracle(_in_its_words(scenario), 0, [*happenings])
        self.oracle.nodes = scenario.cluster.nodes  # The one outside is nobody's entry.
        # Only ipvs takes turns. Without one, every node would look through all endpoints before it begins.
        self.oracle.turn = {n: rules.endpoints[0] for _, n, rules in happenings if rules.endpoints}

    def run(self) -> None:
        self.ended = self.oracle.run()

    def read(self) -> Ended:
        return Ended(len(self.ended), sum(not row[-1] for row in self.ended))


def _rules(plane: Interpreter) -> list[tuple[float, int, Rules]]:
    """Give every node its rules at time 0; nodes with the same endpoints share the list."""
    world, lists, rules = plane.world, {}, []
    for n, node in enumerate(world.nodes):
        place = (node.first, node.endpoints)
        if place not in lists:
            lists[place] = tuple(world.endpoints[node.first : node.first + node.endpoints])
        price = {name: getattr(node if hasattr(node, name) else world.config, name) for name in PRICES}
        rules.append((0.0, n, Rules(lists[place], node.turn, price)))
    return rules


def _in_its_words(scenario: Scenario) -> Scenario:
    """Say the same so that the oracle understands it.

    Every pod stands on a node: those outside the cluster on a further one, at no distance and no price. A
    client without limits has ones that nobody reaches.
    """
    cluster, pods, clients = scenario.cluster, scenario.pods, scenario.clients[0]
    names = cluster.names
    if any(place.node is None for place in pods.placement):
        names = (*names, OUTSIDE)
        moved = tuple(p.model_copy(update={"node": p.node or OUTSIDE}) for p in pods.placement)
        pods = pods.model_copy(update={"placement": moved})
    limits = clients.timeouts
    limits = limits.model_copy(
        update={name: getattr(limits, name) or UNREACHED_S for name in ("connect_s", "request_s")}
    )
    changes = {
        # Named, or the oracle would make the names up once a pod.
        "cluster": cluster.model_copy(update={"nodes": len(names), "node_names": names}),
        "pods": pods,
        "clients": (clients.model_copy(update={"timeouts": limits}),),
    }
    return scenario.model_copy(update=changes)


__all__ = ["PlainC", "Reference", "Scheduler", "Timed", "prepare", "take_turns"]
