"""The Services of a cluster and the node ports they hold.

How the real thing works (k8s:pkg/registry/core/service/storage): create and update run as a transaction:
decode, default, allocate, validate, store. Allocation comes before validation, so a taken port or an
exhausted range hides every other problem; what a refused request took is given back. A dry run does the
same without effect.
Modelled: all of that. Left out: ClusterIP allocation, resource versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.kube.allocator import DryRun, Operation, PortRange
from nodeportsim.kube.service import Service, ServicePort
from nodeportsim.kube.status import StatusError, invalid_service, quoted
from nodeportsim.kube.transitions import created, node_ports, updated
from nodeportsim.kube.validation import validate_cluster_ips, validate_create, validate_update

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_RANGE = "30000-32767"  # k8s:pkg/kubeapiserver/options/options.go DefaultServiceNodePortRange


class Registry:
    """The Services of a cluster and the node ports they hold.

    Parameters
    ----------
    node_port_range
        The API server's ``--service-node-port-range``.
    rng
        Where automatic ports come from.
    """

    def __init__(self, *, node_port_range: str = DEFAULT_RANGE, rng: random.Random) -> None:
        self.range = PortRange.parse(node_port_range)
        self._rng = rng
        self._taken: set[int] = set()
        self._services: dict[tuple[str, str], Service] = {}

    @property
    def services(self) -> tuple[Service, ...]:
        """All Services, in the order of creation."""
        return tuple(self._services.values())

    @property
    def taken(self) -> frozenset[int]:
        """All node ports in use, health check ports included."""
        return frozenset(self._taken)

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Service:
        """POST a Service; what the API server refuses raises `StatusError` and changes nothing."""
        return self._write(Service.from_manifest(manifest), None, dry_run=dry_run)

    def update(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Service:
        """PUT a Service: replace it, keeping allocated values left open; creates it where there is none."""
        service = Service.from_manifest(manifest)
        return self._write(service, self._services.get((service.namespace, service.name)), dry_run=dry_run)

    def delete(self, name: str, *, namespace: str = "default") -> None:
        """Remove a Service; its ports are free at once."""
        service = self._services.pop((namespace, name), None)
        if service is None:
            raise StatusError(f"services {quoted(name)} not found", code=404)
        self._taken.difference_update(_held(service))

    def table(self) -> list[dict[str, str | int]]:
        """List every node port, a row each: where it belongs, what it maps, and its band."""
        return [
            _row(service, port) | {"band": "static" if port.node_port in self.range.static else "dynamic"}
            for service in self._services.values()
            for port in (*service.ports, *_health_check_port(service))
            if port.node_port and service.uses_node_ports
        ]

    def _write(self, service: Service, old: Service | None, *, dry_run: bool) -> Service:
        operation = (DryRun if dry_run else Operation)(self._taken, self.range, self._rng)
        try:
            service = self._admitted(service, old, operation)
        except StatusError:
            operation.finish(stored=False)
            raise
        operation.finish(stored=True)
        if not dry_run:
            self._services[service.namespace, service.name] = service
        return service

    def _admitted(self, service: Service, old: Service | None, operation: Operation) -> Service:
        _refuse(service, validate_cluster_ips(service))
        if old is not None:
            service = updated(service, old, operation)
            _refuse(service, validate_update(service, old))
            return service
        service = created(service, operation)
        _refuse(service, validate_create(service))
        if (service.namespace, service.name) in self._services:
            raise StatusError(f"services {quoted(service.name)} already exists", code=409)
        return service


def allocate(
    services: Iterable[Mapping[str, Any]], *, node_port_range: str = DEFAULT_RANGE, rng: random.Random
) -> Registry:
    """Create Services in the order given, as ``kubectl create -f`` would in an empty cluster.

    Parameters
    ----------
    services
        Manifests. Order matters: an automatic port may take a number that a later manifest names.
    node_port_range
        The API server's ``--service-node-port-range``.
    rng
        Where automatic ports come from.

    Raises
    ------
    RefusedError
        The API server would refuse one of them; its message, word for word.

    Examples
    --------
    >>> import random
    >>> manifest = {
    ...     "metadata": {"name": "web"},
    ...     "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
    ... }
    >>> [port.node_port for port in allocate([manifest], rng=random.Random(1)).services[0].ports]
    [30080]
    """
    registry = Registry(node_port_range=node_port_range, rng=rng)
    for manifest in services:
        registry.create(manifest)
    return registry


def _refuse(service: Service, errors: Sequence[str]) -> None:
    if errors:
        raise invalid_service(service.name, errors)


def _row(service: Service, port: ServicePort) -> dict[str, str | int]:
    return {
        "namespace": service.namespace,
        "name": service.name,
        "port_name": port.name,
        "protocol": port.protocol,
        "port": port.port,
        "target_port": port.target_port,
        "node_port": port.node_port,
    }


def _health_check_port(service: Service) -> list[ServicePort]:
    """Show a health check port as a port of the Service, for it takes a number of the same range."""
    number = service.health_check_node_port
    shown = ServicePort(name="(healthCheckNodePort)", port=number, target_port=number, node_port=number)
    return [shown] if number else []


def _held(service: Service) -> set[int]:
    """Everything a Service holds. An ExternalName may name node ports but holds none."""
    own = node_ports(service) if service.uses_node_ports else set()
    return own | ({service.health_check_node_port} if service.needs_health_check else set())
