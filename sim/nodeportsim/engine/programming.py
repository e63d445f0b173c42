"""How long what the API server says takes into the rules of every node: network programming latency.

Kubernetes measures it from the change of a pod (endpoints.kubernetes.io/last-change-trigger-time) to the end
of the sync that writes it, for each node (kubernetes/community:
sig-scalability/slos/network_programming_latency.md). Here it begins when a pod's condition is written to the
API server. Changes that one version of the slices takes together count once, from the first of them. A
version by which nobody may use another endpoint does not count, nor does a node that was down meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .slices import Version


@dataclass
class Programming:
    """When each version's changes were made, and when each node had them."""

    changed_s: dict[int, float] = field(default_factory=dict)  # of versions, by number
    rows: list[tuple[float, int, float]] = field(default_factory=list)  # change, node, and how long it took
    waiting_s: float | None = None  # since when something waits to be published

    def change(self, now_s: float) -> None:
        """Take note of something that the next version will say."""
        if self.waiting_s is None:
            self.waiting_s = now_s

    def publish(self, old: Version, new: Version) -> None:
        """Take note of a new version of the slices, where nodes may use other endpoints by it."""
        if self.waiting_s is not None and new.everywhere is not old.everywhere:
            self.changed_s[new.number] = self.waiting_s
        self.waiting_s = None

    def write(self, n: int, old: int, new: int, *, booted_s: float, now_s: float) -> None:
        """Take note that node n, up since `booted_s`, has written all versions after `old` up to `new`."""
        for version in range(old + 1, new + 1):
            changed_s = self.changed_s.get(version)
            if changed_s is not None and booted_s <= changed_s:
                self.rows.append((changed_s, n, now_s - changed_s))
