"""EndpointSlices: what the API server says of every pod, version by version, and who may use what.

A node's rules are a version of the endpoint list: the one it programmed last. Versions are shared by the
nodes (under policy Cluster all nodes may use the same endpoints), so there is no nodes x pods table. A
version lives here as long as a kube-proxy has it in its rules or is about to write it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from nodeportsim.kubeproxy.endpoints import Endpoint, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nodeportsim.kubeproxy.walk import Policy


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
    everywhere: int  # usable endpoints of the whole cluster
    here: int  # usable endpoints on the node


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """The slices as they were written once. Where policy Local decides, `everywhere` is only counted."""

    local: bool
    everywhere: Listed
    here: Mapping[str, Listed]
    ready: frozenset[str]  # nodes with a ready endpoint; a terminating one does not count

    def listing(self, node: str) -> Listing:
        """Return what this version gives to one node."""
        here = self.here.get(node, NOTHING)
        return Listing(here if self.local else self.everywhere, len(self.everywhere.pods), len(here.pods))


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
    """

    def __init__(
        self, pods: Iterable[Conditions], policy: Policy, store: Callable[[Sequence[int]], int]
    ) -> None:
        self.pods = list(pods)
        self.endpoints = len(self.pods)  # Those that are not gone.
        self._store = store
        self._changed = {conditions.node for conditions in self.pods}
        self.latest = Version(local=policy == "Local", everywhere=NOTHING, here={}, ready=frozenset())
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
        )
        self._changed = set()

    def _everywhere(self) -> Listed:
        """List what the whole cluster may use; stored if it is new and any node programs it."""
        old = self.latest
        pods = usable(self.pods, node="", policy="Cluster")
        if pods == old.everywhere.pods:
            return old.everywhere
        return Listed(first=0 if old.local else self._store(pods), pods=pods)

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
