"""Real clusters, end to end: every Service of both dumps runs, or is refused for a reason people understand.

What should happen to a Service follows from its kind, written down here without our readers' help.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nodeportsim import cli

CLUSTERS = Path(__file__).parent / "golden" / "clusters"
SMALL, LARGE = CLUSTERS / "five-nodes.json", CLUSTERS / "five-nodes-130-services.json"
GUIDE = """\
apiVersion: v1
kind: Service
metadata: {name: my-nodeport-service}
spec:
  type: NodePort
  selector: {app: my-app}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
TINY = ["--set", "duration=0.5s", "--set", "rate=60/s", "--replications", "1", "--engine", "simpy"]
ONE_EACH = 3  # The first Services of every kind in the large cluster run in the quick tier.

Manifest = dict[str, Any]


def services(file: Path) -> list[Manifest]:
    return [item for item in json.loads(file.read_text())["items"] if item["kind"] == "Service"]


def kind(service: Manifest) -> tuple[Any, ...]:
    spec = service["spec"]
    return (
        spec["type"],
        spec.get("clusterIP") == "None",
        tuple(port["protocol"] for port in spec.get("ports", [])),
        spec.get("externalTrafficPolicy"),
        spec.get("sessionAffinity"),
    )


def names(found: list[Manifest]) -> list[str]:
    return [f"{s['metadata']['namespace']}/{s['metadata']['name']}" for s in found]


def sample(found: list[Manifest]) -> list[Manifest]:
    """Few of every kind, in the order of the file."""
    kinds = [kind(service) for service in found]
    return [service for n, service in enumerate(found) if kinds[:n].count(kinds[n]) < ONE_EACH]


def endpoints(file: Path, name: str) -> list[Manifest]:
    """Endpoints of a Service's first TCP port, straight from its EndpointSlices."""
    namespace, _, bare = name.partition("/")
    spec = next(s for s in services(file) if names([s]) == [name])["spec"]
    port = next(port.get("name") for port in spec["ports"] if port["protocol"] == "TCP")
    slices = [
        item
        for item in json.loads(file.read_text())["items"]
        if item["kind"] == "EndpointSlice"
        and item["metadata"]["namespace"] == namespace
        and item["metadata"]["labels"].get("kubernetes.io/service-name") == bare
        and any((p.get("name") or None) == (port or None) for p in item.get("ports") or [])
    ]
    return [end for item in slices for end in item.get("endpoints") or []]


def call(file: Path | str, *arguments: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(cli.main, ["run", str(file), *TINY, "-o", "json", *arguments])
    return answer.exit_code, answer.stdout, answer.stderr


def assert_answered_as_its_kind_says(file: Path, name: str) -> None:
    service = next(s for s in services(file) if names([s]) == [name])
    code, out, err = call(file, "--service", name)
    if service["spec"]["type"] == "ExternalName" or service["spec"].get("clusterIP") == "None":
        assert (code, out) == (2, "")
        assert err.startswith(f"error: Service {name} is not simulated: a")
        return
    assert code == 0, err
    summary, ready = json.loads(out), [end for end in endpoints(file, name) if end["conditions"]["ready"]]
    requests = summary["requests"]
    assert requests["offered"] == requests["succeeded"] + requests["failed"] + requests["in_flight"] > 0
    if not ready:
        assert summary["errors"] == {"refused": requests["offered"]}
    elif service["spec"].get("externalTrafficPolicy") == "Local":
        # A node without an endpoint of its own drops what enters by it: silence, then a time-out.
        empty = {"node-1", "node-2", "node-3", "node-4", "node-5"} - {end["nodeName"] for end in ready}
        assert set(summary["errors"]) == ({"connect_timeout"} if empty else set())
        assert requests["failed"] == pytest.approx(requests["offered"] * len(empty) / 5, abs=5)
    else:
        assert (summary["errors"], requests["failed"]) == ({}, 0)


@pytest.mark.parametrize("name", names(services(SMALL)))
def test_every_service_of_the_small_cluster_runs_or_is_refused_with_a_reason(name: str) -> None:
    assert_answered_as_its_kind_says(SMALL, name)


@pytest.mark.parametrize("name", names(sample(services(LARGE))))
def test_services_of_every_kind_in_the_large_cluster_do_too(name: str) -> None:
    assert_answered_as_its_kind_says(LARGE, name)


@pytest.mark.long
@pytest.mark.parametrize("name", names(services(LARGE)))
def test_and_all_others(name: str) -> None:
    assert_answered_as_its_kind_says(LARGE, name)


SETTINGS = [
    (),
    ("cluster.nodes=3", "service.replicas=6", "clients.rate=500/s"),
    ("cluster.proxy.mode=ipvs",),
    ("cluster.proxy.mode=nftables",),
    ("cluster.proxy.mode=iptables", "cluster.proxy.backend=legacy"),
    ("cluster.proxy.localhostNodePorts=false",),
    ("cluster.background.services=1000", "cluster.background.endpointsPerService=7"),
    ("cluster.background.services=1000", "cluster.background.nodePorts=400"),
    ("service.externalTrafficPolicy=Local",),
    ("clients.entry.policy=balancer",),
    ("clients.entry.policy=virtual-ip",),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
@pytest.mark.parametrize("source", ["guide", "dump"])
def test_the_guide_runs_with_every_setting_an_architect_turns(
    tmp_path: Path, source: str, settings: tuple[str, ...]
) -> None:
    guide = tmp_path / "guide.yaml"
    guide.write_text(GUIDE)
    file, choice = (guide, []) if source == "guide" else (SMALL, ["--service", "default/my-nodeport-service"])
    code, out, err = call(file, *choice, *(part for path in settings for part in ("--set", path)))
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["requests"]["failed"], summary["requests"]["in_flight"]) == (0, 0)
    size = (len(summary["nodes"]), len(summary["pods"]))
    standing = (3, 3) if source == "guide" else (5, 10)
    assert size == ((3, 6) if "service.replicas=6" in settings else standing)


def test_a_file_without_any_service_says_what_to_give(tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"apiVersion": "v1", "kind": "List", "items": []}')
    code, out, err = call(empty)
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no Service that could be simulated\n")
