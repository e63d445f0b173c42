"""Mode ipvs against a real kube-proxy 1.36.2 in an emulated machine, integer by integer."""

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

DUMPS = sorted((Path(__file__).parents[1] / "golden" / "dumps").glob("*.ipvs.txt"))
SERVERS = ("virtual servers", "real servers")


def test_servers_sets_and_rules_are_those_kube_proxy_wrote(ipvs_row: dict[str, Any], golden: Any) -> None:
    written = structure("ipvs", golden.shape_of(ipvs_row))
    sets = {name: n for name, n in written.elements.items() if n and name not in SERVERS}
    assert sets == ipvs_row["ipsets"]
    assert [written.elements[name] for name in SERVERS] == [
        ipvs_row["virtual_servers"],
        ipvs_row["real_servers"],
    ]
    assert {table: written.rule_count(f"{table}/") for table in ("filter", "nat")} == ipvs_row["rules"]


def test_every_walk_tests_as_many_rules_as_the_real_rules_have(ipvs_row: dict[str, Any], golden: Any) -> None:
    """What IPVS refuses leaves at LOCAL_IN; the golden walk, which knows rules only, goes on there."""
    shape = golden.shape_of(ipvs_row)
    packet: Packet
    for packet, key in (("nodeport", "nodeport_external"), ("clusterip", "clusterip_pod")):
        if key not in ipvs_row["walk"]:
            continue
        real = ipvs_row["walk"][key]
        served = packet == "clusterip" or ipvs_row["E"] > 0
        port = golden.service_port(ipvs_row, 1) if ipvs_row["E"] else KUBERNETES_SERVICE
        ours = walk("ipvs", shape, port if served else golden.service_port(ipvs_row, 0), packet)
        hooks = ("nat/PREROUTING", "filter/INPUT", "nat/POSTROUTING")[: 3 if served else 2]
        for hook in hooks:
            assert ours.at(hook).by == real[hook]["by"], hook
        assert ours.verdict == ("accept" if served else "reject")
        assert not served or ours.total == real["total_evaluated"]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name)
def test_a_dump_has_the_rules_sets_and_servers_counted(dump: Path, golden: Any) -> None:
    counts: Counter[str] = Counter()
    servers: Counter[str] = Counter()
    sets: Counter[str] = Counter()
    chains, table = set(), ""
    for line in dump.read_text().splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif match := re.match(r"(:|-A )(\S+)", line):
            chains.add(f"{table}/{match[2]}")
            counts[f"{table}/{match[2]}"] += match[1] != ":"
        elif line.startswith(("TCP  ", "  -> 1")):
            servers["virtual servers" if line.startswith("T") else "real servers"] += 1
        elif match := re.match(r"add (KUBE-\S+) ", line):
            sets[match[1]] += 1
    written = structure("ipvs", golden.shape_of(golden.dumped_row(dump)))
    assert {name: n for name, n in written.rules.items() if n} == {name: n for name, n in counts.items() if n}
    assert set(written.chains) == chains
    assert {name: n for name, n in written.elements.items() if n} == dict(servers + sets)


@given(st.integers(1, 5000), st.integers(1, 1000))
def test_a_walk_does_not_grow_with_the_cluster(services: int, endpoints: int) -> None:
    port = ServicePort(endpoints=endpoints, local_endpoints=1)
    shape = Shape(((1, KUBERNETES_SERVICE), (services, port)))
    assert walk("ipvs", shape, port, "nodeport").total == 22
    assert walk("ipvs", shape, port, "clusterip").total == 15


def test_a_service_keeps_its_virtual_server_without_endpoints() -> None:
    empty = ServicePort(endpoints=0)
    written = structure("ipvs", Shape(((3, empty),)))
    assert (written.elements["virtual servers"], written.elements["real servers"]) == (6, 0)
