"""Which endpoints the kube-proxy of one node may use.

EndpointSlices carry three conditions per endpoint: ready, serving (passes its readiness probe, terminating
or not) and terminating. kube-proxy uses the ready ones; where none is ready, those serving while they
terminate, so that the last pod of a rolling update still answers. Policy ``Local`` does the same among the
endpoints of its own node. Topology hints narrow policy ``Cluster`` to the node's own zone (or node), when
every ready endpoint has hints and one of them is for this zone (or node).

Source: k8s:pkg/proxy/topology.go CategorizeEndpoints and k8s:pkg/proxy/healthcheck (1.36.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.kubeproxy.walk import Policy

    Meant = dict[str | None, list[int]]  # Endpoints by the name of a node or zone.


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One endpoint of an EndpointSlice; `zone_hints` and `node_hints` name who should prefer it."""

    name: str
    node: str | None = None
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()


def usable(
    endpoints: Sequence[Endpoint], *, node: str, policy: Policy, zone: str | None = None
) -> tuple[int, ...]:
    """Return the indices of the endpoints that a node's proxy gives to new connections, in their order.

    Parameters
    ----------
    endpoints
        All endpoints of the service port.
    node, zone
        The node, and its zone if it has one.
    policy
        ``Cluster`` or ``Local``: external policy for NodePorts, internal policy for ClusterIPs.
    """
    candidates = [i for i, e in enumerate(endpoints) if policy == "Cluster" or e.node == node]
    ready = [i for i in candidates if endpoints[i].ready]
    if policy == "Cluster":
        ready = _by_topology(endpoints, ready, node, zone)
    return tuple(ready or [i for i in candidates if endpoints[i].serving and endpoints[i].terminating])


def _by_topology(endpoints: Sequence[Endpoint], ready: list[int], node: str, zone: str | None) -> list[int]:
    """Narrow ready endpoints to those meant for this node, or else zone, if all of them carry such hints."""
    nodes, zones = by_hints(endpoints, ready)
    return nodes.get(node) or zones.get(zone) or ready


def by_hints(endpoints: Sequence[Endpoint], ready: Sequence[int]) -> tuple[Meant, Meant]:
    """Sort ready endpoints by the nodes, and the zones, they are meant for; empty unless all are hinted."""
    return (
        _sorted(ready, [endpoints[i].node_hints for i in ready]),
        _sorted(ready, [endpoints[i].zone_hints for i in ready]),
    )


def _sorted(ready: Sequence[int], hints: Sequence[tuple[str, ...]]) -> Meant:
    meant: Meant = {}
    for i, names in zip(ready, hints, strict=True) if all(hints) else ():
        for name in dict.fromkeys(names):
            meant.setdefault(name, []).append(i)
    return meant


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """Answer of a ``healthCheckNodePort``: HTTP status and the endpoint-weight header."""

    status: int
    weight: int


def health_check(endpoints: Sequence[Endpoint], *, node: str, proxy_healthy: bool = True) -> HealthCheck:
    """Answer a balancer that asks the ``healthCheckNodePort`` of a Service with policy Local.

    Only ready endpoints on the node count: one that terminates still gets traffic here, but no new share.
    """
    local = sum(endpoint.ready and endpoint.node == node for endpoint in endpoints)
    return HealthCheck(status=200 if local and proxy_healthy else 503, weight=local)


def healthz_status(*, proxy_healthy: bool, being_deleted: bool) -> int:
    """Answer kube-proxy's healthz (port 10256); a node tainted ToBeDeletedByClusterAutoscaler says 503."""
    return 200 if proxy_healthy and not being_deleted else 503
