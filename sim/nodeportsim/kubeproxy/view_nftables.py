"""The Services of an nft dump, from the maps and chains of table ``ip kube-proxy``.

Names come from chain names (``service-HASH-namespace/name/tcp/port``) and, for Services without endpoints,
from comments. Local endpoints are those of ``hairpin-connections``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.kubeproxy.follow_nftables import endpoint, leads_to
from nodeportsim.kubeproxy.packet import dotted
from nodeportsim.kubeproxy.read_nftables import Elements

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.read_nftables import Chain, Op, Table

_CHAIN = re.compile(r"(?:service|external|local)-[A-Z0-9]{8}-([^/]+)/([^/]+)/(\w+)/(.*)")
_COMMENT = re.compile(r"([^/\s]+)/([^:\s]+)(?::(\S+))?")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def see(tables: tuple[Table, ...]) -> View:
    """Read the Services.

    Raises
    ------
    InputError
        No table ``ip kube-proxy``: mode nftables wrote no rules here.
    """
    table = next((table for table in tables if table.is_ours), None)
    if table is None or "service-ips" not in table.sets:
        hint = "mode iptables: --from-iptables-save; mode ipvs: --from-ipvsadm"
        raise InputError("holds no table ip kube-proxy of mode nftables", field="the dump", hint=hint)
    return _Gathered(table).view()


class _Gathered:
    """Ports by name, filled map by map."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ports: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.here = {key.split(" . ")[0] for key in self._set("hairpin-connections").exact}
        self.maps_straight = True

    def _set(self, name: str) -> Elements:
        return self.table.sets.get(name, Elements())

    def view(self) -> View:
        for key, verdict in self._set("service-ips").exact.items():
            self._cluster_ip(key, verdict.partition(" ")[2])
        for key, verdict in self._set("service-nodeports").exact.items():
            self._node_port(key, verdict.partition(" ")[2])
        for name in ("no-endpoint-services", "no-endpoint-nodeports"):
            closed = self._set(name)
            for key, verdict in closed.exact.items():
                self._closed(key, verdict, closed.comments.get(key, ""))
        known = {
            "cluster_cidr": self._cidr("services", "saddr"),
            "service_cidr": self._cidr("cluster-ips-check", "daddr"),
        }
        return View(
            ports=tuple(Port(**fields) for fields in self.ports.values()),
            node_addresses=tuple(self._set("nodeport-ips").exact),
            version=(1, 36) if self.maps_straight else (1, 33),
            **{name: cidr for name, cidr in known.items() if cidr},  # type: ignore[arg-type]
        )

    def _cluster_ip(self, key: str, chain: str) -> None:
        words = key.split(" . ")
        if not words[2:] or chain.startswith("external-"):
            return  # External and load balancer addresses.
        fields = self._port(_CHAIN.fullmatch(chain), chain, words[1])
        fields["cluster_ip"], fields["port"] = words[0], int(words[2])
        fields["internal_policy"] = "Local" if chain.startswith("local-") else "Cluster"
        self._endpoints(fields, chain)

    def _node_port(self, key: str, chain: str) -> None:
        protocol, _, port = key.partition(" . ")
        fields = self._port(_CHAIN.fullmatch(chain), chain, protocol)
        fields["node_port"] = int(port)
        ops = [op for rule in self._rules(chain) for op in rule]
        local = any(looks_at[0] == "fib" for op in ops for looks_at in op.looks_at)
        fields["external_policy"] = "Local" if local else "Cluster"
        for op in ops:
            if op.what == "goto":
                self._endpoints(fields, str(op.value))

    def _closed(self, key: str, verdict: str, comment: str) -> None:
        *host, protocol, port = key.split(" . ")
        fields = self._port(_COMMENT.fullmatch(comment), key, protocol)
        policy = "Local" if verdict == "drop" else "Cluster"
        if host:
            fields |= {"cluster_ip": host[0], "port": int(port), "internal_policy": policy}
        else:
            fields["node_port"] = int(port)
            fields.setdefault("external_policy", policy)

    def _port(self, found: re.Match[str] | None, text: str, protocol: str) -> dict[str, Any]:
        """Find a port by name, or begin it."""
        if found is None:
            names = ("unnamed", text.replace(" . ", "-").replace("/", "-"), "")
        else:
            names = (found[1], found[2], found[found.re.groups] or "")
        new = {"namespace": names[0], "service": names[1], "name": names[2], "protocol": protocol}
        return self.ports.setdefault(names, new | {"cluster_ip": "", "port": 0})

    def _rules(self, chain: str) -> list[tuple[Op, ...]]:
        made: Chain | None = self.table.chains.get(chain)
        return [rule.ops for rule in made.rules] if made else []

    def _endpoints(self, fields: dict[str, Any], chain: str) -> None:
        ops = [op for rule in self._rules(chain) for op in rule]
        found: dict[tuple[int, int], None] = {}
        for op in ops:
            for goal in self._goals(op):
                found[goal] = None
            if op.what == "match" and isinstance(op.value, str) and op.value.startswith("affinity-"):
                fields["affinity_s"] = _seconds(self._set(op.value).timeout)
        if any(op.what == "vmap" for op in ops) and not fields.get("affinity_s"):
            self.maps_straight = False
        known = {(each.address, each.port): each for each in fields.get("endpoints", ())}
        named = {
            (dotted(a), p): Endpoint(address=dotted(a), port=p, local=dotted(a) in self.here)
            for a, p in found
        }
        first, then = (known, named) if chain.startswith("local-") else (named, known)
        fields["endpoints"] = tuple({**first, **then}.values())

    def _goals(self, op: Op) -> list[tuple[int, int]]:
        """Endpoints an operation may send a packet to."""
        if op.what == "dnat":
            texts = op.value.exact.values() if isinstance(op.value, Elements) else (str(op.value),)
            return [goal for text in texts if (goal := endpoint(text))]
        if op.what == "vmap" and isinstance(op.value, Elements):
            chains = [verdict.partition(" ")[2] for verdict in op.value.exact.values()]
            return [goal for chain in chains if (goal := leads_to(self.table, chain))]
        return []

    def _cidr(self, chain: str, side: str) -> str | None:
        """Find the first range of addresses a chain compares with."""
        for op in (op for ops in self._rules(chain) for op in ops):
            if op.looks_at == (("ip", side),) and isinstance(op.value, tuple) and op.value[0].ranges:
                low, high, _ = op.value[0].ranges[0]
                return f"{dotted(low)}/{32 - (high - low).bit_length()}"
        return None


def _seconds(text: str) -> int:
    """Read ``3h`` or ``1h30m`` as seconds."""
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([dhms])", text))
