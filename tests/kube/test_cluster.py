"""Documents of a cluster are read whole, or refused with the document and the field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.kube.cluster import Cluster, Counts, read_cluster

CLUSTERS = Path(__file__).parents[1] / "golden" / "clusters"


def dump(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((CLUSTERS / f"{name}.json").read_text())
    return document


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def endpoint(address: str, **fields: Any) -> dict[str, Any]:
    return {"addresses": [address], **fields}


def piece(
    name: str, *endpoints: dict[str, Any], of: str = "web", family: str = "IPv4", **fields: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": "", "port": 8080}],
        **fields,
    }


def node(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, **fields}


def addresses(cluster: Cluster, name: str = "web") -> list[str]:
    return [e.address for e in cluster.endpoints(cluster.service(name))]


def problem(*documents: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_cluster(documents)
    return str(caught.value)


def test_the_small_cluster_is_read_as_it_was_built() -> None:
    cluster = read_cluster([dump("five-nodes")])
    assert [(n.name, n.zone, n.cores) for n in cluster.nodes] == [
        ("node-1", "zone-a", 4),
        ("node-2", "zone-b", 4),
        ("node-3", "zone-c", 4),
        ("node-4", "zone-a", 4),
        ("node-5", "zone-b", 8),
    ]
    assert {(n.kernel_version, n.kubernetes_version, n.ready) for n in cluster.nodes} == {
        ("6.6.117", "1.36", True)
    }
    assert (len(cluster.services), len(cluster.pods), cluster.ignored) == (10, 23, ())
    web = cluster.service("my-nodeport-service")
    assert (web.type, web.ports[0].node_port, len(cluster.endpoints(web))) == ("NodePort", 30080, 10)
    login = cluster.endpoints(cluster.service("login", namespace="shop"))
    assert [(e.node, e.ready, e.zone, e.pod) for e in login] == [
        ("node-3", True, "zone-c", "login-00"),
        ("node-4", False, "zone-a", "login-01"),
        ("node-5", True, "zone-b", "login-02"),
    ]


def counted(document: dict[str, Any]) -> tuple[int, int, int]:
    """Count P, N and T of kube-proxy's formulas straight from the JSON: usable here is ready."""
    ready = {
        (
            item["metadata"]["namespace"],
            item["metadata"]["labels"]["kubernetes.io/service-name"],
            port["name"],
        ): sum(e["conditions"]["ready"] for e in item["endpoints"])
        for item in document["items"]
        if item["kind"] == "EndpointSlice"
        for port in item["ports"]
    }
    ports = [
        (port, ready.get((item["metadata"]["namespace"], item["metadata"]["name"], port.get("name", "")), 0))
        for item in document["items"]
        if item["kind"] == "Service" and item["spec"].get("clusterIP", "None") != "None"
        for port in item["spec"]["ports"]
    ]
    live = [(port, n) for port, n in ports if n]
    return len(live), sum("nodePort" in port for port, _ in live), sum(n for _, n in live)


@pytest.mark.parametrize("name", ["five-nodes", "five-nodes-130-services"])
def test_ports_and_endpoints_are_counted_as_kube_proxy_sees_them(name: str) -> None:
    counts = read_cluster([dump(name)]).counts
    assert (counts.ports, counts.node_ports, counts.endpoints) == counted(dump(name))


def test_ports_without_endpoints_are_counted_apart() -> None:
    # orphan selects nothing, edge has pods but no slice.
    counts = read_cluster([dump("five-nodes")]).counts
    assert counts == Counts(
        ports=8, node_ports=6, endpoints=31, ports_without_endpoints=2, node_ports_without_endpoints=2
    )


def test_a_list_and_its_items_are_the_same_cluster() -> None:
    document = dump("five-nodes")
    assert read_cluster([document]) == read_cluster(document["items"])


def test_slices_of_one_service_are_joined_and_an_address_counts_once() -> None:
    later = piece("web-2", endpoint("10.0.0.2", conditions={"ready": True}), endpoint("10.0.0.3"))
    first = piece("web-1", endpoint("10.0.0.1"), endpoint("10.0.0.2", conditions={"ready": False}))
    cluster = read_cluster([service(), first, later])
    assert addresses(cluster) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert all(e.ready and e.port == 8080 for e in cluster.endpoints(cluster.service("web")))


