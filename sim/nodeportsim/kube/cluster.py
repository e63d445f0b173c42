"""A cluster as ``kubectl get nodes,svc,endpointslices,pods -A -o json`` shows it.

Reads parsed documents, whole dumps as well as single manifests, and keeps what a simulation needs of them.
kube-proxy skips headless and ExternalName Services (k8s:pkg/proxy/util/utils.go ShouldSkipService), and so do
`Cluster.ports` and the counts. A Service must be one the API server accepts; other kinds are only checked
where they are read.
Left out: volumes, network policies, and everything else that shapes no Service traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.kube.container import Container, containers
from nodeportsim.kube.document import Field
from nodeportsim.kube.endpointslice import Endpoint, EndpointSlice, endpoints_of, slices_by_service
from nodeportsim.kube.service import Service, ServicePort
from nodeportsim.kube.status import StatusError, invalid_service
from nodeportsim.kube.validation import validate_cluster_ips, validate_create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_SERVICE_NAME_LABEL = (
    "kubernetes.io/service-name"  # k8s:staging/src/k8s.io/api/discovery/v1/well_known_labels.go
)
_ZONE_LABEL = "topology.kubernetes.io/zone"  # k8s:staging/src/k8s.io/api/core/v1/well_known_labels.go
_LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"  # k8s:pkg/proxy/node.go
_GRACE_PERIOD_S = 30  # k8s:staging/src/k8s.io/api/core/v1/types.go DefaultTerminationGracePeriodSeconds
_GROUPS = {"Node": "", "Pod": "", "Service": "", "EndpointSlice": "discovery.k8s.io", "Deployment": "apps"}
# fmt: off
_IGNORED = frozenset({  # What kubectl users commonly have in the same file.
    "ClusterRole", "ClusterRoleBinding", "ConfigMap", "ControllerRevision", "CronJob",
    "CustomResourceDefinition", "DaemonSet", "Endpoints", "Event", "HorizontalPodAutoscaler", "Ingress",
    "IngressClass", "Job", "Lease", "LimitRange", "Namespace", "NetworkPolicy", "PersistentVolume",
    "PersistentVolumeClaim", "PodDisruptionBudget", "PriorityClass", "ReplicaSet", "ReplicationController",
    "ResourceQuota", "Role", "RoleBinding", "Secret", "ServiceAccount", "StatefulSet", "StorageClass",
})
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node. `cores` is ``status.capacity.cpu`` rounded down, None where it is not given.

    `address` is its InternalIP; `leaving` says that it is cordoned or about to be removed by the autoscaler.
    """

    name: str
    zone: str | None = None
    cores: int | None = None
    ready: bool = True
    kernel_version: str = ""
    kubernetes_version: str = ""
    address: str | None = None
    leaving: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """A pod; `node` is None while it is not scheduled, `ip` while it has no address."""

    namespace: str
    name: str
    node: str | None = None
    ip: str | None = None
    ready: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    termination_grace_period_s: int = _GRACE_PERIOD_S
    containers: tuple[Container, ...] = ()
    terminating: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A Deployment: how many pods with which labels."""

    namespace: str
    name: str
    replicas: int
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PortEndpoints:
    """One port of a Service that kube-proxy handles, and all its endpoints in the order of the slices."""

    service: Service
    port: ServicePort
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def usable(self) -> tuple[Endpoint, ...]:
        """Ready endpoints; if there are none, those that terminate and still serve (KEP-1669)."""
        ready = tuple(e for e in self.endpoints if e.ready)
        return ready or tuple(e for e in self.endpoints if e.serving and e.terminating)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What the size of kube-proxy's rules depends on, for policy Cluster, in the names of its formulas.

    Parameters
    ----------
    ports
        P: service ports with a usable endpoint, of every type.
    node_ports
        N: those of P that have a NodePort.
    endpoints
        T: usable endpoints, summed over service ports.
    ports_without_endpoints, node_ports_without_endpoints
        Service ports, and NodePorts, that can only be refused.
    """

    ports: int
    node_ports: int
    endpoints: int
    ports_without_endpoints: int
    node_ports_without_endpoints: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Everything read from a set of documents, each kind in its order; `kinds` are those that there are."""

    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    pods: tuple[Pod, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    ports: tuple[PortEndpoints, ...] = ()
    ignored: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()

    @property
    def counts(self) -> Counts:
        """Count ports and endpoints. ``default/kubernetes`` counts only if it is among the documents."""
        live = [port for port in self.ports if port.usable]
        dead = [port for port in self.ports if not port.usable]
        return Counts(
            ports=len(live),
            node_ports=sum(port.port.node_port > 0 for port in live),
            endpoints=sum(len(port.usable) for port in live),
            ports_without_endpoints=len(dead),
            node_ports_without_endpoints=sum(port.port.node_port > 0 for port in dead),
        )

    def service(self, name: str, *, namespace: str = "default") -> Service:
        """Find a Service by name."""
        for service in self.services:
            if (service.namespace, service.name) == (namespace, name):
                return service
        known = ", ".join(sorted(f"{s.namespace}/{s.name}" for s in self.services)) or "none"
        raise InputError(
            "is not among the documents", field=f"Service {namespace}/{name}", hint=f"There are: {known}"
        )

    def endpoints(self, service: Service, port_name: str = "") -> tuple[Endpoint, ...]:
        """Find the endpoints of a Service's port; a headless Service's are not kept."""
        key = (service.namespace, service.name, port_name)
        found = (p.endpoints for p in self.ports if (p.service.namespace, p.service.name, p.port.name) == key)
        return next(found, ())

    def deployments_of(self, service: Service) -> tuple[Deployment, ...]:
        """Find the Deployments whose pods a Service selects."""
        wanted = set(service.selector)
        return tuple(
            d
            for d in self.deployments
            if wanted and d.namespace == service.namespace and wanted <= set(d.labels)
        )


class Reader:
    """Reads documents one at a time, so that a caller need keep none of them."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {kind: {} for kind in _GROUPS}
        self._ignored: list[str] = []

    def add(self, document: Mapping[str, Any], name: str) -> None:
        """Take over what is needed of a document, or of the objects in a list.

        Raises
        ------
        InputError
            Names the document (by `name`, until its own is known) and the field that cannot be used.
        """
        for field in _flat(Field(document, name)):
            kind = _kind(field)
            title = f"{kind} {_full_name(field, kind)}"
            if kind in _IGNORED:
                self._ignored.append(title)
            elif title in self._found[kind]:
                raise InputError("is given twice", field=title)
            else:
                self._found[kind][title] = _READ[kind](Field(field.value, title))

    def cluster(self) -> Cluster:
        """Join what was read."""
        nodes, services, pods, deployments, slices = (
            tuple(self._found[kind].values())
            for kind in ("Node", "Service", "Pod", "Deployment", "EndpointSlice")
        )
        known = {(s.namespace, s.name) for s in services}
        unused = [s.title for s in slices if s.service not in known or s.family == "FQDN"]
        return Cluster(
            nodes=nodes,
            services=services,
            pods=pods,
            deployments=deployments,
            ports=tuple(_join(services, slices, {node.name: node.zone for node in nodes})),
            ignored=(*self._ignored, *unused),
            kinds=frozenset(kind for kind, found in self._found.items() if found),
        )


