"""A Service, decoded and defaulted as the API server does.

How the real thing works (1.36): the JSON body is decoded into Go structs, where a wrong type is a 400 that
names the Go field; then defaults are filled in (k8s:pkg/apis/core/v1/defaults.go SetDefaults_Service).
Validation (`validation`) and port allocation (`ports`) come after.
Modelled: every field of `spec` that touches ports, types, policies, affinity and selection.
Left out: allocation of ClusterIPs and IP families, `status`, annotations but for that on topology, and strict
decoding, by which kubectl (not the server) refuses unknown fields; unknown fields are ignored, as the server
does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from nodeportsim.errors import InputError
from nodeportsim.kube.status import bad_request

AFFINITY_TIMEOUT_S = (
    10800  # k8s:staging/src/k8s.io/api/core/v1/types.go DefaultClientIPServiceAffinitySeconds
)

TOPOLOGY_ANNOTATIONS = (  # hintsEnabled, k8s:staging/src/k8s.io/endpointslice/utils.go
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePort:
    """One port of a Service. `node_port` 0 means none (yet); a named `target_port` is a text."""

    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: int
    target_port: int | str
    node_port: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A Service after defaulting, field by field as in k8s:staging/src/k8s.io/api/core/v1/types.go.

    Empty texts and tuples, 0 and None mean that the field is not set. `affinity_timeout_s` is
    ``sessionAffinityConfig.clientIP.timeoutSeconds``, `topology_mode` is ``Auto`` where annotated so.
    `labels` and `selector` are sorted pairs.
    """

    name: str
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    type: str = "ClusterIP"
    selector: tuple[tuple[str, str], ...] = ()
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    topology_mode: str = ""
    session_affinity: str = "None"
    affinity_timeout_s: int | None = None
    health_check_node_port: int = 0
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str | None = None
    load_balancer_source_ranges: tuple[str, ...] = ()

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """Decode and default a manifest; a wrong type raises `StatusError` 400."""
        if not isinstance(manifest, Mapping) or manifest.get("kind", "Service") != "Service":
            raise InputError("must be a Service", field="kind", hint="Give one manifest of kind: Service.")
        document = _decode(manifest, _SERVICE)
        return cls(**_defaulted(document.get("metadata") or {}, document.get("spec") or {}))

    @property
    def is_headless(self) -> bool:
        """Whether it has no virtual address, by ``clusterIP: None``."""
        return self.cluster_ips == ("None",)

    @property
    def uses_node_ports(self) -> bool:
        """Whether its type comes with NodePorts."""
        return self.type in {"NodePort", "LoadBalancer"}

    @property
    def allocates_node_ports(self) -> bool:
        """Whether ports without a `node_port` are given one."""
        return self.type == "NodePort" or (
            self.type == "LoadBalancer" and self.allocate_load_balancer_node_ports is not False
        )

    @property
    def is_externally_accessible(self) -> bool:
        """Whether ``externalTrafficPolicy`` means anything (k8s:pkg/api/service/util.go)."""
        return self.uses_node_ports or (self.type == "ClusterIP" and bool(self.external_ips))

    @property
    def needs_health_check(self) -> bool:
        """Whether it has a ``healthCheckNodePort`` (k8s:pkg/api/service/util.go)."""
        return self.type == "LoadBalancer" and self.external_traffic_policy == "Local"


class _Struct(NamedTuple):
    """A Go struct: its name, and its fields' types by JSON name: a struct, a list, a map or a word."""

    name: str
    fields: dict[str, Any]


class _List(NamedTuple):
    item: Any


_MAP = "map[string]string"
_INT_OR_STRING = "intstr.IntOrString"
_SERVICE_PORT = _Struct(
    "ServicePort",
    {
        "name": "string",
        "protocol": "v1.Protocol",
        "appProtocol": "string",
        "port": "int32",
        "targetPort": _INT_OR_STRING,
        "nodePort": "int32",
    },
)
_SPEC = _Struct(
    "ServiceSpec",
    {
        "ports": _List(_SERVICE_PORT),
        "selector": _MAP,
        "clusterIP": "string",
        "clusterIPs": _List("string"),
        "type": "v1.ServiceType",
        "externalIPs": _List("string"),
        "sessionAffinity": "v1.ServiceAffinity",
        "loadBalancerSourceRanges": _List("string"),
        "externalName": "string",
        "externalTrafficPolicy": "v1.ServiceExternalTrafficPolicy",
        "healthCheckNodePort": "int32",
        "sessionAffinityConfig": _Struct(
            "SessionAffinityConfig", {"clientIP": _Struct("ClientIPConfig", {"timeoutSeconds": "int32"})}
        ),
        "ipFamilies": _List("v1.IPFamily"),
        "ipFamilyPolicy": "v1.IPFamilyPolicy",
        "allocateLoadBalancerNodePorts": "bool",
        "loadBalancerClass": "string",
        "internalTrafficPolicy": "v1.ServiceInternalTrafficPolicy",
        "trafficDistribution": "string",
    },
)
_METADATA = _Struct(
    "ObjectMeta", {"name": "string", "namespace": "string", "labels": _MAP, "annotations": _MAP}
)
_SERVICE = _Struct("Service", {"metadata": _METADATA, "spec": _SPEC})


_Trail = tuple[
    _Struct | str | int, ...
]  # Down to a value: each struct and the key in it, list indices, map keys.


