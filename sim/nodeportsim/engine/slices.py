"""EndpointSlices: what the API server says of every pod, version by version, and who may use what.

A node's rules are a version of the endpoint list: the one it programmed last. Versions are shared by the
nodes (under policy Cluster all nodes may use the same endpoints, or, with topology hints, all nodes of a
zone), so there is no nodes x pods table. A version lives here as long as a kube-proxy has it in its rules or
is about to write it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from nodeportsim.kubeproxy.endpoints import Endpoint, by_hints, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nodeportsim.kubeproxy.walk import Policy

    Hint = Callable[[Sequence["Conditions"]], list["Conditions"]]


@dataclass(frozen=True, kw_only=True)
class Conditions(Endpoint):
    """What the API server says of one pod; one that is gone is in no slice any more."""

    gone: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Listed:
    """Usable endpoints by rising pod number; the world keeps them from `first` on."""

    first: int
    pods: tuple[int, ...]

    @cached_property
    def members(self) -> frozenset[int]:
        """The same as a set, made once for all nodes."""
        return frozenset(self.pods)

    def rank(self, pod: int) -> int:
        """Return the place of a member."""
        return bisect_left(self.pods, pod)


NOTHING = Listed(first=0, pods=())


class Listing(NamedTuple):
    """Endpoints a node may use, and what its rules count."""

    listed: Listed
    everywhere: int  # usable endpoints of the whole cluster; with hints, those meant for the node
    here: int  # usable endpoints on the node


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """The slices as they were written once. Where policy Local decides, `everywhere` is only counted."""

    local: bool
    everywhere: Listed
    here: Mapping[str, Listed]
    ready: frozenset[str]  # nodes with a ready endpoint; a terminating one does not count
    number: int  # from 0, rising
    near: Mapping[str, Listed]  # what hints leave to a node; a node that is not in it has everything

    def listing(self, node: str) -> Listing:
        """Return what this version gives to one node."""
        here, cluster = self.here.get(node, NOTHING), self.near.get(node, self.everywhere)
        return Listing(here if self.local else cluster, len(cluster.pods), len(here.pods))


class Slices:
    """The EndpointSlices of the Service under study.

    Parameters
    ----------
    pods
        Conditions of every pod at the start.
    policy
        Traffic policy that decides for the clients of the scenario.
    store
        Puts a list of pods into the world; where it begins.
    hint
        Writes topology hints into the conditions; None for a Service that has none.
    zones
        Zone of every node, for the hints.
    """

    def __init__(
        self,
        pods: Iterable[Conditions],
        policy: Policy,
        store: Callable[[Sequence[int]], int],
        *,
        hint: Hint | None = None,
        zones: Mapping[str, str | None] | None = None,
    ) -> None:
        self.pods = list(pods)
        self._hint, self._zones = hint, zones or {}
        self.endpoints = len(self.pods)  # Those that are not gone.
        self._store = store
        self._changed = {conditions.node for conditions in self.pods}
        self.latest = Version(
            local=policy == "Local", everywhere=NOTHING, here={}, ready=frozenset(), number=0, near={}
        )
        self.publish()

    def write(self, p: int, conditions: Conditions) -> None:
        """Change what is said of a pod; the next version will say it."""
        self._changed |= {self.pods[p].node, conditions.node}
        self.endpoints += self.pods[p].gone - conditions.gone
        self.pods[p] = conditions

    def add(self, conditions: Conditions) -> None:
        """Take in a new pod; the next version will list it."""
        self._changed.add(conditions.node)
        self.endpoints += 1
        self.pods.append(conditions)

    def publish(self) -> None:
        """Write the conditions of the moment as a new version; it shares what has not changed."""
        if self._hint is not None:
            self.pods = self._hint(self.pods)
        standing: dict[str, list[int]] = {node: [] for node in self._changed if node is not None}
        for p, conditions in enumerate(self.pods):
            if conditions.node in standing:
                standing[conditions.node].append(p)
        ready = {node for node, pods in standing.items() if any(self.pods[p].ready for p in pods)}
        old = self.latest
        self.latest = Version(
            local=old.local,
            everywhere=self._everywhere(),
            here={**old.here, **self._here(standing)},
            ready=old.ready.difference(standing) | ready,
            number=old.number + 1,
            near={} if self._hint is None else self._near(),
        )
        self._changed = set()

    def _everywhere(self) -> Listed:
        """List what the whole cluster may use; stored if it is new and any node programs it."""
        old = self.latest
        pods = usable(self.pods, node="", policy="Cluster")
        if pods == old.everywhere.pods:
            return old.everywhere
        return Listed(first=0 if old.local else self._store(pods), pods=pods)

    def _near(self) -> dict[str, Listed]:
        """List what hints leave to each node; nodes share a list, with each other and with older versions."""
        nodes, zones = by_hints(self.pods, [p for p, pod in enumerate(self.pods) if pod.ready])
        lists = {node: tuple(nodes.get(node) or zones.get(zone) or ()) for node, zone in self._zones.items()}
        lists = {node: pods for node, pods in lists.items() if pods}
        known = {listed.pods: listed for listed in self.latest.near.values()}
        known |= self._stored([pods for pods in dict.fromkeys(lists.values()) if pods not in known])
        return {node: known[pods] for node, pods in lists.items()}

    def _stored(self, lists: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Listed]:
        """Put lists into the world, all at once, if any node programs them."""
        first = 0 if self.latest.local or not lists else self._store([p for pods in lists for p in pods])
        stored = {}
        for pods in lists:
            stored[pods] = Listed(first=first, pods=pods)
            first += len(pods)
        return stored

    def _here(self, standing: Mapping[str, Sequence[int]]) -> dict[str, Listed]:
        """List what each of these nodes has of its own; stored, all at once, if nodes program that."""
        lists = {node: self._on(node, pods) for node, pods in standing.items()}
        if not self.latest.local:
            return {node: Listed(first=0, pods=pods) for node, pods in lists.items()}
        first, stored = self._store([p for pods in lists.values() for p in pods]), {}
        for node, pods in lists.items():
            stored[node] = Listed(first=first, pods=pods)
            first += len(pods)
        return stored

    def _on(self, node: str, pods: Sequence[int]) -> tuple[int, ...]:
        """Return which of the pods on a node its kube-proxy would use under policy Local."""
        return tuple(pods[k] for k in usable([self.pods[p] for p in pods], node=node, policy="Local"))
