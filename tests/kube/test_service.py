"""A Service is decoded, defaulted and judged as a real API server 1.36 does it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.kube.ports import Registry
from nodeportsim.kube.service import Service, ServicePort
from nodeportsim.kube.status import StatusError

DNS_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

SPEC_FIELD = "Go struct field ServiceSpec.spec"


def seeded() -> random.Random:
    return random.Random(1)  # noqa: S311 # Reproducible, not secret.


def manifest(*ports: dict[str, Any], name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": list(ports) or [{"port": 80}], **spec},
    }


def refusal(document: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(StatusError) as caught:
        Registry(rng=seeded()).create(document)
    return caught.value.code, caught.value.message


def accepted(document: dict[str, Any]) -> Service:
    return Registry(rng=seeded()).create(document)


def test_defaults_are_those_of_the_api() -> None:
    bare = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    assert Service.from_manifest(bare) == Service(
        name="web",
        namespace="default",
        type="ClusterIP",
        ports=(ServicePort(port=80, protocol="TCP", target_port=80),),
        external_traffic_policy="",
        internal_traffic_policy="Cluster",
        session_affinity="None",
    )


def test_only_a_load_balancer_allocates_node_ports_by_a_field_of_its_own() -> None:
    assert Service.from_manifest(manifest()).allocate_load_balancer_node_ports is None
    assert Service.from_manifest(manifest(type="LoadBalancer")).allocate_load_balancer_node_ports is True


@pytest.mark.parametrize("config", [None, {}, {"clientIP": None}, {"clientIP": {"timeoutSeconds": None}}])
def test_client_ip_affinity_lasts_three_hours_unless_said_otherwise(config: object) -> None:
    service = accepted(manifest(sessionAffinity="ClientIP", sessionAffinityConfig=config))
    assert service.affinity_timeout_s == 3 * 3600


def test_affinity_config_without_affinity_is_dropped() -> None:
    config = {"clientIP": {"timeoutSeconds": 99}}
    assert accepted(manifest(sessionAffinityConfig=config)).affinity_timeout_s is None


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"ports": [{"port": True}]}, "bool into Go struct field ServicePort.spec.ports.port of type int32"),
        (
            {"ports": [{"port": 8e9}]},
            "number 8000000000.0 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ({"ports": [{"name": 80}]}, "number into Go struct field ServicePort.spec.ports.name of type string"),
        (
            {"ports": [{"targetPort": []}]},
            "array into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            {"ports": {"port": 80}},
            "object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        ({"ports": ["80"]}, "string into Go struct field ServiceSpec.spec.ports of type v1.ServicePort"),
        ({"type": 5}, "number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        (
            {"selector": "app=web"},
            "string into Go struct field ServiceSpec.spec.selector of type map[string]string",
        ),
        (
            {"sessionAffinityConfig": "1h"},
            f"string into {SPEC_FIELD}.sessionAffinityConfig of type v1.SessionAffinityConfig",
        ),
    ],
)
def test_a_wrong_type_fails_in_decoding_with_the_go_field(spec: dict[str, Any], problem: str) -> None:
    message = f'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal {problem}'
    assert refusal(manifest(**spec)) == (400, message)


def test_a_wrong_type_says_where_it_stands() -> None:
    with pytest.raises(StatusError) as caught:
        Service.from_manifest(manifest({"port": 80}, {"port": "443"}))
    assert caught.value.path == "spec.ports[1].port"


ONLY_LOAD_BALANCER = "Forbidden: may only be used when `type` is 'LoadBalancer'"
NO_MULTICAST = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
POLICIES = '"PreferDualStack", "RequireDualStack", "SingleStack"'


@pytest.mark.parametrize(
    ("spec", "field", "problem"),
    [
        ({"clusterIP": "10.0.0.300"}, "clusterIPs[0]", f'Invalid value: "10.0.0.300": {NO_ADDRESS}'),
        (
            {"externalIPs": ["127.0.0.1"]},
            "externalIPs[0]",
            'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        (
            {"externalIPs": ["224.0.0.9"]},
            "externalIPs[0]",
            f'Invalid value: "224.0.0.9": {NO_MULTICAST}',
        ),
        (
            {"clusterIP": "None", "clusterIPs": ["None", "10.0.0.1"]},
            "clusterIPs",
            """Invalid value: ["None","10.0.0.1"]: 'None' must be the first and only value""",
        ),
        (
            {"clusterIP": "::1", "clusterIPs": ["::1", "::2", "::3"]},
            "clusterIPs",
            'Invalid value: ["::1","::2","::3"]: may only hold up to 2 values',
        ),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "ipFamilies[1]", 'Duplicate value: "IPv4"'),
        ({"type": "ExternalName", "ports": []}, "externalName", "Required value"),
        (
            {"type": "ExternalName", "externalName": "db.example.", "clusterIP": "10.0.0.1"},
            "clusterIPs",
            "Forbidden: may not be set for ExternalName services",
        ),
        ({"allocateLoadBalancerNodePorts": True}, "allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER),
        ({"loadBalancerClass": "acme/lb"}, "loadBalancerClass", ONLY_LOAD_BALANCER),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "LoadBalancerSourceRanges", ONLY_LOAD_BALANCER),
        (
            {"internalTrafficPolicy": "Nearest"},
            "internalTrafficPolicy",
            'Unsupported value: "Nearest": supported values: "Cluster", "Local"',
        ),
        (
            {"ipFamilyPolicy": "Dual"},
            "ipFamilyPolicy",
            f'Unsupported value: "Dual": supported values: {POLICIES}',
        ),
    ],
)
def test_a_rule_that_is_broken_is_named_in_the_servers_words(
    spec: dict[str, Any], field: str, problem: str
) -> None:
    assert refusal(manifest(**spec)) == (422, f'Service "web" is invalid: spec.{field}: {problem}')


@pytest.mark.parametrize(
    ("target_port", "rule"),
    [
        ("8080", "must contain at least one letter (a-z)"),
        ("a--b", "must not contain consecutive hyphens"),
        ("http-", "must not begin or end with a hyphen"),
        ("x" * 16, "must be no more than 15 characters"),
        ("Http", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
    ],
)
def test_a_named_target_port_is_an_iana_port_name(target_port: str, rule: str) -> None:
    problem = f'spec.ports[0].targetPort: Invalid value: "{target_port}": {rule}'
    document = manifest({"port": 80, "targetPort": target_port})
    assert refusal(document) == (422, f'Service "web" is invalid: {problem}')


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "Required value: name or generateName is required"),
        ("Web", f'Invalid value: "Web": {DNS_LABEL_RULE}'),
        ("a.b", 'Invalid value: "a.b": must not contain dots'),
    ],
)
def test_a_name_is_a_dns_label(name: str, problem: str) -> None:
    assert refusal(manifest(name=name)) == (422, f'Service "{name}" is invalid: metadata.name: {problem}')


@pytest.mark.parametrize(
    ("key", "value", "rules"),
    [
        ("a/b/c", "", ["a valid label key must consist of alphanumeric characters, '-', '_' or '.'"]),
        ("/b", "", ["prefix part must be non-empty"]),
        ("a/", "", ["name part must be non-empty", "name part must consist of alphanumeric characters"]),
        ("x" * 64, "", ["name part must be no more than 63 bytes"]),
        ("app", "-", ["a valid label must be an empty string or consist of alphanumeric characters"]),
    ],
)
def test_a_selector_holds_label_keys_and_values(key: str, value: str, rules: list[str]) -> None:
    _, text = refusal(manifest(selector={key: value}))
    assert text.count("spec.selector: Invalid value: ") == len(rules)
    assert all(f": {rule}" in text for rule in rules)


def test_a_name_may_start_with_a_digit_since_1_36() -> None:
    assert accepted(manifest(name="1st")).name == "1st"


def test_the_same_port_and_protocol_twice_is_a_duplicate() -> None:
    ports = [{"name": "x", "port": 80, "nodePort": 30001}, {"name": "y", "port": 80, "nodePort": 30002}]
    pair = '{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}'
    message = f'Service "web" is invalid: spec.ports[1]: Duplicate value: {pair}'
    assert refusal(manifest(*ports)) == (422, message)


def test_several_problems_are_listed_in_brackets_each_once() -> None:
    code, message = refusal(manifest({"port": 0}, {"port": 0}))
    number = "Invalid value: 0: must be between 1 and 65535, inclusive"
    problems = [
        f"spec.ports[{n}].{problem}"
        for n in (0, 1)
        for problem in ("name: Required value", f"port: {number}", f"targetPort: {number}")
    ]
    assert code == 422
    assert message.startswith(f'Service "web" is invalid: [{", ".join(problems)}, ')


def test_a_problem_that_repeats_itself_word_for_word_is_told_once() -> None:
    _, text = refusal(manifest(selector={"a": "-", "b": "-"}))
    assert text.startswith('Service "web" is invalid: spec.selector: Invalid value: "-": a valid label')


def test_one_protocol_may_not_have_a_node_port_twice() -> None:
    # Two ports with an equal number and protocol share their automatic node port, which then collides.
    _, text = refusal(manifest({"name": "x", "port": 80}, {"name": "y", "port": 80}))
    assert "spec.ports[1].nodePort: Duplicate value: 3" in text


def test_another_kind_is_not_a_service() -> None:
    with pytest.raises(InputError, match="must be a Service"):
        Service.from_manifest({"kind": "Pod", "metadata": {"name": "web"}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = (
    "ports",
    "type",
    "clusterIP",
    "clusterIPs",
    "selector",
    "externalIPs",
    "sessionAffinity",
    "ipFamilies",
)
port_fields = ("name", "port", "protocol", "targetPort", "nodePort", "appProtocol")
fuzzed_ports = st.lists(
    st.dictionaries(st.sampled_from(port_fields), json_values | st.integers(0, 70000)), max_size=3
)


@given(
    spec=st.dictionaries(st.sampled_from(fields), json_values),
    ports=fuzzed_ports,
    kind=st.sampled_from(["NodePort", "ClusterIP", "LoadBalancer", "ExternalName"]),
)
def test_whatever_stands_in_a_manifest_it_is_accepted_or_refused(spec: Any, ports: Any, kind: str) -> None:
    registry = Registry(rng=seeded())
    try:
        service = registry.create(manifest(**{"type": kind, "ports": ports, **spec}))
    except InputError:
        assert not registry.services
        assert not registry.taken
    else:
        assert registry.services == (service,)
