"""The Services of an iptables-save: who stands where in the linear chains, and with which endpoints.

Names come from the comments of KUBE-SERVICES, KUBE-NODEPORTS and KUBE-EXTERNAL-SERVICES, which kube-proxy
writes in clusters of every size. Not told by the rules: which endpoints of a policy ``Cluster`` Service are
on this node, the endpoints elsewhere of an internal policy ``Local`` Service, and the external policy of a
Service without any endpoint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.packet import address, dotted

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.read_iptables import Chain, Rule, Tables

_COMMENT = re.compile(r"([^/\s]+)/([^:\s]+)(?::(\S+))?(?: (.*))?")
_HINT = "mode nftables: --from-nft; mode ipvs: --from-ipvsadm; a cluster without kube-proxy has no such chain"


@dataclass
class Seen:
    """What a dump says: the view, and the place of every port in the linear chains, from 1.

    The closed ones stand in filter's KUBE-SERVICES and KUBE-EXTERNAL-SERVICES, the others in nat.
    """

    view: View
    cluster_ips: dict[str, int] = field(default_factory=dict)
    node_ports: dict[str, int] = field(default_factory=dict)
    closed_cluster_ips: dict[str, int] = field(default_factory=dict)
    closed_node_ports: dict[str, int] = field(default_factory=dict)
    loopback_rules: int = 0


def see(tables: Tables) -> Seen:
    """Read the Services.

    Raises
    ------
    InputError
        No chain KUBE-SERVICES: mode iptables wrote no rules here.
    """
    nat, plain = tables.get("nat", {}), tables.get("filter", {})
    services = nat.get("KUBE-SERVICES")
    if services is None or any(test.what == "set" for rule in services.rules for test in rule.tests):
        rule = "holds no KUBE-SERVICES chain of mode iptables"
        raise InputError(rule, field="the dump", hint=_HINT)
    gathered = _Gathered(nat)
    gathered.cluster_ips(services)
    gathered.node_ports(nat.get("KUBE-NODEPORTS"))
    gathered.closed(plain.get("KUBE-SERVICES"), "cluster_ip")
    gathered.closed(plain.get("KUBE-EXTERNAL-SERVICES"), "node_port")
    return gathered.seen()


class _Gathered:
    """Ports by name, filled chain by chain."""

    def __init__(self, nat: dict[str, Chain]) -> None:
        self.nat = nat
        self.ports: dict[str, dict[str, Any]] = {}
        self.cluster_places: dict[str, int] = {}
        self.node_places: dict[str, int] = {}
        self.closed_places: dict[str, dict[str, int]] = {"cluster_ip": {}, "node_port": {}}
        self.loopback = 0
        self.cidr: str | None = None

    def seen(self) -> Seen:
        ports = tuple(Port(**fields) for fields in self.ports.values())
        cidr = {"cluster_cidr": self.cidr} if self.cidr else {}
        view = View(ports=ports, node_addresses=(), localhost_node_ports=self.loopback > 0, **cidr)  # type: ignore[arg-type]
        closed = self.closed_places
        return Seen(
            view,
            self.cluster_places,
            self.node_places,
            closed["cluster_ip"],
            closed["node_port"],
            self.loopback,
        )

    def cluster_ips(self, chain: Chain) -> None:
        for rule in chain.rules:
            if rule.target and rule.ports and rule.action in self.nat and _kind(rule) == "cluster IP":
                fields = self._port(rule)
                fields["internal_policy"] = "Local" if rule.action.startswith("KUBE-SVL-") else "Cluster"
                self.cluster_places.setdefault(_full(fields), len(self.cluster_places) + 1)
                self._endpoints(fields, rule.action)

    def node_ports(self, chain: Chain | None) -> None:
        for rule in chain.rules if chain else ():
            if rule.target is not None and rule.ports:
                self.loopback += 1
            elif rule.ports and rule.action in self.nat:
                fields = self._port(rule)
                self.node_places.setdefault(_full(fields), len(self.node_places) + 1)
                fields["node_port"] = rule.ports[0]
                self._external(fields, rule.action)

    def closed(self, chain: Chain | None, what: str) -> None:
        """Read the filter rules of what is refused or dropped."""
        for rule in chain.rules if chain else ():
            if not rule.ports or _kind(rule) not in ("has no endpoints", "has no local endpoints"):
                continue
            if what == "node_port" and rule.target is not None:
                continue  # An external address, which is no NodePort.
            fields = self._port(rule)
            self.closed_places[what].setdefault(_full(fields), len(self.closed_places[what]) + 1)
            local = "no local" in rule.comment
            if what == "node_port":
                fields["node_port"] = rule.ports[0]
                fields["external_policy"] = "Local" if local else fields.get("external_policy", "Cluster")
            else:
                fields["internal_policy"] = "Local" if local else "Cluster"

    def _port(self, rule: Rule) -> dict[str, Any]:
        """Find a rule's port by the name in its comment, or begin it."""
        found = _COMMENT.fullmatch(rule.comment)
        names = (found[1], found[2], found[3] or "") if found else ("unnamed", f"rule-{rule.line}", "")
        new = {"namespace": names[0], "service": names[1], "name": names[2], "cluster_ip": "", "port": 0}
        fields = self.ports.setdefault("\0".join(names), new | {"protocol": rule.protocol or "tcp"})
        if rule.target and rule.ports and not fields["port"]:
            fields["cluster_ip"], fields["port"] = dotted(rule.target[0]), rule.ports[0]
        return fields

    def _external(self, fields: dict[str, Any], chain: str) -> None:
        """Read the KUBE-EXT chain: where it leads, and whether it short-cuts local traffic."""
        rules = self.nat[chain].rules
        actions = [rule.action for rule in rules if rule.action.startswith(("KUBE-SVC-", "KUBE-SVL-"))]
        plain = [rule.action for rule in rules if not rule.tests and rule.action in actions]
        local = any(test.what == "source-type" for rule in rules for test in rule.tests)
        local = local or any(action.startswith("KUBE-SVL-") for action in plain)
        fields["external_policy"] = "Local" if local else "Cluster"
        for action in actions or ([chain] if chain.startswith("KUBE-SVC-") else []):
            self._endpoints(fields, action)

    def _endpoints(self, fields: dict[str, Any], name: str) -> None:
        """Read the chain of all endpoints, or of the local ones."""
        found: dict[tuple[str, int], bool | None] = {}
        for rule in self.nat[name].rules if name in self.nat else ():
            if rule.action.startswith("KUBE-SEP-") and (endpoint := _destination(self.nat[rule.action])):
                found[endpoint] = None
                fields["affinity_s"] = max(fields.get("affinity_s", 0), _seconds(rule))
            elif rule.target and rule.action == "KUBE-MARK-MASQ" and not self.cidr:
                self.cidr = _negated_source(rule)
        known = {(each.address, each.port): each.local for each in fields.get("endpoints", ())}
        local = name.startswith("KUBE-SVL-")
        known |= {pair: local or known.get(pair, False) for pair in found}
        order = known if local else found | known  # The chain of all endpoints has kube-proxy's order.
        fields["endpoints"] = tuple(Endpoint(address=a, port=p, local=known[a, p]) for a, p in order)


def _full(fields: dict[str, Any]) -> str:
    name = f"{fields['namespace']}/{fields['service']}"
    return name + (f":{fields['name']}" if fields["name"] else "")


def _kind(rule: Rule) -> str:
    found = _COMMENT.fullmatch(rule.comment)
    return (found[4] or "") if found else ""


def _destination(chain: Chain) -> tuple[str, int] | None:
    for rule in chain.rules:
        if rule.action == "DNAT" and "--to-destination" in rule.options[:1]:
            host, _, port = rule.options[1].partition(":") if len(rule.options) > 1 else ("", "", "")
            try:
                return dotted(address(host)), int(port)
            except ValueError:
                return None
    return None


def _seconds(rule: Rule) -> int:
    return next((int(str(test.value or 0)) for test in rule.tests if test.what == "recent"), 0)


def _negated_source(rule: Rule) -> str | None:
    for test in rule.tests:
        if test.what == "source" and test.negated and isinstance(test.value, tuple):
            base, mask = test.value
            return f"{dotted(base)}/{mask.bit_count()}"
    return None
