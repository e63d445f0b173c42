"""The way of a request to its pod: what each node's CPU is charged, and how long the paths take.

Prices are the ones the engine charges, for rules counted at the mean position and the mean rank of an
endpoint; delays are those of `nodeportsim.scenario.network`, averaged over where connections enter and where
pods stand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nodeportsim.engine.rules import Rules
from nodeportsim.scenario.network import paths

if TYPE_CHECKING:
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.network import Paths
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.theory.capacity import Spread


@dataclass(frozen=True, kw_only=True)
class Way:
    """From clients to pods.

    Parameters
    ----------
    scenario, profile
        The cluster, and the prices.
    spread
        Where connections enter, and where the pods are.
    shares
        Of the requests, by group of clients.
    """

    scenario: Scenario
    profile: Profile
    spread: Spread
    shares: tuple[float, ...]

    def prices_s(self, what: Literal["connect", "request"]) -> dict[str, float]:
        """Prices of a new connection or of a request at the nodes it crosses, for `Spread.work_s`."""
        profile, key = self.profile, self.rules.key
        overlaid = self.scenario.cluster.network.overlay == "vxlan"
        if what == "request":
            return {
                "entry_s": profile.request_s(key, self.rules.packet),
                "transit_s": profile.request_s(key, "podip"),
                "accept_s": profile.pod_request_s,
                "overlay_s": profile.overlay_request_s * overlaid,
            }
        return {
            "entry_s": self._walk_s,
            "transit_s": self.rules.transit_s(*self._seen),
            "accept_s": profile.pod_connect_s,
            "overlay_s": profile.overlay_connect_s * overlaid,
        }

    def crossed_s(self, what: Literal["connect", "request"]) -> float:
        """CPU on the way of one packet, on average over entry nodes and pods."""
        prices = self.prices_s(what)
        entry_s = prices["entry_s"] + prices["accept_s"]
        return entry_s + self._away_ratio * (prices["transit_s"] + 2 * prices["overlay_s"])

    @cached_property
    def trip_s(self) -> float:
        """Mean one-way delay from a client to its pod."""
        network, given = self.scenario.cluster.network, paths(self.scenario)
        there = Counter[int]()
        for zone, pods in zip(given.node_zone, self.spread.pods_by_node, strict=False):
            there[zone] += pods
        delay_s = 0.0
        for n, (enter, here) in enumerate(
            zip(self.spread.entry_ratios, self.spread.pods_by_node, strict=True)
        ):
            zone = given.node_zone[n]
            delay_s += enter * self._entry_s(given, zone)
            if self.spread.policy == "Cluster":
                away_s = sum(pods * given.path_s[zone][other] for other, pods in there.items())
                delay_s += enter * (away_s - here * given.path_s[zone][zone]) / sum(self.spread.pods_by_node)
        return delay_s + network.wake_up_s + network.jitter_s

    def _entry_s(self, given: Paths, zone: int) -> float:
        """Mean delay from clients to a node of this zone."""
        groups = enumerate(zip(self.scenario.clients, self.shares, strict=True))
        return sum(
            share * (given.path_s[given.client_zone[g]][zone] + self._balanced_s(group))
            for g, (group, share) in groups
            if group.entry.policy != "own-node"
        )

    def _balanced_s(self, group: Clients) -> float:
        return self.scenario.balancer.latency_s if group.entry.policy == "balancer" else 0.0

    @cached_property
    def rules(self) -> Rules:
        """The rules and their prices."""
        return Rules(self.scenario, self.profile)

    @cached_property
    def _seen(self) -> tuple[int, int]:
        """Endpoints of all, and of the node that has most."""
        return self.scenario.service.replicas, max(self.spread.pods_by_node)

    @cached_property
    def _walk_s(self) -> float:
        """A first packet at its entry node, at the mean position and the mean rank."""
        endpoints, local = self._seen
        *_, places = self.rules.view(endpoints, local)
        prices = self.rules.prices(endpoints, local, max(1, round((places + 1) / 2)))
        ranks = local if self.spread.policy == "Local" else endpoints
        return prices["walk_s"] + prices["endpoint_s"] * (ranks + 1) / 2

    @cached_property
    def _away_ratio(self) -> float:
        """Chance that the pod is on another node than the one entered."""
        spread, pods = self.spread, sum(self.spread.pods_by_node)
        if spread.policy == "Local":
            return 0.0
        same = zip(spread.entry_ratios, spread.pods_by_node, strict=True)
        return 1 - sum(enter * here / pods for enter, here in same)
