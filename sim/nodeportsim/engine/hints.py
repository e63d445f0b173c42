"""Who should prefer an endpoint: the hints that the EndpointSlice controller writes beside its conditions.

``trafficDistribution`` names the endpoint's own zone (PreferClose, PreferSameZone) and also its own node
(PreferSameNode): k8s:staging/src/k8s.io/endpointslice/trafficdist/trafficdist.go, KEP-2433, KEP-3015. The
annotation ``service.kubernetes.io/topology-mode: Auto`` goes before it and allots endpoints to zones in
proportion to the cores of their ready nodes (see `nodeportsim.kubeproxy.hints`). What a kube-proxy makes of
them is in `nodeportsim.kubeproxy.endpoints`.

Left out: the controller also looks again when nodes come and go, without a change of the endpoints; nodes
labelled as control plane count like any other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.hints import proportional
from nodeportsim.scenario.spec import NO_ZONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nodeportsim.scenario.spec import Scenario

    from .slices import Conditions


@dataclass
class Hinting:
    """The part of the EndpointSlice controller that writes hints, for the Service under study.

    Parameters
    ----------
    scenario
        Names the nodes' zones and what the Service asks for.
    unready
        Nodes that do not count; the control plane keeps this set.
    note
        Keeps a milestone, with its subject: hints were refused, and why; they are given again.
    """

    scenario: Scenario
    unready: Callable[[], Collection[int]]
    note: Callable[[str, str], None]
    refused: str = ""  # Why, at the last look.

    def __post_init__(self) -> None:
        cluster = self.scenario.cluster
        zones = (None if zone == NO_ZONE else zone for zone in cluster.zone_names)
        self.zones = dict(zip(cluster.names, zones, strict=True))

    def __call__(self, pods: Sequence[Conditions]) -> list[Conditions]:
        """Write the hints of the moment; a pod whose hints stay the same stays the same object."""
        service = self.scenario.service
        if service.topology_mode == "Auto":
            return self._proportional(pods)
        if service.traffic_distribution is None:
            return list(pods)
        to_node = service.traffic_distribution == "PreferSameNode"
        return [_meant(pod, self._zone(pod), pod.node if to_node else None) for pod in pods]

    def _zone(self, pod: Conditions) -> str | None:
        return None if pod.node is None else self.zones[pod.node]

    def _proportional(self, pods: Sequence[Conditions]) -> list[Conditions]:
        unready, cores = self.unready(), Counter[str | None]()
        for n, zone in enumerate(self.zones.values()):
            if n not in unready:
                cores[zone] += self.scenario.cluster.cores
        ready = [p for p, pod in enumerate(pods) if pod.ready]
        hints = proportional([self._zone(pods[p]) for p in ready], cores)
        if hints.refused != self.refused:
            self.refused = hints.refused
            self.note("topology hints refused" if hints.refused else "topology hints given", hints.refused)
        meant = dict(zip(ready, hints.zones, strict=False))  # Nobody's, where it refused.
        return [_meant(pod, meant.get(p), None) for p, pod in enumerate(pods)]


def _meant(pod: Conditions, zone: str | None, node: str | None) -> Conditions:
    """Mean a pod for one zone and one node, or for everybody."""
    zones, nodes = (() if name is None else (name,) for name in (zone, node))
    same = (pod.zone_hints, pod.node_hints) == (zones, nodes)
    return pod if same else replace(pod, zone_hints=zones, node_hints=nodes)
