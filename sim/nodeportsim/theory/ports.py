"""Source ports: how fast they may be used, how likely one meets its own past, what then follows.

A port is one of `ports` towards one destination. `picked` at random means by a Poisson stream, each port as
likely as any other; in turn means one after the other, round and round.

Sources: Linux net/ipv4/inet_hashtables.c (how a client picks), net/netfilter/nf_conntrack_proto_tcp.c,
net/netfilter/nf_nat_core.c, net/netfilter/ipvs/ip_vs_core.c; docs/models/ports.md.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Literal

from nodeportsim.theory import domain
from nodeportsim.theory.limits import LOCAL_PORTS, wall_rps

Pick = Literal["random", "sequential"]

CLIENT_HOLD_S = 60.0  # TCP_TIMEWAIT_LEN, include/net/tcp.h.
SYN_SENT_S = 120.0  # nf_conntrack_tcp_timeout_syn_sent.
IPVS_TIME_WAIT_S = 120.0  # IP_VS_TCP_S_TIME_WAIT, net/netfilter/ipvs/ip_vs_proto_tcp.c.
WINDOWS = (128, 64, 32, 16, 8)  # Ports tried from each random start, nf_nat_l4proto_unique_tuple.


def sustainable_rps(ports: int, held_s: float, destinations: int = 1) -> float:
    """Rate of new connections that `ports` towards each of so many destinations can carry.

    A client: `limits.LOCAL_PORTS` towards each node, held while open and 60 s of TIME_WAIT. A node that
    masquerades: `limits.SNAT_PORTS` towards each pod, held while open and 120 s; from Linux 6.5 on it takes
    ports in TIME_WAIT too, so that only the open time counts.
    """
    domain.count(1, ports=ports, destinations=destinations)
    return destinations * wall_rps(ports, held_s)


def return_ratio(rate_rps: float, ports: int, memory_s: float, pick: Pick = "random") -> float:
    """P(the port of a new connection was in use at most `memory_s` ago).

    The birthday question asked of one: of the rate x memory connections since then, has one had this port?
    """
    domain.not_negative(rate_rps=rate_rps, memory_s=memory_s)
    domain.count(1, ports=ports)
    _pick(pick)
    if pick == "sequential":
        return float(rate_rps * memory_s >= ports)
    return -math.expm1(-rate_rps * memory_s / ports)


def stale_ratio(
    since_s: float,
    *,
    rate_rps: float,
    ports: int,
    dead_ratio: float,
    outage_s: float,
    memory_s: float = SYN_SENT_S,
) -> float:
    """Share of the ports, picked at random, whose last SYN met a dead pod and is still remembered.

    That is the share of new connections which the node leads to a dead pod though its rules are right. A port
    becomes stale when it is picked during the outage and meets a dead pod, is young again whenever it is
    picked, and is forgotten when it was not picked for `memory_s`. With l = rate / ports picks of a port per
    second: s' = l d (1 - s) during the outage, nothing until `memory_s`, and from then on
    s'(t) = -exp(-l memory) l (s + d (1 - s) in the outage)(t - memory): what was picked then and not since.

    Parameters
    ----------
    since_s
        Since the pods died; at most twice `memory_s`.
    rate_rps
        New connections of one client address to one node.
    dead_ratio
        Share of the endpoints that are dead, until the rules change.
    outage_s
        From their death until the rules change; at most `memory_s`.
    memory_s
        How long an entry stays after the last SYN; a client that sends SYNs for x s makes it x longer.
    """
    domain.positive(rate_rps=rate_rps, memory_s=memory_s)
    domain.count(1, ports=ports)
    domain.ratio(dead_ratio=dead_ratio)
    domain.not_negative(since_s=since_s, outage_s=outage_s)
    domain.require(outage_s <= memory_s, "must be at most memory_s", field="outage_s", got=outage_s)
    domain.require(since_s <= 2 * memory_s, "must be at most 2 memory_s", field="since_s", got=since_s)
    if dead_ratio == 0 or outage_s == 0:
        return 0.0
    pick_rps = rate_rps / ports
    most = -math.expm1(-pick_rps * dead_ratio * min(since_s, outage_s))
    late_s = max(0.0, since_s - memory_s)
    during_s = min(late_s, outage_s)
    fresh = -math.expm1(-pick_rps * dead_ratio * during_s) * (1 - dead_ratio) / dead_ratio
    left = pick_rps * during_s - fresh + pick_rps * (late_s - during_s) * most
    return most - math.exp(-pick_rps * memory_s) * left


def rotation_s(rate_rps: float, ports: int) -> float:
    """Time until a port comes back, where they are used in turn: failures of an outage come back with it."""
    domain.positive(rate_rps=rate_rps)
    domain.count(1, ports=ports)
    return ports / rate_rps


def ipvs_reuse_rps(
    concurrency: int,
    cycle_s: float,
    duration_s: float,
    ports: int = LOCAL_PORTS // 2,
    syn_again_s: float = 1.0,
) -> float:
    """Mean rate of a closed loop of short connections through ipvs, conn_reuse_mode 1, before Linux 5.9.

    Every port is good once; when it comes back within the 120 s of ipvs' TIME_WAIT its first SYN is lost. So
    the loop makes `ports` connections of `cycle_s` each, and from then on connections of cycle + syn_again.
    Ports are used in turn. connect() of Linux takes every other port of its range first (`ports`), and a
    client whose server closes first has no TIME_WAIT of its own that would keep it from doing so.
    """
    domain.count(1, concurrency=concurrency, ports=ports)
    domain.positive(cycle_s=cycle_s, duration_s=duration_s)
    domain.not_negative(syn_again_s=syn_again_s)
    slow_rps = concurrency / (cycle_s + syn_again_s)
    back = slow_rps * IPVS_TIME_WAIT_S >= ports
    domain.require(back, "must come back within 120 s at the slow rate", field="ports", got=ports)
    fast_s = min(duration_s, ports * cycle_s / concurrency)
    return (fast_s * concurrency / cycle_s + (duration_s - fast_s) * slow_rps) / duration_s


def run_ratio(held: int, ports: int, lengths: tuple[int, ...]) -> tuple[float, ...]:
    """P(so many ports from a random one on are all taken), for each of these lengths.

    The ports having been taken by the same search, first free one from a random start, and none given back:
    linear probing, Knuth, The Art of Computer Programming 3, 6.4, theorem K. Taken ports lie in runs, much
    longer ones than if they lay anywhere.
    """
    domain.count(0, held=held)
    domain.count(1, ports=ports)
    domain.require(held < ports, "must be below ports", field="held", got=held)
    for length in lengths:
        domain.count(1, lengths=length)
    # blocks[j]: P(a given port is free and the j after it are taken, but not the one after those).
    blocks = [_block(held, ports, j) for j in range(held + 1)]
    # A start in a block of j with k or more of it still ahead: one of j - k + 1 places.
    at_least = list(accumulate(reversed(blocks)))[::-1]
    summed = [*list(accumulate(reversed(at_least)))[::-1], 0.0]
    return tuple(min(1.0, summed[min(length, held + 1)]) for length in lengths)


def _block(held: int, ports: int, j: int) -> float:
    """P(a given port is free, the next j are taken, the one after them is free), of held ports of so many."""
    others, there = ports - j - 1, held - j
    if others == 0:
        apart = 0.0
    elif there < others:
        apart = math.log1p(-there / others) + there * math.log(others)
    else:
        return 0.0
    chosen = math.lgamma(held + 1) - math.lgamma(j + 1) - math.lgamma(there + 1)
    return math.exp(chosen + (j - 1) * math.log(j + 1) + apart - held * math.log(ports))


def snat_loss_ratio(held: int, ports: int) -> float:
    """P(a node that masquerades finds no port, and drops the SYN), with so many held for good.

    The kernel tries 128 ports from a random one on, then 64 from another, 32, 16, 8: a product of
    `run_ratio`, the starts being independent. What it leaves out: a search that fails takes no port, so the
    last runs are a little shorter than those of plain linear probing, and near the end fewer SYNs are lost.
    """
    domain.require(ports >= WINDOWS[0], f"must be at least {WINDOWS[0]}", field="ports", got=ports)
    return math.prod(run_ratio(held, ports, WINDOWS))


def _pick(pick: Pick) -> None:
    known = pick in ("random", "sequential")
    domain.require(known, "must be random or sequential", field="pick", got=pick)
