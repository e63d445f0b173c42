"""A node's dump, followed rule by rule, against the formulas: two ways to one number."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nodeportsim.kubeproxy.dump import read_dump, usable
from nodeportsim.kubeproxy.dump_rows import find, packets, rows
from nodeportsim.kubeproxy.rules import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.kubeproxy.concrete import Port
    from nodeportsim.kubeproxy.dump import Dump, Tool
    from nodeportsim.kubeproxy.walk import Packet

FOLDER = Path(__file__).parents[1] / "golden" / "dumps"
TOOLS: dict[str, Tool] = {".iptables-save": "iptables-save", ".nft": "nft", ".txt": "ipvsadm"}
DUMPS = sorted(path for path in FOLDER.iterdir() if path.suffix in TOOLS)
TEN = FOLDER / "10x3.iptables-save"
FOREIGN = "-A PREROUTING -s 192.168.0.0/16 -j ACCEPT\n"

every_dump = pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.name)


@cache
def read(path: Path) -> Dump:
    return parsed(path.read_text(), path)


def parsed(text: str, path: Path = TEN) -> Dump:
    return read_dump(TOOLS[path.suffix], text, path.name)


def cases(dump: Dump) -> Iterator[tuple[Port, Packet, dict[str, Any]]]:
    """Every port, kind of packet, endpoint, with and without memory, as arguments of the formula."""
    for port in dump.view.ports:
        for packet in packets(port):
            places = {"position": dump.position(port, packet)}
            if not usable(port, packet):
                yield port, packet, {"closed_position": dump.closed_position(port, packet)}
            for rank in range(1, len(usable(port, packet)) + 1):
                yield port, packet, places | {"endpoint": rank}
                if port.affinity_s and dump.mode != "ipvs":
                    yield port, packet, places | {"endpoint": rank, "sticky": True}
        if port.endpoints:
            yield port, "podip", {}
        yield port, "node", {}


@every_dump
def test_the_followed_walk_is_the_formulas_walk(path: Path) -> None:
    dump = read(path)
    for port, packet, places in cases(dump):
        rank, sticky = places.get("endpoint"), places.get("sticky", False)
        read_walk = dump.follow(port, packet, endpoint=rank, sticky=sticky)
        ours = walk(dump.mode, dump.view.shape, port.counted, packet, **places)
        case = (port.full_name, packet, places)
        assert read_walk.walk.by == ours.by, case
        assert (read_walk.walk.verdict, read_walk.walk.masquerade) == (ours.verdict, ours.masquerade), case
        for name in (
            "address_mismatch",
            "loopback_mismatch",
            "node_port_match",
            "statistic",
            "recent",
            "set_lookup",
        ):
            assert read_walk.walk.count(name) == ours.count(name), case  # type: ignore[arg-type]  # a literal
        if dump.mode == "nftables":
            assert read_walk.walk.lookups == ours.lookups, case
        assert (read_walk.foreign, dict(read_walk.unknown)) == (0, {}), case


@every_dump
def test_the_view_is_the_cluster_kube_proxy_ran_on(path: Path, golden: Any) -> None:
    """Who is local is left out: mode iptables does not tell it where the policy is Cluster."""
    dump, row = read(path), golden.dumped_row(path)
    expected, shape = golden.shape_of(row), dump.view.shape
    for name in ("cluster_ips", "node_ports", "endpoints", "closed_cluster_ips", "closed_node_ports"):
        assert getattr(shape, name) == getattr(expected, name), name
    lab = [port for port in dump.view.ports if port.endpoints and port.node_port]
    affinity_s = 10800 if "aff" in row["opts"] else 0
    policy = "Local" if "local" in row["opts"] else "Cluster"
    assert {(port.affinity_s, port.external_policy) for port in lab} <= {(affinity_s, policy)}
    assert dump.loopback_rules == (expected.node_ports if dump.mode == "iptables" else 0)


def test_an_established_packet_meets_filter_alone() -> None:
    dump = read(TEN)
    port = dump.view.ports[0]
    assert dump.follow(port, "established").walk.by == {"FORWARD": 2, "KUBE-FORWARD": 3}


def test_ipvsadm_alone_has_the_rules_of_the_formula_but_the_one_for_local_endpoints() -> None:
    """Which endpoints are local is in the ipset, so the rule for their way back to themselves is not told."""
    path = FOLDER / "10x3.ipvs.txt"
    whole, alone = read(path), parsed(path.read_text().partition("# ipset save")[0], path)
    assert alone.view.shape.node_ports == whole.view.shape.node_ports == 10
    for port in alone.view.ports:
        for packet in packets(port):
            expected = walk("ipvs", whole.view.shape, port.counted, packet)
            assert alone.follow(port, packet).walk.total == expected.total - 1


# -- mutations: what other software adds ----------------------------------------------------------


def totals(dump: Dump) -> list[float]:
    return [
        dump.follow(port, packet, endpoint=places.get("endpoint")).walk.total
        for port, packet, places in cases(dump)
    ]


def before(line: str, added: str, text: str) -> str:
    assert line in text
    return text.replace(line, added + line, 1)


def test_a_foreign_rule_in_prerouting_is_one_rule_more_for_every_packet() -> None:
    text = before("-A PREROUTING", FOREIGN, TEN.read_text())
    mutant = parsed(text)
    assert totals(mutant) == [total + 1 for total in totals(read(TEN))]
    assert {mutant.follow(port, "podip").foreign for port in mutant.view.ports} == {1}


def test_a_rule_nobody_understands_is_counted_and_told() -> None:
    added = "-A PREROUTING -m bpf --object-pinned /sys/fs/bpf/x -j DROP\n"
    mutant = parsed(before("-A PREROUTING", added, TEN.read_text()))
    seen = mutant.follow(mutant.view.ports[0], "podip")
    assert dict(seen.unknown) == {"match bpf": 1}
    assert seen.walk.verdict == "accept"
    assert totals(mutant) == [total + 1 for total in totals(read(TEN))]


def test_what_fails_on_a_known_condition_needs_no_understanding() -> None:
    added = "-A PREROUTING -p udp -m bpf --object-pinned /sys/fs/bpf/x -j DROP\n"
    mutant = parsed(before("-A PREROUTING", added, TEN.read_text()))
    assert not mutant.follow(mutant.view.ports[0], "podip").unknown


def test_a_foreign_chain_counts_rule_by_rule_until_it_returns() -> None:
    """The jump, a mismatch, the RETURN; the rule behind it is not reached."""
    chain = "-A cali-x -p udp -j DROP\n-A cali-x -j RETURN\n-A cali-x -j DROP\n"
    text = before("-A PREROUTING", "-A PREROUTING -j cali-x\n" + chain, TEN.read_text())
    text = before(":KUBE-MARK-MASQ", ":cali-x - [0:0]\n", text)
    assert totals(parsed(text)) == [total + 3 for total in totals(read(TEN))]


def test_services_that_change_places_in_the_chain_change_positions_in_the_dump() -> None:
    text = TEN.read_text()
    lines = re.findall(r"-A KUBE-NODEPORTS .*\n", text)
    pairs = ["".join(lines[n : n + 2]) for n in range(0, len(lines), 2)]
    swapped = text.replace("".join(pairs), "".join([pairs[-1], *pairs[1:-1], pairs[0]]))
    one, other = read(TEN), parsed(swapped)
    names = [re.search('--comment "([^"]+)"', pair)[1] for pair in pairs]  # type: ignore[index]
    was = [one.position(find(one, name), "nodeport") for name in names]
    now = [other.position(find(other, name), "nodeport") for name in names]
    assert was == list(range(1, 11))
    assert now == [10, *range(2, 10), 1]
    first, last = (dump.follow(find(dump, names[0]), "nodeport").walk.total for dump in (one, other))
    assert last - first == 2 * 9


def test_counters_change_nothing() -> None:
    text = re.sub("(?m)^-A ", "[12:3456] -A ", TEN.read_text())
    assert totals(parsed(text)) == totals(read(TEN))


def test_a_long_chain_is_followed_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index by address and port is a short cut, not another meaning."""
    expected = [totals(read(path)) for path in DUMPS if path.suffix == ".iptables-save"]
    for shortest in (0, 10**9):
        monkeypatch.setattr("nodeportsim.kubeproxy.read_iptables._SHORT", shortest)
        found = [totals(parsed(p.read_text())) for p in DUMPS if p.suffix == ".iptables-save"]
        assert found == expected


