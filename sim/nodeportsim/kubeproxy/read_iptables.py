"""Reading ``iptables-save``: tables of chains of rules, ready to be matched against a packet.

All rules of a table count, whoever wrote them. A match or target this module does not know becomes a test
named *unknown*; only text that no iptables-save writes is an error, with its line. Counters (``-c``) are
skipped. A rule keeps numbers instead of text, for a node's dump may hold half a million rules.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nodeportsim.kubeproxy.packet import ALL, fault, lines, network, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nodeportsim.kubeproxy.packet import Header
    from nodeportsim.kubeproxy.walk import RuleClass

BACKENDS = {"nft": ("nf_tables", "nft-save", "xtables-save"), "legacy": ("legacy",)}
NAMED_CHAINS = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES")
"""Chains whose comments name Services."""

_OWN_KINDS = re.compile(r"(KUBE-(?:SVC|SVL|SEP|EXT|FW|XLB))-[A-Z0-9]{16}")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_COUNTERS = re.compile(r"\[\d+:\d+\] ")
_CHAIN = re.compile(r":(\S+) (\S+)(?: \[\d+:\d+\])?")
_SHORT = 16  # Rules up to which looking at each is quicker than an index.

Net = tuple[int, int]
Span = tuple[int, int]


class Test(NamedTuple):
    """One condition beyond address, protocol and port: what is compared, with what, and whether negated."""

    what: str
    value: Any = None
    negated: bool = False


class Rule(NamedTuple):
    """One rule. ``target`` and ``ports`` are its plain ``-d`` and ``--dport``; chains are indexed by them."""

    line: int
    target: Net | None
    protocol: str
    ports: Span | None
    tests: tuple[Test, ...]
    action: str
    options: tuple[str, ...]
    goto: bool
    comment: str


@dataclass
class Chain:
    """The rules of one chain, with an index by destination address and port once it is long."""

    name: str
    policy: str
    rules: list[Rule] = field(default_factory=list)
    _index: tuple[dict[int, list[int]], dict[int, list[int]], list[int]] | None = None
    _classes: dict[RuleClass, list[int]] | None = None

    @property
    def kind(self) -> str:
        """Class of chain: ``KUBE-SVC-*`` for all of that kind, else the name."""
        found = _OWN_KINDS.fullmatch(self.name)
        return f"{found[1]}-*" if found else self.name

    def candidates(self, packet: Header) -> Iterable[int]:
        """Give, in order, the rules that may match; all others fail on their address or port."""
        if len(self.rules) <= _SHORT:
            return range(len(self.rules))
        if self._index is None:
            self._index = self._indexed()
        by_address, by_port, others = self._index
        found = (*by_address.get(packet.target, ()), *by_port.get(packet.port, ()))
        return sorted((*found, *others)) if found else others

    def _indexed(self) -> tuple[dict[int, list[int]], dict[int, list[int]], list[int]]:
        by_address, by_port = defaultdict(list), defaultdict(list)
        others = []
        for n, rule in enumerate(self.rules):
            if rule.target and rule.target[1] == ALL:
                by_address[rule.target[0]].append(n)
            elif rule.ports and rule.ports[0] == rule.ports[1]:
                by_port[rule.ports[0]].append(n)
            else:
                others.append(n)
        return by_address, by_port, others

    def classes(self, start: int, stop: int) -> list[tuple[RuleClass, int]]:
        """Count the rules ``start <= n < stop`` by class."""
        if self._classes is None:
            self._classes = {}
            for n, rule in enumerate(self.rules):
                self._classes.setdefault(class_of(self.name, rule), []).append(n)
        if start == 0 and stop == len(self.rules):
            return [(name, len(places)) for name, places in self._classes.items()]
        counts = (
            (name, bisect_right(places, stop - 1) - bisect_right(places, start - 1))
            for name, places in self._classes.items()
        )
        return [(name, count) for name, count in counts if count]


Tables = dict[str, dict[str, Chain]]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One iptables-save: its tables, the backend its header names, and its warnings."""

    tables: Tables
    backend: Literal["nft", "legacy"] | None = None
    warnings: tuple[str, ...] = ()


