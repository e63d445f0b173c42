"""Which rules a real packet was tested against, by the kernel's own counters, compared with `kubeproxy`.

One SYN is sent, and nobody answers: the pods' listener drops it by a socket filter. Every counter then
belongs to that one packet. iptables counts the rules that *match*; with the order of the rules that tells
which were *tested*: in a chain that was entered, all before the one at which the packet left. nftables
counts nothing by itself, but a ``counter`` put at the head of every rule counts each test; a copy with such
counters is loaded for the check.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nodeportsim.calibrate.measuring import netlink
from nodeportsim.calibrate.measuring.backends import BACKENDS
from nodeportsim.calibrate.measuring.timing import LISTEN_PORT
from nodeportsim.kubeproxy import rules, write_nftables
from nodeportsim.kubeproxy.nftables_text import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.kubeproxy.concrete import View
    from nodeportsim.kubeproxy.walk import Mode

ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, keep 0 bytes (linux/bpf_common.h).
ATTEMPTS = 3
"""A packet of somebody else may come in between; wrong rules stay wrong."""
LEAVES = {"ACCEPT", "DROP", "REJECT", "DNAT", "MASQUERADE"}
FORWARDED = (("nat", "PREROUTING"), ("filter", "FORWARD"), ("nat", "POSTROUTING"))
"""Tables and hooks of a packet that is forwarded, in order; mangle holds no rule."""

_SAVED = re.compile(r"\[(\d+):\d+\] -A (\S+) .*?(?:-j (\S+).*?)?(?:--to-destination ([\d.]+):\d+)?$")
"""A line of ``iptables-save -c``: packets, chain, target, endpoint."""
_QUOTED = re.compile(r'"[^"]*"')
_LISTED = re.compile(r"\s*counter packets (\d+) ")


@dataclass(frozen=True)
class Counted:
    """One rule: the packets it has counted, where it sends them, the endpoint it writes into them."""

    packets: int
    target: str | None = None
    endpoint: str | None = None


Rules = dict[tuple[str, str], list[Counted]]
"""(table, chain) -> its rules, in order."""


def differences(bed: Bed, backend: str, view: View, targets: Sequence[Target]) -> Iterator[str]:
    """Send a packet to each target through loaded rules; say where one was tested otherwise than counted.

    For ``nftables``, what is loaded must be the copy with counters (`counted_copy`).
    """
    before = _counters(bed, backend)
    for target in targets:
        differs: str | None = None
        for _ in range(ATTEMPTS):
            _send_one(bed, target)
            after = _counters(bed, backend)
            differs = _difference(BACKENDS[backend], view, target, _gained(before, after))
            before = after
            if not differs:
                break
        if differs:
            yield differs


def _difference(mode: Mode, view: View, target: Target, gained: Rules) -> str | None:
    found = _tested_by_counters(gained) if mode == "nftables" else _tested_by_order(gained)
    expected = _expected(mode, view, target, _chosen(gained))
    differing = sorted(chain for chain in found | expected if found.get(chain) != expected.get(chain))
    if not differing:
        return None
    words = (f"{found.get(c, 0):g} rules of {c} for {expected.get(c, 0):g}" for c in differing)
    return f"{target.kind} of Service {target.position} tests " + ", ".join(words)


def counted_copy(view: View) -> str:
    """Write nftables rules that count every test."""
    return re.sub(rf"^(add rule {TABLE} \S+) ", r"\1 counter ", write_nftables.load(view), flags=re.MULTILINE)


def parse(backend: str, text: str) -> Rules:
    """Read rules with their counters from ``iptables-save -c`` or ``nft list``."""
    found: Rules = defaultdict(list)
    table = chain = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("\tchain "):
            chain = line.split()[1]
        elif backend == "nftables" and (counted := _LISTED.match(line)):
            found[table, chain].append(Counted(int(counted[1])))
        elif saved := _SAVED.match(_QUOTED.sub("", line)):  # A comment may hold anything.
            found[table, saved[2]].append(Counted(int(saved[1]), saved[3], saved[4]))
    return found


def _counters(bed: Bed, backend: str) -> Rules:
    listing = ["nft", "list", "table", *TABLE.split()] if backend == "nftables" else [f"{backend}-save", "-c"]
    return parse(backend, bed.run("node", *listing))


def _gained(before: Rules, after: Rules) -> Rules:
    return {
        chain: [
            replace(new, packets=new.packets - old.packets)
            for new, old in zip(counted, before[chain], strict=True)
        ]
        for chain, counted in after.items()
    }


def _tested_by_counters(gained: Rules) -> dict[str, float]:
    tested: Counter[str] = Counter()
    for (_, chain), counted in gained.items():
        tested[chain_class(chain)] += sum(rule.packets for rule in counted)
    return {chain: float(n) for chain, n in tested.items() if n}


def _tested_by_order(gained: Rules) -> dict[str, float]:
    tested: Counter[str] = Counter()
    for table, hook in FORWARDED:
        _visit(gained, table, hook, tested)
    return {chain: float(n) for chain, n in tested.items() if n}


def _visit(gained: Rules, table: str, chain: str, tested: Counter[str]) -> bool:
    """Follow the packet through a chain; return whether it left the hook there."""
    for rule in gained.get((table, chain), ()):
        tested[chain_class(chain)] += 1
        if not rule.packets or rule.target is None:
            continue
        if rule.target == "RETURN":
            return False
        if rule.target in LEAVES or _visit(gained, table, rule.target, tested):
            return True
    return False


def chain_class(chain: str) -> str:
    """Name the kind of chain, as `kubeproxy.walk` does: ``KUBE-SVC-*``, ``service-*``."""
    if "/" in chain:
        return chain.partition("-")[0] + "-*"
    own = re.match(r"KUBE-(SVC|SVL|EXT|SEP)-", chain)
    return own[0] + "*" if own else chain


def _chosen(gained: Rules) -> str | None:
    """Tell which endpoint the packet was sent to, where a rule says so."""
    counted = (rule for own in gained.values() for rule in own)
    return next((rule.endpoint for rule in counted if rule.endpoint and rule.packets), None)


def _expected(mode: Mode, view: View, target: Target, chosen: str | None) -> dict[str, float]:
    """Say how many rules of each chain class `kubeproxy` counts for the first packet to a target."""
    port = view.ports[max(target.position, 0)]
    local = target.kind == "nodeport" and port.external_policy == "Local"
    usable = [endpoint.address for endpoint in port.endpoints if endpoint.local or not local]
    place = None if target.position < 0 else float(target.position + 1)
    rank = float(usable.index(chosen) + 1) if chosen in usable else None
    return rules.walk(mode, view.shape, port.counted, target.kind, position=place, endpoint=rank).by


def _send_one(bed: Bed, target: Target) -> None:
    """Send one SYN that nobody answers, and forget its connection."""
    program = ctypes.create_string_buffer(DROP_ALL)
    with bed.inside(target.pods):
        listener = socket.create_server(("", LISTEN_PORT))
    with listener, bed.inside("client"), socket.socket() as client:
        filtering = struct.pack("HxxxxxxP", 1, ctypes.addressof(program))  # struct sock_fprog
        listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, filtering)
        client.bind((target.source, 0))
        client.setblocking(False)
        client.connect_ex((target.address, target.port))
    with bed.inside("node"), netlink.netfilter_socket() as netfilter:
        netlink.flush_conntrack(netfilter)
