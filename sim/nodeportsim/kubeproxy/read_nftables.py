"""Reading ``nft list ruleset`` (or ``nft list table ip kube-proxy``): tables of sets, maps and chains.

A rule becomes a row of small operations, read from the left; at the first word this module does not know the
rule ends in the operation ``unknown``, for what stands behind it no longer matters. Tables of the families
ip and inet count, whoever wrote them; others see no IPv4 packet on its way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.kubeproxy.packet import GARBLED, fault, lines, network, number

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]|,|[^\s{},]+')
_HEAD = re.compile(r'(table|chain|set|map)\s+(?:(ip|ip6|inet|arp|bridge|netdev)\s+)?("[^"]+"|\S+)\s*\{')
_BASE = re.compile(r"type (\w+) hook (\w+)(?: device \S+)? priority ([^;]+);(?: policy (\w+);)?")

Selector = tuple[str, ...]


class Op(NamedTuple):
    """One operation of a rule: what it does, what it looks at, and with what."""

    what: str
    looks_at: tuple[Selector, ...] = ()
    value: Any = None
    negated: bool = False


class Rule(NamedTuple):
    """One rule."""

    line: int
    ops: tuple[Op, ...]


@dataclass
class Elements:
    """A set or a map: what is looked up -> verdict or value (empty in a set), exactly or by range."""

    exact: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[int, int, str]] = field(default_factory=list)
    comments: dict[str, str] = field(default_factory=dict)
    timeout: str = ""
    line: int = 1


@dataclass
class Chain:
    """A chain; base chains have a hook."""

    name: str
    kind: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Table:
    """One table."""

    family: str
    name: str
    sets: dict[str, Elements] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether kube-proxy wrote it."""
        return (self.family, self.name) == ("ip", "kube-proxy")


def read_nftables(text: str, file: str) -> tuple[Table, ...]:
    """Read the tables of a dump that an IPv4 packet meets.

    Raises
    ------
    InputError
        A line nft does not write, a block that does not end, a jump to a chain that is not there.
    """
    tables: list[Table] = []
    numbered = lines(text)
    for line, raw in numbered:
        bare = raw.strip()
        if not bare or bare.startswith("#"):
            continue
        found = _HEAD.match(bare)
        if found is None or found[1] != "table":
            raise fault(file, line, raw, "is no table of nft list")
        table = Table(found[2] or "ip", found[3].strip('"'))
        _Reader(numbered, file, line, raw).table(table)
        tables += [table] if table.family in ("ip", "inet") else []
    for table in tables:
        _check_targets(table, file)
    return tuple(tables)


def _check_targets(table: Table, file: str) -> None:
    for chain in table.chains.values():
        for rule in chain.rules:
            for op in rule.ops:
                if op.what in ("jump", "goto") and op.value not in table.chains:
                    raise fault(file, rule.line, f"{op.what} {op.value}", "is a chain the dump does not hold")
    for name, elements in table.sets.items():
        for verdict in elements.exact.values():
            way, _, goal = verdict.partition(" ")
            if way in ("jump", "goto") and goal not in table.chains:
                raise fault(file, elements.line, f"{name}: {verdict}", "is a chain the dump does not hold")


