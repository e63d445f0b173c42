"""Kubernetes objects as fields of a scenario.

One Service is chosen; its endpoints become the pods, the nodes become the nodes, and the other Services
become a count of rules in the background. What the objects leave open keeps the scenario's defaults, and an
assumption says so. Not simulated, and refused: headless Services and ExternalName (no virtual address, so
kube-proxy has no rules for them) and Services without a TCP port.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.errors import InputError, Location, RefusedError
from nodeportsim.kube.cluster import Cluster, read_cluster
from nodeportsim.kube.endpointslice import Endpoint
from nodeportsim.kube.ports import Registry
from nodeportsim.kube.status import StatusError
from nodeportsim.scenario.documents import Path, Source, locate
from nodeportsim.scenario.spec import NO_ZONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nodeportsim.kube.cluster import Node, Pod
    from nodeportsim.kube.service import Service, ServicePort

_NAMED = re.compile(r"(?:document (?P<number>\d+)|(?P<title>\w+ \S+))(?: (?P<path>\S+))?")
_STEP = re.compile(r"[^.\[\]]+")


class Origin(NamedTuple):
    """A document, and where it comes from."""

    source: Source
    number: int
    document: Any
    path: Path = ()

    def at(self, path: str) -> Location | None:
        """Find a field of the document, written as in ``spec.ports[0].port``."""
        steps = (int(step) if step.isdecimal() else step for step in _STEP.findall(path))
        return locate(self.source, self.number, (*self.path, *steps))

    @property
    def title(self) -> str:
        """Kind and name, as `read_cluster` names documents in its errors; empty where they are unusable."""
        metadata = self.document.get("metadata")
        if not isinstance(metadata, dict):
            return ""
        kind, name = self.document.get("kind"), metadata.get("name")
        return (
            f"{kind} {name}" if kind == "Node" else f"{kind} {metadata.get('namespace') or 'default'}/{name}"
        )


def scenario_fields(origins: Sequence[Origin], service: str | None) -> dict[str, Any]:
    """Describe a cluster and one of its Services in the words of a scenario file.

    Parameters
    ----------
    origins
        The documents; lists are looked into.
    service
        ``NAMESPACE/NAME`` of the Service; None where only one can carry NodePort traffic.

    Raises
    ------
    RefusedError
        The API server would refuse a Service; located.
    InputError
        A document cannot be used (located), or the choice of the Service is open.
    """
    cluster = read_objects(origins)
    chosen = _chosen(cluster, service)
    port = next(port for port in chosen.ports if port.protocol == "TCP")
    assumed: list[str] = []
    fields: dict[str, Any] = {"name": chosen.name, "cluster": _nodes(cluster, assumed)}
    has_slices = "EndpointSlice" in cluster.kinds
    fields["service"] = _service(chosen, port)
    fields["pods"] = {}
    endpoints = cluster.endpoints(chosen, port.name) if has_slices else _selected(cluster, chosen)
    if endpoints or has_slices:
        fields["service"]["replicas"] = len(endpoints)
        fields["pods"]["placement"] = _placement(endpoints, fields["cluster"], assumed)
    elif deployments := cluster.deployments_of(chosen):
        fields["service"]["replicas"] = sum(deployment.replicas for deployment in deployments)
    else:
        assumed.append("no endpoints, pods or Deployment are given: the number of replicas is the default")
    fields["cluster"]["background"] = _background(cluster, chosen)
    _enter(chosen, fields, assumed)
    if cluster.ignored:
        assumed.append(f"ignored: {', '.join(cluster.ignored[:10])}{' ...' if cluster.ignored[10:] else ''}")
    return fields | {"assumptions": assumed}


def replace(dump: dict[str, Any], raw: dict[str, Any]) -> None:
    """Drop names and places of a dump that no longer fit, because nodes or replicas were set otherwise."""
    cluster, service, pods = (raw.get(part) for part in ("cluster", "service", "pods"))
    if not (isinstance(cluster, dict) and isinstance(service, dict) and isinstance(pods, dict)):
        return
    names, placement = dump["cluster"].get("nodeNames"), dump["pods"].get("placement")
    moved = names is not None and cluster.get("nodes") != len(names)
    if moved:
        for field in ("nodeNames", "nodeZones"):
            if cluster.get(field) == dump["cluster"].get(field):
                cluster.pop(field, None)
    _recount(dump["cluster"].get("background"), cluster.get("background"))
    resized = placement is not None and service.get("replicas") != len(placement)
    if (moved or resized) and pods.get("placement") == placement:
        pods.pop("placement", None)
    if isinstance(raw["assumptions"], list) and (moved or resized):
        what = " and ".join(["nodes"] * moved + ["replicas"] * resized)
        raw["assumptions"].append(f"{what} set by hand: pods are placed round robin, not as in the dump")


def _recount(counted: dict[str, int] | None, background: object) -> None:
    """Let a number of Services that was set win over the ports and NodePorts that a dump's own have."""
    if not counted or not isinstance(background, dict):
        return
    services = background.get("services")
    if not isinstance(services, int) or services == counted["services"]:
        return
    if background.get("ports") == counted["ports"]:
        del background["ports"]
    if background.get("nodePorts") == counted["nodePorts"]:
        background["nodePorts"] = min(services, counted["nodePorts"])


