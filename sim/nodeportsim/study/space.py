"""Where `size` looks: the designs in a range, what they cost, and a design as a scenario."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from nodeportsim.errors import InputError
from nodeportsim.scenario.clients import Entry
from nodeportsim.scenario.spec import Mode, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nodeportsim.study.survive import Loss

POLICIES = ("Cluster", "Local")
ENTRIES = tuple(
    name for name in get_args(Entry.model_fields["policy"].annotation) if name not in {"custom", "own-node"}
)
AS_DECLARED = "as declared"
"""The entry policy of a design where groups of clients have several, and none was asked for."""
MODES: tuple[str, ...] = get_args(Mode)
MOST_NODES, MOST_PODS, MOST_WORKERS, MOST_FAMILIES = 5000, 150_000, 10_000, 2000
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:\.\.\s*(\d{1,6})\s*)?")
_ITEM = re.compile(r"\s*(node|pod|worker)\s*=\s*([0-9.eE+-]{1,20})\s*")


@dataclass(frozen=True, kw_only=True, order=True)
class Design:
    """What is decided."""

    nodes: int
    pods: int
    workers: int
    mode: str
    policy: str
    entry: str

    def __str__(self) -> str:
        return (
            f"{self.nodes} nodes, {self.pods} pods of {self.workers} workers, "
            f"{self.mode}, {self.policy}, {self.entry}"
        )

    def applied(self, scenario: Scenario) -> Scenario:
        """Give the scenario with this design: nodes of its zones in turn, pods in turn over the nodes.

        Names and places of a scenario's own nodes and pods do not stay: there are other numbers of them.
        """
        cluster, zones = scenario.cluster, list(dict.fromkeys(scenario.cluster.zone_names))
        given = bool(cluster.node_zones)
        nodes = {
            "nodes": self.nodes,
            "node_names": (),
            "node_zones": tuple(zones[n % len(zones)] for n in range(self.nodes)) if given else (),
            "proxy": cluster.proxy.model_copy(update={"mode": self.mode, "first_position": None}),
        }
        parts = {
            "cluster": cluster.model_copy(update=nodes),
            "service": scenario.service.model_copy(
                update={"replicas": self.pods, "external_traffic_policy": self.policy}
            ),
            "pods": scenario.pods.model_copy(update={"workers": self.workers, "placement": ()}),
            "clients": tuple(
                group.model_copy(update={"entry": _entry(group.entry, self.entry)})
                for group in scenario.clients
            ),
        }
        # Events name nodes that may not be there.
        fields = {name: getattr(scenario, name) for name in type(scenario).model_fields}
        return Scenario(**{**fields, **parts, "events": ()})


def _entry(entry: Entry, policy: str) -> Entry:
    """Change the entry policy; what belongs to another one goes."""
    if policy in {entry.policy, AS_DECLARED}:
        return entry
    return Entry.model_validate({"policy": policy}, by_name=True)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The designs that are looked at: every combination of these."""

    nodes: range
    pods: range
    workers: tuple[int, ...]
    modes: tuple[str, ...]
    policies: tuple[str, ...]
    entries: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what would take hours."""
        rest = len(self.workers) * len(self.modes) * len(self.policies) * len(self.entries)
        if (count := len(self.nodes) * rest) > MOST_FAMILIES:
            rule = f"make {count:,} families of designs, at most {MOST_FAMILIES:,} are looked at"
            raise InputError(rule, field="--nodes, --workers, --modes ...", hint="give smaller ranges")

    def families(self) -> Iterator[Design]:
        """Give each family, at its fewest pods."""
        for nodes, workers, mode, policy, entry in itertools.product(
            self.nodes, self.workers, self.modes, self.policies, self.entries
        ):
            yield Design(
                nodes=nodes, pods=self.pods[0], workers=workers, mode=mode, policy=policy, entry=entry
            )

    def largest(self) -> Design:
        """Give the design with most of everything."""
        return Design(
            nodes=self.nodes[-1],
            pods=self.pods[-1],
            workers=max(self.workers),
            mode=self.modes[0],
            policy=self.policies[0],
            entry=self.entries[0],
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a node, a pod and a worker of a pod cost, in whatever unit."""

    node: float = 1.0
    pod: float = 0.1
    worker: float = 0.0

    def of(self, design: Design) -> float:
        """Add up what a design costs, to nine digits: sums in another order are no other price."""
        each = self.pod + self.worker * design.workers
        return float(f"{self.node * design.nodes + each * design.pods:.9g}")


