"""What a create or an update does to a Service's node ports.

Source: k8s:pkg/registry/core/service/storage/{alloc,storage}.go and strategy.go. Create lets ports with an
equal `port` (TCP and UDP, say) share one node port; update does not. An update fills in allocated values
that were left open, releases what is no longer named, and clears fields the new type has no use for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nodeportsim.kube.allocator import PortError
from nodeportsim.kube.status import StatusError, internal_error, invalid, invalid_service

if TYPE_CHECKING:
    from nodeportsim.kube.allocator import Operation
    from nodeportsim.kube.service import Service, ServicePort


def created(service: Service, operation: Operation) -> Service:
    """Give a new Service its ports; equal `port` of several protocols share one node port."""
    if service.uses_node_ports:
        ports: list[ServicePort] = []
        shared: dict[int, int] = {}
        for n, port in enumerate(service.ports):
            if port.node_port or service.allocates_node_ports:
                port = _placed(service, n, shared, operation)  # noqa: PLW2901 # The same port, with its number.
            ports.append(port)
        service = replace(service, ports=tuple(ports))
    if service.needs_health_check:
        service = _with_health_check_port(service, operation)
    return service


def _placed(service: Service, n: int, shared: dict[int, int], operation: Operation) -> ServicePort:
    port = service.ports[n]
    first = port.port not in shared
    # A node port named for one protocol holds for the others of the same `port` too.
    named = next((p.node_port for p in service.ports if p.port == port.port and p.node_port), 0)
    number = named if first else port.node_port or shared[port.port]
    if not number:
        number = _allocate_next(operation)
    elif first or number != shared[port.port]:
        _allocate(service, n, number, operation)
    shared.setdefault(port.port, number)
    return replace(port, node_port=number)


def updated(service: Service, old: Service, operation: Operation) -> Service:
    """Bring the ports of a replaced Service in line: keep, allocate, release."""
    service = _keep_allocated(service, old)
    if service.uses_node_ports:
        service = _updated_node_ports(service, old, operation)
    elif old.uses_node_ports:
        operation.release(node_ports(old))
    if service.needs_health_check and not old.needs_health_check:
        service = _with_health_check_port(service, operation)
    elif old.needs_health_check and not service.needs_health_check:
        operation.release([old.health_check_node_port])
    return _drop_type_dependent(service, old)


def _updated_node_ports(service: Service, old: Service, operation: Operation) -> Service:
    before = node_ports(old)
    ports: list[ServicePort] = []
    allocated: set[int] = set()
    for n, port in enumerate(service.ports):
        number = port.node_port
        if number and number not in before and number not in allocated:
            _allocate(service, n, number, operation)
            allocated.add(number)
        elif not number and service.allocates_node_ports:
            number = _allocate_next(operation)
        if number and any((p.protocol, p.node_port) == (port.protocol, number) for p in ports):
            raise StatusError(f"duplicate nodePort: {{{port.protocol} {number}}}", code=500)
        ports.append(replace(port, node_port=number))
    service = replace(service, ports=tuple(ports))
    operation.release(before - node_ports(service))
    return service


def _keep_allocated(service: Service, old: Service) -> Service:
    """Fill in allocated values that were left open (k8s: storage.go patchAllocatedValues)."""
    changes: dict[str, Any] = {}
    if "ExternalName" not in {service.type, old.type}:
        changes["cluster_ip"] = service.cluster_ip or old.cluster_ip
        changes["cluster_ips"] = service.cluster_ips or old.cluster_ips
    if service.uses_node_ports and old.uses_node_ports:
        fixed = node_ports(service) & node_ports(old)
        by_name = {port.name: port.node_port for port in old.ports if port.node_port not in fixed}
        changes["ports"] = tuple(
            replace(port, node_port=port.node_port or by_name.get(port.name, 0)) for port in service.ports
        )
    if service.needs_health_check and old.needs_health_check:
        changes["health_check_node_port"] = service.health_check_node_port or old.health_check_node_port
    return replace(service, **changes)


def _drop_type_dependent(service: Service, old: Service) -> Service:
    """Clear what the new type has no use for and the user left as it was: dropTypeDependentFields."""
    changes: dict[str, Any] = {}
    if service.type == "ExternalName" != old.type:
        changes |= _unchanged(service, old, {"cluster_ip": "", "cluster_ips": ()})
        changes |= _unchanged(service, old, {"ip_families": ()})
        changes |= _unchanged(service, old, {"ip_family_policy": None})
    if old.uses_node_ports and not service.uses_node_ports and node_ports(service) <= node_ports(old):
        changes["ports"] = tuple(replace(port, node_port=0) for port in service.ports)
    if old.needs_health_check and not service.needs_health_check:
        changes |= _unchanged(service, old, {"health_check_node_port": 0})
    if old.is_externally_accessible and not service.is_externally_accessible:
        changes |= _unchanged(service, old, {"external_traffic_policy": ""})
    if old.type == "LoadBalancer" != service.type:
        changes |= _unchanged(service, old, {"allocate_load_balancer_node_ports": None})
        changes |= _unchanged(service, old, {"load_balancer_class": None})
    return replace(service, **changes)


def _unchanged(service: Service, old: Service, cleared: dict[str, Any]) -> dict[str, Any]:
    """Return `cleared` where the user changed none of its fields, else nothing."""
    return cleared if all(getattr(service, field) == getattr(old, field) for field in cleared) else {}


def _with_health_check_port(service: Service, operation: Operation) -> Service:
    number = service.health_check_node_port
    try:
        if number:
            operation.allocate(number)
        else:
            return replace(service, health_check_node_port=operation.allocate_next())
    except PortError as error:
        which = f"requested HealthCheck NodePort {number}" if number else "a HealthCheck NodePort 0"
        raise internal_error(f"failed to allocate {which}: {error}") from None
    return service


def _allocate(service: Service, n: int, number: int, operation: Operation) -> None:
    try:
        operation.allocate(number)
    except PortError as error:
        errors = [invalid(f"spec.ports[{n}].nodePort", number, str(error))]
        raise invalid_service(service.name, errors) from None


def _allocate_next(operation: Operation) -> int:
    try:
        return operation.allocate_next()
    except PortError as error:
        raise internal_error(f"failed to allocate a nodePort: {error}") from None


def node_ports(service: Service) -> set[int]:
    """Collect the node ports a Service names."""
    return {port.node_port for port in service.ports if port.node_port}
