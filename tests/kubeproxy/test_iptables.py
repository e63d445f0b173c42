"""Mode iptables against a real kube-proxy 1.36.2, integer by integer."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy import iptables
from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, Packet, ServicePort, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

DUMPS = sorted((Path(__file__).parents[1] / "golden" / "dumps").glob("*.iptables-save"))


def nonzero(counts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix) and n}


def test_chains_and_rules_are_those_kube_proxy_wrote(iptables_row: dict[str, Any], golden: Any) -> None:
    shape = golden.shape_of(iptables_row)
    written = structure("iptables", shape)
    assert nonzero(written.rules, "nat/") == nonzero(iptables_row["nat_rules_by_chain"])
    assert nonzero(written.rules, "filter/") == nonzero(iptables_row["filter_rules_by_chain"])
    assert nonzero(written.chains, "nat/") == nonzero(iptables_row["nat_chains_by_class"])
    for table in ("mangle", "filter", "nat"):
        assert written.rule_count(f"{table}/") == iptables_row["rules"][table]
        assert written.chain_count(f"{table}/") == iptables_row["chains"][table]
    assert shape.large_cluster == iptables_row["large_cluster_mode"]


def test_every_walk_tests_as_many_rules_as_the_real_rules_have(
    iptables_row: dict[str, Any], golden: Any
) -> None:
    shape = golden.shape_of(iptables_row)
    walks = iptables_row["walk"]
    packet: Packet
    for packet, places in (("nodeport", shape.node_ports), ("clusterip", shape.cluster_ips)):
        for key, real in walks.get({"clusterip": "clusterip_pod"}.get(packet, packet), {}).items():
            open_port = real["verdict"] == "ACCEPT"
            port = golden.service_port(iptables_row, local_endpoints=int(open_port))
            if str(real["dnat"]).endswith(":6443"):
                port = KUBERNETES_SERVICE
            count = port.external_endpoints if packet == "nodeport" else port.internal_endpoints
            ours = walk(
                "iptables",
                shape,
                port,
                packet,
                position=golden.ranks(key, places),
                endpoint=min(int(key[-1]) + 1, count) if count else None,
                closed_position=None if open_port else real["filter_input"] - 5,
            )
            assert ours.total == real["total"], (packet, key)
            assert ours.at("nat/PREROUTING").by == real["by"], (packet, key)
            assert ours.at("nat/PREROUTING").total == real["nat_prerouting"]
            assert ours.at("filter/FORWARD").total == (real["filter_forward"] or 0)
            assert ours.at("filter/INPUT").total == (real["filter_input"] or 0)
            assert ours.at("nat/POSTROUTING").total == (real["nat_postrouting"] or 0)
            assert ours.masquerade == real["masq"]
            assert ours.verdict.upper() == real["verdict"]


def test_packets_for_no_service_walk_as_in_the_real_rules(iptables_row: dict[str, Any], golden: Any) -> None:
    shape, walks = golden.shape_of(iptables_row), iptables_row["walk"]
    port = golden.service_port(iptables_row, local_endpoints=0)
    packet: Packet
    for packet, key in (
        ("node", "unrelated_local_input_new"),
        ("podip", "pod_egress_new"),
        ("established", "established_forward_filter_only"),
    ):
        assert walk("iptables", shape, port, packet).total == walks[key]["total"]
    closed = walks.get("nodeport_without_usable_endpoint_first")
    if closed:
        ours = walk("iptables", shape, port, "nodeport", closed_position=1)
        assert (ours.total, ours.verdict.upper()) == (closed["total"], closed["verdict"])


def test_probabilities_are_written_as_iptables_save_shows_them(iptables_row: dict[str, Any]) -> None:
    endpoints = iptables_row["E"]
    ours = [f"{iptables.probability(endpoints, rank):.11f}" for rank in range(1, endpoints)]
    assert ours == iptables_row["probability_strings"]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name)
def test_a_dump_has_the_chains_and_rules_counted(dump: Path, golden: Any) -> None:
    """Count a real iptables-save by table and chain class."""
    rules: Counter[str] = Counter()
    chains: Counter[str] = Counter()
    table = ""
    for line in dump.read_text().splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif match := re.match(r"(:|-A )(\S+)", line):
            chain = re.sub(r"^(KUBE-(?:SVC|SVL|SEP|EXT))-.*", r"\1-*", match[2])
            (chains if match[1] == ":" else rules)[f"{table}/{chain}"] += 1
    written = structure("iptables", golden.shape_of(golden.dumped_row(dump)))
    assert nonzero(written.rules) == dict(rules)
    assert nonzero(written.chains) == dict(chains)


sizes = st.integers(1, 300)
ports = st.builds(
    lambda e, local, affinity, policy: ServicePort(
        endpoints=e, local_endpoints=min(local, e), affinity=affinity, external_policy=policy
    ),
    sizes,
    st.integers(1, 300),
    st.booleans(),
    st.sampled_from(["Cluster", "Local"]),
)


@given(sizes, ports)
def test_the_mean_walk_is_the_closed_form(services: int, port: ServicePort) -> None:
    """Cluster without affinity: P + N + (E + 1) / 2 + 17, and the mean of the walks it stands for."""
    shape = Shape(((1, KUBERNETES_SERVICE), (services, port)))
    count = port.external_endpoints
    corners = [
        walk("iptables", shape, port, "nodeport", position=j, endpoint=k).total
        for j in (1, services)
        for k in (1, count)
    ]
    mean = walk("iptables", shape, port, "nodeport").total
    assert mean == sum(corners) / 4
    if port.external_policy == "Cluster" and not port.affinity:
        assert mean == (services + 1) + services + (count + 1) / 2 + 17


@given(sizes, ports)
def test_each_node_port_found_later_costs_three_rules_and_each_cluster_ip_one(
    services: int, port: ServicePort
) -> None:
    """One rule of KUBE-SERVICES and two of KUBE-NODEPORTS for a NodePort more in front."""

    def last(shape: Shape) -> float:
        return walk("iptables", shape, port, "nodeport", position=shape.node_ports, endpoint=1).total

    inner = ServicePort(endpoints=1, node_port=False)
    one = Shape(((1, KUBERNETES_SERVICE), (services, port)))
    more = Shape(((1, KUBERNETES_SERVICE), (services + 1, port)))
    wider = Shape(((1, KUBERNETES_SERVICE), (services, port), (1, inner)))
    assert last(more) - last(one) == 3
    assert last(wider) - last(one) == 1


@given(sizes)
def test_old_releases_and_closed_loopback_have_one_rule_per_node_port(services: int) -> None:
    port = ServicePort(endpoints=2)
    shapes = [
        Shape(((services, port),), version=(1, 30)),
        Shape(((services, port),), localhost_node_ports=False),
    ]
    for shape in shapes:
        assert structure("iptables", shape).rules["nat/KUBE-NODEPORTS"] == services
        ours = walk("iptables", shape, port, "nodeport", position=services, endpoint=1)
        assert ours.count("node_port_match") == services
        assert ours.count("address_mismatch") == services


@given(st.integers(1, 200))
def test_a_sticky_hit_costs_its_rank_and_a_miss_every_endpoint_more(endpoints: int) -> None:
    plain = ServicePort(endpoints=endpoints)
    sticky = ServicePort(endpoints=endpoints, affinity=True)
    shape = Shape(((1, sticky),))
    for rank in {1, endpoints}:
        hit = walk("iptables", shape, sticky, "nodeport", endpoint=rank, sticky=True)
        miss = walk("iptables", shape, sticky, "nodeport", endpoint=rank)
        without = walk("iptables", Shape(((1, plain),)), plain, "nodeport", endpoint=rank)
        assert (hit.count("recent"), hit.count("statistic")) == (rank, 0)
        assert miss.total - without.total == endpoints


def test_internal_policy_local_refuses_nobody_but_drops_without_local_endpoint() -> None:
    """Policy Local drops where the endpoints are elsewhere; no endpoint at all is refused."""
    away = ServicePort(endpoints=2, internal_policy="Local")
    empty = ServicePort(endpoints=0)
    shape = Shape(((1, KUBERNETES_SERVICE), (1, away), (1, empty)))
    assert walk("iptables", shape, away, "clusterip").verdict == "drop"
    assert walk("iptables", shape, empty, "clusterip").verdict == "reject"
    assert structure("iptables", shape).rules["filter/KUBE-SERVICES"] == 2


def test_a_cluster_ip_with_policy_local_has_chains_for_local_endpoints_alone() -> None:
    inner = ServicePort(endpoints=5, local_endpoints=2, node_port=False, internal_policy="Local")
    written = structure("iptables", Shape(((1, inner),)))
    assert {name: written.chains[f"nat/KUBE-{name}-*"] for name in ("SVC", "SVL", "SEP")} == {
        "SVC": 0,
        "SVL": 1,
        "SEP": 2,
    }
    assert written.rules["nat/KUBE-SVL-*"] == 1 + 2
    assert walk("iptables", Shape(((1, inner),)), inner, "clusterip").count("statistic") == (2 + 1) / 2


@given(st.integers(1, 60), st.integers(2, 30))
def test_a_partial_sync_rewrites_both_linear_chains(services: int, endpoints: int) -> None:
    """4 + (P + 1) + 2N + 2 + 1 + 3E nat rules, as kube-proxy logged them."""
    port = ServicePort(endpoints=endpoints)
    shape = Shape(((1, KUBERNETES_SERVICE), (services, port)))
    expected = 4 + (services + 2) + 2 * services + 2 + 1 + 3 * endpoints
    assert iptables.partial_restore_rules(shape, port) == expected


@given(st.integers(1, 1000))
def test_every_endpoint_gets_an_equal_share(endpoints: int) -> None:
    """Rounding of the written and the kernel's figures moves no share by more than 2e-9."""
    shares = iptables.shares(endpoints)
    assert abs(sum(shares) - 1) < 1e-12
    assert max(abs(share - 1 / endpoints) for share in shares) < 2e-9


def test_the_first_live_rule_of_a_sticky_client_wins() -> None:
    seen = {3: 90.0, 2: 50.0, 1: 10.0}
    assert iptables.sticky_hit(seen, now_s=100.0, timeout_s=60.0) == 2
    assert iptables.sticky_hit(seen, now_s=200.0, timeout_s=60.0) is None
