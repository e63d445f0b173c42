"""What is written has as many chains, rules and elements as the formulas count, for any cluster."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import read_dumps
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy import iptables, write_ipvs
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.rules import structure
from nodeportsim.kubeproxy.write_iptables import NFACCT_OBJECTS, restore, restore_changed
from nodeportsim.kubeproxy.write_nftables import change, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

policies = st.sampled_from(["Cluster", "Local"])


@st.composite
def views(draw: st.DrawFn) -> View:
    """Services of one or two ports with any policies, open and closed."""
    ports = []
    for number in range(draw(st.integers(1, 5))):
        options = {
            "namespace": "lab",
            "service": f"svc-{number}",
            "cluster_ip": f"10.96.1.{number}",
            "affinity_s": draw(st.sampled_from([0, 10800])),
            "external_policy": draw(policies),
            "internal_policy": draw(policies),
        }
        node_port = draw(st.booleans())
        where = draw(st.lists(st.booleans(), max_size=5))
        for k in range(draw(st.integers(1, 2))):
            ends = tuple(
                Endpoint(address=f"10.244.{number}.{e}", port=8080 + k, local=local)
                for e, local in enumerate(where)
            )
            place = {"port": 80 + k, "node_port": 30000 + 2 * number + k if node_port else 0}
            ports.append(Port(name=f"p{k}", endpoints=ends, **place, **options))
    return View(
        ports=tuple(ports),
        version=draw(st.sampled_from([(1, 30), (1, 31), (1, 35), (1, 36)])),
        node_addresses=("172.18.2.2",),
        localhost_node_ports=draw(st.booleans()),
    )


def nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def counted(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Add up per chain class."""
    total: Counter[str] = Counter()
    for name, count in names:
        kind = re.sub(r"(KUBE-(?:SVC|SVL|SEP|EXT)-).*", r"\1*", name)
        total[re.sub(r"^((?:service|local|external|endpoint)-)\w{8}-.*", r"\1*", kind)] += count
    return nonzero(total)


def sizes(tables: read_dumps.Tables) -> tuple[dict[str, int], dict[str, int]]:
    """Chains and rules per ``table/chain class``."""
    each = [
        (f"{t}/{c.split()[0]}", len(rules)) for t, chains in tables.items() for c, rules in chains.items()
    ]
    return counted((name, 1) for name, _ in each), counted(each)


@given(views())
def test_iptables_chains_and_rules_are_as_many_as_counted(view: View) -> None:
    told = structure("iptables", view.shape)
    assert sizes(read_dumps.iptables(restore(view))) == (nonzero(told.chains), nonzero(told.rules))


@given(views())
def test_nftables_chains_rules_and_elements_are_as_many_as_counted(view: View) -> None:
    """Sets that hold bare ClusterIPs hold each once, however many ports its Service has."""
    told, written = structure("nftables", view.shape), read_dumps.nftables_commands(load(view))
    chains = {n.removeprefix("chain "): len(rules) for n, (_, rules) in written.items() if "chain " in n}
    assert counted((name, 1) for name in chains) == nonzero(told.chains)
    assert counted(chains.items()) == nonzero(told.rules)
    sets = {n.split()[1]: len(rest) for n, (_, rest) in written.items() if "chain " not in n}
    own = {name: count for name, count in sets.items() if not name.startswith("affinity-")}
    assert own == {**told.elements, "cluster-ips": len({port.cluster_ip for port in view.ports})}
    assert len(sets) - len(own) == sum(p.counted.reachable_endpoints for p in view.ports if p.affinity_s)


@given(views())
def test_ipvs_rules_entries_and_servers_are_as_many_as_counted(view: View) -> None:
    told, written = structure("ipvs", view.shape), write_ipvs.write(view)
    chains, rules = sizes(read_dumps.iptables(written.iptables))
    # Without any NodePort its chain is there, and empty.
    assert (chains, rules) == (told.chains, nonzero(told.rules))
    entries = Counter(line.split()[1] for line in written.ipset.splitlines() if line.startswith("add"))
    commands = Counter(line[:2] for line in written.ipvsadm.splitlines())
    found = {**entries, "virtual servers": commands["-A"], "real servers": commands["-a"]}
    addresses = {port.cluster_ip for port in view.ports}
    assert nonzero(found) == nonzero({**told.elements, "KUBE-IPVS-IPS": len(addresses)})
    assert set(written.addresses) == addresses


@given(views(), st.data())
def test_a_partial_sync_writes_as_many_nat_rules_as_counted(view: View, data: st.DataObject) -> None:
    port = data.draw(st.sampled_from(view.ports))
    written = read_dumps.iptables(restore_changed(view, {port.full_name}))
    rules = sum(len(rules) for rules in written["nat"].values())
    assert rules == iptables.partial_restore_rules(view.shape, port.counted)


@given(views())
def test_writing_every_port_as_changed_writes_what_a_full_restore_writes(view: View) -> None:
    """All but the built-in chains and the canaries, which a sync leaves alone."""
    own = {
        table: {name: rules for name, rules in chains.items() if name.endswith("-") and "CANARY" not in name}
        for table, chains in read_dumps.iptables(restore(view)).items()
        if table != "mangle"
    }
    assert read_dumps.iptables(restore_changed(view, {port.full_name for port in view.ports})) == own


@given(views())
def test_a_change_that_changes_nothing_touches_no_element_and_removes_nothing(view: View) -> None:
    names = {port.full_name for port in view.ports}
    assert change(view, names, before=view) == change(view, names)
    assert "\n-X " not in restore_changed(view, names, before=view)
    assert change(view, (), before=view).strip() == ""


@given(views())
def test_nfacct_objects_are_named_only_where_loopback_traffic_is_counted(view: View) -> None:
    names = view.localhost_node_ports and view.version >= (1, 31)
    assert (NFACCT_OBJECTS[0] in restore(view)) == names
    assert ("nfacct" in restore(view)) == names


def test_a_large_cluster_leaves_the_comments_of_endpoints_out() -> None:
    """More than 1000 endpoints: rules to and in endpoint chains have none, the others keep theirs."""

    def view(endpoints: int) -> View:
        ends = tuple(Endpoint(address=f"10.244.{e // 250}.{e % 250}", port=8080) for e in range(endpoints))
        place: dict[str, Any] = {"cluster_ip": "10.96.1.1", "port": 80, "node_port": 30000}
        port = Port(namespace="lab", service="svc", name="p", endpoints=ends, **place)
        return View(ports=(port,), node_addresses=("172.18.2.2",), localhost_node_ports=False)

    def comments(endpoints: int) -> int:
        return sum("lab/svc" in line for line in restore(view(endpoints)).splitlines())

    # KUBE-SERVICES, KUBE-NODEPORTS, KUBE-EXT and the head of KUBE-SVC; three more for each endpoint.
    assert comments(1000) == 4 + 3 * 1000
    assert comments(1001) == 4
