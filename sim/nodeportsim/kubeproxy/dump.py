"""A node's real rules: read from a dump, and walked as `nodeportsim.kubeproxy.rules.walk` walks the formulas.

One door to the three kinds of dump. A `Dump` knows the Services it holds (`Dump.view`), where they stand
(`Dump.position`) and follows a packet (`Dump.follow`).
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nodeportsim.errors import InputError, Location
from nodeportsim.kubeproxy import follow_iptables, follow_nftables, read_ipvs, view_iptables, view_nftables
from nodeportsim.kubeproxy.packet import (
    CLIENT,
    GARBLED,
    NODE,
    OTHER_PORT,
    Header,
    Reading,
    address,
    dotted,
    network,
)
from nodeportsim.kubeproxy.read_iptables import read_iptables
from nodeportsim.kubeproxy.read_nftables import read_nftables
from nodeportsim.kubeproxy.rules import walk

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
    from nodeportsim.kubeproxy.walk import Mode, Packet, Verdict

Tool = Literal["iptables-save", "nft", "ipvsadm"]
TAKE: dict[Tool, str] = {
    "iptables-save": "take it on the node, as root: iptables-save > FILE",
    "nft": "take it on the node, as root: nft list ruleset > FILE",
    "ipvsadm": "take it on the node, as root: ipvsadm -Ln > FILE",
}
_SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<!", "<html", "<HTML", "<?xml"), "an HTML page"),
    (("{", "["), "JSON"),
    (("apiVersion:", "---"), "YAML"),
    (("Chain ", "-P ", "-N "), "a listing of iptables -L or -S"),
    (("*",), "iptables-save"),
    (("table ",), "nft"),
    (("IP Virtual Server", "Prot LocalAddress", "TCP ", "UDP "), "ipvsadm"),
    (("-A -t", "-a -t"), "ipvsadm-save"),
    (("create ",), "ipset save"),
)


class Dump:
    """One node's rules. Make it with `read_dump`."""

    mode: Mode
    backend: Literal["nft", "legacy"] | None = None
    warnings: tuple[str, ...] = ()
    loopback_rules: int = 0
    node: str = NODE

    @cached_property
    def view(self) -> View:
        """The Services it holds."""
        raise NotImplementedError

    def position(self, port: Port, packet: Packet) -> int | None:
        """Place of a port in its linear chain, from 1; None where no chain is linear or it has none."""
        del port, packet
        return None

    def closed_position(self, port: Port, packet: Packet) -> int | None:
        """Place of a port without usable endpoint among filter's rules, likewise."""
        del port, packet
        return None

    def follow(
        self, port: Port, packet: Packet, *, endpoint: int | None = None, sticky: bool = False
    ) -> Reading:
        """Follow a packet, as `nodeportsim.kubeproxy.rules.walk` counts one.

        Parameters
        ----------
        port
            The port of the dump's view that the packet is for.
        packet, sticky
            As there. ``podip`` goes to an endpoint's address.
        endpoint
            Rank, from 1, of the endpoint that random choices take; None for the first.
        """
        header = self._header(port, packet, endpoint or 1, sticky=sticky)
        return self._follow(header, port)

    def _follow(self, header: Header, port: Port) -> Reading:
        raise NotImplementedError

    @property
    def _local(self) -> frozenset[int]:
        return frozenset((address(self.node),))

    @cached_property
    def pod(self) -> int:
        """An address of the pods' range that is no endpoint: the last one free."""
        base, mask = network(self.view.cluster_cidr)
        used = {each.address for port in self.view.ports for each in port.endpoints}
        last = (base | ~mask & 0xFFFFFFFF) - 1
        return next(n for n in range(last, last - len(used) - 2, -1) if dotted(n) not in used)

    def _header(self, port: Port, packet: Packet, endpoint: int, *, sticky: bool) -> Header:
        chosen = _chosen(port, packet, endpoint)
        goal = chosen or (address(dotted(self.pod)), 1)
        target, number = {
            "nodeport": (address(self.node), port.node_port),
            "clusterip": (address(port.cluster_ip) if port.cluster_ip else 0, port.port),
            "node": (address(self.node), OTHER_PORT),
        }.get(packet, goal)
        return Header(
            kind=packet,
            source=self.pod if packet == "clusterip" else address(CLIENT),
            target=target,
            port=number,
            protocol=port.protocol,
            local=self._local,
            chosen=chosen,
            sticky=sticky,
        )


def usable(port: Port, packet: Packet) -> tuple[Endpoint, ...]:
    """Endpoints a packet may get, in the order of the chain that picks one."""
    policy = port.internal_policy if packet == "clusterip" else port.external_policy
    if policy == "Local" and packet in ("nodeport", "clusterip"):
        return tuple(each for each in port.endpoints if each.local)
    return port.endpoints


def _chosen(port: Port, packet: Packet, rank: int) -> tuple[int, int] | None:
    found = usable(port, packet)
    if not found:
        return None
    if not 1 <= rank <= len(found):
        raise InputError(f"must be in 1..{len(found)}", field="endpoint", got=rank)
    return address(found[rank - 1].address), found[rank - 1].port


