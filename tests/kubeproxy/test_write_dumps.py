"""Written rules against the dumps of a real kube-proxy: the same names, rules, order and set elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import read_dumps

from nodeportsim.kubeproxy import write_ipvs
from nodeportsim.kubeproxy.write_iptables import restore
from nodeportsim.kubeproxy.write_nftables import load

if TYPE_CHECKING:
    from pathlib import Path


def each(suffix: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dump", read_dumps.dumps(suffix), ids=lambda path: path.name)


@each(".iptables-save")
def test_iptables_rules_are_those_kube_proxy_wrote(dump: Path, golden: Any) -> None:
    view = read_dumps.view(dump, golden)
    assert read_dumps.iptables(restore(view)) == read_dumps.iptables(dump.read_text())


@each(".nft")
def test_nftables_rules_sets_and_maps_are_those_kube_proxy_wrote(dump: Path, golden: Any) -> None:
    view = read_dumps.view(dump, golden)
    assert read_dumps.nftables_commands(load(view)) == read_dumps.nftables(dump.read_text())


@each(".ipvs.txt")
def test_ipvs_servers_sets_rules_and_addresses_are_those_kube_proxy_wrote(dump: Path, golden: Any) -> None:
    real, written = read_dumps.ipvs(dump.read_text()), write_ipvs.write(read_dumps.view(dump, golden))
    assert read_dumps.servers(written.ipvsadm) == real["servers"]
    assert read_dumps.ipset(written.ipset) == real["sets"]
    assert read_dumps.iptables(written.iptables) == real["iptables"]
    assert sorted(written.addresses) == real["addresses"]


@each("")
def test_a_view_read_from_a_dump_is_the_cluster_its_name_tells(dump: Path, golden: Any) -> None:
    """Else a reader that loses Services would make both sides equal and empty."""
    if dump.suffix == ".md":
        return
    shape, told = (read_dumps.view(dump, golden).shape, golden.shape_of(golden.dumped_row(dump)))
    names = ("cluster_ips", "node_ports", "endpoints", "local_endpoints", "closed_node_ports")
    assert [getattr(shape, name) for name in names] == [getattr(told, name) for name in names]
