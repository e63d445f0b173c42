"""Reading ``ipvsadm -Ln``, with ``ipset save`` and ``iptables-save`` of the same node behind it if given.

A file of several parts has headings: ``# ipvsadm -Ln``, ``# ipset save``, ``# iptables-save``; other parts
are skipped. ipvsadm prints no names, so a Service is called by its ClusterIP, and a NodePort is given to the
Service with the same endpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.packet import address, dotted, fault, lines, network
from nodeportsim.kubeproxy.read_iptables import read_iptables

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.packet import Header
    from nodeportsim.kubeproxy.read_iptables import Saved
    from nodeportsim.kubeproxy.walk import Policy

_VIRTUAL = re.compile(r"(TCP|UDP|SCTP)\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(\w+)(?: (?:.* )?persistent (\d+))?.*")
_REAL = re.compile(r"\s+-> (\d+\.\d+\.\d+\.\d+):(\d+)\s+\w+\s+(\d+)\s.*")
_HEADS = ("IP Virtual Server version", "Prot LocalAddress", "  -> RemoteAddress")
_HEADING = re.compile(r"# ([a-z][A-Za-z0-9 -]*?)\s*")  # iptables-save's own comments begin with a capital.
_NODE_PORTS = range(30000, 32768)


@dataclass(kw_only=True)
class Virtual:
    """A virtual server and its real servers."""

    address: int
    port: int
    protocol: str
    persistent_s: int
    servers: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class IpSet:
    """An ipset: its type's parts (ip, port, net ...) and its members as written, networks as ranges."""

    parts: tuple[str, ...]
    members: set[str] = field(default_factory=set)
    nets: list[tuple[int, int]] = field(default_factory=list)

    def holds(self, header: Header, sides: tuple[str, ...]) -> bool:
        """Whether it holds what a packet has at these sides (``dst,dst,src``)."""
        words = []
        for n, part in enumerate(self.parts):
            source = sides[n : n + 1] == ("src",)
            if part == "port":
                words.append(f"{header.protocol}:{header.port}" if len(self.parts) > 1 else str(header.port))
            else:
                words.append(dotted(header.source if source else header.target))
        if ",".join(words) in self.members:
            return True
        place = header.source if sides[:1] == ("src",) else header.target
        return any(place & mask == base for base, mask in self.nets)


@dataclass(frozen=True, kw_only=True)
class IpvsDump:
    """The parts of the file; without the last two, what the rules are is not known."""

    servers: tuple[Virtual, ...]
    sets: dict[str, IpSet] = field(default_factory=dict)
    saved: Saved | None = None


def read_ipvs(text: str, file: str) -> IpvsDump:
    """Read the file.

    Raises
    ------
    InputError
        A line that none of the three tools writes.
    """
    servers: list[Virtual] = []
    sets: dict[str, IpSet] = {}
    part, saved, saved_line = "ipvsadm -Ln", list[str](), 0
    for line, raw in lines(text):
        heading = _HEADING.fullmatch(raw)
        if heading:
            part, saved_line = heading[1], line + 1 if heading[1] == "iptables-save" else saved_line
        elif part == "ipvsadm -Ln":
            _server(servers, raw, file, line)
        elif part == "ipset save":
            _member(sets, raw, file, line)
        elif part == "iptables-save":
            saved.append(raw)
    made = read_iptables("\n".join(saved), file, first=saved_line) if saved_line else None
    return IpvsDump(servers=tuple(servers), sets=sets, saved=made)


def _server(servers: list[Virtual], raw: str, file: str, line: int) -> None:
    if found := _VIRTUAL.fullmatch(raw):
        port, persistent_s = int(found[3]), int(found[5] or 0)
        try:
            place = address(found[2])
        except ValueError:
            raise fault(file, line, raw, "holds no IPv4 address") from None
        servers.append(
            Virtual(address=place, port=port, protocol=found[1].lower(), persistent_s=persistent_s)
        )
    elif (found := _REAL.fullmatch(raw)) and servers:
        try:
            servers[-1].servers += [(address(found[1]), int(found[2]))] if found[3] != "0" else []
        except ValueError:
            raise fault(file, line, raw, "holds no IPv4 address") from None
    elif raw.strip() and not raw.startswith(_HEADS):
        raise fault(file, line, raw, "is no line of ipvsadm -Ln")