def _decode(value: Any, go: Any, trail: _Trail = ()) -> Any:
    """Decode a JSON value as Go's encoding/json does: null is no value, the first wrong type ends it."""
    if value is None:
        return None
    if isinstance(go, _Struct) and isinstance(value, Mapping):
        fields = go.fields
        return {
            key: _decode(item, fields[key], (*trail, go, key)) for key, item in value.items() if key in fields
        }
    if isinstance(go, _List) and isinstance(value, list | tuple):
        return [_decode(item, go.item, (*trail, n)) for n, item in enumerate(value)]
    if go == _MAP and isinstance(value, Mapping):
        return {str(key): _decode(item, "string", (*trail, f"[{key}]")) or "" for key, item in value.items()}
    return _decode_scalar(value, go, trail)


def _decode_scalar(value: Any, go: Any, trail: _Trail) -> Any:
    go = "int32" if go == _INT_OR_STRING and not isinstance(value, str) else go
    if isinstance(go, str) and go != _MAP:
        if go == "bool" and isinstance(value, bool):
            return value
        if go == "int32" and type(value) is int and -(2**31) <= value < 2**31:
            return value
        if go not in {"bool", "int32"} and isinstance(value, str):
            return value
    what = f"{_json_kind(value, go)} into Go struct field {_go_field(trail)} of type {_go_name(go)}"
    raise bad_request(f"cannot unmarshal {what}", path=_path(trail))


def _go_field(trail: _Trail) -> str:
    """Name a field for Go's message: the struct it is in, then the whole path without indices."""
    structs = [step.name for step in trail if isinstance(step, _Struct)]
    keys = [step for step in trail if isinstance(step, str) and not step.startswith("[")]
    return ".".join([*structs[-1:], *keys])


def _path(trail: _Trail) -> str:
    """Write where a value stands: ``spec.ports[0].port``."""
    words = (
        f"[{step}]" if isinstance(step, int) else str(step) for step in trail if not isinstance(step, _Struct)
    )
    return ".".join(words).replace(".[", "[")


def _json_kind(value: Any, go: Any) -> str:
    """Say what a JSON value is, in the words of Go's UnmarshalTypeError."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {json.dumps(value)}" if go == "int32" else "number"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else "string"


def _go_name(go: Any) -> str:
    if isinstance(go, _Struct):
        return f"v1.{go.name}"
    return f"[]{_go_name(go.item)}" if isinstance(go, _List) else str(go)


def _defaulted(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what SetDefaults_Service fills in, and normalise ``clusterIPs``."""
    kind = spec.get("type") or "ClusterIP"
    external_ips = tuple(ip or "" for ip in spec.get("externalIPs") or ())
    exposed = kind in {"NodePort", "LoadBalancer"} or (kind == "ClusterIP" and bool(external_ips))
    internal = "Cluster" if kind in {"ClusterIP", "NodePort", "LoadBalancer"} else None
    cluster_ip = spec.get("clusterIP") or ""
    affinity = spec.get("sessionAffinity") or "None"
    allocates = spec.get("allocateLoadBalancerNodePorts")
    return {
        "name": metadata.get("name") or "",
        "namespace": metadata.get("namespace") or "default",
        "labels": _pairs(metadata.get("labels")),
        "type": kind,
        "selector": _pairs(spec.get("selector")),
        "ports": tuple(_default_port(port or {}) for port in spec.get("ports") or ()),
        "cluster_ip": cluster_ip,
        "cluster_ips": _texts(spec, "clusterIPs") or ((cluster_ip,) if cluster_ip else ()),
        "ip_families": _texts(spec, "ipFamilies"),
        "ip_family_policy": spec.get("ipFamilyPolicy"),
        "external_ips": external_ips,
        "external_name": spec.get("externalName") or "",
        "external_traffic_policy": spec.get("externalTrafficPolicy") or ("Cluster" if exposed else ""),
        "internal_traffic_policy": _default(spec.get("internalTrafficPolicy"), internal),
        "traffic_distribution": spec.get("trafficDistribution"),
        "topology_mode": _topology_mode(metadata.get("annotations") or {}),
        "session_affinity": affinity,
        "affinity_timeout_s": _affinity_timeout_s(spec) if affinity == "ClientIP" else None,
        "health_check_node_port": spec.get("healthCheckNodePort") or 0,
        "allocate_load_balancer_node_ports": _default(allocates, True if kind == "LoadBalancer" else None),
        "load_balancer_class": spec.get("loadBalancerClass"),
        "load_balancer_source_ranges": _texts(spec, "loadBalancerSourceRanges"),
    }


def _topology_mode(annotations: Mapping[str, str]) -> str:
    """Read the annotation that asks for hints; its first name goes before its later one (hintsEnabled)."""
    given = [annotations[name] for name in TOPOLOGY_ANNOTATIONS if name in annotations]
    return "Auto" if given and given[0] in {"Auto", "auto"} else ""


def _default_port(port: Mapping[str, Any]) -> ServicePort:
    number = port.get("port") or 0
    return ServicePort(
        name=port.get("name") or "",
        protocol=port.get("protocol") or "TCP",
        app_protocol=port.get("appProtocol"),
        port=number,
        target_port=port.get("targetPort") or number,
        node_port=port.get("nodePort") or 0,
    )


def _affinity_timeout_s(spec: Mapping[str, Any]) -> int:
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    given: int | None = config.get("timeoutSeconds")
    return AFFINITY_TIMEOUT_S if given is None else given


def _default(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _pairs(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((given or {}).items()))


def _texts(spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(text or "" for text in spec.get(key) or ())