def test_ipv6_counts_where_there_is_no_ipv4_and_fqdn_never() -> None:
    four, six = piece("four", endpoint("10.0.0.1")), piece("six", endpoint("fd00::1"), family="IPv6")
    name = piece("name", endpoint("web.example"), family="FQDN")
    assert addresses(read_cluster([service(), six, four, name])) == ["10.0.0.1"]
    assert addresses(read_cluster([service(), six, name])) == ["fd00::1"]
    cluster = read_cluster([service(), name])
    assert (addresses(cluster), cluster.ignored) == ([], ("EndpointSlice default/name",))


def test_a_missing_condition_reads_as_ready_serving_and_not_terminating() -> None:
    states = [{}, {"ready": False}, {"ready": False, "serving": True, "terminating": True}]
    slices = piece("web", *(endpoint(f"10.0.0.{n}", conditions=state) for n, state in enumerate(states)))
    found = read_cluster([service(), slices]).ports[0]
    assert [(e.ready, e.serving, e.terminating) for e in found.endpoints] == [
        (True, True, False),
        (False, False, False),
        (False, True, True),
    ]
    assert [e.address for e in found.usable] == ["10.0.0.0"]


def test_terminating_endpoints_serve_when_nothing_is_ready() -> None:
    leaving = {"ready": False, "serving": True, "terminating": True}
    slices = piece(
        "web", endpoint("10.0.0.1", conditions=leaving), endpoint("10.0.0.2", conditions={"ready": False})
    )
    assert [e.address for e in read_cluster([service(), slices]).ports[0].usable] == ["10.0.0.1"]


def test_ports_are_joined_by_name_and_protocol() -> None:
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
    slices = piece(
        "web",
        endpoint("10.0.0.1"),
        ports=[{"name": "t", "port": 5353}, {"name": "u", "port": 5353}, {"name": "all"}],
    )
    cluster = read_cluster([service(ports=ports), slices])
    assert [len(port.endpoints) for port in cluster.ports] == [1, 0]