def _member(sets: dict[str, IpSet], raw: str, file: str, line: int) -> None:
    words = raw.split()
    if words[:1] == ["create"] and words[2:]:
        sets[words[1]] = IpSet(tuple(words[2].partition(":")[2].split(",")))
    elif words[:1] == ["add"] and words[2:] and words[1] in sets:
        made = sets[words[1]]
        try:
            if "/" in words[2] and made.parts == ("net",):
                made.nets.append(network(words[2]))
        except ValueError:
            raise fault(file, line, raw, "holds no IPv4 network") from None
        made.members.add(words[2])
    elif words:
        raise fault(file, line, raw, "is no line of ipset save")


def see(dump: IpvsDump) -> View:
    """Read the Services."""
    outer: list[Virtual] = []
    inner: list[Virtual] = []
    for server in dump.servers:
        (outer if _is_node_port(dump, server) else inner).append(server)
    here = {key.partition(",")[0] for key in _members(dump, "KUBE-LOOP-BACK")}
    ports = [_port(server, here) for server in inner]
    local = _members(dump, "KUBE-NODE-PORT-LOCAL-TCP") | _members(dump, "KUBE-NODE-PORT-LOCAL-UDP")
    free = _Free(ports)
    addresses: dict[str, None] = {}
    places: dict[int, None] = {}
    for server in outer:
        addresses[dotted(server.address)] = None
        if server.port not in places:
            places[server.port] = None
            _join(ports, free, server, here, local=str(server.port) in local)
    return View(ports=tuple(ports), node_addresses=tuple(addresses))


def _members(dump: IpvsDump, name: str) -> set[str]:
    return dump.sets[name].members if name in dump.sets else set()


def _is_node_port(dump: IpvsDump, server: Virtual) -> bool:
    """Tell a NodePort from a ClusterIP: by the set of ClusterIPs where it is given, else by the port."""
    known = _members(dump, "KUBE-CLUSTER-IP")
    if known:
        return f"{dotted(server.address)},{server.protocol}:{server.port}" not in known
    return server.port in _NODE_PORTS


def _port(server: Virtual, here: set[str]) -> Port:
    name = dotted(server.address)
    return Port(
        namespace="ipvs",
        service=name,
        name=str(server.port),
        cluster_ip=name,
        port=server.port,
        endpoints=_endpoints(server, here),
        affinity_s=server.persistent_s,
        protocol=server.protocol,
    )


def _endpoints(server: Virtual, here: set[str]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(address=dotted(a), port=p, local=dotted(a) in here) for a, p in server.servers)


class _Free:
    """Service ports without a NodePort yet, by protocol and endpoints: all of them, or the local ones."""

    def __init__(self, ports: list[Port]) -> None:
        self.taken: set[int] = set()
        self.places: dict[tuple[str, bool, frozenset[Endpoint]], list[int]] = {}
        for n in reversed(range(len(ports))):
            port = ports[n]
            here = frozenset(each for each in port.endpoints if each.local)
            for local, endpoints in ((False, frozenset(port.endpoints)), (True, here)):
                self.places.setdefault((port.protocol, local, endpoints), []).append(n)

    def take(self, protocol: str, endpoints: frozenset[Endpoint], *, local: bool) -> int | None:
        """Find the first that has these endpoints, and that no NodePort has taken."""
        left = self.places.get((protocol, local, endpoints), [])
        while left and left[-1] in self.taken:
            left.pop()
        if left:
            self.taken.add(left[-1])
        return left[-1] if left else None


def _join(ports: list[Port], free: _Free, server: Virtual, here: set[str], *, local: bool) -> None:
    """Give a NodePort to the Service with its endpoints; with policy Local it has the local ones."""
    policy: Policy = "Local" if local else "Cluster"
    n = free.take(server.protocol, frozenset(_endpoints(server, here)), local=local)
    if n is not None:
        ports[n] = replace(ports[n], node_port=server.port, external_policy=policy)
        return
    alone = replace(_port(server, here), cluster_ip="", service=f"nodeport-{server.port}", port=0, name="")
    ports.append(replace(alone, node_port=server.port, external_policy=policy))
