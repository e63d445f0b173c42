"""Mode nftables against a real kube-proxy 1.36.2, integer by integer."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, Packet, ServicePort, Shape

DUMPS = sorted((Path(__file__).parents[1] / "golden" / "dumps").glob("*.nft"))


def by_class(counts: dict[str, Any]) -> dict[str, Any]:
    """Fold chains named after a Service into their class; kube-proxy's names begin so."""
    folded: Counter[str] = Counter()
    for name, n in counts.items():
        folded[re.sub(r"^(service|external|local|endpoint)-(?!endpoints-check).*", r"\1-*", name)] += n
    return {name: n for name, n in folded.items() if n}


def test_chains_rules_and_elements_are_those_kube_proxy_wrote(
    nftables_row: dict[str, Any], golden: Any
) -> None:
    written = structure("nftables", golden.shape_of(nftables_row))
    assert by_class(dict(written.chains)) == by_class(nftables_row["chains_by_class"])
    assert by_class(dict(written.rules)) == by_class(nftables_row["rules_by_class"])
    assert written.chain_count() == nftables_row["chains"]
    assert written.rule_count() == nftables_row["rules"]
    assert written.elements == nftables_row["maps"] | nftables_row["sets"]


def test_every_walk_tests_as_many_rules_as_the_real_rules_have(
    nftables_row: dict[str, Any], golden: Any
) -> None:
    shape, walks = golden.shape_of(nftables_row), nftables_row["walk"]
    packet: Packet
    for packet in ("nodeport", "clusterip"):
        for key, real in walks.get({"clusterip": "clusterip_pod"}.get(packet, packet), {}).items():
            port = golden.service_port(nftables_row, local_endpoints=int(real["verdict"] == "accept"))
            if str(real["dnat"]).endswith(":6443"):
                port = KUBERNETES_SERVICE
            assert_same(walk("nftables", shape, port, packet), real, key)


def test_packets_for_no_service_walk_as_in_the_real_rules(nftables_row: dict[str, Any], golden: Any) -> None:
    shape, walks = golden.shape_of(nftables_row), nftables_row["walk"]
    port = golden.service_port(nftables_row, local_endpoints=0)
    packet: Packet
    for packet, key in (
        ("node", "unrelated_local_input_new"),
        ("podip", "pod_egress_new"),
        ("established", "established_forward"),
        ("nodeport", "nodeport_without_usable_endpoint_first"),
    ):
        if key in walks:
            assert_same(walk("nftables", shape, port, packet), walks[key], key)


def assert_same(ours: Any, real: dict[str, Any], key: str) -> None:
    assert (ours.total, ours.lookups, ours.verdict) == (real["total"], real["lookups"], real["verdict"]), key
    assert ours.by == by_class(real["by"]), key
    assert {hook: ours.at(hook).total for hook in real["per_base_chain"]} == real["per_base_chain"], key
    # One golden draw hit the pod it came from: the second masquerading rule, for hairpins, matched.
    hairpin = real["masq"] and real["by"]["masquerading"] == 2
    assert ours.masquerade == (real["masq"] and not hairpin), key


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name)
def test_a_dump_has_the_chains_and_rules_counted(dump: Path, golden: Any) -> None:
    """Count a real nft listing: a rule is a line inside a chain that is not its type or comment."""
    rules: Counter[str] = Counter()
    chains: Counter[str] = Counter()
    chain = ""
    for line in dump.read_text().splitlines():
        if match := re.match(r"\tchain (\S+) \{", line):
            chain = match[1]
            chains[chain] += 1
        elif line == "\t}":
            chain = ""
        elif chain and not re.match(r"\t\t(type|comment) ", line):
            rules[chain] += 1
    written = structure("nftables", golden.shape_of(golden.dumped_row(dump)))
    assert by_class(dict(written.chains)) == by_class(chains)
    assert by_class(dict(written.rules)) == by_class(rules)


@given(st.integers(1, 5000), st.integers(1, 1000), st.integers(1, 1000))
def test_a_walk_does_not_grow_with_the_cluster(services: int, endpoints: int, rank: int) -> None:
    port = ServicePort(endpoints=endpoints)
    shape = Shape(((1, KUBERNETES_SERVICE), (services, port)))
    ours = walk("nftables", shape, port, "nodeport", position=services, endpoint=min(rank, endpoints))
    assert (ours.total, ours.lookups) == (16, 8)


@given(st.integers(1, 100))
def test_affinity_asks_every_endpoint_before_it_draws(endpoints: int) -> None:
    """A miss tests E sets, a hit at rank k tests k; both add the endpoint's own chain of two rules."""
    port = ServicePort(endpoints=endpoints, affinity=True)
    shape = Shape(((1, port),))
    miss = walk("nftables", shape, port, "nodeport")
    hit = walk("nftables", shape, port, "nodeport", endpoint=endpoints, sticky=True)
    assert miss.total == 16 + endpoints + 2
    assert hit.total == miss.total - 1


def test_before_1_36_every_endpoint_has_a_chain() -> None:
    port = ServicePort(endpoints=7)
    old, new = Shape(((2, port),), version=(1, 33)), Shape(((2, port),))
    added = structure("nftables", old).chain_count() - structure("nftables", new).chain_count()
    assert added == 14
    assert walk("nftables", old, port, "nodeport").total == 16 + 2


def test_a_cluster_ip_without_endpoint_is_refused() -> None:
    empty = ServicePort(endpoints=0)
    shape = Shape(((1, KUBERNETES_SERVICE), (1, empty)))
    assert walk("nftables", shape, empty, "clusterip").verdict == "reject"
    assert walk("nftables", shape, empty, "clusterip").total == 9
