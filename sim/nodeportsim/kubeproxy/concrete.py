"""The Services of a cluster by name, address and port, as the kube-proxy of one node sees them.

`nodeportsim.kubeproxy.walk` counts rules, for which a handful of numbers is enough; writing the rules, and
reading a real node's, takes names and addresses. A `View` holds those, and `View.shape` counts it, so that
written rules can be compared with what the formulas say of them.

Left out, as there: IPv6, UDP and SCTP, external and load balancer addresses, source ranges.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.walk import ServicePort, Shape

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Policy


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One ready endpoint: a pod's address and port, and whether the pod runs on this node."""

    address: str
    port: int
    local: bool = False


@dataclass(frozen=True, kw_only=True)
class Port:
    """One port of one Service: TCP, but in a dump.

    Parameters
    ----------
    namespace, service, name
        As kube-proxy names it, ``namespace/service:name``; `name` is empty for an unnamed port.
    cluster_ip, port
        Where pods find it.
    node_port
        0 for none.
    endpoints
        In kube-proxy's order: sorted by address as text.
    affinity_s
        Session affinity's time-out (s), 0 without affinity.
    external_policy, internal_policy
        ``externalTrafficPolicy`` and ``internalTrafficPolicy``.
    protocol
        As a dump has it: rules of other protocols are counted alike.
    """

    namespace: str
    service: str
    name: str
    cluster_ip: str
    port: int
    node_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    affinity_s: int = 0
    external_policy: Policy = "Cluster"
    internal_policy: Policy = "Cluster"
    protocol: str = "tcp"

    @property
    def full_name(self) -> str:
        """``namespace/service:name``, as rule comments have it (k8s:pkg/proxy/types.go)."""
        return f"{self.namespace}/{self.service}" + (f":{self.name}" if self.name else "")

    @property
    def counted(self) -> ServicePort:
        """The port without names, for the formulas."""
        return ServicePort(
            endpoints=len(self.endpoints),
            local_endpoints=sum(endpoint.local for endpoint in self.endpoints),
            node_port=self.node_port > 0,
            affinity=self.affinity_s > 0,
            external_policy=self.external_policy,
            internal_policy=self.internal_policy,
        )


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything one node's kube-proxy writes rules from.

    Parameters
    ----------
    ports
        All service ports, in the order in which they stand in the linear chains.
    version
        Kubernetes release (major, minor).
    cluster_cidr, service_cidr
        Addresses of pods and of ClusterIPs.
    node_addresses
        The node's addresses that take NodePorts (nftables and ipvs name them; iptables asks the kernel).
    localhost_node_ports
        Whether NodePorts answer on 127.0.0.1 and the kernel counts them (nfacct): a second rule per NodePort
        since 1.31. Without, no rule names an nfacct object.
    """

    ports: tuple[Port, ...]
    version: tuple[int, int] = (1, 36)
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_addresses: tuple[str, ...]
    localhost_node_ports: bool = True

    @cached_property
    def shape(self) -> Shape:
        """The view, counted."""
        counts = Counter(port.counted for port in self.ports)
        return Shape(
            tuple((count, port) for port, count in counts.items()),
            version=self.version,
            localhost_node_ports=self.localhost_node_ports,
        )
