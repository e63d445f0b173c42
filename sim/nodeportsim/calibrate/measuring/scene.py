"""The Services that are measured, as a `View`, and the places a client connects to.

Services are numbered from 0 and stand in the rules in that order, each with a ClusterIP and a NodePort;
``default/kubernetes``, which every cluster has, stands last. Those under test have as many endpoints as
asked, the others one. NodePorts begin at 2000: a thousand more than fit into 30000-32767 are measured.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Literal

from nodeportsim.calibrate.measuring.testbed import (
    CLUSTER_CIDR,
    NODE_IP,
    OUTSIDE_IP,
    OUTSIDE_RANGE,
    POD_IP,
    POD_RANGE,
    SERVICE_CIDR,
)
from nodeportsim.calibrate.measuring.timing import LISTEN_PORT
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.walk import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nodeportsim.calibrate.measuring.testbed import Role
    from nodeportsim.kubeproxy.walk import Policy

PORT = 80
FIRST_NODE_PORT = 2000
AFFINITY_S = 10_800  # The API's default (k8s:pkg/apis/core/v1/defaults.go).
KNOWN_CLIENTS = 64
"""Clients of a run that finds each remembered; xt_recent keeps 100 per endpoint."""
_PODS: dict[str, tuple[str, Role]] = {
    # Where a pod is -> first address of the range, and who plays it.
    "local": ("10.20.0.0", "pods"),
    "routed": ("10.22.0.0", "pods2"),
    "vxlan": ("10.23.0.0", "pods2"),
}
KUBERNETES = Port(
    namespace="default",
    service="kubernetes",
    name="https",
    cluster_ip="10.96.0.1",
    port=443,
    endpoints=(Endpoint(address="10.30.0.100", port=6443),),
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What distinguishes a Service under test.

    ``where`` is where its pods run: ``local``, or on the second node, ``routed`` or through ``vxlan``.
    Policy ``Local`` with pods elsewhere does not exist in a cluster: here it tells the price of the second
    hop without masquerading.
    """

    endpoints: int = 3
    where: Literal["local", "routed", "vxlan"] = "local"
    policy: Policy = "Cluster"
    affinity: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Services in one node's rules, and which of them are under test."""

    services: int
    tested: Mapping[int, Subject] = field(default_factory=dict)
    version: tuple[int, int] = (1, 36)
    two_rules: bool = True

    def view(self) -> View:
        """Write it out, with names and addresses."""
        addresses = itertools.count(1)
        ports = tuple(self._port(number, addresses) for number in range(self.services))
        return View(
            ports=(*ports, KUBERNETES),
            version=self.version,
            cluster_cidr=CLUSTER_CIDR,
            service_cidr=SERVICE_CIDR,
            node_addresses=(NODE_IP,),
            localhost_node_ports=self.two_rules,
        )

    @property
    def shape(self) -> Shape:
        """Count the rules' kinds without writing anything out."""
        return Shape((), version=self.version, localhost_node_ports=self.two_rules)

    def _port(self, number: int, addresses: Iterator[int]) -> Port:
        own = self.tested.get(number, Subject(endpoints=1))
        first = IPv4Address(_PODS[own.where][0])
        pods = sorted(str(first + next(addresses)) for _ in range(own.endpoints))
        local = own.where == "local" or own.policy == "Local"
        return Port(
            namespace=f"ns{number % 50}",
            service=f"svc-{number}",
            name="http",
            cluster_ip=str(IPv4Address("10.96.0.2") + number),
            port=PORT,
            node_port=FIRST_NODE_PORT + number,
            endpoints=tuple(Endpoint(address=pod, port=LISTEN_PORT, local=local) for pod in pods),
            affinity_s=AFFINITY_S if own.affinity else 0,
            external_policy=own.policy,
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a client connects to, and from where."""

    kind: Literal["clusterip", "nodeport", "podip"]
    position: int
    """Number of its Service, -1 for none."""
    address: str
    port: int
    source: str
    sources: int = 1
    """How many addresses the client uses in turn, from `source` on."""
    sticky: bool = False
    """Whether its clients are to be remembered from before (session affinity)."""
    pods: Role = "pods"


def targets(view: View, numbers: list[int], *, pods: Role = "pods") -> list[Target]:
    """Give ClusterIP (asked from a pod's address) and NodePort (asked from outside) of some Services."""
    found = []
    for number in numbers:
        port = view.ports[number]
        inside = Target(
            kind="clusterip", position=number, address=port.cluster_ip, port=PORT, source=POD_IP, pods=pods
        )
        found += [
            inside,
            replace(inside, kind="nodeport", address=NODE_IP, port=port.node_port, source=OUTSIDE_IP),
        ]
    return found


def pod_target(view: View) -> Target:
    """Give a pod's own address: a connection that uses no Service, and passes the rules all the same."""
    pod = view.ports[0].endpoints[0].address if len(view.ports) > 1 else "10.20.0.1"
    return Target(kind="podip", position=-1, address=pod, port=LISTEN_PORT, source=POD_IP)


def with_known_clients(target: Target) -> Target:
    """Let the clients of a target with affinity be some that are remembered from before."""
    return _with_clients(target, 60_000, KNOWN_CLIENTS, sticky=True)


def with_new_clients(target: Target, run: int, count: int) -> Target:
    """Let each of `count` connections of this run come from an address that was never seen."""
    return _with_clients(target, 256 + run * count, count, sticky=False)


def _with_clients(target: Target, first: int, count: int, *, sticky: bool) -> Target:
    cidr = POD_RANGE if target.kind == "clusterip" else OUTSIDE_RANGE
    source = str(IPv4Address(cidr.partition("/")[0]) + first)
    return replace(target, source=source, sources=count, sticky=sticky)


def pods_of(where: str) -> Role:
    """Tell who plays the pods there."""
    return _PODS[where][1]


def positions(services: int) -> list[int]:
    """Give the places in the rules that are measured: first, quarters, last."""
    return sorted({0, services // 4, services // 2, 3 * services // 4, services - 1})