def read_cluster(documents: Iterable[Mapping[str, Any]]) -> Cluster:
    """Read manifests and lists of them.

    Parameters
    ----------
    documents
        Parsed YAML or JSON documents: Node, Pod, Service, EndpointSlice, Deployment, or a List of them.

    Raises
    ------
    InputError
        Names the document and the field that cannot be used.
    """
    reader = Reader()
    for n, document in enumerate(documents, 1):
        reader.add(document, f"document {n}")
    return reader.cluster()


def _flat(field: Field) -> Iterator[Field]:
    """Look into a list; None is an empty document, as a trailing "---" leaves it."""
    if field.value is None:
        return
    if field["kind"].text().endswith("List"):
        for item in field["items"].items():
            yield Field(item.value, f"{item.document} {item.path}")
    else:
        yield field


def _kind(document: Field) -> str:
    kind, version = document["kind"].text(needed=True), document["apiVersion"].text()
    group = version.rpartition("/")[0]
    if kind in _IGNORED or (kind in _GROUPS and (not version or group == _GROUPS[kind])):
        return kind
    raise InputError(
        "is not a kind that is read",
        field=f"{document.document} kind",
        got=f"'{kind} of {version}'" if version else kind,
        hint=f"Read are: {', '.join(sorted(_GROUPS))}, List.",
    )


