"""`explain rules`: one packet's way through the rules of a cluster, in each mode of kube-proxy.

The rules are those of the node that holds most of the Service's endpoints. Of a dump with EndpointSlices
every port of every Service is counted as it is; of a declared scenario, its background as declared.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import rich_click as click

from nodeportsim.cli.dumps import dump_options, explain_dump, given_dump
from nodeportsim.cli.plumbing import Commands, debug, output, print_json, print_table, question, read_scenario
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.kube.cluster import PortEndpoints
    from nodeportsim.kubeproxy.walk import ServicePort, Shape
    from nodeportsim.scenario.spec import Scenario


@click.group(cls=Commands)
def explain() -> None:
    """Explain what happens inside."""


@explain.command()
@click.argument("file", required=False)
@question
@dump_options
@click.option("--profile", metavar="NAME", help="Prices for a dump: `list profiles`.")
@output("table", "json")
@debug
def rules(
    *,
    file: str | None,
    sets: tuple[str, ...],
    service: str | None,
    from_iptables_save: str | None,
    from_nft: str | None,
    from_ipvsadm: str | None,
    profile: str | None,
    kind: str,
) -> None:
    """Follow one packet through the rules of the three modes, hook by hook; or through a node's real ones."""
    dump = given_dump(from_iptables_save, from_nft, from_ipvsadm)
    if (file is None) == (dump is None):
        raise click.UsageError("give a FILE, or a node's dump by one of the --from options")
    if dump is not None:
        if sets:
            raise click.UsageError("--set changes a FILE; a dump is as it is (prices: --profile)")
        explain_dump(dump, service, profile, kind)
    elif profile is not None:
        raise click.UsageError("--profile is for a dump; for a FILE: --set cluster.profile=NAME")
    else:
        _explain_file(str(file), sets, service, kind)


def _explain_file(file: str, sets: tuple[str, ...], service: str | None, kind: str) -> None:
    """Count the rules a scenario's cluster has in each mode."""
    from nodeportsim.engine.rules import Rules
    from nodeportsim.kubeproxy import explain as explained
    from nodeportsim.kubeproxy.rules import walk
    from nodeportsim.scenario.profile import load_profile, mode_key

    scenario = read_scenario(file, None, sets, service)
    profile, backend = load_profile(scenario.cluster.profile), scenario.cluster.proxy.backend
    counted = Rules(scenario, profile)
    node, endpoints, local = _view(scenario)
    port = counted.port(endpoints, local)
    shape = _exact(file, scenario, node, port, counted.shape(endpoints, local))
    rows = explained.explain(
        shape, port, lambda mode, packet, way: profile.walk_s(mode_key(mode, backend), packet, way)
    )
    if kind == "json":
        print_json(rows)
        return
    for row in rows:
        mean, cost_s = row["walk"][counted.packet]["mean"], row["cost_s"][counted.packet]["mean"]
        print_table(
            f"{row['mode']}: {row['chains']} chains, {row['rules']} rules; a first packet tests {mean:g} of "
            f"them on average and costs its entry node {format_duration(cost_s)} of CPU",
            explained.trace(walk(row["mode"], shape, port, counted.packet)),
        )


def _view(scenario: Scenario) -> tuple[str | None, int, int]:
    """Pick the node with most of the ready endpoints; count all of them, and its own."""
    ready = [pod.node for pod in scenario.placement if pod.ready]
    nodes = Counter(node for node in ready if node is not None)
    node, local = max(nodes.items(), key=lambda pair: pair[1], default=(None, 0))
    return node, len(ready), local


def _exact(file: str, scenario: Scenario, node: str | None, port: ServicePort, declared: Shape) -> Shape:
    """Count the other Services port by port where the file holds them; else take them as declared."""
    from nodeportsim.kube.cluster import read_cluster
    from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE
    from nodeportsim.scenario.documents import documents
    from nodeportsim.scenario.read import open_source

    found = documents(open_source(file))
    objects = [
        document for document in found if "nodeportsim/" not in document.get("apiVersion", "nodeportsim/")
    ]
    cluster = read_cluster(objects)
    if not any(each.usable for each in cluster.ports):
        return declared
    own = (scenario.service.namespace, scenario.service.name)
    others = list(_others(cluster.ports, own, node))
    if not any(each.service.name == "kubernetes" for each in cluster.ports):
        others.append((1, KUBERNETES_SERVICE))
    return dataclasses.replace(declared, ports=(*others, (scenario.service.ports, port)))


def _others(
    ports: tuple[PortEndpoints, ...], own: tuple[str, str], node: str | None
) -> Iterator[tuple[int, ServicePort]]:
    """Describe the ports of all other Services as the proxy of this node sees them."""
    from nodeportsim.kubeproxy.walk import ServicePort

    for each in ports:
        service = each.service
        if (service.namespace, service.name) != own:
            yield (
                1,
                ServicePort(
                    endpoints=len(each.usable),
                    local_endpoints=sum(endpoint.node == node for endpoint in each.usable),
                    node_port=each.port.node_port > 0,
                    affinity=service.session_affinity == "ClientIP",
                    external_policy="Local" if service.external_traffic_policy == "Local" else "Cluster",
                    internal_policy="Local" if service.internal_traffic_policy == "Local" else "Cluster",
                ),
            )