def test_zone_and_hints_come_from_the_endpoint_then_from_its_node() -> None:
    home = node("n1", metadata={"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}})
    hints = {"forZones": [{"name": "b"}], "forNodes": [{"name": "n2"}]}
    slices = piece("web", endpoint("10.0.0.1", nodeName="n1"), endpoint("10.0.0.2", zone="b", hints=hints))
    near, far = read_cluster([home, service(), slices]).ports[0].endpoints
    assert (near.zone, near.node, near.zone_hints) == ("a", "n1", ())
    assert (far.zone, far.node, far.zone_hints, far.node_hints) == ("b", None, ("b",), ("n2",))


def test_a_deployment_belongs_to_the_service_that_selects_its_pods() -> None:
    template = {"metadata": {"labels": {"app": "web", "tier": "front"}}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 4, "template": template},
    }
    cluster = read_cluster([service(), service("other"), service("bare", selector={}), deployment])
    assert [d.replicas for d in cluster.deployments_of(cluster.service("web"))] == [4]
    assert cluster.deployments_of(cluster.service("other")) == ()
    assert cluster.deployments_of(cluster.service("bare")) == ()


@pytest.mark.parametrize(("cpu", "cores"), [("4", 4), (4, 4), ("4000m", 4), ("3920m", 3)])
def test_cores_are_whole(cpu: object, cores: int) -> None:
    assert read_cluster([node("n1", status={"capacity": {"cpu": cpu}})]).nodes[0].cores == cores


@pytest.mark.parametrize(
    ("conditions", "ready"), [([], True), (["True"], True), (["False"], False), (["Unknown"], False)]
)
def test_a_node_is_ready_unless_its_condition_says_otherwise(conditions: list[str], ready: bool) -> None:
    status = {"conditions": [{"type": "Ready", "status": text} for text in conditions]}
    assert read_cluster([node("n1", status=status)]).nodes[0].ready is ready


def test_what_people_paste_along_is_ignored_and_listed() -> None:
    others = [
        {"kind": "Namespace", "metadata": {"name": "shop"}},
        {"kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}},
        piece("lost", endpoint("10.0.0.1"), of="gone"),
    ]
    assert read_cluster([None, service(), *others]).ignored == (  # type: ignore[list-item] # A trailing "---".
        "Namespace shop",
        "ConfigMap shop/web",
        "EndpointSlice default/lost",
    )


REFUSED_PORT = "Service default/web spec.ports[0].port is refused by the API server"
UNREADY = piece("p", endpoint("10.0.0.1", conditions={"ready": "yes"}))
HASTY = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": -1}}
UNCOUNTABLE = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": True}}
KNATIVE = {"kind": "Service", "apiVersion": "serving.knative.dev/v1", "metadata": {"name": "x"}}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"kind": "Deploymnet"}, "document 1 kind is not a kind that is read (got 'Deploymnet')"),
        (KNATIVE, "(got 'Service of serving.knative.dev/v1')"),
        ({"metadata": {}}, "document 1 kind is missing"),
        ({"kind": "Node"}, "document 1 metadata.name is missing"),
        ("text", "document 1 must be a mapping"),
        (service(ports=[{}]), REFUSED_PORT),
        (service(ports=[{"port": "80"}]), REFUSED_PORT),
        (node("n1", status={"capacity": {"cpu": "many"}}), "Node n1 status.capacity.cpu must be a CPU"),
        (node("n1", status=[]), "Node n1 status must be a mapping"),
        (
            piece("p", {"addresses": []}),
            "EndpointSlice default/p endpoints[0].addresses must hold an address",
        ),
        (UNREADY, "EndpointSlice default/p endpoints[0].conditions.ready must be true or false (got 'yes')"),
        (piece("p", family="IPX"), "EndpointSlice default/p addressType must be IPv4, IPv6 or FQDN"),
        ({"kind": "List", "items": [node("n1", status=5)]}, "Node n1 status must be a mapping (got 5)"),
        ({"kind": "List", "items": [{}]}, "document 1 items[0] kind is missing"),
        (UNCOUNTABLE, "Deployment default/d spec.replicas must be a whole number, not negative (got True)"),
        (HASTY, "Pod default/p spec.terminationGracePeriodSeconds must be a whole number"),
    ],
)
def test_an_error_names_the_document_and_the_field(document: Any, text: str) -> None:
    assert text in problem(document)


def test_nothing_is_given_twice() -> None:
    assert problem(service(), service()) == "Service default/web is given twice"


def test_a_service_that_is_not_there_is_named_with_those_that_are() -> None:
    cluster = read_cluster([service()])
    with pytest.raises(
        InputError, match=r"Service default/wbe is not among the documents\n  There are: default/web"
    ):
        cluster.service("wbe")


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([{}]),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the place of every value in a document."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(place for key, item in entries for place in paths(item, (*path, key)))]


READY_NODE = {
    "capacity": {"cpu": "4"},
    "conditions": [{"type": "Ready", "status": "True"}],
    "nodeInfo": {"kubeletVersion": "v1.36.2"},
}
HINTED = endpoint("10.0.0.1", nodeName="n1", conditions={"ready": True}, hints={"forZones": [{"name": "a"}]})
DOCUMENTS = [
    service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 9}}),
    piece("web-1", HINTED),
    node("n1", status=READY_NODE),
    {"kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}}, "status": {"podIP": "10.0.0.1"}},
    {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1, "template": {"metadata": {}}}},
]
PLACES = [place for place in paths(DOCUMENTS) if place]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), odd=odd_values)
def test_any_value_anywhere_is_read_or_refused_never_a_crash(place: tuple[Any, ...], odd: Any) -> None:
    documents = copy.deepcopy(DOCUMENTS)
    parent: Any = documents
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = odd
    try:
        read_cluster(documents)
    except InputError as error:
        assert str(error)  # noqa: PT017 # Acceptance is as good an outcome.