def _full_name(document: Field, kind: str) -> str:
    metadata = document["metadata"]
    default = "" if kind == "Node" or kind in _IGNORED else "default"
    namespace = metadata["namespace"].text() or default
    return f"{namespace}/{metadata['name'].text(needed=True)}".lstrip("/")


def _service(document: Field) -> Service:
    """Read a Service, allocated or not, and refuse what the API server would."""
    assert isinstance(document.value, Mapping)
    try:
        service = Service.from_manifest(document.value)
        if errors := [*validate_cluster_ips(service), *validate_create(service)]:
            raise invalid_service(service.name, errors)
    except StatusError as error:
        field = f"{document.document} {error.path}"
        raise InputError(f"is refused by the API server: {error.message}", field=field) from None
    return service


def _node(document: Field) -> Node:
    status, info = document["status"], document["status"]["nodeInfo"]
    version = info["kubeletVersion"].text()
    minor = re.match(r"v?(\d+\.\d+)", version)
    return Node(
        name=document["metadata"]["name"].text(),
        zone=document.at("metadata", "labels", _ZONE_LABEL).text() or None,
        cores=_cores(status.at("capacity", "cpu")),
        ready=_is_ready(status),
        kernel_version=info["kernelVersion"].text(),
        kubernetes_version=minor[1] if minor else version,
        address=next((a["address"].text() for a in _addresses(status)), None),
        leaving=_is_leaving(document["spec"]),
    )


def _addresses(status: Field) -> Iterator[Field]:
    return (each for each in status["addresses"].items() if each["type"].text() == "InternalIP")


def _is_leaving(spec: Field) -> bool:
    """Whether new pods are kept away, or the autoscaler has said that it will remove the node."""
    taints = {taint["key"].text() for taint in spec["taints"].items()}
    return spec["unschedulable"].flag(default=False) or _LEAVING_TAINT in taints


def _cores(cpu: Field) -> int | None:
    """Read a CPU quantity: ``4``, ``"4"`` or ``4000m``."""
    if cpu.value is None:
        return None
    text = str(cpu.value) if type(cpu.value) is int else cpu.text()
    match = re.fullmatch(r"(\d{1,9})(m?)", text, re.ASCII)
    cores = (int(match[1]) // 1000 if match[2] else int(match[1])) if match else 0
    if not cores:
        raise cpu.error("must be a CPU quantity of at least one core, as in 4 or 4000m")
    return cores


def _is_ready(status: Field) -> bool:
    """Read the condition Ready; a manifest without conditions is one nobody has run yet."""
    ready = [condition["status"].text() for condition in status["conditions"].where("type", "Ready")]
    return ready in ([], ["True"])


def _pod(document: Field) -> Pod:
    metadata, spec, status = document["metadata"], document["spec"], document["status"]
    grace_s = spec["terminationGracePeriodSeconds"].whole()
    return Pod(
        namespace=metadata["namespace"].text() or "default",
        name=metadata["name"].text(),
        node=spec["nodeName"].text() or None,
        ip=status["podIP"].text() or None,
        ready=_is_ready(status),
        labels=metadata["labels"].pairs(),
        termination_grace_period_s=_GRACE_PERIOD_S if grace_s is None else grace_s,
        containers=containers(document),
        terminating=metadata["deletionTimestamp"].value is not None,
    )


def _deployment(document: Field) -> Deployment:
    metadata, spec = document["metadata"], document["spec"]
    replicas = spec["replicas"].whole()
    return Deployment(
        namespace=metadata["namespace"].text() or "default",
        name=metadata["name"].text(),
        replicas=1 if replicas is None else replicas,  # k8s:pkg/apis/apps/v1/defaults.go
        labels=spec["template"]["metadata"]["labels"].pairs(),
    )


def _join(
    services: Iterable[Service], slices: Iterable[EndpointSlice], zones: Mapping[str, str | None]
) -> Iterator[PortEndpoints]:
    """Give every port that kube-proxy handles its endpoints."""
    by_service = slices_by_service(slices)
    for service in services:
        own = by_service.get((service.namespace, service.name), [])
        if service.type != "ExternalName" and not service.is_headless:
            for port in service.ports:
                yield PortEndpoints(service=service, port=port, endpoints=endpoints_of(port, own, zones))


_READ: dict[str, Callable[[Field], Any]] = {
    "Node": _node,
    "Service": _service,
    "Pod": _pod,
    "Deployment": _deployment,
    "EndpointSlice": EndpointSlice.read,
}
