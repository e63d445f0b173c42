"""Kubernetes objects as fields of a scenario.

One Service is chosen; its endpoints become the pods, the nodes become the nodes, and the other Services
become a count of rules in the background. What the objects leave open keeps the scenario's defaults, and an
assumption says so. Not simulated, and refused: headless Services and ExternalName (no virtual address, so
kube-proxy has no rules for them) and Services without a TCP port.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.kube.cluster import Cluster
from nodeportsim.kube.endpointslice import Endpoint
from nodeportsim.kubeproxy.config import SCHEDULERS
from nodeportsim.scenario.spec import NO_ZONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nodeportsim.kube.cluster import Node, Pod
    from nodeportsim.kube.service import Service, ServicePort
    from nodeportsim.kubeproxy.config import ProxyConfig
    from nodeportsim.scenario.gather import Known

_NAMED_AT_MOST = 10


def scenario_fields(known: Known, service: str | None) -> dict[str, Any]:
    """Describe a cluster and one of its Services in the words of a scenario file.

    Parameters
    ----------
    known
        What the documents say.
    service
        ``NAMESPACE/NAME`` of the Service; None where only one can carry NodePort traffic.

    Raises
    ------
    InputError
        The choice of the Service is open, or it is not simulated.
    """
    cluster = known.cluster
    chosen = _chosen(cluster, service)
    port = next(port for port in chosen.ports if port.protocol == "TCP")
    assumed: list[str] = []
    fields: dict[str, Any] = {"name": chosen.name, "cluster": _nodes(cluster, assumed)}
    if known.proxy:
        _configure(known.proxy, fields["cluster"], assumed)
    has_slices = "EndpointSlice" in cluster.kinds
    selected = _selected(cluster, chosen)
    fields["service"] = _service(chosen, port)
    fields["pods"] = _containers(selected, assumed)
    endpoints = cluster.endpoints(chosen, port.name) if has_slices else tuple(map(_endpoint, selected))
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
        kinds = Counter(title.partition(" ")[0] for title in cluster.ignored)
        assumed.append(f"ignored: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")
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


def candidates(cluster: Cluster) -> list[tuple[Service, int, str]]:
    """List every Service, how many usable endpoints its ports have, and why it is not simulated, if so."""
    counts: Counter[tuple[str, str]] = Counter()
    for port in cluster.ports:
        counts[port.service.namespace, port.service.name] += len(port.usable)
    return [
        (service, counts[service.namespace, service.name], _not_simulated(service))
        for service in cluster.services
    ]


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
        assumed.append(f"not ready in the dump, ready here: {', '.join(down[:_NAMED_AT_MOST])}")
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
    cores = Counter(sorted(node.cores for node in nodes if node.cores))
    if cores:
        fields["cores"] = next(iter(cores))
    versions = {
        node.kubernetes_version for node in nodes if re.fullmatch(r"1\.\d{1,2}", node.kubernetes_version)
    }
    if versions:
        fields["kubernetesVersion"] = min(versions, key=lambda version: int(version[2:]))
    if len(cores) > 1:
        sizes = ", ".join(f"{count} with {number}" for number, count in cores.items())
        assumed.append(f"nodes differ in cores ({sizes}): all are taken as the least of them")
    if len(versions) > 1:
        assumed.append(f"nodes differ in version ({', '.join(sorted(versions))}): the oldest is taken")
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


def _selected(cluster: Cluster, service: Service) -> tuple[Pod, ...]:
    """Find the pods a Service selects, as the EndpointSlice controller would."""
    wanted = set(service.selector)
    return tuple(
        pod
        for pod in cluster.pods
        if wanted and pod.namespace == service.namespace and pod.ip is not None and wanted <= set(pod.labels)
    )


def _endpoint(pod: Pod) -> Endpoint:
    return Endpoint(
        address=pod.ip or "", port=0, node=pod.node, pod=pod.name, ready=pod.ready, serving=pod.ready
    )


def _containers(pods: Sequence[Pod], assumed: list[str]) -> dict[str, Any]:
    """Say what the pods declare of their end and of their probe; where they differ, the first one counts."""
    declared = [_declared(pod) for pod in pods]
    if any(each != declared[0] for each in declared[1:]):
        assumed.append("pods differ in grace period, preStop or readiness probe: the first one's is taken")
    return declared[0] if declared else {}


def _declared(pod: Pod) -> dict[str, Any]:
    fields: dict[str, Any] = {"terminationGracePeriodSeconds": pod.termination_grace_period_s}
    sleeps_s = [each.pre_stop_s for each in pod.containers if each.pre_stop_s is not None]
    if sleeps_s:
        fields["preStop"] = f"{max(sleeps_s)}s"
    probe = next((each.readiness_probe for each in pod.containers if each.readiness_probe), None)
    if probe:
        fields["readinessProbe"] = {
            "period": f"{probe.period_s}s",
            "timeout": f"{probe.timeout_s}s",
            "failureThreshold": probe.failure_threshold,
            "successThreshold": probe.success_threshold,
        }
    return fields


def _configure(config: ProxyConfig, cluster: dict[str, Any], assumed: list[str]) -> None:
    """Take over what kube-proxy's configuration says of rules, syncs and tables."""
    cluster["proxy"] = {
        "mode": config.mode,
        "minSyncPeriod": f"{config.min_sync_period_s:g}s",
        "syncPeriod": f"{config.sync_period_s:g}s",
        "localhostNodePorts": config.localhost_node_ports,
    }
    if config.mode == "ipvs" and config.scheduler in SCHEDULERS:
        cluster["proxy"]["scheduler"] = config.scheduler
    elif config.mode == "ipvs":
        assumed.append(f"ipvs scheduler {config.scheduler} is not simulated: rr is")
    cores = cluster.get("cores")
    if cores and (most := config.conntrack_max(cores, cluster.get("kubernetesVersion", "1.36"))):
        cluster["conntrack"] = {"max": most}
    elif not config.conntrack_per_core:
        assumed.append("conntrack.maxPerCore is 0: the kernel's own limit holds, which nothing here tells")
    if config.node_port_addresses:
        ranges = ", ".join(config.node_port_addresses)
        assumed.append(f"nodePortAddresses {ranges}: clients are taken to use addresses among them")


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
        assumed.append(
            f"on no node that is given, so outside the cluster: {', '.join(outside[:_NAMED_AT_MOST])}"
        )
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