def read_objects(origins: Sequence[Origin]) -> Cluster:
    """Read the objects; lists are looked into. Errors as of `scenario_fields`."""
    flat = [item for origin in origins for item in _flat(origin)]
    _create([item for item in flat if item.document.get("kind") == "Service"])
    return _read(flat)


def _flat(origin: Origin) -> Iterator[Origin]:
    """Look into a list; what is no usable list is left to `read_cluster` to complain about."""
    kind, items = origin.document.get("kind"), origin.document.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for n, item in enumerate(items):
            below = origin._replace(document=item, path=(*origin.path, "items", n))
            if not isinstance(item, dict):
                raise InputError("must be a Kubernetes object", got=item, location=below.at(""))
            yield from _flat(below)
    else:
        yield origin


def _create(services: Sequence[Origin]) -> None:
    """Create the Services that no API server has seen yet; those that ask for a port go first."""
    registry = Registry(rng=random.Random(0))  # noqa: S311  no secret; the ports drawn are not used
    new = [item for item in services if "resourceVersion" not in (_mapping(item.document.get("metadata")))]
    for item in sorted(new, key=lambda item: "nodePort" not in str(item.document.get("spec"))):
        try:
            registry.create(item.document)
        except StatusError as error:
            raise RefusedError(error.message, location=item.at(error.path)) from None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(flat: Sequence[Origin]) -> Cluster:
    """Read the cluster; an error gets the place of the document and field that it names."""
    try:
        return read_cluster(item.document for item in flat)
    except InputError as error:
        match = _NAMED.match(error.field or "")
        if match is None:
            raise
        named = (item for item in flat if item.title == match["title"])
        origin = flat[int(match["number"]) - 1] if match["number"] else next(named, flat[0])
        place = origin.at(match["path"] or "")
        raise InputError(
            error.rule, field=error.field, got=error.got, hint=error.hint, location=place
        ) from None


def _chosen(cluster: Cluster, name: str | None) -> Service:
    """Choose the Service under study."""
    if name is not None:
        namespace, _, bare = name.rpartition("/")
        service = cluster.service(bare, namespace=namespace or "default")
        if reason := _not_simulated(service):
            raise InputError(f"is not simulated: {reason}", field=f"Service {name}")
        return service
    able = [service for service in cluster.services if not _not_simulated(service)]
    entered = [service for service in able if any(port.node_port for port in service.ports)]
    entered = entered or [service for service in able if service.uses_node_ports]
    if len(entered) == 1:
        return entered[0]
    if not able:
        hint = "give a Service with a cluster IP and a TCP port, as kubectl get services -A -o json prints it"
        raise InputError("there is no Service that could be simulated", hint=hint)
    what = "several Services carry NodePort traffic" if entered else "no Service carries NodePort traffic"
    names = [f"{service.namespace}/{service.name}" for service in entered or able]
    hint = f"choose from: {', '.join(sorted(names))}"
    raise InputError(f"must be given: {what}", field="--service", hint=hint)


def _not_simulated(service: Service) -> str:
    if service.type == "ExternalName":
        return "an ExternalName is an answer of the DNS; no traffic passes kube-proxy"
    if service.is_headless:
        return "a headless Service has no virtual address; its clients connect to pods"
    if not any(port.protocol == "TCP" for port in service.ports):
        return "it has no TCP port, and only TCP is simulated"
    return ""


def _nodes(cluster: Cluster, assumed: list[str]) -> dict[str, Any]:
    """Describe the nodes; without any, those that the endpoints name."""
    nodes = cluster.nodes
    if not nodes:
        named = {end.node: end.zone for port in cluster.ports for end in port.endpoints if end.node}
        if not named:
            assumed.append("no nodes are given: their number and size are the defaults")
            return {}
        assumed.append("no nodes are given: those that the endpoints name, of the default size")
        return _named(list(named), list(named.values()))
    fields = _named([node.name for node in nodes], [node.zone for node in nodes])
    fields |= _sized(nodes, assumed)
    if down := [node.name for node in nodes if not node.ready]:
        assumed.append(f"not ready in the dump, ready here: {', '.join(down[:10])}")
    return fields


