"""EndpointSlices: what the API server says of every pod, version by version, and who may use what.

A node's rules are a version of the endpoint list: the one it programmed last. Versions are shared by the
nodes (under policy Cluster all nodes may use the same endpoints), so there is no nodes x pods table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.endpoints import Endpoint, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nodeportsim.kubeproxy.walk import Policy


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the API server says of one pod."""

    ready: bool
    serving: bool
    terminating: bool
    node: str | None
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Endpoints a node may use: where the world keeps them, and which pods they are."""

    first: int
    pods: tuple[int, ...]
    members: frozenset[int]
    everywhere: int  # usable endpoints of the whole cluster
    here: int  # usable endpoints on the node


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
        self.latest = 0
        self._policy = policy
        self._store = store
        self._everywhere: list[tuple[int, ...]] = []
        self._here: list[dict[str, tuple[int, ...]]] = []
        self._ready_on: list[set[str | None]] = []
        self._first: dict[tuple[int, str], int] = {}
        self._sets: dict[int, frozenset[int]] = {}
        self.publish()

    def publish(self) -> None:
        """Write the conditions of the moment as a new version."""
        listed = [(p, c) for p, c in enumerate(self.pods) if not c.gone]
        by_node: dict[str, list[tuple[int, Conditions]]] = {}
        for p, conditions in listed:
            if conditions.node is not None:
                by_node.setdefault(conditions.node, []).append((p, conditions))
        self._everywhere.append(_usable(listed, "", "Cluster"))
        self._here.append({node: _usable(rows, node, "Local") for node, rows in by_node.items()})
        self._ready_on.append({conditions.node for _, conditions in listed if conditions.ready})
        self.latest = len(self._everywhere) - 1

    def ready_on(self, version: int, node: str) -> bool:
        """Tell whether a version has a ready endpoint on the node; a terminating one does not count."""
        return node in self._ready_on[version]

    def listing(self, version: int, node: str) -> Listing:
        """Return what a version gives to one node."""
        everywhere, here = self._everywhere[version], self._here[version].get(node, ())
        local = self._policy == "Local"
        pods, key = (here, (version, node)) if local else (everywhere, (version, ""))
        if key not in self._first:
            self._first[key] = self._store(pods)
        return Listing(
            first=self._first[key],
            pods=pods,
            members=frozenset(pods) if local else self._members(version),
            everywhere=len(everywhere),
            here=len(here),
        )

    def _members(self, version: int) -> frozenset[int]:
        """Return the members of a cluster-wide version, made once."""
        if version not in self._sets:
            self._sets[version] = frozenset(self._everywhere[version])
        return self._sets[version]


def _usable(rows: Sequence[tuple[int, Conditions]], node: str, policy: Policy) -> tuple[int, ...]:
    """Return the pods that kube-proxy would use among these."""
    endpoints = [
        Endpoint(name=str(p), node=c.node, ready=c.ready, serving=c.serving, terminating=c.terminating)
        for p, c in rows
    ]
    return tuple(rows[k][0] for k in usable(endpoints, node=node, policy=policy))