class _Reader:
    """The lines of one table, taken from the top."""

    def __init__(self, numbered: Iterator[tuple[int, str]], file: str, line: int, raw: str) -> None:
        self.numbered, self.file, self.line, self.raw = numbered, file, line, raw

    def block(self) -> Iterator[str]:
        """Give the lines of a block, without its end."""
        for line, raw in self.numbered:
            self.line, self.raw = line, raw
            bare = self.raw.strip()
            if bare == "}":
                return
            if bare and not bare.startswith("#"):
                yield bare
        raise fault(self.file, self.line, self.raw, "ends inside a block: its } is missing")

    def table(self, table: Table) -> None:
        for bare in self.block():
            found = _HEAD.match(bare)
            if found and found[1] == "chain":
                name = found[3].strip('"')
                table.chains[name] = self.chain(Chain(name))
            elif found and found[1] in ("set", "map"):
                table.sets[found[3].strip('"')] = self.elements()
            elif bare.endswith("{"):
                for _ in self.block():
                    pass  # Counters, flow tables, helpers: nothing a rule here needs.
            elif not bare.startswith(("comment ", "flags ")):
                raise fault(self.file, self.line, self.raw, "is no line of an nft table")

    def elements(self) -> Elements:
        """Read a named set or map."""
        made = Elements(line=self.line)
        for bare in self.block():
            if bare.startswith("timeout "):
                made.timeout = bare.removeprefix("timeout ").rstrip(";")
            elif bare.startswith("elements = {"):
                start, text = self.line, [bare.removeprefix("elements = ")]
                while not text[-1].endswith("}"):
                    self.line, self.raw = next(self.numbered, (self.line, ""))
                    if not self.raw.strip():
                        raise fault(self.file, start, bare, "ends inside the elements of a set")
                    text.append(self.raw.strip())
                self._fill(made, start, " ".join(text))
        return made

    def _fill(self, made: Elements, line: int, text: str) -> None:
        try:
            fill(made, _WORD.findall(text)[1:-1])
        except (ValueError, IndexError):
            raise fault(self.file, line, text, "holds an element nft does not write") from None

    def chain(self, chain: Chain) -> Chain:
        """Read a chain's head and rules."""
        for bare in self.block():
            found = _BASE.match(bare)
            if found:
                chain.kind, chain.hook, chain.policy = found[1], found[2], found[4] or "accept"
                chain.priority = self._priority(found[3])
            elif not bare.startswith("comment "):
                chain.rules.append(Rule(self.line, self._ops(bare)))
        return chain

    def _priority(self, text: str) -> int:
        name, *offset = text.split()
        try:
            base = PRIORITIES[name] if name in PRIORITIES else int(name)
            return base + int("".join(offset) or "0")
        except ValueError:
            raise fault(self.file, self.line, self.raw, "has no priority nft knows") from None

    def _ops(self, bare: str) -> tuple[Op, ...]:
        tokens = _WORD.findall(bare.partition(" # handle ")[0])
        try:
            return Parser(tokens).ops()
        except (ValueError, IndexError):
            raise fault(self.file, self.line, self.raw, "is no rule of nft list", hint=GARBLED) from None


def fill(made: Elements, tokens: list[str]) -> None:
    """Put the tokens between the braces of a set or map into it."""
    for words in _split(tokens):
        key, value, comment = _element(words)
        if comment:
            made.comments[key] = comment
        if " . " not in key and ("/" in key or "-" in key[1:]) and key[0].isdigit():
            made.ranges.append((*_range(key), value))
        else:
            made.exact[key] = value


def _split(tokens: list[str]) -> Iterator[list[str]]:
    words: list[str] = []
    for each in (*tokens, ","):
        if each != ",":
            words.append(each)
        elif words:
            yield words
            words = []


def _element(words: list[str]) -> tuple[str, str, str]:
    """Split ``tcp . 80 comment "x" : drop`` into key, value and comment."""
    place = words.index(":") if ":" in words else len(words)
    key, comment = words[:place], ""
    for word in ("comment", "timeout", "expires", "counter"):
        if word in key:
            at = key.index(word)
            comment = key[at + 1].strip('"') if word == "comment" else comment
            key = key[:at]
    return " ".join(key), " ".join(words[place + 1 :]), comment


def _range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if not dash:
        base, mask = network(text)
        return base, base | ~mask & 0xFFFFFFFF
    first, last = (network(part)[0] if "." in part else number(part) for part in (low, high))
    return first, last


_SELECTORS = {
    "ip",
    "tcp",
    "udp",
    "th",
    "sctp",
    "ct",
    "meta",
    "iifname",
    "oifname",
    "iif",
    "oif",
    "fib",
    "numgen",
}
_SHORT = {"iifname", "oifname", "iif", "oif"}
_LONG = {"fib", "numgen"}
_FINAL = {"accept", "drop", "return"}
_STATEMENTS = _FINAL | {"jump", "goto", "counter", "comment", "masquerade", "reject", "dnat", "snat"}