def test_another_table_of_nft_is_walked_by_priority() -> None:
    """One rule that matches, one that does not, at the hook every packet meets first."""
    path = FOLDER / "10x3.nft"
    table = (
        "table inet guard {\n\tset bad {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n\n"
        "\tchain first {\n\t\ttype filter hook prerouting priority raw; policy accept;\n"
        "\t\tip saddr @bad drop\n\t\tcounter packets 5 bytes 300 accept\n\t}\n}\n"
    )
    mutant = parsed(path.read_text() + table, path)
    assert totals(mutant) == [total + 2 for total in totals(read(path))]
    seen = mutant.follow(mutant.view.ports[0], "podip")
    assert (seen.foreign, seen.walk.rows[0].hook, seen.walk.rows[0].lookups) == (2, "inet guard first", 1)


def test_the_header_names_the_backend() -> None:
    text = TEN.read_text()
    for header, backend in (
        ("# Generated by iptables-save v1.8.9 (nf_tables) on Mon", "nft"),
        ("# Generated by iptables-nft-save v1.8.7 on Mon", "nft"),
        ("# Generated by iptables-save v1.8.9 (legacy) on Mon", "legacy"),
        ("# Generated by iptables-save v1.8.7 on Mon", None),
    ):
        assert parsed(f"{header}\n{text}").backend == backend
    assert read(TEN).backend is None


def test_node_port_addresses_are_those_the_rules_name() -> None:
    """With --nodeport-addresses the last rule of KUBE-SERVICES names the address it asked the kernel for."""
    old = "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    text = (
        TEN.read_text()
        .replace(old, "-j KUBE-NODEPORTS")
        .replace(
            '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports',
            '-A KUBE-SERVICES -d 172.18.2.2/32 -m comment --comment "kubernetes service nodeports',
        )
    )
    dump = parsed(text)
    assert dump.node == "172.18.2.2"
    assert [dump.follow(port, "nodeport").walk.verdict for port in dump.view.ports if port.node_port] == [
        "accept"
    ] * 10


def test_the_table_of_services_holds_the_walks() -> None:
    dump = read(TEN)
    made, unknown = rows(dump, lambda _, way: way.total * 1e-9)
    assert len(made) == 11
    assert not unknown
    for row in made:
        port = find(dump, row["service"])
        for packet in packets(port):
            ways = [dump.follow(port, packet, endpoint=n + 1).walk.total for n in range(len(port.endpoints))]
            mean = sum(ways) / len(ways)
            found = row[packet]
            assert (found["first"], found["mean"], found["last"]) == (ways[0], mean, ways[-1])
            assert found["cost_s"] == pytest.approx(mean * 1e-9)
