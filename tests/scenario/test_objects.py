"""Kubernetes objects to scenarios: what is taken, what is refused, what a change by hand drops."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError, RefusedError
from nodeportsim.scenario.read import read
from nodeportsim.scenario.spec import Scenario

CLUSTERS = Path(__file__).parents[1] / "golden" / "clusters"
FIVE = CLUSTERS / "five-nodes.json"
GUIDE = "default/my-nodeport-service"

MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: my-web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, nodePort: 30080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 7
  template: {metadata: {labels: {app: web, tier: front}}}
---
clients: [{rate: 5/s}, {name: more, rate: 6/s}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "web.yaml") -> str:
    Path(name).write_text(text)
    return name


def refusal(path: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    return str(caught.value)


def assumed(scenario: Scenario) -> str:
    return "; ".join(scenario.assumptions)


def test_a_dump_gives_nodes_service_and_places() -> None:
    scenario = read(FIVE, service=GUIDE)
    assert scenario.name == scenario.service.name == "my-nodeport-service"
    assert scenario.cluster.names == tuple(f"node-{n}" for n in range(1, 6))
    assert scenario.cluster.zone_names == ("zone-a", "zone-b", "zone-c", "zone-a", "zone-b")
    assert scenario.cluster.cores == 4  # four nodes have 4, one has 8
    assert "nodes differ in cores" in assumed(scenario)
    assert scenario.service.node_port == 30080
    assert [pod.node for pod in scenario.placement] == [f"node-{p % 5 + 1}" for p in range(10)]


def test_the_other_services_with_endpoints_are_the_background() -> None:
    items = json.loads(FIVE.read_text())["items"]
    slices = [item for item in items if item["kind"] == "EndpointSlice" and item.get("endpoints")]
    headless = {item["metadata"]["name"] for item in items if item.get("spec", {}).get("clusterIP") == "None"}
    served = {s["metadata"]["labels"]["kubernetes.io/service-name"] for s in slices} - headless
    others = served - {"kubernetes", "my-nodeport-service"}
    background = read(FIVE, service=GUIDE).cluster.background
    assert background.services == len(others)
    ports = [
        port
        for item in items
        if item["kind"] == "Service" and item["metadata"]["name"] in others
        for port in item["spec"]["ports"]
    ]
    assert background.ports == len(ports)
    assert background.node_ports == sum("nodePort" in port for port in ports)


def test_a_larger_dump_only_changes_the_background() -> None:
    small, large = (
        read(CLUSTERS / name, service=GUIDE) for name in (FIVE.name, "five-nodes-130-services.json")
    )
    assert large.cluster.background.services - small.cluster.background.services == 120
    plain = {"background": small.cluster.background}
    assert large.model_copy(update={"cluster": large.cluster.model_copy(update=plain)}) == small


def test_without_a_name_the_only_nodeport_service_is_taken_and_several_are_listed() -> None:
    rule, hint = refusal(FIVE).splitlines()
    assert rule == "--service must be given: several Services carry NodePort traffic"
    names = "default/my-nodeport-service, shop/checkout, shop/dns, shop/edge, shop/login, shop/orphan"
    assert hint == f"  choose from: {names}"


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (
            "shop/headless",
            "Service shop/headless is not simulated: a headless Service has no virtual address",
        ),
        (
            "shop/elsewhere",
            "Service shop/elsewhere is not simulated: an ExternalName is an answer of the DNS",
        ),
        ("shop/nope", "Service shop/nope is not among the documents\n  There are: default/kubernetes"),
        ("nope", "Service default/nope is not among the documents"),
        ("a/b/c", "Service a/b/c is not among the documents"),
    ],
)
def test_a_service_that_is_not_simulated_is_refused_with_the_reason(service: str, words: str) -> None:
    assert refusal(FIVE, service=service).startswith(words)


def test_each_type_is_entered_where_its_traffic_enters() -> None:
    internal, balanced = (read(FIVE, service=name) for name in ("shop/cart", "shop/edge"))
    assert internal.service.type == "ClusterIP"
    assert internal.clients[0].entry.policy == "own-node"
    assert balanced.service.type == "LoadBalancer"
    assert balanced.clients[0].entry.policy == "balancer"
    assert balanced.balancer is not None


def test_a_service_with_tcp_and_udp_simulates_its_tcp_port(folder: Path) -> None:
    assert folder
    both = MANIFEST.replace("[{port: 80", "[{name: u, protocol: UDP, port: 53}, {name: t, port: 80")
    assert read(written(both)).service.node_port == 30080
    udp = both.replace("{name: t, port: 80", "{name: t, protocol: UDP, port: 80")
    assert "has no TCP port" in refusal(written(udp), service="my-web")
    assert refusal(written(udp)).startswith("there is no Service that could be simulated")


def test_a_manifest_alone_is_a_scenario_with_stated_defaults(folder: Path) -> None:
    assert folder
    scenario = read(written(MANIFEST))
    assert scenario.service.replicas == 7
    assert scenario.cluster.nodes == Scenario().cluster.nodes
    assert "no nodes are given" in assumed(scenario)
    assert [group.rate_rps for group in scenario.clients] == [5.0, 6.0]
    alone = read(written(MANIFEST.partition("---")[0]))
    assert alone.service.replicas == Scenario().service.replicas
    assert "number of replicas is the default" in assumed(alone)


def test_what_a_service_says_of_topology_is_taken_and_the_annotation_too(folder: Path) -> None:
    assert folder
    plain = read(written(MANIFEST)).service
    assert (plain.traffic_distribution, plain.topology_mode) == (None, "Disabled")
    field = MANIFEST.replace("type: NodePort", "type: NodePort\n  trafficDistribution: PreferSameNode")
    assert read(written(field)).service.traffic_distribution == "PreferSameNode"
    for name, value, mode in (
        ("topology-mode", "Auto", "Auto"),
        ("topology-aware-hints", "auto", "Auto"),
        ("topology-mode", "Disabled", "Disabled"),
    ):
        annotated = f"{{name: my-web, annotations: {{service.kubernetes.io/{name}: {value}}}}}"
        text = MANIFEST.replace("{name: my-web}", annotated, 1)
        assert read(written(text)).service.topology_mode == mode


def test_a_list_of_clients_inherits_the_entry_of_its_service(folder: Path) -> None:
    assert folder
    text = MANIFEST.replace("type: NodePort", "type: ClusterIP").replace(", nodePort: 30080", "")
    groups = read(written(text), service="my-web").clients
    assert [group.entry.policy for group in groups] == ["own-node", "own-node"]


def test_pods_stand_in_for_missing_slices(folder: Path) -> None:
    assert folder
    items = json.loads(FIVE.read_text())["items"]
    Path("pods.json").write_text(
        json.dumps({"kind": "List", "items": [i for i in items if i["kind"] != "EndpointSlice"]})
    )
    by_pods, by_slices = read("pods.json", service=GUIDE), read(FIVE, service=GUIDE)
    assert sorted(by_pods.placement, key=str) == sorted(by_slices.placement, key=str)
    others = [
        item for item in items if item["metadata"].get("namespace") == "default" and item["kind"] == "Pod"
    ]
    others[0]["metadata"]["labels"]["app"] = "other"
    Path("pods.json").write_text(
        json.dumps({"kind": "List", "items": [i for i in items if i["kind"] != "EndpointSlice"]})
    )
    assert len(read("pods.json", service=GUIDE).placement) == len(by_pods.placement) - 1


def test_endpoints_without_a_node_stand_outside(folder: Path) -> None:
    assert folder
    text = FIVE.read_text().replace('"nodeName": "node-5"', '"nodeName": null')
    scenario = read(written(text, "dump.json"), service=GUIDE)
    assert [pod.name for pod in scenario.placement if pod.node is None] == ["myapp-04", "myapp-09"]
    assert "outside the cluster: myapp-04, myapp-09" in assumed(scenario)
    items = [item for item in json.loads(FIVE.read_text())["items"] if item["metadata"]["name"] != "node-5"]
    unknown = read(written(json.dumps({"kind": "List", "items": items}), "dump.json"), service=GUIDE)
    assert unknown.placement == scenario.placement


def test_a_dump_without_nodes_has_those_its_endpoints_name(folder: Path) -> None:
    assert folder
    items = [item for item in json.loads(FIVE.read_text())["items"] if item["kind"] != "Node"]
    scenario = read(written(json.dumps({"kind": "List", "items": items}), "d.json"), service=GUIDE)
    assert set(scenario.cluster.names) == {f"node-{n}" for n in range(1, 6)}


def test_a_scenario_names_a_dump_beside_it_and_wins_over_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "dump.json").write_text(FIVE.read_text())
    path = written("cluster: {objects: dump.json, cores: 2}\nrun: {seed: 3}\n", "sub/web.yaml")
    scenario = read(path, service=GUIDE)
    assert (scenario.cluster.nodes, scenario.cluster.cores, scenario.run.seed) == (5, 2, 3)
    assert scenario.cluster.objects is None


def test_nodes_or_replicas_set_by_hand_drop_what_no_longer_fits() -> None:
    nodes = read(FIVE, service=GUIDE, sets=["cluster.nodes=8"])
    assert nodes.cluster.names == tuple(f"node-{n}" for n in range(1, 9))
    assert [pod.node for pod in nodes.placement][:9] == [*nodes.cluster.names, "node-1"]
    assert "nodes set by hand" in assumed(nodes)
    pods = read(FIVE, service=GUIDE, sets=["service.replicas=6"])
    assert len(pods.placement) == 6
    assert pods.cluster.zone_names == read(FIVE, service=GUIDE).cluster.zone_names
    assert "replicas set by hand" in assumed(pods)
    same = read(FIVE, service=GUIDE, sets=["cluster.nodes=5", "service.replicas=10"])
    assert same == read(FIVE, service=GUIDE)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "nodePort: 30080",
            "nodePort: 80",
            'web.yaml:7:32: Service "my-web" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided',
        ),
        (
            "name: my-web",
            "name: My_web",
            'web.yaml:3:18: Service "My_web" is invalid: metadata.name: Invalid value: "My_web": a lowercase',
        ),
        (
            "port: 80",
            "port: '80'",
            'web.yaml:7:18: Service in version "v1" cannot be handled as a Service: json: cannot',
        ),
        ("metadata: {name: my-web}", "metadata: [a]", "web.yaml:3:11: Service in version"),
    ],
)
def test_what_the_api_server_refuses_is_refused_in_its_words(
    folder: Path, old: str, new: str, expected: str
) -> None:
    assert folder
    with pytest.raises(RefusedError) as caught:
        read(written(MANIFEST.replace(old, new, 1)))
    assert str(caught.value).startswith(expected)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "replicas: 7",
            "replicas: x",
            "web.yaml:13:13: Deployment default/web spec.replicas must be a whole number",
        ),
        ("kind: Deployment", "kind: Foo", "web.yaml:10:7: document 2 kind is not a kind that is read"),
        ("kind: Deployment", "king: Deployment", "web.yaml:9:1: document 2 kind is missing"),
        ("rate: 5/s", "rat: 5/s", "web.yaml:16:12: clients.0.rat is unknown"),
    ],
)
def test_other_objects_are_refused_at_their_place(folder: Path, old: str, new: str, expected: str) -> None:
    assert folder
    assert refusal(written(MANIFEST.replace(old, new, 1))).startswith(expected)


def test_an_error_in_a_json_dump_has_its_place(folder: Path) -> None:
    assert folder
    text = FIVE.read_text().replace('"addressType": "IPv4"', '"addressType": "IPv5"', 1)
    line = text[: text.index("IPv5")].count("\n") + 1
    assert refusal(written(text, "d.json"), service=GUIDE).startswith(f"d.json:{line}:")


def test_a_service_name_needs_kubernetes_objects(folder: Path) -> None:
    assert folder
    expected = "--service names a Service, but the file holds no Kubernetes objects (got 'a/b')"
    assert refusal(written("run: {seed: 1}"), service="a/b") == expected


ITEMS = json.loads(FIVE.read_text())["items"]
FEW = [
    next(item for item in ITEMS if item["kind"] == kind)
    for kind in ("Node", "Service", "EndpointSlice", "Pod")
]
FEW.append(next(item for item in ITEMS if item["metadata"]["name"] == "my-nodeport-service"))
ODD = [None, True, -1, 5, 1e9, "", "x", "None", [], {}, [None], [[]], {"a": None}, "a/b", "é:"]


def test_a_number_of_services_that_is_set_wins_over_the_ports_of_the_dump() -> None:
    counted = read(FIVE, service=GUIDE).cluster.background
    assert (counted.ports, counted.node_ports) != (None, 0)
    more = read(FIVE, service=GUIDE, sets=["background.services=1000"]).cluster.background
    assert (more.services, more.ports, more.node_ports) == (1000, None, counted.node_ports)
    fewer = read(FIVE, service=GUIDE, sets=["background.services=1"]).cluster.background
    assert (fewer.services, fewer.ports, fewer.node_ports) == (1, None, 1)
    chosen = read(FIVE, service=GUIDE, sets=["background.services=9", "background.nodePorts=7"])
    assert (chosen.cluster.background.services, chosen.cluster.background.node_ports) == (9, 7)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path into a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in inside for place in places(below, (*path, key)))]


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A copy with one value replaced; the same value where the path is gone."""
    if not path:
        return new
    copy, key = (
        (dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value),
        path[0],
    )
    with contextlib.suppress(KeyError, IndexError, TypeError):
        copy[key] = changed(copy[key], path[1:], new)
    return copy


@settings(max_examples=1000, deadline=10_000)
@given(st.lists(st.tuples(st.sampled_from(places(FEW)[1:]), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_any_change_of_a_dump_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: Any
) -> None:
    items: Any = FEW
    for path, new in changes:
        items = changed(items, path, new)
    file = tmp_path_factory.getbasetemp() / "odd.json"
    file.write_text(json.dumps({"kind": "List", "items": items}))
    with contextlib.suppress(InputError):
        assert isinstance(read(file, service=GUIDE), Scenario)
