"""A packet on its way through a dump's rules, and the record of what it tests.

The formulas of `nodeportsim.kubeproxy.walk` say what a packet tests in rules that kube-proxy alone wrote. A
real node's rules hold other software's too, so a dump is *followed*: rule by rule, with addresses. What
cannot be known from a dump (interfaces, limits, marks that other software sets) counts as tested, is taken as
not matching, and is listed in `Steps.unknown`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError, Location
from nodeportsim.kubeproxy.walk import Tested, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.kubeproxy.walk import Packet, RuleClass, Verdict

CLIENT = "203.0.113.7"
"""Where packets from outside come from: an address of RFC 5737, which no cluster uses."""

NODE = "198.51.100.1"
"""The node's address where the dump does not tell it, likewise."""

OTHER_PORT = 22
"""Port of a connection to the node itself."""

LOOPBACK = 127  # The first byte of its addresses.
BITS, ALL = 32, 0xFFFFFFFF  # Length of an address, and its full mask.
DEEPEST = 64
MOST_VISITS = 10_000


@dataclass(slots=True, kw_only=True)
class Header:
    """What rules look at, and what they change: one packet with its conntrack state.

    ``chosen`` is the endpoint that random choices are told to take, ``sticky`` whether it remembers the
    client; ``local`` holds the node's addresses.
    """

    kind: Packet
    source: int
    target: int
    port: int
    protocol: str = "tcp"
    local: frozenset[int] = frozenset()
    chosen: tuple[int, int] | None = None
    sticky: bool = False
    mark: int = 0
    translated: bool = False
    masquerade: bool = False

    @property
    def is_new(self) -> bool:
        """Whether conntrack sees the connection for the first time."""
        return self.kind != "established"

    @property
    def to_node(self) -> bool:
        """Whether the node keeps the packet instead of forwarding it."""
        return self.is_local(self.target)

    def is_local(self, address: int) -> bool:
        """Whether an address is the node's own."""
        return address in self.local or address >> 24 == LOOPBACK


@dataclass(slots=True)
class Steps:
    """What a packet has tested so far.

    ``foreign`` counts rules that are not kube-proxy's; ``unknown`` those whose outcome a dump does not tell,
    by what is not understood.
    """

    rows: list[Tested] = field(default_factory=list)
    foreign: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    visits: int = 0

    def add(
        self,
        hook: str,
        chain: str,
        rules: int,
        rule_class: RuleClass = "fixed",
        lookups: int = 0,
        *,
        foreign: int = 0,
    ) -> None:
        """Record tested rules."""
        self.rows.append(Tested(hook, chain, rules, rule_class, lookups))
        self.foreign += foreign

    def enter(self, chain: str, depth: int) -> None:
        """Refuse chains that jump in a circle, which no kernel accepts and a garbled dump may hold."""
        self.visits += 1
        if depth > DEEPEST or self.visits > MOST_VISITS:
            raise InputError("jump in a circle", field="chains of the dump", got=chain, hint=GARBLED)

    def walk(self, header: Header, verdict: Verdict) -> Walk:
        """Return the record as a walk."""
        return Walk(tuple(self.rows), verdict, header.masquerade)


@dataclass(frozen=True)
class Reading:
    """A walk read from a dump: ``foreign`` and ``unknown`` as in `Steps`."""

    walk: Walk
    foreign: int
    unknown: Counter[str]


GARBLED = "the dump is damaged: take it again, whole"


@lru_cache(maxsize=65536)
def address(text: str) -> int:
    """Read an IPv4 address; ValueError for anything else."""
    return int(IPv4Address(text))


@lru_cache(maxsize=65536)
def dotted(number: int) -> str:
    """Write an IPv4 address."""
    return str(IPv4Address(number))


def network(text: str) -> tuple[int, int]:
    """Read ``10.0.0.0/8`` as (address, mask); ValueError for anything else."""
    base, slash, length = text.partition("/")
    if "." in length:
        mask = address(length)
    elif slash and not (length.isascii() and length.isdigit() and int(length) <= BITS):
        raise ValueError(text)
    else:
        mask = (ALL << BITS - int(length or BITS)) & ALL
    return address(base) & mask, mask


def number(text: str, most: int = ALL) -> int:
    """Read ``80`` or ``0x4000``; ValueError for anything else, or beyond `most`."""
    value = int(text, 0)
    if not 0 <= value <= most:
        raise ValueError(text)
    return value


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Give numbered lines one by one: a dump of 100 MB is not copied whole."""
    start, line = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line += 1
        yield line, text[start:end].rstrip("\r")
        start = end + 1


def fault(file: str, line: int, text: str, rule: str, *, hint: str | None = GARBLED) -> InputError:
    """Make the error of one line of a dump."""
    return InputError(rule, hint=hint, location=Location(file=file, line=line, column=1, text=text))
