"""EndpointSlices: the addresses behind a Service.

How the real thing works: the EndpointSlice controller publishes the pods of a Service in slices, one set per
address family; kube-proxy joins slices and Services by the label ``kubernetes.io/service-name`` and ports
by name and protocol (k8s:pkg/proxy/endpointslicecache.go). It takes the first address of an endpoint, and
reads a missing condition as ready, serving, not terminating.
Modelled: that join, for one address family (IPv4 where there is any). Left out: FQDN slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nodeportsim.kube.document import Field
    from nodeportsim.kube.service import ServicePort

_SERVICE_NAME_LABEL = (
    "kubernetes.io/service-name"  # k8s:staging/src/k8s.io/api/discovery/v1/well_known_labels.go
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An address that serves a Service port.

    `node` is None outside the cluster, `pod` where no pod stands behind it; hints name zones and nodes
    whose kube-proxies should use this endpoint.
    """

    address: str
    port: int
    node: str | None = None
    pod: str | None = None
    zone: str | None = None
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSlice:
    """An EndpointSlice: `ports` are (name, protocol, number), each for every endpoint."""

    title: str
    service: tuple[str, str]
    family: str
    ports: tuple[tuple[str, str, int], ...]
    endpoints: tuple[Endpoint, ...]

    @classmethod
    def read(cls, document: Field) -> EndpointSlice:
        """Read one document."""
        metadata = document["metadata"]
        family = document["addressType"].text(needed=True)
        if family not in {"IPv4", "IPv6", "FQDN"}:
            raise document["addressType"].error("must be IPv4, IPv6 or FQDN")
        return cls(
            title=document.document,
            service=(
                metadata["namespace"].text() or "default",
                metadata["labels"][_SERVICE_NAME_LABEL].text(),
            ),
            family=family,
            ports=tuple(_slice_ports(document)),
            endpoints=tuple(_endpoint(e) for e in document["endpoints"].items()),
        )


def _slice_ports(document: Field) -> Iterator[tuple[str, str, int]]:
    for port in document["ports"].items():
        number = port["port"].whole()
        if number is not None:  # kube-proxy passes over ports without a number.
            yield port["name"].text(), port["protocol"].text() or "TCP", number


def _endpoint(endpoint: Field) -> Endpoint:
    addresses = endpoint["addresses"].items()
    if not addresses:
        raise endpoint["addresses"].error("must hold an address")
    conditions, hints = endpoint["conditions"], endpoint["hints"]
    ready = conditions["ready"].flag(default=True)
    target = endpoint["targetRef"]
    return Endpoint(
        address=addresses[0].text(needed=True),
        port=0,
        node=endpoint["nodeName"].text() or None,
        pod=(target["name"].text() or None) if target["kind"].text() == "Pod" else None,
        zone=endpoint["zone"].text() or None,
        ready=ready,
        serving=conditions["serving"].flag(default=ready),
        terminating=conditions["terminating"].flag(default=False),
        zone_hints=tuple(hint["name"].text() for hint in hints["forZones"].items()),
        node_hints=tuple(hint["name"].text() for hint in hints["forNodes"].items()),
    )


def slices_by_service(slices: Iterable[EndpointSlice]) -> dict[tuple[str, str], list[EndpointSlice]]:
    """Group the slices that count: of each Service those with IPv4 addresses, else those with IPv6."""
    grouped: dict[tuple[str, str], list[EndpointSlice]] = {}
    for family in ("IPv6", "IPv4"):
        chosen = [piece for piece in slices if piece.family == family]
        grouped |= {piece.service: [] for piece in chosen}
        for piece in chosen:
            grouped[piece.service].append(piece)
    return grouped


def endpoints_of(
    port: ServicePort, slices: Iterable[EndpointSlice], zones: Mapping[str, str | None]
) -> tuple[Endpoint, ...]:
    """Collect a port's endpoints; one that stands in two slices counts once, ready if it is ready in any."""
    found: dict[tuple[str, int], Endpoint] = {}
    for piece in slices:
        numbers = [
            number for name, protocol, number in piece.ports if (name, protocol) == (port.name, port.protocol)
        ]
        for number in numbers:
            for endpoint in piece.endpoints:
                key = (endpoint.address, number)
                if key not in found or (endpoint.ready and not found[key].ready):
                    zone = endpoint.zone or zones.get(endpoint.node or "")
                    found[key] = replace(endpoint, port=number, zone=zone)
    return tuple(found.values())
