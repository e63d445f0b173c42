"""Following one packet through the tables of an iptables-save, hook by hook, as the kernel does.

Order of the tables at a hook: raw, mangle, nat, filter, security (priorities of
include/uapi/linux/netfilter_ipv4.h); nat sees new connections only. Mode ipvs is the same with sets, and with
IPVS taking the packet after filter INPUT. Left out: the OUTPUT hooks, bridges, IPsec, a second path when a
rule marks for routing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.kubeproxy.packet import Steps, address, dotted
from nodeportsim.kubeproxy.read_iptables import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nodeportsim.kubeproxy.packet import Header
    from nodeportsim.kubeproxy.read_iptables import Chain, Rule, Tables, Test
    from nodeportsim.kubeproxy.walk import Verdict, Walk

HOOKS = {
    "PREROUTING": ("raw", "mangle", "nat"),
    "INPUT": ("mangle", "filter", "security", "nat"),
    "FORWARD": ("mangle", "filter", "security"),
    "POSTROUTING": ("mangle", "nat"),
}
PASSES_ON = {"", "LOG", "NFLOG", "ULOG", "TRACE", "CONNMARK", "TCPMSS", "CHECKSUM", "CLASSIFY", "DSCP", "TOS"}
PASSES_ON |= {"TTL", "SET", "AUDIT", "NFACCT", "CT", "NOTRACK", "CONNSECMARK", "SECMARK"}
"""Targets after which a packet goes on with the next rule, unchanged as far as rules here can tell."""

_VERDICTS: dict[str, Verdict] = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject"}
_RETURN = "return"


class Follower:
    """Rules that packets are sent through; ``sets`` are the ipsets the rules may ask."""

    def __init__(
        self, tables: Tables, sets: Mapping[str, Callable[[Header, tuple[str, ...]], bool]] | None = None
    ) -> None:
        self.tables = tables
        self.sets = sets or {}
        self.servers: Callable[[Header], Verdict | None] = lambda _: None

    def follow(self, header: Header) -> tuple[Walk, Steps]:
        """Send a packet through; it ends changed, as the rules changed it."""
        steps = Steps()
        return steps.walk(header, self._path(header, steps)), steps

    def _path(self, header: Header, steps: Steps) -> Verdict:
        verdict = self._hook("PREROUTING", header, steps)
        if verdict != "accept":
            return verdict
        if not header.to_node:
            verdict = self._hook("FORWARD", header, steps)
        else:
            verdict = self._hook("INPUT", header, steps)
            served = self.servers(header) if verdict == "accept" else None
            if served != "accept":
                return served or verdict
        return verdict if verdict != "accept" else self._hook("POSTROUTING", header, steps)

    def _hook(self, hook: str, header: Header, steps: Steps) -> Verdict:
        for table in HOOKS[hook]:
            chain = self.tables.get(table, {}).get(hook)
            if chain is None or (table == "nat" and not header.is_new):
                continue
            verdict = _Visit(self, table, f"{table}/{hook}", header, steps).base(chain)
            if verdict != "accept":
                return verdict
        return "accept"


class _Visit:
    """One packet in one table at one hook."""

    def __init__(self, rules: Follower, table: str, hook: str, header: Header, steps: Steps) -> None:
        self.chains, self.sets = rules.tables[table], rules.sets
        self.hook, self.header, self.steps = hook, header, steps
        self.lookups = 0

    def base(self, chain: Chain) -> Verdict:
        outcome = self.chain(chain, 0)
        if outcome in ("accept", "drop", "reject"):
            return outcome  # type: ignore[return-value]
        return _VERDICTS.get(chain.policy, "accept")

    def chain(self, chain: Chain, depth: int) -> str:
        """Walk one chain: a verdict, or ``return`` to the chain that called it."""
        self.steps.enter(chain.name, depth)
        done = 0
        for n in chain.candidates(self.header):
            rule = chain.rules[n]
            if not self._matches(rule):
                continue
            self._count(chain, done, n + 1, matched=True)
            done = n + 1
            outcome = self._act(rule, depth)
            if outcome == _RETURN and rule.action in self.chains and not rule.goto:
                continue
            if outcome:
                return outcome
        self._count(chain, done, len(chain.rules))
        return _RETURN

    def _count(self, chain: Chain, start: int, stop: int, *, matched: bool = False) -> None:
        """Record the rules ``start <= n < stop``, of which the last may have matched."""
        lookups, self.lookups = self.lookups, 0
        found = dict(chain.classes(start, stop))
        if matched and self.hook == "nat/PREROUTING" and chain.name == "KUBE-SERVICES":
            # The formulas call the ClusterIP that matches fixed: its jump is in the base price.
            found[class_of(chain.name, chain.rules[stop - 1])] -= 1
            found["fixed"] = found.get("fixed", 0) + 1
        foreign = self._foreign(chain, start, stop)
        for rule_class, rules in found.items():
            if rules:
                self.steps.add(self.hook, chain.kind, rules, rule_class, lookups, foreign=foreign)
                lookups = foreign = 0

    def _foreign(self, chain: Chain, start: int, stop: int) -> int:
        """Count the rules that are not kube-proxy's: all but its chains, and the jumps to them."""
        if chain.name.startswith("KUBE-"):
            return 0
        return sum(not rule.action.startswith("KUBE-") for rule in chain.rules[start:stop])

    def _act(self, rule: Rule, depth: int) -> str:
        """Do what a matching rule says: a verdict, ``return``, or nothing to go on."""
        header, action = self.header, rule.action
        if action in self.chains:
            return self.chain(self.chains[action], depth + 1)
        if action in _VERDICTS:
            return _VERDICTS[action]
        if action == "RETURN":
            return _RETURN
        if action == "MARK":
            self._mark(rule.options)
        elif action == "DNAT":
            header.target, header.port = destination(rule, header)
            header.translated = True
            return "accept"
        elif action in ("MASQUERADE", "SNAT"):
            header.masquerade = True
            return "accept"
        elif action not in PASSES_ON:
            self.steps.unknown[f"target {action}"] += 1
        return ""

    def _mark(self, options: tuple[str, ...]) -> None:
        if options[:1] not in (("--set-xmark",), ("--set-mark",)) or not options[1:]:
            self.steps.unknown["MARK " + " ".join(options)] += 1
            return
        value, _, mask = options[1].partition("/")
        kept = self.header.mark & ~_number(mask, 0xFFFFFFFF)
        changed = _number(value, 0)
        self.header.mark = kept ^ changed if options[0] == "--set-xmark" else kept | changed

    def _matches(self, rule: Rule) -> bool:
        header = self.header
        if rule.target and header.target & rule.target[1] != rule.target[0]:
            return False
        if rule.protocol and rule.protocol != header.protocol:
            return False
        if rule.ports and not rule.ports[0] <= header.port <= rule.ports[1]:
            return False
        puzzle = ""
        for test in rule.tests:
            holds = self._holds(test, rule)
            if holds is None:
                puzzle = puzzle or _name(test)
            elif holds == test.negated:
                return False
        if puzzle:
            self.steps.unknown[puzzle] += 1
        return not puzzle

    def _holds(self, test: Test, rule: Rule) -> bool | None:
        """Evaluate a condition, without its negation; None where a dump does not tell."""
        match test.what, test.value:
            case "set", (name, parts):
                self.lookups += 1
                asked = self.sets.get(name)
                return asked(self.header, parts) if asked else None
            case ("statistic" | "recent") as what, _:
                taken = self._leads_to_chosen(rule.action)
                return taken if what == "statistic" else taken and self.header.sticky
            case what, value:
                return _plain(what, value, self.header)

    def _leads_to_chosen(self, action: str) -> bool:
        chain = self.chains.get(action)
        chosen = self.header.chosen
        return chain is not None and any(
            rule.action == "DNAT" and destination(rule, self.header) == chosen for rule in chain.rules
        )


