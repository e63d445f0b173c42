"""What is measured, how often: three plans, and the cells of each, a cell being one load of rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from nodeportsim.calibrate.measuring.backends import BACKENDS
from nodeportsim.calibrate.measuring.scene import Scene, Subject, positions
from nodeportsim.kubeproxy.walk import TWO_NODE_PORT_RULES_SINCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from random import Random

Experiment = Literal["services", "endpoints", "affinity", "paths", "distribution"]

MOST_SERVICES = {"iptables-legacy": 10_000}
MOST_OTHERS = 5_000
"""Larger rule sets take minutes to load: 20,000 Services took nftables 190 s, iptables-nft longer."""
SLOW_SERVICES = 3_000
"""From here on a connection in mode iptables takes so long that fewer of them do."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes and repetitions.

    Everything is done ``rounds`` times in a shuffled order, and in each cell every target ``repetitions``
    times, shuffled too: machines have fast and slow spells of seconds.
    """

    backends: tuple[str, ...] = tuple(BACKENDS)
    services: tuple[int, ...]
    one_rule: tuple[int, ...] = ()
    """Sizes that are also measured with one rule per NodePort."""
    capped: bool = True
    """Whether sizes that take minutes to load are left out."""
    cold: tuple[int, ...] = ()
    """Sizes that are also measured with cold caches."""
    endpoints: tuple[int, ...] = ()
    affinity: tuple[int, ...] = ()
    distribution: tuple[int, ...]
    paths: bool = True
    rounds: int = 2
    repetitions: int = 3
    connections: int = 1500
    requests: int = 3000
    cold_connections: int = 100
    split_connections: int = 20_000
    changes: int = 2
    """Pairs of partial changes per cell: there, and back again."""

    def count(self, backend: str, services: int) -> int:
        """Give the connections per repetition: fewer where each takes long."""
        if BACKENDS[backend] != "iptables" or services < SLOW_SERVICES:
            return self.connections
        return max(min(300, self.connections), self.connections * SLOW_SERVICES // services)


SMOKE = Plan(
    backends=("iptables-legacy", "nftables"),
    services=(1, 1000),
    distribution=(3,),
    paths=False,
    connections=300,
    requests=500,
    split_connections=3000,
    changes=1,
)
DEFAULT = Plan(
    services=(1, 100, 1000, 2000, 5000, 10_000),
    one_rule=(1000,),
    cold=(1, 1000, 5000),
    endpoints=(1, 3, 10, 100),
    affinity=(1, 3, 10),
    distribution=(3, 10),
)
THOROUGH = replace(
    DEFAULT,
    services=(1, 10, 100, 500, 1000, 2000, 5000, 10_000),
    one_rule=(100, 1000, 5000),
    cold=(1, 100, 1000, 5000),
    endpoints=(1, 2, 3, 5, 10, 25, 50, 100, 250, 500),
    affinity=(1, 3, 10, 50),
    rounds=4,
    repetitions=5,
    connections=2000,
    requests=5000,
)
PLANS = {"smoke": SMOKE, "default": DEFAULT, "thorough": THOROUGH}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One load of rules, and what is measured on it."""

    experiment: Experiment
    backend: str
    scene: Scene
    round: int = 0

    @property
    def services(self) -> int:
        """How many Services are loaded."""
        return self.scene.services


def cells(
    plan: Plan,
    backends: Collection[str],
    rng: Random,
    *,
    version: tuple[int, int] = (1, 36),
    two_rules: bool = True,
    affinity: bool = True,
    overlay: bool = True,
) -> list[Cell]:
    """List the cells of a plan for what this machine can do, in the order in which they are measured."""
    found: list[Cell] = []
    both = two_rules and version >= TWO_NODE_PORT_RULES_SINCE
    for number in range(plan.rounds):
        spell = [
            Cell(experiment=experiment, backend=backend, scene=replace(scene, version=version), round=number)
            for backend in backends
            for experiment, scene in _scenes(plan, backend, two_rules=both, overlay=overlay)
            if not (experiment == "affinity" and not affinity)
            if not (experiment == "distribution" and number)  # Counts need no second round.
        ]
        rng.shuffle(spell)
        found += spell
    return found


def _scenes(
    plan: Plan, backend: str, *, two_rules: bool, overlay: bool
) -> Iterator[tuple[Experiment, Scene]]:
    shapes = [True, False] if two_rules and BACKENDS[backend] == "iptables" else [two_rules]
    for services in plan.services:
        if not plan.capped or services <= MOST_SERVICES.get(backend, MOST_OTHERS):
            for shape in shapes:
                if shape == two_rules or services in plan.one_rule:
                    marks = dict.fromkeys(positions(services), Subject())
                    yield "services", Scene(services=services, tested=marks, two_rules=shape)
    counted = (("endpoints", plan.endpoints), ("distribution", plan.distribution))
    small: list[tuple[Experiment, list[Subject]]] = [
        (experiment, [Subject(endpoints=n) for n in numbers])  # type: ignore[misc]  # A name of the Literal.
        for experiment, numbers in counted
    ]
    small.append(("affinity", [Subject(endpoints=n, affinity=True) for n in plan.affinity]))
    small.append(("paths", paths(overlay=overlay) if plan.paths else []))
    for experiment, tested in small:
        if tested:
            yield (
                experiment,
                Scene(services=len(tested), tested=dict(enumerate(tested)), two_rules=two_rules),
            )


def paths(*, overlay: bool) -> list[Subject]:
    """List the ways from a NodePort to a pod: on the node, or on the other one, masqueraded or not."""
    where: list[Literal["local", "routed", "vxlan"]] = ["local", "routed"]
    if overlay:
        where.append("vxlan")
    policies: list[Literal["Cluster", "Local"]] = ["Cluster", "Local"]
    return [Subject(where=place, policy=policy) for policy in policies for place in where]


def path_name(tested: Subject) -> str:
    """Name a way as the tables do: ``nodeport_local_remote_pod_vxlan_nomasq``."""
    pod = "local_pod" if tested.where == "local" else f"remote_pod_{tested.where}"
    unmasked = "_nomasq" if tested.policy == "Local" and tested.where != "local" else ""
    return f"nodeport_{tested.policy.lower()}_{pod}{unmasked}"