class Parser:
    """The tokens of one rule, taken from the left."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def ops(self) -> tuple[Op, ...]:
        """Read them all, or up to the first that is unknown."""
        made: list[Op] = []
        while self.at < len(self.tokens) and not (made and made[-1].what == "unknown"):
            made += self._op()
        return tuple(made)

    def _next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _op(self) -> list[Op]:  # noqa: PLR0911  (a table)
        word = self._next()
        if word in _FINAL:
            return [Op(word)]
        if word in ("jump", "goto"):
            return [Op(word, value=self._next().strip('"'))]
        if word == "counter":
            self.at += 4 if self._peek() == "packets" else 0
            return []
        if word == "comment":
            self.at += 1
            return []
        if word in ("masquerade", "reject", "snat", "log"):
            self._skip()
            return [] if word == "log" else [Op("masquerade" if word == "snat" else word)]
        if word in ("update", "add") and self._peek().startswith("@"):
            self._braces()
            return []
        if word == "dnat":
            return [self._dnat()]
        if word in _SELECTORS:
            self.at -= 1
            return [self._match()]
        return [Op("unknown", value=word)]

    def _skip(self) -> None:
        """Step over a statement's own words."""
        while self.at < len(self.tokens) and self._peek() not in _STATEMENTS:
            self.at += 1

    def _braces(self) -> list[str]:
        """Step over ``... { ... }``; return what stands between the braces."""
        while self._next() != "{":
            pass
        start, depth = self.at, 1
        while depth:
            depth += {"{": 1, "}": -1}.get(self._next(), 0)
        return self.tokens[start : self.at - 1]

    def _dnat(self) -> Op:
        """Read ``dnat [ip] to ADDRESS:PORT``, or ``... to numgen random mod N map { ... }``."""
        while self._next() != "to":
            pass
        if self._peek() == "numgen":
            looks_at = (self._selector(),)
            if self._next() != "map":
                raise ValueError
            return Op("dnat", looks_at, self._anonymous())
        return Op("dnat", value=self._next())

    def _anonymous(self) -> Elements:
        made = Elements()
        fill(made, self._braces())
        return made

    def _selector(self) -> Selector:
        word = self._next()
        if word in _SHORT:
            return (word,)
        count = {"fib": 2, "numgen": 3}.get(word, 1)
        return (word, *(self._next() for _ in range(count)))

    def _match(self) -> Op:
        looks_at = [self._selector()]
        while self._peek() == ".":
            self.at += 1
            looks_at.append(self._selector())
        where = tuple(looks_at)
        if where == (("meta", "mark"),) and self._peek() in ("set", "&"):
            return self._mark()
        if self._peek() in ("set", "&", "|", "<", ">", "<=", ">="):
            return Op("unknown", value=" ".join((*where[0], self._peek())))
        if self._peek() == "vmap":
            self.at += 1
            return Op("vmap", where, self._what())
        negated = self._peek() == "!="
        self.at += self._peek() in ("!=", "==")
        return Op("match", where, self._what(), negated)

    def _what(self) -> Any:
        """Read what is compared with: a named set, an anonymous one, or a value as a set of its own."""
        if self._peek() == "{":
            return self._anonymous()
        word = self._next()
        if word.startswith("@"):
            return word[1:].strip('"')
        words = [word]
        while self._peek() == ",":
            self.at += 1
            words.append(self._next())
        made = Elements()
        fill(made, [token for each in words for token in (each, ",")])
        return made, "plain"

    def _mark(self) -> Op:
        """Read ``meta mark & M != V``, and ``meta mark set meta mark | M`` (or ^, &)."""
        if self._next() == "&":
            mask, sign, value = number(self._next()), self._next(), number(self._next())
            return Op("mark", value=(mask, value), negated=sign == "!=")
        if self.tokens[self.at : self.at + 2] == ["meta", "mark"]:
            self.at += 2
            return Op("set-mark", value=(self._next(), number(self._next())))
        return Op("set-mark", value=("=", number(self._next())))
