"""Kubernetes objects, read one at a time, as a scenario file that says where each value came from."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from objects import endpoint, healthy, node, piece, pod, service

from nodeportsim.errors import InputError
from nodeportsim.kube.cluster import read_cluster
from nodeportsim.kube.document import Field
from nodeportsim.kubeproxy.config import ProxyConfig
from nodeportsim.scenario import streamed
from nodeportsim.scenario.gather import Known, gather
from nodeportsim.scenario.imported import imported, listed
from nodeportsim.scenario.read import gather_files, read

CLUSTERS = Path(__file__).parents[1] / "golden" / "clusters"
FIVE = CLUSTERS / "five-nodes.json"
GUIDE = "default/my-nodeport-service"
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
ipvs: {scheduler: lc, minSyncPeriod: 2s, syncPeriod: 1m0s}
iptables: {minSyncPeriod: 7s, localhostNodePorts: false}
conntrack: {maxPerCore: 65536, min: 131072}
nodePortAddresses: [192.0.2.0/24]
"""


def stored(mode: str = CONFIG) -> dict[str, Any]:
    """The ConfigMap in which kubeadm keeps the configuration, beside a kubeconfig."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        "data": {"config.conf": mode, "kubeconfig.conf": "not: read"},
    }


def from_text(text: str | bytes) -> Known:
    data = text if isinstance(text, bytes) else text.encode()
    return gather(streamed.objects_of(io.BytesIO(data), "dump.json"))


def known(*objects: Any) -> Known:
    return from_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}, indent=4))


def written(what: Known, tmp_path: Path, service: str | None = None) -> tuple[str, Any]:
    text = imported(what, service)
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    return text, read(file)


def refusal(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        from_text(text)
    return str(caught.value)


# One object at a time.


@settings(max_examples=25)
@given(size=st.integers(1, 4000), indent=st.sampled_from([None, 0, 4]))
def test_a_dump_says_the_same_in_pieces_of_any_size(size: int, indent: int | None) -> None:
    document = json.loads(FIVE.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "PIECE_BYTES", size)
        assert from_text(json.dumps(document, indent=indent)).cluster == read_cluster([document])


def test_a_number_that_is_cut_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PIECE_BYTES", 1)
    assert from_text(
        '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "x": 123}'
    ).cluster.nodes


def test_lists_may_follow_each_other_and_stand_in_each_other() -> None:
    objects = healthy()
    lists = [{"apiVersion": "v1", "kind": "List", "items": [each]} for each in objects.values()]
    whole = known(*objects.values())
    assert from_text("\n".join(map(json.dumps, lists))) == whole
    assert known(*lists) == whole


@pytest.mark.parametrize("piece_bytes", [1, 5, 64, 2**22])
def test_an_error_names_the_place_whatever_the_pieces(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "PIECE_BYTES", piece_bytes)
    bad = node(2, capacity={"cpu": "many"})
    text = json.dumps({"kind": "List", "items": [node(1), bad, node(3)]}, indent=2)
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if "many" in line)
    place = f"dump.json:{at + 1}:{lines[at].index('many')}"
    assert refusal(text).startswith(f"{place}: Node node-2 status.capacity.cpu must be a CPU quantity")


NODE = '{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dump.json:1:1: is empty"),
        (" \n", "dump.json:2:1: is empty"),
        ('{"kind": "List",\n "items": [' + NODE[:-9], "dump.json:2:57: is cut off"),
        ('{"kind": "List", "items": [' + NODE + "]", "dump.json:1:86: is cut off"),
        (
            '{"kind": "List", "items": [' + NODE + " " + NODE + "]}",
            "dump.json:1:86: is not JSON: , must stand",
        ),
        ('{"kind" "List"}', "dump.json:1:9: is not JSON: : must stand here"),
        ("[[1]]", "dump.json:1:1: must be a Kubernetes object, or a list"),
        ('{"kind": "List", "items": [[1]]}', "dump.json:1:28: must be a Kubernetes object"),
        (
            '{"kind": "Table", "items": [' + NODE + "]}",
            "dump.json:1:1: holds items, so its kind must end with",
        ),
        ('{"kind": "Foo", "apiVersion": "v1"}', "dump.json:1:10: document 1 kind is not a kind that is read"),
        (NODE[:-1] + ',\n"x": NaN}', "dump.json:2:6: NaN is not a finite number"),
        (NODE[:-1] + ',\n"x": 1e999}', "dump.json:2:6: 1e999 is too large for a number"),
        (NODE[:-1] + ',\n"x": ' + "9" * 5000 + "}", "dump.json:2:6: is too long for a number"),
        (NODE[:-1] + ',"x":' + "[" * 5000 + "]" * 5000 + "}", "dump.json:1:62: is nested too deeply"),
        (b'{"kind": "List",\n"items": [{"a": "\xff"}]}', "dump.json:2:18: is not UTF-8 text"),
        (b"\x00\x01\x02", "dump.json:1:1: holds a control character"),
        (NODE + NODE, "dump.json:1:58: Node a is given twice"),
        ("apiVersion: nodeportsim/v1\nname: web", "dump.json:1:1: is a scenario already"),
        ('{"kind":"List","items":[' * 10 + NODE + "]}" * 10, "holds lists in lists, deeper than 8"),
    ],
)
def test_what_is_no_dump_is_refused_where_it_goes_wrong(text: str | bytes, message: str) -> None:
    assert message in refusal(text)


def test_an_object_that_never_ends_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "MOST_OBJECT_CHARACTERS", 1000)
    monkeypatch.setattr(streamed, "PIECE_BYTES", 100)
    stream = io.BytesIO(b'{"kind": "Node", "x": "' + b"a" * 100_000)
    with pytest.raises(InputError, match="is an object larger than"):
        gather(streamed.objects_of(stream, "dump.json"))
    assert stream.tell() < 2000


# What the objects say.


def test_the_written_file_is_the_scenario_that_run_makes_of_the_dump_itself(tmp_path: Path) -> None:
    for file in sorted(CLUSTERS.glob("*.json")):
        what = gather_files([str(file)])
        for row in listed(what)[:: 1 if file == FIVE else 30]:
            name = row["service"]
            if row["left out"]:
                with pytest.raises(InputError, match="is not simulated"):
                    imported(what, name)
            else:
                assert written(what, tmp_path, name)[1] == read(file, service=name)


def test_what_the_objects_do_not_say_is_marked_and_nothing_else_is(tmp_path: Path) -> None:
    text, scenario = written(known(*healthy().values(), stored()), tmp_path)
    assumed = re.findall(r"^ *(\w+):.*# assumed: ", text, re.MULTILINE)
    assert {"rate", "count", "serviceTime", "workers", "clientNode", "profile"} <= set(assumed)
    assert not {"mode", "cores", "nodes", "replicas", "terminationGracePeriodSeconds"} & set(assumed)
    assert "mode: ipvs  # from ConfigMap kube-system/kube-proxy" in text
    assert scenario.cluster.nodes == scenario.service.replicas == 3


def test_pods_tell_their_end_and_their_probe(tmp_path: Path) -> None:
    objects = healthy()
    for n in (1, 2, 3):
        own = pod(
            n,
            f"node-{n}",
            readinessProbe={"periodSeconds": 3, "failureThreshold": 2},
            lifecycle={"preStop": {"exec": {"command": ["/bin/sh", "-c", "nginx -s quit; sleep 15"]}}},
        )
        own["spec"]["terminationGracePeriodSeconds"] = 45
        objects[f"web-{n}"] = own
    pods = written(known(*objects.values()), tmp_path)[1].pods
    assert (pods.termination_grace_period_seconds, pods.pre_stop_s) == (45, 15.0)
    assert (pods.readiness_probe.period_s, pods.readiness_probe.failure_threshold) == (3.0, 2)
    objects["web-2"]["spec"]["terminationGracePeriodSeconds"] = 5
    differing = written(known(*objects.values()), tmp_path)[1]
    assert differing.pods.termination_grace_period_seconds == 45
    assert any(text.startswith("pods differ in grace period") for text in differing.assumptions)


def test_conditions_are_kept_where_the_spec_can_and_said_where_it_cannot(tmp_path: Path) -> None:
    objects = healthy() | {"node-3": node(3, conditions=[{"type": "Ready", "status": "False"}])}
    gone = {"ready": False, "serving": True, "terminating": True}
    objects["slice"] = piece(
        endpoint(1, "node-1"), endpoint(2, "node-2", conditions=gone), endpoint(3, "node-3")
    )
    objects["node-2"]["status"]["capacity"] = {"cpu": "16"}
    scenario = written(known(*objects.values()), tmp_path)[1]
    assert [(p.ready, p.terminating) for p in scenario.placement] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    said = "; ".join(scenario.assumptions)
    assert "nodes differ in cores (2 with 4, 1 with 16): all are taken as the least of them" in said
    assert "not ready in the dump, ready here: node-3" in said


def test_several_services_are_listed_and_the_others_are_counted(tmp_path: Path) -> None:
    objects = healthy()
    other = service(clusterIP="10.96.0.11", ports=[{"port": 80, "nodePort": 30081}])
    other["metadata"] = {"name": "web", "namespace": "shop", "resourceVersion": "2"}
    own = piece(endpoint(1, "node-1"))
    own["metadata"] |= {"namespace": "shop", "name": "web-xyz"}
    what = known(*objects.values(), other, own)
    assert [row["service"] for row in listed(what)] == ["default/web", "shop/web"]
    scenario = written(what, tmp_path, "shop/web")[1]
    assert (scenario.service.node_port, scenario.service.replicas) == (30081, 1)
    assert (scenario.cluster.background.services, scenario.cluster.background.node_ports) == (1, 1)
    with pytest.raises(InputError, match="several Services carry NodePort traffic"):
        imported(what, None)


def test_pods_of_others_are_passed_over_only_where_the_service_stands_before_them(tmp_path: Path) -> None:
    objects = healthy()
    stranger = pod(9, "node-1")
    stranger["metadata"] |= {"name": "other-9", "labels": {"app": "other"}}
    elsewhere = pod(8, "node-1")
    elsewhere["metadata"] |= {"name": "web-8", "namespace": "shop"}
    items = [*objects.values(), stranger, elsewhere]
    first, last = (
        from_text(json.dumps({"kind": "List", "items": each}))._replace(proxy=None)
        for each in (items, items[::-1])
    )
    named = gather(
        streamed.objects_of(io.BytesIO(json.dumps({"kind": "List", "items": items}).encode()), ""), "web"
    )
    assert (first.passed, last.passed, named.passed) == (0, 0, 2)
    texts = [imported(each, "web") for each in (first, named)]
    assert texts[0] == texts[1]
    assert "5 Pods" in texts[0]
    assert written(last, tmp_path)[1].service == written(named, tmp_path)[1].service


def test_a_secret_is_passed_over_and_never_copied(tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "very-private", "namespace": "default"},
        "data": {"password": "aHVudGVyMg=="},
    }
    text, scenario = written(known(*healthy().values(), secret), tmp_path)
    assert "ignored: 1 Secret" in scenario.assumptions
    assert "aHVudGVyMg" not in text
    assert "very-private" not in text


def test_a_cluster_larger_than_what_is_simulated_is_refused() -> None:
    objects = healthy() | {f"node-{n}": node(n) for n in range(5001)}
    with pytest.raises(InputError, match="nodes must be at most 5000"):
        imported(known(*objects.values()), None)


def test_names_that_look_like_something_else_stay_names(tmp_path: Path) -> None:
    objects = healthy()
    for n, name in enumerate(("1.36", "no", "0x10"), 1):
        objects[f"node-{n}"]["metadata"]["name"] = name
        objects["slice"]["endpoints"][n - 1]["nodeName"] = name
    assert written(known(*objects.values()), tmp_path)[1].cluster.node_names == ("1.36", "no", "0x10")


# kube-proxy's configuration.


@pytest.mark.parametrize("as_document", [True, False])
def test_kube_proxys_configuration_is_taken_over(as_document: bool, tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIG) if as_document else stored()
    cluster = written(known(*healthy().values(), config), tmp_path)[1].cluster
    assert (cluster.proxy.mode, cluster.proxy.scheduler) == ("ipvs", "lc")
    assert (cluster.proxy.min_sync_period_s, cluster.proxy.sync_period_s) == (2.0, 60.0)
    assert not cluster.proxy.localhost_node_ports
    assert cluster.conntrack.max == 4 * 65536
    assert any("nodePortAddresses 192.0.2.0/24" in text for text in read_assumptions(config))


def read_assumptions(config: Any) -> list[str]:
    text = imported(known(*healthy().values(), config), None)
    return list(yaml.safe_load(text)["assumptions"])


@pytest.mark.parametrize(
    ("mode", "least_s"), [("", 1.0), ("iptables", 1.0), ("nftables", 1.0), ("ipvs", 0.0)]
)
def test_zero_and_nothing_are_the_defaults(mode: str, least_s: float) -> None:
    section = mode or "iptables"
    for own in ({}, {section: {"minSyncPeriod": "0s", "syncPeriod": "0s"}}, {section: None}):
        config = ProxyConfig.read(Field({"mode": mode, **own}))
        assert (config.mode, config.min_sync_period_s, config.sync_period_s) == (section, least_s, 30.0)
        assert config.localhost_node_ports


@pytest.mark.parametrize(
    ("cores", "version", "most"),
    [(1, "1.36", 131_072), (8, "1.36", 262_144), (64, "1.36", 1_048_576), (64, "1.35", 2_097_152)],
)
def test_the_conntrack_limit_is_per_core_with_a_floor_and_since_1_36_a_cap(
    cores: int, version: str, most: int
) -> None:
    assert ProxyConfig(title="").conntrack_max(cores, version) == most
    assert ProxyConfig(title="", conntrack_per_core=0).conntrack_max(cores, version) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mode: kernelspace", "3:7: ConfigMap kube-system/kube-proxy mode must be one of iptables, ipvs"),
        ("mode: [", "5:1: is not YAML"),
    ],
)
def test_a_bad_configuration_is_refused_in_its_own_text(change: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        known(stored(CONFIG.replace("mode: ipvs", change)))
    assert str(caught.value).startswith(f"ConfigMap kube-system/kube-proxy config.conf:{message}")


def test_a_configuration_that_stands_twice_or_needs_another_scheduler_says_so() -> None:
    with pytest.raises(InputError, match="is given twice"):
        known(stored(), yaml.safe_load(CONFIG))
    said = read_assumptions(stored(CONFIG.replace("scheduler: lc", "scheduler: mh")))
    assert "ipvs scheduler mh is not simulated: rr is" in said