def class_of(chain: str, rule: Rule) -> RuleClass:
    """Class of a rule by kube-proxy's chains, as the formulas count them; everything else is fixed."""
    if chain in ("KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"):
        if rule.target:
            return "loopback_mismatch" if chain == "KUBE-NODEPORTS" else "address_mismatch"
        return "node_port_match" if rule.ports else "fixed"
    if chain == "KUBE-SERVICES":
        return "address_mismatch" if rule.target else "fixed"
    if chain.startswith(("KUBE-SVC-", "KUBE-SVL-")) and rule.action.startswith("KUBE-SEP-"):
        return "recent" if any(test.what == "recent" for test in rule.tests) else "statistic"
    return "fixed"


def read_iptables(text: str, file: str, *, first: int = 1) -> Saved:
    """Read the output of ``iptables-save``.

    Parameters
    ----------
    text, file
        The dump and its name, for errors.
    first
        Number of its first line, where it is a part of a file.

    Raises
    ------
    InputError
        A line that iptables-save does not write, or a table without its COMMIT.
    """
    tables: Tables = {}
    table: dict[str, Chain] | None = None
    backend: Literal["nft", "legacy"] | None = None
    warnings = []
    line, raw = first, ""
    for line, raw in ((first - 1 + n, raw) for n, raw in lines(text)):
        if raw.startswith(("-A ", "[")) and table is not None:
            _append(table, raw, file, line)
        elif raw.startswith(":") and table is not None and (found := _CHAIN.fullmatch(raw)):
            table[found[1]] = Chain(found[1], found[2])
        elif raw.startswith("*") and table is None:
            table = tables.setdefault(raw[1:].strip(), {})
        elif raw == "COMMIT" and table is not None:
            table = None
        elif raw.startswith("#"):
            backend = backend or _backend(raw)
            warnings += [raw[1:].strip()] if raw.startswith(("# Warning", "# Table")) else []
        elif raw.strip():
            raise fault(file, line, raw, "is no line of iptables-save here")
    if table is not None:
        raise fault(file, line, raw, "ends inside a table: its COMMIT is missing")
    _check_targets(tables, file)
    return Saved(tables=tables, backend=backend, warnings=tuple(warnings))


def _backend(comment: str) -> Literal["nft", "legacy"] | None:
    if not comment.startswith("# Generated by"):
        return None
    if any(word in comment for word in BACKENDS["nft"]):
        return "nft"
    return "legacy" if any(word in comment for word in BACKENDS["legacy"]) else None


def _check_targets(tables: Tables, file: str) -> None:
    """Find jumps to chains of kube-proxy that are not there: the sign of a cut or filtered dump."""
    for table in tables.values():
        for chain in table.values():
            for rule in chain.rules:
                if rule.action.startswith("KUBE-") and rule.action not in table:
                    raise fault(file, rule.line, rule.action, "is a chain the dump does not hold")


def _append(table: dict[str, Chain], raw: str, file: str, line: int) -> None:
    counters = _COUNTERS.match(raw)
    tokens = _tokens(raw[counters.end() :] if counters else raw)
    if tokens[:1] != ["-A"] or not tokens[1:] or tokens[1] not in table:
        raise fault(file, line, raw, "appends to no chain of this table")
    try:
        rule = _Parser(tokens).rule(line, named=tokens[1] in NAMED_CHAINS)
    except (ValueError, IndexError):
        hint = "IPv6 is not read: use iptables-save" if raw.count("::") or raw.count("/128") else None
        raise fault(file, line, raw, "is no rule of iptables-save", hint=hint) from None
    table[tokens[1]].rules.append(rule)


def _tokens(line: str) -> list[str]:
    if '"' not in line:
        return line.split()
    return [found[1] if found[1] is not None else found[2] for found in _TOKEN.finditer(line)]