def _plain(what: str, value: Any, header: Header) -> bool | None:
    held: bool | None = None
    match what, value:
        case "source", (base, mask):
            held = header.source & mask == base
        case "target", (base, mask):
            held = header.target & mask == base
        case "dports", spans:
            held = any(low <= header.port <= high for low, high in spans)
        case "mark", (mark, mask):
            held = header.mark & mask == mark
        case "state", states:
            held = not states.isdisjoint(_states(header))
        case "source-type", "LOCAL":
            held = header.is_local(header.source)
        case "target-type", "LOCAL":
            held = header.is_local(header.target)
        case (("in" | "out"), "lo"):
            held = False
    return held


def _states(header: Header) -> set[str]:
    return {"NEW" if header.is_new else "ESTABLISHED", *(("DNAT",) if header.translated else ())}


def _name(test: Test) -> str:
    match test.what, test.value:
        case "unknown", name:
            return f"match {name}"
        case "set", (name, _):
            return f"set {name}"
        case ("in" | "out") as way, value:
            return f"interface {way} {value}"
        case what, value:
            return f"match {what} {value}"


def _number(text: str, default: int) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return default


def destination(rule: Rule, header: Header) -> tuple[int, int]:
    """Where a DNAT rule sends a packet; what it does not name stays as it is."""
    options = dict(zip(rule.options[::2], rule.options[1::2], strict=False))
    text, _, port = options.get("--to-destination", "").partition(":")
    try:
        return address(text), int(port.partition("-")[0] or header.port)
    except ValueError:
        return header.target, header.port


def name_of(endpoint: tuple[int, int]) -> str:
    """Write an endpoint as ``10.244.0.2:8080``."""
    return f"{dotted(endpoint[0])}:{endpoint[1]}"
