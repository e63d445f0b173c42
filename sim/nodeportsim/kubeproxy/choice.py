"""Which endpoint a new connection gets: readable references of what the kernel does.

iptables (a chain of probabilities) and nftables (``numgen random``) draw uniformly and independently. IPVS
runs a scheduler per virtual server and node, over the destinations in the kernel's list, where the newest
comes first (``list_add_rcu`` in ip_vs_ctl.c). kube-proxy gives weight 1, and 0 while an endpoint drains.

Each scheduler takes the weights in list order and its own state, and returns the index chosen, None when
nothing may be chosen (IPVS then refuses the connection), and the next state.

Source: Linux net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,sh}.c and ip_vs_dest_conn_overhead in
include/net/ip_vs.h. Left out: overload thresholds, which kube-proxy does not set, and sh's flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = -1
"""State of rr and wrr before the first choice: the head of the list, in front of index 0."""
SH_BUCKETS = 256
ACTIVE_CONNECTION_WEIGHT = 256
"""An active connection counts as much as this many inactive ones."""


def uniform(endpoints: int, u: float) -> int:
    """Choose among `endpoints` with a uniform draw `u` in [0, 1), as iptables and nftables do."""
    return int(u * endpoints)


def round_robin(weights: Sequence[int], last: int = HEAD) -> tuple[int | None, int]:
    """Choose the first destination after `last` with a weight, once around (rr)."""
    count = len(weights)
    for step in range(1, count + 1):
        candidate = (last + step) % count
        if weights[candidate] > 0:
            return candidate, candidate
    return None, last


@dataclass(frozen=True, kw_only=True)
class Wrr:
    """State of wrr: the last destination, and the weight a destination needs in this pass (0: start over)."""

    last: int = HEAD
    needed: int = 0


def weighted_round_robin(weights: Sequence[int], state: Wrr) -> tuple[int | None, Wrr]:
    """Go on through the list for a destination of at least the needed weight, which falls each pass (wrr).

    Any change of the destinations starts again at the head of the list: pass ``Wrr(needed=state.needed)``.
    """
    heaviest, step = max(weights, default=0), reduce(gcd, weights, 0) or 1
    if not heaviest:
        return None, state
    top = heaviest - (step - 1)
    last, needed = state.last, min(state.needed, top) or top
    while True:
        for candidate in range(last + 1, len(weights)):
            if weights[candidate] >= needed:
                return candidate, Wrr(last=candidate, needed=needed)
        last, needed = HEAD, needed - step if needed > step else top


def least_connections(
    weights: Sequence[int], active: Sequence[int], inactive: Sequence[int] | None = None
) -> int | None:
    """Choose the destination with the least overhead; the first in the list where they tie (lc)."""
    overhead = _overhead(active, inactive)
    candidates = [i for i, weight in enumerate(weights) if weight > 0]
    return min(candidates, key=lambda i: overhead[i], default=None)


def weighted_least_connections(
    weights: Sequence[int], active: Sequence[int], inactive: Sequence[int] | None = None
) -> int | None:
    """Choose the destination with the least overhead per weight; the first where they tie (wlc)."""
    overhead = _overhead(active, inactive)
    least: int | None = None
    for i, weight in enumerate(weights):
        if weight > 0 and (least is None or overhead[least] * weight > overhead[i] * weights[least]):
            least = i
    return least


def _overhead(active: Sequence[int], inactive: Sequence[int] | None) -> list[int]:
    idle = inactive or [0] * len(active)
    return [ACTIVE_CONNECTION_WEIGHT * a + i for a, i in zip(active, idle, strict=True)]


def source_hash(weights: Sequence[int], address: int) -> int | None:
    """Choose by the hash of the source address, a 32-bit number (sh).

    The 256 buckets are dealt to the destinations in turn, each as many as its weight and at least one: the
    clients of a draining destination are refused, they do not move to another.
    """
    if not weights:
        return None
    hands = [i for i, weight in enumerate(weights) for _ in range(max(weight, 1))]
    chosen = hands[source_bucket(address) % len(hands)]
    return chosen if weights[chosen] > 0 else None


def source_bucket(address: int) -> int:
    """Hash an IPv4 address to its bucket (hash_32 of include/linux/hash.h, upper 8 bits)."""
    golden_ratio_32 = 0x61C88647
    return ((address * golden_ratio_32) & 0xFFFFFFFF) >> 24