def _named(names: list[str], zones: list[str | None]) -> dict[str, Any]:
    fields: dict[str, Any] = {"nodes": len(names), "nodeNames": names}
    if any(zones):
        fields["nodeZones"] = [zone or NO_ZONE for zone in zones]
    if (count := len(set(fields.get("nodeZones", [])))) > 1:
        fields |= {"zones": count, "network": {"topology": "zones"}}
    return fields


def _sized(nodes: Sequence[Node], assumed: list[str]) -> dict[str, Any]:
    """Give all nodes the size and version of the least of them."""
    fields: dict[str, Any] = {}
    if cores := sorted({node.cores for node in nodes if node.cores}):
        fields["cores"] = cores[0]
    versions = {
        node.kubernetes_version for node in nodes if re.fullmatch(r"1\.\d{1,2}", node.kubernetes_version)
    }
    if versions:
        fields["kubernetesVersion"] = min(versions, key=lambda version: int(version[2:]))
    if len(cores) > 1 or len(versions) > 1:
        assumed.append("nodes differ in cores or version: all are taken as the least of them")
    return fields


def _service(service: Service, port: ServicePort) -> dict[str, Any]:
    fields = {
        "name": service.name,
        "namespace": service.namespace,
        "type": service.type,
        "nodePort": port.node_port or None,
        "ports": len(service.ports),
        "externalTrafficPolicy": service.external_traffic_policy or None,
        "internalTrafficPolicy": service.internal_traffic_policy,
        "trafficDistribution": service.traffic_distribution,
        "topologyMode": service.topology_mode or None,
        "sessionAffinity": service.session_affinity,
        "affinityTimeoutSeconds": service.affinity_timeout_s,
        "healthCheckNodePort": service.health_check_node_port or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _selected(cluster: Cluster, service: Service) -> tuple[Endpoint, ...]:
    """Make endpoints of the pods a Service selects, as the EndpointSlice controller would."""
    wanted = set(service.selector)

    def is_selected(pod: Pod) -> bool:
        own = pod.namespace == service.namespace and pod.ip is not None
        return bool(wanted) and own and wanted <= set(pod.labels)

    return tuple(
        Endpoint(
            address=pod.ip or "", port=0, node=pod.node, pod=pod.name, ready=pod.ready, serving=pod.ready
        )
        for pod in cluster.pods
        if is_selected(pod)
    )


def _placement(
    endpoints: Iterable[Endpoint], cluster: dict[str, Any], assumed: list[str]
) -> list[dict[str, Any]]:
    """Place the pods; an endpoint on no node of the dump stands outside the cluster."""
    nodes = set(cluster.get("nodeNames", []))
    placed = [
        {
            "name": end.pod or end.address.replace(":", "-").strip("-"),
            "node": end.node if end.node in nodes else None,
            "ready": end.ready,
            "serving": end.serving,
            "terminating": end.terminating,
        }
        for end in endpoints
    ]
    if outside := [str(pod["name"]) for pod in placed if pod["node"] is None]:
        assumed.append(f"on no node that is given, so outside the cluster: {', '.join(outside[:10])}")
    return placed


def _background(cluster: Cluster, chosen: Service) -> dict[str, int]:
    """Count the rules of the other Services: those with endpoints, as kube-proxy programs them.

    Not the API server's own Service: every cluster has it, dump or not, and the engine counts it.
    """
    own = {(chosen.namespace, chosen.name), ("default", "kubernetes")}
    others = [
        port
        for port in cluster.ports
        if port.usable and (port.service.namespace, port.service.name) not in own
    ]
    counts = Cluster(ports=tuple(others)).counts
    if not counts.ports:
        return {}
    return {
        "services": len({(port.service.namespace, port.service.name) for port in others}),
        "ports": counts.ports,
        "nodePorts": counts.node_ports,
        "endpointsPerService": round(counts.endpoints / counts.ports),
    }


def _enter(chosen: Service, fields: dict[str, Any], assumed: list[str]) -> None:
    """Send the clients where such a Service is entered."""
    if chosen.type == "ClusterIP":
        fields["clients"] = {"entry": {"policy": "own-node"}}
        assumed.append("a ClusterIP is entered at the client's own node: the clients are pods in the cluster")
    if chosen.type == "LoadBalancer":
        kind = "health-check-node-port" if chosen.needs_health_check else "node-port"
        fields["clients"] = {"entry": {"policy": "balancer"}}
        fields["balancer"] = {"check": {"kind": kind}}
        assumed.append("a load balancer with the default health check stands in front of the nodes")
