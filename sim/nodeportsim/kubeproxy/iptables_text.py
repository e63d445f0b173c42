"""How iptables rules are spelt, and those that stand on every node.

As ``iptables-save`` shows them; ``iptables-restore`` reads that as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Chains = Mapping[str, Sequence[str]]
"""The rules of each chain, without the ``-A CHAIN`` in front."""


def comment(text: str) -> str:
    """Spell a comment."""
    return f'-m comment --comment "{text}"'


_NEW = "-m conntrack --ctstate NEW"
BUILT_IN: Mapping[str, Chains] = {
    "mangle": dict.fromkeys(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"), ()),
    "filter": {
        "INPUT": (
            "-j KUBE-FIREWALL",
            f"{_NEW} {comment('kubernetes load balancer firewall')} -j KUBE-PROXY-FIREWALL",
            f"{comment('kubernetes health check service ports')} -j KUBE-NODEPORTS",
            f"{_NEW} {comment('kubernetes externally-visible service portals')} -j KUBE-EXTERNAL-SERVICES",
        ),
        "FORWARD": (
            f"{_NEW} {comment('kubernetes load balancer firewall')} -j KUBE-PROXY-FIREWALL",
            f"{comment('kubernetes forwarding rules')} -j KUBE-FORWARD",
            f"{_NEW} {comment('kubernetes service portals')} -j KUBE-SERVICES",
            f"{_NEW} {comment('kubernetes externally-visible service portals')} -j KUBE-EXTERNAL-SERVICES",
        ),
        "OUTPUT": (
            "-j KUBE-FIREWALL",
            f"{_NEW} {comment('kubernetes load balancer firewall')} -j KUBE-PROXY-FIREWALL",
            f"{_NEW} {comment('kubernetes service portals')} -j KUBE-SERVICES",
        ),
    },
    "nat": {
        "PREROUTING": (f"{comment('kubernetes service portals')} -j KUBE-SERVICES",),
        "INPUT": (),
        "OUTPUT": (f"{comment('kubernetes service portals')} -j KUBE-SERVICES",),
        "POSTROUTING": (f"{comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING",),
    },
}
"""Mode iptables: the built-in chains of each table, with the jumps to kube-proxy's own."""

MASQUERADE: Chains = {
    "KUBE-POSTROUTING": (
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        f"{comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
    ),
    "KUBE-MARK-MASQ": ("-j MARK --set-xmark 0x4000/0x4000",),
}
"""The chains that mark a packet and masquerade the marked ones, which mode ipvs has as well."""


def table(name: str, own: Chains, built_in: Chains | None = None, remove: Iterable[str] = ()) -> str:
    """Write one table; naming a chain empties it, also with ``--noflush``."""
    built_in = built_in or {}
    lines = [
        f"*{name}",
        *(f":{chain} ACCEPT [0:0]" for chain in built_in),
        *(f":{chain} - [0:0]" for chain in own),
        *(f"-A {chain} {rule}" for chain, rules in (*built_in.items(), *own.items()) for rule in rules),
        *(f"-X {chain}" for chain in remove),
        "COMMIT\n",
    ]
    return "\n".join(lines)
