"""The API server's rules for a Service, in its order and its words.

Source: k8s:pkg/apis/core/validation/validation.go ValidateServiceCreate, ValidateServiceUpdate (1.36);
names follow RFC 1123 there (gate RelaxedServiceNameValidation, on since 1.36, KEP-5311).
The server validates *after* allocation, so an exhausted range or a taken port hides every rule here
(`ports.Registry` keeps that order). A rule yields field errors; no error means the Service is accepted.
Left out: rules that defaulting makes unreachable, annotations, and dual-stack up- and downgrades.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from nodeportsim.kube.names import dns_label, dns_subdomain, label_key, label_value, port_name
from nodeportsim.kube.status import duplicate, forbidden, invalid, required, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.kube.service import Service, ServicePort

_MAX_PORT = 65535
_MAX_AFFINITY_TIMEOUT_S = 86400  # k8s:pkg/apis/core/types.go MaxClientIPServiceAffinitySeconds, one day
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"


def validate_create(service: Service) -> list[str]:
    """List what forbids a new Service, ports already allocated."""
    return [*_metadata(service), *_service(service)]


def validate_update(service: Service, old: Service) -> list[str]:
    """List what forbids a change from `old`, ports already allocated."""
    return [*_immutable(service, old), *_service(service)]


def validate_cluster_ips(service: Service) -> list[str]:
    """List what is wrong with the addresses; the server looks at them before it allocates anything."""
    return [] if service.type == "ExternalName" else [*_cluster_ips(service), *_ip_families(service)]


def _metadata(service: Service) -> Iterator[str]:
    if not service.name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from (invalid("metadata.name", service.name, e) for e in dns_label(service.name))
    yield from (invalid("metadata.namespace", service.namespace, e) for e in dns_label(service.namespace))
    yield from _labels(service.labels, "metadata.labels")


def _immutable(service: Service, old: Service) -> Iterator[str]:
    addressed = "ExternalName" not in {service.type, old.type}
    if addressed and not (service.is_headless and old.is_headless):
        for n, (now, before) in enumerate(zip(service.cluster_ips, old.cluster_ips, strict=False)):
            if now != before:
                yield invalid(f"spec.clusterIPs[{n}]", service.cluster_ips, "may not change once set")
    both_balanced = service.type == old.type == "LoadBalancer"
    if both_balanced and service.load_balancer_class != old.load_balancer_class:
        yield invalid("spec.loadBalancerClass", service.load_balancer_class, "may not change once set")
    if service.needs_health_check and old.needs_health_check:  # noqa: SIM102 # Two rules read better apart.
        if service.health_check_node_port != old.health_check_node_port:
            yield forbidden("spec.healthCheckNodePort", "field is immutable")


def _service(service: Service) -> Iterator[str]:
    if not service.ports and not service.is_headless and service.type != "ExternalName":
        yield required("spec.ports")
    yield from _type_and_addresses(service)
    yield from _ports(service)
    yield from _labels(service.selector, "spec.selector")
    yield from _affinity(service)
    yield from _external_ips(service)
    yield from _type(service)
    yield from _node_ports(service)
    yield from _duplicate_ports(service)
    yield from _load_balancer(service)
    yield from _external_traffic(service)
    yield from _traffic_policies(service)


def _type_and_addresses(service: Service) -> Iterator[str]:
    if service.uses_node_ports and service.is_headless:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {service.type} services")
    if service.type != "ExternalName":
        return
    set_fields = {
        "clusterIPs": service.cluster_ips,
        "ipFamilies": service.ip_families,
        "ipFamilyPolicy": service.ip_family_policy,
    }
    for field, value in set_fields.items():
        if value:
            yield forbidden(f"spec.{field}", "may not be set for ExternalName services")
    name = service.external_name.removesuffix(".")
    if not name:
        yield required("spec.externalName")
    else:
        yield from (invalid("spec.externalName", name, e) for e in dns_subdomain(name))


def _ports(service: Service) -> Iterator[str]:
    names: set[str] = set()
    for n, port in enumerate(service.ports):
        path = f"spec.ports[{n}]"
        if port.name:
            yield from (invalid(f"{path}.name", port.name, e) for e in dns_label(port.name))
        elif len(service.ports) > 1:
            yield required(f"{path}.name")
        if port.name and port.name in names:
            yield duplicate(f"{path}.name", port.name)
        names.add(port.name)
        yield from _port(port, path)


def _port(port: ServicePort, path: str) -> Iterator[str]:
    yield from _port_number(port.port, f"{path}.port")
    if port.protocol not in {"SCTP", "TCP", "UDP"}:
        yield unsupported(f"{path}.protocol", port.protocol, ("SCTP", "TCP", "UDP"))
    if isinstance(port.target_port, int):
        yield from _port_number(port.target_port, f"{path}.targetPort")
    else:
        yield from (invalid(f"{path}.targetPort", port.target_port, e) for e in port_name(port.target_port))
    if port.app_protocol is not None:
        yield from (
            invalid(f"{path}.appProtocol", port.app_protocol, e) for e in label_key(port.app_protocol)
        )


def _port_number(number: int, path: str) -> Iterator[str]:
    if not 1 <= number <= _MAX_PORT:
        yield invalid(path, number, f"must be between 1 and {_MAX_PORT}, inclusive")


def _labels(labels: tuple[tuple[str, str], ...], path: str) -> Iterator[str]:
    for key, value in labels:
        yield from (invalid(path, key, e) for e in label_key(key))
        yield from (invalid(path, value, e) for e in label_value(value))


def _affinity(service: Service) -> Iterator[str]:
    if service.session_affinity not in {"ClientIP", "None"}:
        yield unsupported("spec.sessionAffinity", service.session_affinity, ("ClientIP", "None"))
    timeout_s = service.affinity_timeout_s
    if timeout_s is not None and not 0 < timeout_s <= _MAX_AFFINITY_TIMEOUT_S:
        # The text says "less than", the rule is "at most".
        rule = f"must be greater than 0 and less than {_MAX_AFFINITY_TIMEOUT_S}"
        yield invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout_s, rule)


def _cluster_ips(service: Service) -> Iterator[str]:
    addresses = service.cluster_ips
    if service.cluster_ip and addresses[0] != service.cluster_ip:
        yield invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    if addresses and not service.cluster_ip:
        yield invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
    for n, address in enumerate(addresses):
        if n == 0 and address == "None":
            if len(addresses) > 1:
                yield invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
        else:
            yield from _address(address, f"spec.clusterIPs[{n}]")
    if len(addresses) > 2:  # noqa: PLR2004 # One of each IP family.
        yield invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")


def _ip_families(service: Service) -> Iterator[str]:
    for n, family in enumerate(service.ip_families):
        if family not in {"IPv4", "IPv6"}:
            yield unsupported(f"spec.ipFamilies[{n}]", family, ("IPv4", "IPv6"))
        if family in service.ip_families[:n]:
            yield duplicate(f"spec.ipFamilies[{n}]", family)
    policies = ("PreferDualStack", "RequireDualStack", "SingleStack")
    if service.ip_family_policy is not None and service.ip_family_policy not in policies:
        yield unsupported("spec.ipFamilyPolicy", service.ip_family_policy, policies)


def _external_ips(service: Service) -> Iterator[str]:
    for n, text in enumerate(service.external_ips):
        path = f"spec.externalIPs[{n}]"
        errors = list(_address(text, path))
        yield from errors or _not_special(text, path)


def _address(text: str, path: str) -> Iterator[str]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _not_special(text: str, path: str) -> Iterator[str]:
    """Refuse what no endpoint may be (k8s:pkg/apis/core/validation/validation.go ValidateEndpointIP)."""
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        yield invalid(path, text, f"may not be unspecified ({text})")
    if address.is_loopback:
        yield invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        yield invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    multicast = ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")  # noqa: PLR2004 # IPv4
    if address in multicast:
        yield invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def _type(service: Service) -> Iterator[str]:
    known = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if service.type not in known:
        yield unsupported("spec.type", service.type, known)


def _node_ports(service: Service) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for n, port in enumerate(service.ports):
        if port.node_port and service.type == "ClusterIP":
            yield forbidden(f"spec.ports[{n}].nodePort", "may not be used when `type` is 'ClusterIP'")
    for n, port in enumerate(service.ports):
        if port.node_port and (port.protocol, port.node_port) in seen:
            yield duplicate(f"spec.ports[{n}].nodePort", port.node_port)
        seen.add((port.protocol, port.node_port))


def _duplicate_ports(service: Service) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for n, port in enumerate(service.ports):
        if (port.protocol, port.port) in seen:
            # The server writes out a port that holds nothing but the pair that must be unique.
            pair = {"Name": "", "Protocol": port.protocol, "AppProtocol": None, "Port": port.port}
            yield duplicate(f"spec.ports[{n}]", pair | {"TargetPort": 0, "NodePort": 0})
        seen.add((port.protocol, port.port))


def _load_balancer(service: Service) -> Iterator[str]:
    is_balanced = service.type == "LoadBalancer"
    if service.load_balancer_source_ranges and not is_balanced:
        yield forbidden("spec.LoadBalancerSourceRanges", _ONLY_LOAD_BALANCER)
    for n, text in enumerate(service.load_balancer_source_ranges):
        try:
            ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            rule = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid(f"spec.LoadBalancerSourceRanges[{n}]", text.strip(), rule)
    if service.allocate_load_balancer_node_ports is not None and not is_balanced:
        yield forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER)
    name = service.load_balancer_class
    if name is not None and not is_balanced:
        yield forbidden("spec.loadBalancerClass", _ONLY_LOAD_BALANCER)
    elif name is not None:
        yield from (invalid("spec.loadBalancerClass", name, e) for e in label_key(name))


def _external_traffic(service: Service) -> Iterator[str]:
    policy, number = service.external_traffic_policy, service.health_check_node_port
    if not service.is_externally_accessible:
        if policy:
            yield invalid(
                "spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services"
            )
    elif policy not in {"Cluster", "Local"}:
        yield unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    if number and not service.needs_health_check:
        rule = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", number, rule)
    elif number:
        yield from _port_number(number, "spec.healthCheckNodePort")


def _traffic_policies(service: Service) -> Iterator[str]:
    policy, distribution = service.internal_traffic_policy, service.traffic_distribution
    if policy is not None and policy not in {"Cluster", "Local"}:
        yield unsupported("spec.internalTrafficPolicy", policy, ("Cluster", "Local"))
    distributions = ("PreferClose", "PreferSameZone", "PreferSameNode")
    if distribution is not None and distribution not in distributions:
        yield unsupported("spec.trafficDistribution", distribution, distributions)