class _Iptables(Dump):
    mode = "iptables"

    def __init__(self, text: str, file: str) -> None:
        saved = read_iptables(text, file)
        self.backend, self.warnings = saved.backend, saved.warnings
        self.seen = view_iptables.see(saved.tables)
        self.loopback_rules = self.seen.loopback_rules
        self.node = _named_node(saved.tables["nat"]["KUBE-SERVICES"].rules) or NODE
        self.follower = follow_iptables.Follower(saved.tables)

    @cached_property
    def view(self) -> View:
        return self.seen.view

    def position(self, port: Port, packet: Packet) -> int | None:
        places = self.seen.node_ports if packet == "nodeport" else self.seen.cluster_ips
        return places.get(port.full_name)

    def closed_position(self, port: Port, packet: Packet) -> int | None:
        seen = self.seen
        places = seen.closed_node_ports if packet == "nodeport" else seen.closed_cluster_ips
        return places.get(port.full_name)

    def _follow(self, header: Header, port: Port) -> Reading:
        del port
        found, steps = self.follower.follow(header)
        return Reading(found, steps.foreign, steps.unknown)


def _named_node(rules: list[follow_iptables.Rule]) -> str | None:  # type: ignore[name-defined]
    """Find the node's address where --nodeport-addresses names it in place of any local one."""
    for rule in rules:
        if rule.action == "KUBE-NODEPORTS" and rule.target:
            return dotted(rule.target[0])
    return None


class _Nftables(Dump):
    mode = "nftables"

    def __init__(self, text: str, file: str) -> None:
        tables = read_nftables(text, file)
        self._view = view_nftables.see(tables)
        self.node = next(iter(self._view.node_addresses), NODE)
        self.follower = follow_nftables.Follower(tables)

    @cached_property
    def view(self) -> View:
        return self._view

    def _follow(self, header: Header, port: Port) -> Reading:
        del port
        found, steps = self.follower.follow(header)
        return Reading(found, steps.foreign, steps.unknown)


class _Ipvs(Dump):
    mode = "ipvs"

    def __init__(self, text: str, file: str) -> None:
        self.parts = read_ipvs.read_ipvs(text, file)
        self.node = next(iter(self.view.node_addresses), NODE)
        self.servers = {(each.address, each.port, each.protocol): each for each in self.parts.servers}
        self.follower: follow_iptables.Follower | None = None
        if self.parts.saved is not None:
            self.backend, self.warnings = self.parts.saved.backend, self.parts.saved.warnings
            asked = {name: one.holds for name, one in self.parts.sets.items()}
            self.follower = follow_iptables.Follower(self.parts.saved.tables, asked)
            self.follower.servers = self._serve

    @cached_property
    def view(self) -> View:
        return read_ipvs.see(self.parts)

    @cached_property
    def _local(self) -> frozenset[int]:
        """The node's addresses; kube-proxy gives it every ClusterIP (kube-ipvs0)."""
        return frozenset((address(self.node), *(each.address for each in self.parts.servers)))

    def _serve(self, header: Header) -> Verdict | None:
        """IPVS at LOCAL_IN: pick the chosen real server, or refuse for want of one."""
        server = self.servers.get((header.target, header.port, header.protocol))
        if server is None or not header.is_new:
            return None
        if header.chosen not in server.servers:
            return "reject"
        header.target, header.port = header.chosen
        header.translated = True
        return "accept"

    def _follow(self, header: Header, port: Port) -> Reading:
        if self.follower is None:  # ipvsadm alone: its rules are those the formula counts.
            return Reading(walk("ipvs", self.view.shape, port.counted, header.kind), 0, Counter())
        if not header.is_new:  # Packets of a known connection come to the NodePort as the first did.
            header.target, header.port = address(self.node), port.node_port
        found, steps = self.follower.follow(header)
        return Reading(found, steps.foreign, steps.unknown)


_KINDS: dict[Tool, type[_Iptables | _Nftables | _Ipvs]] = {
    "iptables-save": _Iptables,
    "nft": _Nftables,
    "ipvsadm": _Ipvs,
}


def read_dump(tool: Tool, text: str, file: str) -> Dump:
    """Read what a tool printed on a node.

    Parameters
    ----------
    tool
        The tool that printed it.
    text, file
        The text, and the name of the file for errors.

    Raises
    ------
    InputError
        It is empty, is of another tool or none, or is damaged; with the place and the next step.
    """
    line, first = _first_line(text)
    where = Location(file=file, line=line, column=1, text=first)
    if not first:
        raise InputError("is empty", hint=TAKE[tool], location=where)
    kind = next((kind for starts, kind in _SIGNS if first.startswith(starts)), "no dump")
    if kind != tool:
        hint = f"give it as --from-{kind}" if kind in TAKE else TAKE[tool]
        raise InputError(f"is {kind}, not of {tool}", hint=hint, location=where)
    try:
        dump = _KINDS[tool](text, file)
        _check(dump)
    except InputError as error:
        raise error if error.location else InputError(error.rule, field=file, hint=error.hint) from None
    except ValueError as error:
        raise InputError(
            "holds a damaged address or port", field=file, got=str(error), hint=GARBLED
        ) from None
    return dump


def _check(dump: Dump) -> None:
    """Read every address and port once, so that a damaged one is found here and not on a packet's way."""
    places = {address(dump.node), dump.pod}
    for port in dump.view.ports:
        places |= {address(each.address) for each in port.endpoints}
        places |= {address(port.cluster_ip)} if port.cluster_ip else set()


def _first_line(text: str) -> tuple[int, str]:
    """Find the first line that is no comment."""
    start, line = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end, line = len(text) if end < 0 else end, line + 1
        bare = text[start:end].strip()
        if bare and not bare.startswith("#"):
            return line, bare
        start = end + 1
    return 1, ""