def _values(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def _masked(text: str) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    return number(value), number(mask) if slash else ALL


def _span(text: str) -> Span:
    low, colon, high = text.partition(":")
    first = number(low or "0", 65535)
    return first, number(high or "65535", 65535) if colon else first


def _spans(text: str) -> tuple[Span, ...]:
    return tuple(_span(part) for part in text.split(","))


# Options with one value: what is tested, and how the value is read.
_TESTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "-s": ("source", network),
    "--sport": ("sports", _spans),
    "--sports": ("sports", _spans),
    "--dports": ("dports", _spans),
    "--ctstate": ("state", _values),
    "--state": ("state", _values),
    "--mark": ("mark", _masked),
    "--src-type": ("source-type", str),
    "--dst-type": ("target-type", str),
    "-i": ("in", str),
    "-o": ("out", str),
}
_IGNORED = {"--comment": 1, "--nfacct-name": 1, "--hitcount": 1, "--name": 1, "--mask": 1}
_IGNORED |= {"--reap": 0, "--rsource": 0, "--probability": 1}
_MODULES = {"comment", "nfacct", "tcp", "udp", "sctp", "conntrack", "state", "mark", "addrtype"}
_MODULES |= {"statistic", "recent", "set", "multiport"}
_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "all": "", "0": ""}


class _Parser:
    """The tokens of one rule, taken from the left."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 2
        self.target: Net | None = None
        self.ports: Span | None = None
        self.protocol = self.action = self.comment = ""
        self.tests: list[Test] = []
        self.options: tuple[str, ...] = ()
        self.goto = False

    def rule(self, line: int, *, named: bool) -> Rule:
        """Read it."""
        while self.at < len(self.tokens) and not self.action:
            negated = self.tokens[self.at] == "!"
            self.at += negated
            self._option(self.tokens[self.at], negated=negated)
        self.options = tuple(self.tokens[self.at :])
        return Rule(
            line,
            self.target,
            self.protocol,
            self.ports,
            tuple(self.tests),
            self.action,
            self.options,
            self.goto,
            self.comment if named else "",
        )

    def _option(self, option: str, *, negated: bool) -> None:  # noqa: C901  (a table)
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ""
        self.at += 2
        if option in ("-j", "-g"):
            self.action, self.goto = self.tokens[self.at - 1], option == "-g"
        elif option == "-m":
            self._unknown(following, following not in _MODULES)
        elif option == "-p" and not negated:
            self.protocol = _PROTOCOLS.get(following, following)
        elif option == "-d":
            self._target(network(following), negated=negated)
        elif option == "--dport":
            self._port(_span(following), negated=negated)
        elif option in _TESTS:
            what, read = _TESTS[option]
            self.tests.append(Test(what, read(following), negated))
        elif option == "--match-set":
            self.tests.append(Test("set", (following, tuple(self.tokens[self.at].split(","))), negated))
            self.at += 1
        elif option in ("--rcheck", "--update", "--set"):
            self.at -= 1
            self.tests += [Test("recent", negated=negated)] if option != "--set" else []
        elif option == "--mode":
            self.tests.append(Test("statistic") if following == "random" else Test("unknown", "nth"))
        elif option == "--seconds":
            seconds = number(following)
            self.tests = [t._replace(value=seconds) if t.what == "recent" else t for t in self.tests]
        elif option in _IGNORED:
            self.comment = following if option == "--comment" else self.comment
            self.at -= not _IGNORED[option]
        else:
            self._skip(option)

    def _target(self, net: Net, *, negated: bool) -> None:
        if negated:
            self.tests.append(Test("target", net, negated))
        else:
            self.target = net

    def _port(self, span: Span, *, negated: bool) -> None:
        if negated:
            self.tests.append(Test("dports", (span,), negated))
        else:
            self.ports = span

    def _unknown(self, name: str, unknown: bool) -> None:
        if unknown and not any(test == Test("unknown", name) for test in self.tests):
            self.tests.append(Test("unknown", name))

    def _skip(self, option: str) -> None:
        """Step over an option nobody here knows, and its values."""
        if not option.startswith("-"):
            raise ValueError(option)
        if not any(test.what == "unknown" for test in self.tests):
            self.tests.append(Test("unknown", option))
        self.at -= 1
        while self.at < len(self.tokens) and not self.tokens[self.at].startswith(("-", "!")):
            self.at += 1
