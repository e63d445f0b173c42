"""Written rules in a real kernel: it shows them as it shows kube-proxy's, and packets test what is counted.

To count what a packet *tests*, not only what it matches, a bare counter goes in front of every rule: it
decides nothing, and is passed exactly by the packets that reach the rule.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
import read_dumps

from nodeportsim.kubeproxy import chains, write_iptables, write_ipvs, write_nftables
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.rules import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from namespaces import Lab

    from nodeportsim.kubeproxy.walk import Packet, Walk

BACKENDS = ("iptables-legacy", "iptables-nft")
TOOLS = tuple(f"{backend}-{action}" for backend in BACKENDS for action in ("restore", "save"))
LACKING = namespaces.missing(*TOOLS)
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")


# All matches and targets at once, in rules that lead nowhere.
PROBE = f"""*nat
-N PROBE
-A PROBE -p tcp -m nfacct --nfacct-name {write_iptables.NFACCT_OBJECTS[0]} -m tcp --dport 1 -j RETURN
-A PROBE -m recent --set --name probe -m statistic --mode random --probability 0.5 -m comment --comment x
-A PROBE -p tcp -m addrtype --dst-type LOCAL -m mark --mark 1/1 -j DNAT --to-destination 192.0.2.1:1
-A POSTROUTING -s 192.0.2.1/32 -m conntrack --ctstate NEW -j MASQUERADE --random-fully
COMMIT
"""


@pytest.fixture(scope="module")
def nfacct_objects() -> tuple[str, ...]:
    """Counters to make; skip where the kernel or its tools lack something kube-proxy uses."""
    with namespaces.lab() as probe:
        if not probe.make_nfacct(*write_iptables.NFACCT_OBJECTS):
            pytest.skip("the kernel lacks nfacct")
        for backend in BACKENDS:
            if not probe.takes(f"{backend}-restore", text=PROBE):
                pytest.skip(f"{backend}, or the kernel, lacks matches or targets that kube-proxy uses")
    return write_iptables.NFACCT_OBJECTS


@pytest.fixture
def lab(nfacct_objects: tuple[str, ...]) -> Iterator[Lab]:
    with namespaces.lab() as made:
        made.make_nfacct(*nfacct_objects)
        yield made


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_kernel_shows_written_iptables_rules_as_it_shows_kube_proxys(
    backend: str, lab: Lab, golden: Any
) -> None:
    for dump in read_dumps.dumps(".iptables-save"):
        lab.run(f"{backend}-restore", text=write_iptables.restore(read_dumps.view(dump, golden)))
        assert read_dumps.iptables(lab.run(f"{backend}-save")) == read_dumps.iptables(dump.read_text()), dump


def test_the_kernel_shows_written_nftables_rules_as_it_shows_kube_proxys(lab: Lab, golden: Any) -> None:
    for dump in read_dumps.dumps(".nft"):
        lab.run("nft", "-f", "-", text=write_nftables.load(read_dumps.view(dump, golden)))
        shown = lab.run("nft", "list", "table", "ip", "kube-proxy")
        assert read_dumps.nftables(shown) == read_dumps.nftables(dump.read_text()), dump
        lab.run("nft", "delete", "table", "ip", "kube-proxy")


@pytest.mark.skipif(bool(namespaces.missing("ipset")), reason="needs ipset")
def test_the_kernel_takes_written_sets_and_the_rules_of_mode_ipvs(lab: Lab, golden: Any) -> None:
    for dump in read_dumps.dumps(".ipvs.txt"):
        real, written = read_dumps.ipvs(dump.read_text()), write_ipvs.write(read_dumps.view(dump, golden))
        lab.run("ipset", "restore", text=written.ipset)
        lab.run("iptables-legacy-restore", text=written.iptables)
        assert read_dumps.ipset(lab.run("ipset", "save")) == real["sets"]
        assert read_dumps.iptables(lab.run("iptables-legacy-save")) == real["iptables"]
        lab.run("iptables-legacy-restore", text="*filter\nCOMMIT\n*nat\nCOMMIT\n")
        lab.run("ipset", "destroy")


def service(number: int, **options: Any) -> Port:
    """A NodePort of three endpoints, the first of them on this node."""
    hosts = options.pop("hosts", (0, 1, 2))
    return Port(
        namespace="lab",
        service=f"svc-{number}",
        name="p",
        cluster_ip=f"10.96.1.{number}",
        port=80,
        node_port=options.pop("node_port", 30000 + number),
        endpoints=tuple(
            Endpoint(address=f"10.244.{host}.{number}", port=8080, local=host == 0) for host in hosts
        ),
        **options,
    )


KUBERNETES = Port(
    namespace="default",
    service="kubernetes",
    name="https",
    cluster_ip="10.96.0.1",
    port=443,
    endpoints=(Endpoint(address="172.18.1.1", port=6443),),
)
PORTS = (
    service(2),
    service(3, hosts=()),
    KUBERNETES,
    service(4, external_policy="Local"),
    service(5, external_policy="Local", hosts=(1, 2)),
    service(6, node_port=0, internal_policy="Local"),
    service(7, affinity_s=600),
    service(8, hosts=(0, 1, 2, 3, 4)),
    service(9, node_port=0, hosts=()),
    service(10),
)
"""First, middle and last ports; every policy; closed ones among them."""


def expected(mode: Any, view: View, port: Port, packet: Packet, rank: int, *, sticky: bool) -> Walk:
    """The walk as counted, for a port at its place."""
    if packet in ("podip", "node"):
        return walk(mode, view.shape, port.counted, packet)
    nodeport = packet == "nodeport"

    def placed(ports: list[Port]) -> int | None:
        return ports.index(port) + 1 if port in ports else None

    by_name = [p for p in view.ports if (p.node_port if nodeport else True)]
    usable = {p: p.counted.external_endpoints if nodeport else p.counted.internal_endpoints for p in by_name}
    return walk(
        mode,
        view.shape,
        port.counted,
        packet,
        position=placed([p for p in by_name if (p.endpoints if nodeport else usable[p])]),
        closed_position=placed([p for p in by_name if not usable[p]]),
        endpoint=rank or None,
        sticky=sticky,
    )


def packets(port: Port) -> Iterator[tuple[Packet, str, int]]:
    """What is sent for a port: from the client to its NodePort, from a pod to its ClusterIP."""
    if port.node_port:
        yield "nodeport", namespaces.NODE_ADDRESS, port.node_port
    if port is not KUBERNETES:
        yield "clusterip", port.cluster_ip, port.port


def ends(port: Port, packet: Packet) -> tuple[Endpoint, ...]:
    policy = port.external_policy if packet == "nodeport" else port.internal_policy
    return tuple(e for e in port.endpoints if e.local or policy == "Cluster")


def sent(lab: Lab, packet: Packet) -> str:
    return lab.pods if packet == "clusterip" else lab.client


def counted_iptables(text: str) -> str:
    """A counter in front of every rule."""
    return re.sub(r"^-A (\S+) ", r"-A \1 -m comment --comment tested\n-A \1 ", text, flags=re.MULTILINE)


def reached_iptables(saved: str) -> dict[str, int]:
    """Tested rules per table and chain, from the counters in front of them."""
    tested: Counter[str] = Counter()
    for table, body in re.findall(r"^\*(\w+)\n(.*?)^COMMIT", saved, re.MULTILINE | re.DOTALL):
        for packets_seen, chain in re.findall(r"\[(\d+):\d+\] -A (\S+) -m comment --comment tested", body):
            tested[f"{table}/{chain}"] += int(packets_seen)
    return dict(tested)


def per_class(tested: dict[str, int]) -> dict[str, int]:
    """Chains of one kind together, as a `Walk` has them; those that were entered."""
    classes: Counter[str] = Counter()
    for chain, count in tested.items():
        name = re.sub(r"(KUBE-(?:SVC|SVL|SEP|EXT)-).*", r"\1*", chain)
        classes[re.sub(r"^((?:service|local|external|endpoint)-)\w{8}-.*", r"\1*", name)] += count
    return {name: count for name, count in classes.items() if count}


def by_table(ours: Walk) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for row in ours.rows:
        counts[f"{row.hook.partition('/')[0]}/{row.chain}"] += row.rules  # type: ignore[assignment]
    return {name: count for name, count in counts.items() if count}


def difference(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {
        chain: count - before.get(chain, 0) for chain, count in now.items() if count - before.get(chain, 0)
    }


def entered(tested: dict[str, int], names: list[str]) -> int:
    """Rank of the endpoint whose chain was entered; 0 if none was."""
    return next((rank for rank, name in enumerate(names, 1) if tested.get(name)), 0)


@pytest.mark.parametrize("localhost_node_ports", [True, False], ids=["two-rules", "one-rule"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_packet_tests_as_many_iptables_rules_per_chain_as_the_walk_counts(
    backend: str, localhost_node_ports: bool, lab: Lab
) -> None:
    view = View(
        ports=PORTS, node_addresses=(namespaces.NODE_ADDRESS,), localhost_node_ports=localhost_node_ports
    )
    lab.run(f"{backend}-restore", text=counted_iptables(write_iptables.restore(view)))

    def tested(packet: Packet, address: str, number: int) -> dict[str, int]:
        before = reached_iptables(lab.run(f"{backend}-save", "-c"))
        lab.syn(sent(lab, packet), address, number)
        return namespaces.settled(
            lambda: difference(reached_iptables(lab.run(f"{backend}-save", "-c")), before)
        )

    for port in view.ports:
        for packet, address, number in packets(port):
            known = 0
            names = [f"nat/{chains.iptables_endpoint_chain(port, end)}" for end in ends(port, packet)]
            for attempt in range(3):
                seen = tested(packet, address, number)
                rank = entered(seen, names)
                sticky = port.affinity_s > 0 and attempt > 0
                assert rank == known or not sticky
                ours = expected("iptables", view, port, packet, rank, sticky=sticky)
                assert per_class(seen) == by_table(ours), (port.full_name, packet, rank)
                known = rank
    for packet, address in (("podip", "10.244.9.9"), ("node", namespaces.NODE_ADDRESS)):
        ours = expected("iptables", view, KUBERNETES, packet, 0, sticky=False)
        assert per_class(tested(packet, address, 9999)) == by_table(ours), packet


def counted_nftables(text: str) -> str:
    """A counter at the head of every rule."""
    return re.sub(r"^(add rule ip kube-proxy \S+) ", r"\1 counter ", text, flags=re.MULTILINE)


def reached_nftables(listed: str) -> dict[str, int]:
    tested: Counter[str] = Counter()
    for name, (_, rules) in read_dumps.nftables(listed).items():
        for rule in rules if name.startswith("chain") else ():
            match = re.match(r"counter packets (\d+)", rule)
            assert match, rule
            tested[name.removeprefix("chain ")] += int(match[1])
    return dict(tested)


@pytest.mark.parametrize("version", [(1, 36), (1, 35)], ids=str)
def test_a_packet_tests_as_many_nftables_rules_per_chain_as_the_walk_counts(
    version: tuple[int, int], lab: Lab
) -> None:
    view = View(ports=PORTS, node_addresses=(namespaces.NODE_ADDRESS,), version=version)
    lab.run("nft", "-f", "-", text=counted_nftables(write_nftables.load(view)))
    listing = ("nft", "list", "table", "ip", "kube-proxy")

    def tested(packet: Packet, address: str, number: int) -> dict[str, int]:
        before = reached_nftables(lab.run(*listing))
        lab.syn(sent(lab, packet), address, number)
        return namespaces.settled(lambda: difference(reached_nftables(lab.run(*listing)), before))

    for port in view.ports:
        for packet, address, number in packets(port):
            known = 0
            names = [chains.nftables_endpoint("endpoint", port, end) for end in ends(port, packet)]
            for attempt in range(3):
                seen = tested(packet, address, number)
                rank = entered(seen, names)
                sticky = port.affinity_s > 0 and attempt > 0
                assert rank == known or not sticky
                ours = expected("nftables", view, port, packet, rank, sticky=sticky)
                assert per_class(seen) == ours.by, (port.full_name, packet, rank)
                known = rank
    for packet, address in (("podip", "10.244.9.9"), ("node", namespaces.NODE_ADDRESS)):
        ours = expected("nftables", view, KUBERNETES, packet, 0, sticky=False)
        assert per_class(tested(packet, address, 9999)) == ours.by, packet


def sockets_answer(lab: Lab) -> None:
    """Let the pods' side own every pod's address: with nobody listening it answers a SYN with RST."""
    lab.run("ip", "route", "add", "local", "10.244.0.0/16", "dev", "lo", inside=lab.pods)


def test_an_answer_tests_the_rules_of_an_established_connection(lab: Lab) -> None:
    view = View(ports=PORTS, node_addresses=(namespaces.NODE_ADDRESS,))
    sockets_answer(lab)
    lab.run("iptables-legacy-restore", text=counted_iptables(write_iptables.restore(view)))
    lab.syn(lab.client, namespaces.NODE_ADDRESS, PORTS[0].node_port)
    seen = namespaces.settled(lambda: reached_iptables(lab.run("iptables-legacy-save", "-c")))
    names = [f"nat/{chains.iptables_endpoint_chain(PORTS[0], end)}" for end in PORTS[0].endpoints]
    asked = expected("iptables", view, PORTS[0], "nodeport", entered(seen, names), sticky=False)
    assert per_class(seen) == by_table(asked + walk("iptables", view.shape, PORTS[0].counted, "established"))


def test_an_answer_tests_one_nftables_rule_before_the_chain_of_forwarded_packets(lab: Lab) -> None:
    """The counted walk begins at filter-forward, as the golden one does; the hook before it adds one."""
    view = View(ports=PORTS, node_addresses=(namespaces.NODE_ADDRESS,))
    sockets_answer(lab)
    lab.run("nft", "-f", "-", text=counted_nftables(write_nftables.load(view)))
    lab.syn(lab.client, namespaces.NODE_ADDRESS, PORTS[0].node_port)
    seen = namespaces.settled(lambda: reached_nftables(lab.run("nft", "list", "table", "ip", "kube-proxy")))
    asked = expected("nftables", view, PORTS[0], "nodeport", 1, sticky=False)
    both = asked + walk("nftables", view.shape, PORTS[0].counted, "established")
    assert per_class(seen) == {**both.by, "filter-prerouting-pre-dnat": 1 + 1}


BEFORE = View(
    ports=(service(2), service(3), service(4, affinity_s=600), service(5)),
    node_addresses=(namespaces.NODE_ADDRESS,),
)
AFTER = View(
    ports=(
        service(2, hosts=(1, 3)),
        service(3, hosts=()),
        service(4, affinity_s=600, hosts=(0,)),
        service(5),
    ),
    node_addresses=(namespaces.NODE_ADDRESS,),
)
"""One Service loses its local endpoint and gets another, one loses all, one with affinity loses two."""
CHANGED = [port.full_name for port in AFTER.ports[:3]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_iptables_rules_brought_up_to_date_are_those_written_anew(backend: str, lab: Lab) -> None:
    lab.run(f"{backend}-restore", text=write_iptables.restore(BEFORE))
    partial = write_iptables.restore_changed(AFTER, CHANGED, before=BEFORE)
    lab.run(f"{backend}-restore", "--noflush", "--counters", text=partial)
    assert read_dumps.iptables(lab.run(f"{backend}-save")) == read_dumps.iptables(
        write_iptables.restore(AFTER)
    )


def test_nftables_rules_brought_up_to_date_are_those_written_anew_and_emptied_chains(lab: Lab) -> None:
    shown = []
    for texts in (
        (write_nftables.load(BEFORE), write_nftables.change(AFTER, CHANGED, before=BEFORE)),
        (write_nftables.load(AFTER),),
    ):
        for text in texts:
            lab.run("nft", "-f", "-", text=text)
        shown.append(read_dumps.nftables(lab.run("nft", "list", "table", "ip", "kube-proxy")))
        lab.run("nft", "delete", "table", "ip", "kube-proxy")
    updated, anew = shown
    stale = updated.keys() - anew.keys()
    assert {name: updated[name] for name in anew} == anew
    assert stale
    assert all(updated[name] == (set(), []) for name in stale)
