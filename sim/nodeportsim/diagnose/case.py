"""What is known: the scenario, the objects it was read from, and the names in them.

A dump says nothing of kube-proxy's mode and of the clients, so what a scenario takes as default there is not
taken as known.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nodeportsim.scenario.events import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodeportsim.kube.cluster import Cluster, Node, Pod
    from nodeportsim.kube.endpointslice import Endpoint
    from nodeportsim.kube.service import Service, ServicePort
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.events import Event
    from nodeportsim.scenario.spec import Placement, Scenario

GRACE_50_SINCE = 32  # Kubernetes 1.32: node-monitor-grace-period 50 s instead of 40 s (kubernetes#126287).
_NAMED_AT_MOST = 5
_TYPED_AT_MOST = 20
_ADDRESSES = '{.items[*].status.addresses[?(@.type=="InternalIP")].address}'
_PAIRS = "{{range $key, $value := .spec.selector}}{{$key}}={{$value}},{{end}}"
_WHOLE_RPS = 100  # Below it a rate is written with three digits.
_WHOLE_PERCENT = 10  # Below it a share is written with two digits.


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cluster with one Service under study, as far as it is known.

    Parameters
    ----------
    scenario
        As `run` would simulate it.
    cluster
        The objects it was read from; None for a scenario without any.
    """

    scenario: Scenario
    cluster: Cluster | None = None

    # The Service.

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return f"{self.scenario.service.namespace}/{self.scenario.service.name}"

    @cached_property
    def service(self) -> Service | None:
        """The Service's object."""
        wanted = (self.scenario.service.namespace, self.scenario.service.name)
        found = self.cluster.services if self.cluster else ()
        return next((s for s in found if (s.namespace, s.name) == wanted), None)

    @cached_property
    def port(self) -> ServicePort | None:
        """The object of the port under study, the first for TCP."""
        ports = self.service.ports if self.service else ()
        return next((port for port in ports if port.protocol == "TCP"), None)

    @property
    def is_local(self) -> bool:
        """Whether a node serves what enters it by its own pods alone."""
        return self.scenario.service.external_traffic_policy == "Local"

    @property
    def mode(self) -> str | None:
        """kube-proxy's mode; None where only objects are known."""
        proxy = self.scenario.cluster.proxy
        return proxy.mode if self.cluster is None or "mode" in proxy.model_fields_set else None

    # What stands behind it.

    @property
    def knows_endpoints(self) -> bool:
        """Whether slices or pods were given."""
        return self.cluster is None or bool({"EndpointSlice", "Pod"} & self.cluster.kinds)

    @property
    def knows_nodes(self) -> bool:
        """Whether all nodes were given, not only those that endpoints name."""
        return self.cluster is None or "Node" in self.cluster.kinds

    @cached_property
    def endpoints(self) -> tuple[Placement, ...]:
        """All endpoints, ready or not."""
        return self.scenario.placement if self.knows_endpoints else ()

    @cached_property
    def usable(self) -> tuple[Placement, ...]:
        """Ready endpoints; if there are none, those that terminate and still serve (KEP-1669)."""
        ready = tuple(end for end in self.endpoints if end.ready)
        return ready or tuple(end for end in self.endpoints if end.serving and end.terminating)

    @cached_property
    def usable_by_node(self) -> dict[str, int]:
        """Usable endpoints of every node of the cluster, none included."""
        counts = Counter(end.node for end in self.usable)
        return {name: counts[name] for name in self.scenario.cluster.names}

    @cached_property
    def slices(self) -> tuple[Endpoint, ...]:
        """Endpoints as the slices have them, with their addresses."""
        if self.cluster is None or self.service is None or self.port is None:
            return ()
        return self.cluster.endpoints(self.service, self.port.name)

    @cached_property
    def selected(self) -> tuple[Pod, ...]:
        """Pods that the Service's selector matches."""
        if self.cluster is None or self.service is None or not self.service.selector:
            return ()
        wanted = set(self.service.selector)
        own = (pod for pod in self.cluster.pods if pod.namespace == self.service.namespace)
        return tuple(pod for pod in own if wanted <= set(pod.labels))

    @property
    def selects_nothing(self) -> bool:
        """Whether pods are known, and the selector matches none."""
        known = self.cluster is not None and "Pod" in self.cluster.kinds
        return known and self.service is not None and bool(self.service.selector) and not self.selected

    # Nodes, clients, events.

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Objects of the nodes by name."""
        return {node.name: node for node in self.cluster.nodes} if self.cluster else {}

    @property
    def clients(self) -> tuple[Clients, ...]:
        """Groups of clients that somebody described."""
        if self.cluster is None:
            return self.scenario.clients
        return tuple(group for group in self.scenario.clients if group.model_fields_set - {"entry"})

    @property
    def kept(self) -> tuple[Clients, ...]:
        """Groups that keep their connections."""
        return tuple(group for group in self.clients if group.connections.reuse != "none")

    def events(self, *faults: str) -> tuple[Event, ...]:
        """Declared faults of these kinds."""
        return tuple(event for event in self.scenario.events if event.fault in faults)

    def struck(self, event: Event) -> tuple[str, ...]:
        """Names of what a fault happens to: a node, a pod, those of a zone, all of them, or the cluster."""
        if event.zone is not None:
            zones = zip(self.scenario.cluster.names, self.scenario.cluster.zone_names, strict=True)
            return tuple(node for node, zone in zones if zone == event.zone)
        if event.node == EVERY:
            return self.scenario.cluster.names
        return tuple(end.name for end in self.endpoints) if event.pod == EVERY else (event.target,)

    @property
    def grace_s(self) -> float:
        """node-monitor-grace-period."""
        minor = int(self.scenario.cluster.kubernetes_version.split(".")[1])
        given = self.scenario.cluster.control_plane.node_monitor_grace_period_s
        return given or (50.0 if minor >= GRACE_50_SINCE else 40.0)

    # Names for commands.

    def words(self, **instead: str) -> dict[str, str]:
        """Names for checks and fixes; ``$NAME`` where no object tells, and `lookup` says how to ask."""
        service = self.scenario.service
        pod = next(iter(self.usable or self.endpoints), None)
        selector = self.service.selector if self.service else ()
        words = {
            "service": service.name,
            "namespace": service.namespace,
            "node_port": str(service.node_port or "$NODE_PORT"),
            "target_port": self._target_port(),
            "port_name": str(self.port.target_port if self.port else ""),
            "selector": ",".join(f"{key}={value}" for key, value in selector) or "$SELECTOR",
            "pod": pod.name if pod else "$POD",
            "node": (pod.node if pod else None) or self.scenario.cluster.names[0],
        } | instead
        return words | {
            "pod_ip": self._address_of(words["pod"]),
            "node_ip": self._node_address(words["node"]),
            "node_ips": self._node_addresses(),
        }

    def lookup(self, commands: Iterable[str]) -> list[str]:
        """Tell how kubectl answers the names that these commands leave open."""
        service, text = self.scenario.service, " ".join(commands)
        get = f"kubectl get service {service.name} -n {service.namespace} -o"
        selector = self.words()["selector"]
        ask = {
            "SELECTOR": f"{get} go-template='{_PAIRS}' | sed 's/,$//'",
            "NODE_PORT": f"{get} jsonpath='{{.spec.ports[0].nodePort}}'",
            "TARGET_PORT": f"{get} jsonpath='{{.spec.ports[0].targetPort}}'",
            "POD": f"kubectl get pods -n {service.namespace} -l {selector} -o name | head -n 1",
            "NODES": f"kubectl get nodes -o jsonpath='{_ADDRESSES}'",
        }
        for pod in (end.name for end in self.endpoints):
            ask[_variable(pod)] = (
                f"kubectl get pod {pod} -n {service.namespace} -o jsonpath='{{.status.podIP}}'"
            )
        used = re.findall(r"\$([A-Z][A-Z0-9_]*)", text)
        used += ["SELECTOR"] if "$SELECTOR" in ask["POD"] and "POD" in used else []
        order = sorted(dict.fromkeys(used), key=lambda name: name != "SELECTOR")
        return [f"{name}=$({ask[name]})" for name in order if name in ask]

    def _target_port(self) -> str:
        """Give the number that pods are sent to; a named port's stands in the slices."""
        number = self.slices[0].port if self.slices else self.port.target_port if self.port else None
        return str(number) if isinstance(number, int) else "$TARGET_PORT"

    def _address_of(self, pod: str) -> str:
        for end in self.slices:
            if end.pod == pod:
                return end.address
        found = next((each.ip for each in self.selected if each.name == pod and each.ip), None)
        return found or f"${_variable(pod)}"

    def _node_addresses(self) -> str:
        names = self.scenario.cluster.names
        return " ".join(map(self._node_address, names)) if len(names) <= _TYPED_AT_MOST else "$NODES"

    def _node_address(self, node: str) -> str:
        found = self.nodes.get(node)
        return (found.address if found else None) or node


def _variable(pod: str) -> str:
    return "IP_OF_" + re.sub(r"[^A-Z0-9]", "_", pod.upper())


def listed(names: Iterable[Any]) -> str:
    """Write names in a row, the first few of many."""
    given = [str(name) for name in names]
    more = f" and {len(given) - _NAMED_AT_MOST} more" if len(given) > _NAMED_AT_MOST else ""
    return ", ".join(given[:_NAMED_AT_MOST]) + more


def share(ratio: float) -> str:
    """Write a share: 36 %, 0.41 %."""
    percent = 100 * ratio
    return f"{percent:.0f} %" if percent >= _WHOLE_PERCENT or percent == 0 else f"{percent:.2g} %"


def happens(case: Case, event: Event) -> str:
    """Say of a declared fault what happens to whom, and when."""
    again = " on average, again and again" if event.up_s else ""
    at_s = event.at_s + (event.up_s or 0.0)
    return f"the scenario declares {event.fault} of {listed(case.struck(event))} at {at_s:g} s{again}"


def rate(value_rps: float) -> str:
    """Write a rate: 26,880/s, 68.3/s."""
    return f"{value_rps:,.0f}/s" if value_rps >= _WHOLE_RPS else f"{value_rps:.3g}/s"