def parse_cost(text: str) -> Cost:
    """Read ``node=1,pod=0.1``: what is not named costs nothing, but nodes or pods must cost something."""
    prices: dict[str, float] = {}
    for part in text[:200].split(","):
        match = _ITEM.fullmatch(part)
        if match is None:
            raise InputError("must be prices, as in node=1,pod=0.1", field="--cost", got=text)
        try:
            prices[match[1]] = float(match[2])
        except ValueError:
            raise InputError("must be a number", field=f"--cost {match[1]}", got=match[2]) from None
    for name, price in prices.items():
        if not 0 < price < float("inf"):
            hint = "leave out what costs nothing; pods or nodes must cost something"
            raise InputError("must be above 0 and finite", field=f"--cost {name}", got=price, hint=hint)
    return Cost(**{"node": 0.0, "pod": 0.0, **prices})


def parse_range(text: str, field: str, most: int) -> range:
    """Read ``2..20``, or one number."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError("must be a range, as in 2..20", field=field, got=text)
    low, high = int(match[1]), int(match[2] or match[1])
    if not 1 <= low <= high <= most:
        rule = "is empty" if low > high else f"must be within 1..{most:,}"
        raise InputError(rule, field=field, got=text)
    return range(low, high + 1)


def parse_names(text: str, field: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read names separated by commas."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    strange = [name for name in names if name not in known]
    if strange or not names:
        got = strange[0] if strange else text
        raise InputError(f"must be of {', '.join(known)}", field=field, got=got)
    return names


def parse_numbers(text: str, field: str, most: int) -> tuple[int, ...]:
    """Read ``4,8,16`` or a range."""
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError("is empty", field=field, got=text)
    return tuple(sorted({n for part in parts for n in parse_range(part, field, most)}))


def space_of(scenario: Scenario, given: Mapping[str, str | None], loss: Loss | None = None) -> Space:
    """Make the space of options; what is not given stays as the scenario has it.

    Parameters
    ----------
    given
        ``nodes, pods, workers, modes, policies, entries`` as they were typed.
    loss
        What must be survived: refused where no design has more.
    """
    declared = {group.entry.policy for group in scenario.clients}
    entry = declared.pop() if len(declared) == 1 else AS_DECLARED

    def names(name: str, now: str, known: tuple[str, ...]) -> tuple[str, ...]:
        typed = given.get(name)
        return (now,) if typed is None else parse_names(typed, f"--{name}", known)

    workers = given.get("workers")
    nodes = parse_range(given.get("nodes") or "2..20", "--nodes", MOST_NODES)
    there = nodes[-1] if loss is None or loss.kind == "node" else len(set(scenario.cluster.zone_names))
    if loss is not None and loss.count >= there:
        raise InputError(f"leaves none of at most {there} {loss.kind}s", field="--survive", got=str(loss))
    return Space(
        nodes=nodes,
        pods=parse_range(given.get("pods") or "2..60", "--pods", MOST_PODS),
        workers=(scenario.pods.workers,)
        if workers is None
        else parse_numbers(workers, "--workers", MOST_WORKERS),
        modes=names("modes", scenario.cluster.proxy.mode, MODES),
        policies=names("policies", scenario.service.external_traffic_policy, POLICIES),
        entries=names("entries", entry, ENTRIES),
    )
