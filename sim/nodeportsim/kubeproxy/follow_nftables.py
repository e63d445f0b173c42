"""Following one packet through the tables of an nft dump, base chain by base chain, as the kernel does.

Base chains of a hook run by priority; ``accept`` ends its base chain alone, and nat chains see new
connections only. Left out, as for iptables: the output hooks, ingress, interfaces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nodeportsim.kubeproxy.packet import Steps, address, dotted
from nodeportsim.kubeproxy.read_nftables import Elements

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.packet import Header
    from nodeportsim.kubeproxy.read_nftables import Chain, Op, Rule, Selector, Table
    from nodeportsim.kubeproxy.walk import Verdict, Walk

_OWN_KINDS = re.compile(r"(service|external|local|endpoint|firewall)-[A-Z0-9]{8}-.*")
_ENDS: dict[str, Verdict] = {"accept": "accept", "drop": "drop"}
_RETURN = "return"
_FAILS = "fails"


class Follower:
    """Rules that packets are sent through."""

    def __init__(self, tables: tuple[Table, ...]) -> None:
        self.hooks: dict[str, list[tuple[Table, Chain]]] = {}
        bases = [(table, chain) for table in tables for chain in table.chains.values() if chain.hook]
        for table, chain in sorted(bases, key=lambda base: base[1].priority):
            self.hooks.setdefault(chain.hook, []).append((table, chain))

    def follow(self, header: Header) -> tuple[Walk, Steps]:
        """Send a packet through; it ends changed, as the rules changed it."""
        steps = Steps()
        return steps.walk(header, self._path(header, steps)), steps

    def _path(self, header: Header, steps: Steps) -> Verdict:
        verdict = self._hook("prerouting", header, steps)
        if verdict != "accept":
            return verdict
        to_node = header.to_node
        verdict = self._hook("input" if to_node else "forward", header, steps)
        return verdict if verdict != "accept" or to_node else self._hook("postrouting", header, steps)

    def _hook(self, hook: str, header: Header, steps: Steps) -> Verdict:
        for table, chain in self.hooks.get(hook, ()):
            if chain.kind == "nat" and not header.is_new:
                continue
            outcome = _Visit(table, chain, header, steps).chain(chain, 0)
            if outcome == _RETURN:
                outcome = chain.policy
            if outcome in ("drop", "reject"):
                return "drop" if outcome == "drop" else "reject"
        return "accept"


class _Visit:
    """One packet in one base chain."""

    def __init__(self, table: Table, base: Chain, header: Header, steps: Steps) -> None:
        self.table, self.header, self.steps = table, header, steps
        self.hook = base.name if table.is_ours else f"{table.family} {table.name} {base.name}"
        self.lookups = 0

    def chain(self, chain: Chain, depth: int) -> str:
        """Walk one chain: a verdict, or ``return`` to the chain that called it."""
        self.steps.enter(chain.name, depth)
        for rule in chain.rules:
            outcome = self._rule(chain, rule)
            if outcome.startswith(("jump ", "goto ")):
                way, _, name = outcome.partition(" ")
                below = self.table.chains.get(name)
                outcome = self.chain(below, depth + 1) if below else _RETURN
                if outcome == _RETURN and way == "jump":
                    continue
            if outcome not in ("", _FAILS):
                return outcome
        return _RETURN

    def _rule(self, chain: Chain, rule: Rule) -> str:
        """Test one rule: what it decides, or nothing to go on."""
        self.lookups, outcome = 0, ""
        for op in rule.ops:
            outcome = self._op(op, rule)
            if outcome:
                break
        own = _OWN_KINDS.fullmatch(chain.name) if self.table.is_ours else None
        kind = f"{own[1]}-*" if own else chain.name
        sticky = own is not None and any(_affinity(op) for op in rule.ops)
        self.steps.add(
            self.hook,
            kind,
            1,
            "set_lookup" if sticky else "fixed",
            self.lookups,
            foreign=int(not self.table.is_ours),
        )
        return outcome

    def _op(self, op: Op, rule: Rule) -> str:  # noqa: PLR0911  (a table)
        match op.what:
            case "accept" | "drop" | "return" | "reject":
                return op.what
            case "jump" | "goto":
                return f"{op.what} {op.value}"
            case "match":
                return "" if self._matches(op, rule) else _FAILS
            case "vmap":
                return self._verdict(op)
            case "mark":
                mask, value = op.value
                return "" if ((self.header.mark & mask) == value) != op.negated else _FAILS
            case "set-mark":
                self._set_mark(*op.value)
            case "dnat":
                return self._translate(op)
            case "masquerade":
                self.header.masquerade = True
                return "accept"
            case _:
                self.steps.unknown[str(op.value)] += 1
                return _FAILS
        return ""

    def _set_mark(self, sign: str, value: int) -> None:
        mark = self.header.mark
        change = {"|": mark | value, "^": mark ^ value, "&": mark & value, "=": value}
        self.header.mark = change.get(sign, mark)

    def _matches(self, op: Op, rule: Rule) -> bool:
        if _affinity(op):
            self.lookups += 1
            goal = next((str(each.value) for each in rule.ops if each.what in ("goto", "jump")), "")
            return self.header.sticky and leads_to(self.table, goal) == self.header.chosen
        found = self._look_up(op)
        return found is not None and (found[0] != op.negated)

    def _look_up(self, op: Op) -> tuple[bool, str] | None:
        """Look up what a rule looks at: whether it is there, and its value; None if that is unknown."""
        plain = isinstance(op.value, tuple)
        elements = op.value[0] if isinstance(op.value, tuple) else op.value
        if isinstance(elements, str):
            elements = self.table.sets.get(elements)
        words = [_word(selector, self.header) for selector in op.looks_at]
        if not isinstance(elements, Elements) or None in words:
            unknown = next((" ".join(s) for s, w in zip(op.looks_at, words, strict=True) if w is None), "set")
            self.steps.unknown[unknown] += 1
            return None
        if "other" in words:
            return op.negated, ""  # A port of another protocol never matches, != or not.
        self.lookups += not plain
        key = " . ".join(word for word in words if word is not None)
        for each in (key, *_also(op.looks_at, self.header)):
            if each in elements.exact:
                return True, elements.exact[each]
        return _in_ranges(elements, key)

    def _verdict(self, op: Op) -> str:
        """Look a verdict up: none goes on with the next word of the rule, which there is not."""
        if op.looks_at[0][0] == "numgen" and isinstance(op.value, Elements):
            self.lookups += 1
            for verdict in op.value.exact.values():
                if leads_to(self.table, verdict.partition(" ")[2]) == self.header.chosen:
                    return verdict
            return _FAILS
        found = self._look_up(op)
        return found[1] if found and found[0] else _FAILS

    def _translate(self, op: Op) -> str:
        header = self.header
        if isinstance(op.value, Elements):
            self.lookups += 1
            targets = [endpoint(value) for value in op.value.exact.values()]
            goal = header.chosen if header.chosen in targets else None
        else:
            goal = endpoint(str(op.value))
        if goal is None:
            return _FAILS
        (header.target, header.port), header.translated = goal, True
        return "accept"


def _affinity(op: Op) -> bool:
    return op.what == "match" and isinstance(op.value, str) and op.value.startswith("affinity-")


def _word(selector: Selector, header: Header) -> str | None:  # noqa: C901, PLR0911  (a table)
    """What a packet has where a rule looks; None where a dump does not tell."""
    match selector:
        case ("ip", "saddr"):
            return dotted(header.source)
        case ("ip", "daddr"):
            return dotted(header.target)
        case ("ip", "protocol") | ("meta", "l4proto"):
            return header.protocol
        case ("th", "dport"):
            return str(header.port)
        case ("tcp" | "udp" | "sctp" as protocol, "dport"):
            return str(header.port) if protocol == header.protocol else "other"
        case ("fib", "saddr" | "daddr" as side, "type"):
            return (
                "local"
                if header.is_local(getattr(header, {"s": "source", "d": "target"}[side[0]]))
                else "unicast"
            )
        case ("ct", "state"):
            return "new" if header.is_new else "established"
        case ("ct", "status"):
            return "dnat" if header.translated else "none"
        case ("meta", "nfproto"):
            return "ipv4"
        case ("meta", "mark"):
            return f"0x{header.mark:08x}"
    return None


def _also(looks_at: tuple[Selector, ...], header: Header) -> tuple[str, ...]:
    """Give other spellings of a key."""
    if looks_at in ((("ip", "protocol"),), (("meta", "l4proto"),)):
        return ({"tcp": "6", "udp": "17", "sctp": "132"}.get(header.protocol, ""),)
    return ()


def _in_ranges(elements: Elements, key: str) -> tuple[bool, str]:
    if elements.ranges:
        try:
            place = address(key) if "." in key else int(key)
        except ValueError:
            return False, ""
        for low, high, value in elements.ranges:
            if low <= place <= high:
                return True, value
    return False, ""


def endpoint(text: str) -> tuple[int, int] | None:
    """Read ``10.0.0.1 . 80`` or ``10.0.0.1:80``."""
    host, _, port = text.replace(" . ", ":").partition(":")
    try:
        return address(host), int(port)
    except ValueError:
        return None


def leads_to(table: Table, chain: str) -> tuple[int, int] | None:
    """Where an endpoint's chain sends a packet."""
    for rule in table.chains[chain].rules if chain in table.chains else ():
        for op in rule.ops:
            if op.what == "dnat" and isinstance(op.value, str):
                return endpoint(op.value)
    return None
