"""What a node's rules cost: kubeproxy counts them, the profile prices them, at every sync.

A Service's place in KUBE-SERVICES and KUBE-NODEPORTS is a Go map's iteration order, new at every sync
(k8s:pkg/proxy/iptables/proxier.go), so each node draws a position per sync and keeps it until the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.rules import walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
from nodeportsim.scenario.profile import mode_key

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.sync import SyncKind
    from nodeportsim.kubeproxy.walk import Packet
    from nodeportsim.scenario.prices import ModeKey
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    from .records import Config, Node

REMEMBERED = 1024  # Cases kept; nodes differ by their own endpoints, and by position where that counts.


@dataclass
class Rules:
    """Prices of the rules of one scenario's cluster; nodes that see the same share them."""

    scenario: Scenario
    profile: Profile

    def __post_init__(self) -> None:
        remember = lru_cache(maxsize=REMEMBERED)
        self.view = remember(self._view)
        self.prices = remember(self._prices)
        self.transit_s = remember(self._transit_s)
        self.sync_s = remember(self._sync_s)

    @cached_property
    def packet(self) -> Packet:
        """Which walk the clients' first packets take."""
        return "clusterip" if self.scenario.service.type == "ClusterIP" else "nodeport"

    def port(self, endpoints: int, local: int) -> ServicePort:
        """Describe the Service under study, as one node sees it."""
        service = self.scenario.service
        return ServicePort(
            endpoints=endpoints,
            local_endpoints=local,
            node_port=service.type != "ClusterIP",
            affinity=service.session_affinity == "ClientIP",
            external_policy=service.external_traffic_policy,
            internal_policy=service.internal_traffic_policy,
        )

    def shape(self, endpoints: int, local: int) -> Shape:
        """Count every Service of the cluster: background, default/kubernetes, the one under study."""
        cluster = self.scenario.cluster
        background = cluster.background
        ports = background.services if background.ports is None else background.ports
        some = background.endpoints_per_service
        _, minor = cluster.kubernetes_version.split(".")
        return Shape(
            (
                (background.node_ports, ServicePort(endpoints=some)),
                (ports - background.node_ports, ServicePort(endpoints=some, node_port=False)),
                (1, KUBERNETES_SERVICE),
                (self.scenario.service.ports, self.port(endpoints, local)),
            ),
            version=(1, int(minor)),
            localhost_node_ports=cluster.proxy.localhost_node_ports,
        )

    @cached_property
    def key(self) -> ModeKey:
        """Name of the mode's prices."""
        return mode_key(self.scenario.cluster.proxy.mode, self.scenario.cluster.proxy.backend)

    def program(self, node: Node, endpoints: int, local: int, u: float, position: int | None = None) -> None:
        """Price the rules a node has just written for so many endpoints, at a position drawn or known."""
        _, _, places = self.view(endpoints, local)
        # Only iptables walks to the place; the other modes look it up, so their nodes share one price.
        place = int(u * places) if position is None else min(position, places) - 1
        place = place if self.scenario.cluster.proxy.mode == "iptables" and places else 0
        for name, price_s in self.prices(endpoints, local, 1 + place).items():
            setattr(node, name, price_s)

    def _view(self, endpoints: int, local: int) -> tuple[Shape, ServicePort, int]:
        """Shape, port and number of positions."""
        shape = self.shape(endpoints, local)
        places = shape.node_ports if self.packet == "nodeport" else shape.cluster_ips
        return shape, self.port(endpoints, local), places

    def _prices(self, endpoints: int, local: int, position: int) -> dict[str, float]:
        """Prices by the name of the node's field."""
        shape, port, _ = self.view(endpoints, local)
        usable = port.external_endpoints if self.packet == "nodeport" else port.internal_endpoints
        prices = {"transit_s": self.transit_s(endpoints, local)}
        if usable == 0:
            closed = walk(self.scenario.cluster.proxy.mode, shape, port, self.packet)
            return prices | {"refuse_s": self.profile.walk_s(self.key, self.packet, closed)}
        walk_s, endpoint_s = self._price(shape, port, self.packet, position, sticky=False)
        prices |= {"walk_s": walk_s, "endpoint_s": endpoint_s}
        if port.affinity:
            sticky_s, each_s = self._price(shape, port, self.packet, position, sticky=True)
            prices |= {"sticky_s": sticky_s, "sticky_endpoint_s": each_s}
        return prices

    def _transit_s(self, endpoints: int, local: int) -> float:
        """Price of a first packet to a pod's own address: it passes all ClusterIPs, in whatever order."""
        shape, port, _ = self.view(endpoints, local)
        return self._price(shape, port, "podip", None, sticky=False)[0]

    def _price(
        self, shape: Shape, port: ServicePort, packet: Packet, position: float | None, *, sticky: bool
    ) -> tuple[float, float]:
        return self.profile.walk_price(self.key, shape, port, packet, position=position, sticky=sticky)

    def established(self, node: Node, config: Config) -> None:
        """Price what does not depend on the rules: packets that conntrack knows, end hosts, overlay."""
        node.packet_s = self.profile.request_s(self.key, self.packet)
        node.transit_packet_s = self.profile.request_s(self.key, "podip")
        config.accept_s, config.accept_packet_s = self.profile.pod_connect_s, self.profile.pod_request_s
        config.spread_sigma = self.profile.host.connect_spread_ratio.value
        if self.scenario.cluster.network.overlay == "vxlan":
            config.overlay_s = self.profile.overlay_connect_s
            config.overlay_packet_s = self.profile.overlay_request_s

    def _sync_s(self, endpoints: int, kind: SyncKind) -> float:
        """Duration of one sync."""
        return self.profile.sync_s(self.key, self.shape(endpoints, 0), kind)
