"""One door to the three modes: how many chains and rules a node has, and what one packet tests.

``walk`` counts; a profile prices the counts (`nodeportsim.scenario.profile`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy import iptables, ipvs, nftables

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Mode, Packet, ServicePort, Shape, Structure, Walk


def structure(mode: Mode, shape: Shape) -> Structure:
    """Count what kube-proxy writes on a node of this shape in this mode."""
    return {"iptables": iptables.structure, "nftables": nftables.structure, "ipvs": ipvs.structure}[mode](
        shape
    )


def walk(
    mode: Mode,
    shape: Shape,
    port: ServicePort,
    packet: Packet,
    *,
    position: float | None = None,
    endpoint: float | None = None,
    closed_position: float | None = None,
    sticky: bool = False,
) -> Walk:
    """Walk one packet through one node's rules.

    Parameters
    ----------
    mode, shape
        The rules.
    port
        The service port the packet is for; ``podip``, ``node`` and ``established`` do not look at it.
    packet
        First packet of a connection to a NodePort from outside (``nodeport``), to a ClusterIP from a pod
        (``clusterip``), to or from a pod's own address through its node (``podip``), to the node itself
        (``node``); or a later packet of a forwarded connection (``established``).
    position
        Where the port stands, from 1: in KUBE-NODEPORTS for ``nodeport``, in KUBE-SERVICES for
        ``clusterip``. None is the mean over all positions.
    endpoint
        Rank of the chosen endpoint, from 1. None is the mean over all endpoints.
    closed_position
        Where a port without usable endpoint stands among the filter rules of its kind. None is the mean.
    sticky
        With session affinity: whether this client is remembered at the endpoint.

    Returns
    -------
    Walk
        The walk is linear in `position` and `endpoint`, so the mean walk is exact.

    Raises
    ------
    InputError
        A position or endpoint is outside the shape, or `sticky` without affinity.

    Examples
    --------
    A thousand NodePorts of three endpoints each, and the last of them in the chain:

    >>> from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
    >>> port = ServicePort(endpoints=3)
    >>> shape = Shape(((1000, port), (1, KUBERNETES_SERVICE)))
    >>> walk("iptables", shape, port, "nodeport", position=1000, endpoint=1).total
    3018
    >>> walk("nftables", shape, port, "nodeport").total
    16
    """
    node_port = packet == "nodeport"
    places = shape.node_ports if node_port else shape.cluster_ips
    closed = shape.closed_node_ports if node_port else shape.closed_cluster_ips
    endpoints = port.external_endpoints if node_port else port.internal_endpoints
    position = _place("position", position, places)
    endpoint = _place("endpoint", endpoint, endpoints)
    closed_position = _place("closed_position", closed_position, closed)
    if sticky and not port.affinity:
        raise InputError("needs session affinity", field="sticky", got=sticky)
    match mode:
        case "iptables":
            return iptables.walk(
                shape,
                port,
                packet,
                position=position,
                endpoint=endpoint,
                closed_position=closed_position,
                sticky=sticky,
            )
        case "nftables":
            return nftables.walk(shape, port, packet, endpoint=endpoint, sticky=sticky)
        case "ipvs":
            return ipvs.walk(shape, port, packet)


def _place(field: str, place: float | None, places: int) -> float:
    """Check a place in 1..places; the mean where none is given."""
    if place is None:
        return (places + 1) / 2
    if places and not 1 <= place <= places:
        raise InputError(f"must be in 1..{places}", field=field, got=place)
    return place
