"""How long it lasts: dead peers, outages, and the wait of those who come back late.

Clocks of TCP, of the control plane, of DNS and of the kubelet, with their phases uniform at the fault. Left
out: what queues add, and retries of the application (`retries`).

Sources: Linux net/ipv4/tcp_timer.c and Documentation/networking/ip-sysctl.rst (tcp_retries2,
tcp_keepalive_*); RFC 6298; RFC 2181 section 8 (TTL); k8s:pkg/kubelet/kubelet.go (crash-loop back-off).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.theory import domain
from nodeportsim.theory.failure import SYN_LINEAR_S, Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

RTO_MIN_S = 0.2  # TCP_RTO_MIN, what a short path's first time-out is.
RTO_MAX_S = 120.0  # TCP_RTO_MAX.
RETRIES2 = 15  # net.ipv4.tcp_retries2.


def give_up_s(retries: int = RETRIES2, rto_s: float = RTO_MIN_S, cap_s: float = RTO_MAX_S) -> float:
    """Time from the first unanswered byte to the kernel's ETIMEDOUT: r + 1 time-outs, each twice the last.

    The kernel counts with its least RTO, 924.6 s by default, and gives up at the first time-out past that; a
    longer path therefore adds at most one `cap_s`. ip-sysctl.rst, tcp_retries2.

    >>> round(give_up_s(), 1)
    924.6
    """
    domain.count(0, retries=retries)
    domain.positive(rto_s=rto_s, cap_s=cap_s)
    # Beyond 2^60 the cap has long been met; a larger power need not be a float.
    return sum(min(rto_s * 2.0 ** min(k, 60), cap_s) for k in range(retries + 1))


@dataclass(frozen=True, kw_only=True)
class KeepAlive:
    """How late an idle connection learns that its peer has died in silence.

    Probes are answered while the peer lives, each a period after the last answer; so at the death the last
    one is U(0, idle) old, and `probes` unanswered ones follow. Linux: 7200 s, 75 s, 9; gRPC: its `time`, its
    `timeout`, 1.

    Parameters
    ----------
    idle_s
        Silence before the first probe (tcp_keepalive_time).
    interval_s, probes
        Between probes, and how many go unanswered (tcp_keepalive_intvl, tcp_keepalive_probes).
    """

    idle_s: float = 7200.0
    interval_s: float = 75.0
    probes: int = 9

    def __post_init__(self) -> None:
        domain.positive(idle_s=self.idle_s, interval_s=self.interval_s)
        domain.count(1, probes=self.probes)

    @property
    def min_s(self) -> float:
        """The first probe was due."""
        return self.interval_s * self.probes

    @property
    def max_s(self) -> float:
        """The peer has just answered: 2 h 11 min by Linux's defaults."""
        return self.idle_s + self.min_s

    @property
    def mean_s(self) -> float:
        """Mean over the phase."""
        return self.idle_s / 2 + self.min_s

    def cdf(self, time_s: float) -> float:
        """P(noticed within `time_s` of the death)."""
        return min(max((time_s - self.min_s) / self.idle_s, 0.0), 1.0)


def uniform_sum_cdf(value: float, widths: Sequence[float]) -> float:
    """P(a sum of independent U(0, width) <= value), by inclusion and exclusion over a box's corners."""
    domain.require(len(widths) > 0, "must hold a width", field="widths", got=list(widths))
    for width in widths:
        domain.positive(widths=width)
    if value >= sum(widths):
        return 1.0
    size = len(widths)
    corners = (corner for chosen in range(size + 1) for corner in itertools.combinations(widths, chosen))
    volume = sum((-1.0) ** len(corner) * max(value - sum(corner), 0.0) ** size for corner in corners)
    return min(max(volume / (math.factorial(size) * math.prod(widths)), 0.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """From a node's silent death until a surviving node no longer sends to its endpoints.

    `Detection`, then the EndpointSlice, then the sync: a lone change is applied at once; on a busy cluster
    the next sync is up to `sync_wait_s` away (minSyncPeriod from the end of the last one), any phase.

    Parameters
    ----------
    detection
        Clocks of lease, controller and grace; its `propagation_s` holds pod status, slice and watch.
    sync_wait_s
        Longest wait for the next sync; 0 on a quiet cluster.
    sync_s
        How long the sync itself takes.
    """

    detection: Detection
    sync_wait_s: float = 0.0
    sync_s: float = 0.0

    def __post_init__(self) -> None:
        domain.not_negative(sync_wait_s=self.sync_wait_s, sync_s=self.sync_s)

    @property
    def min_s(self) -> float:
        """Shortest outage."""
        return self.detection.min_s + self.sync_s

    @property
    def max_s(self) -> float:
        """Longest outage."""
        return self.detection.max_s + self.sync_wait_s + self.sync_s

    @property
    def mean_s(self) -> float:
        """Mean outage, as one surviving node has it."""
        return self.detection.mean_s + self.sync_wait_s / 2 + self.sync_s

    @property
    def sd_s(self) -> float:
        """Standard deviation: independent phases."""
        return math.hypot(self.detection.sd_s, self.sync_wait_s / math.sqrt(12))

    def last_mean_s(self, nodes: int) -> float:
        """Mean until the last of `nodes` nodes is clean: the phases of their syncs are independent."""
        domain.count(1, nodes=nodes)
        return self.detection.mean_s + self.sync_wait_s * nodes / (nodes + 1) + self.sync_s

    def cdf(self, time_s: float) -> float:
        """P(outage <= time) at one surviving node."""
        widths = [self.detection.lease_s, self.detection.pass_s]
        widths += [self.sync_wait_s] if self.sync_wait_s else []
        return uniform_sum_cdf(time_s - self.min_s, widths)


def late_ratio(
    wait_s: float,
    outage_s: float,
    schedule_s: Sequence[float] = SYN_LINEAR_S,
    timeout_s: float = math.inf,
) -> float:
    """Share of the clients that began to connect in an outage and wait on for more than `wait_s` after it.

    They began at any instant of it. One of age A when it ends sends its next SYN at the first instant of the
    schedule after A, and that one is answered. Who sends none any more, for the time-out comes first, fails
    and does not count; so at 0 this is the share that is rescued at all. The share still waiting falls late,
    since a long outage leaves old clients with long gaps: after 50 s some wait 34 s more.

    Parameters
    ----------
    schedule_s
        Instants of the SYNs; `SYN_LINEAR_S`, `SYN_DOUBLING_S`.
    timeout_s
        The client's connect time-out; a SYN due at that instant is not sent.
    """
    domain.not_negative(wait_s=wait_s)
    domain.positive(outage_s=outage_s)
    gaps = itertools.pairwise(at_s for at_s in schedule_s if at_s < timeout_s)
    waiting_s = sum(max(min(after - wait_s, outage_s) - before, 0.0) for before, after in gaps)
    return waiting_s / outage_s


def late_mean_s(
    outage_s: float, schedule_s: Sequence[float] = SYN_LINEAR_S, timeout_s: float = math.inf
) -> float:
    """Mean wait after the outage of those that `late_ratio` counts at 0; 0 where nobody is rescued."""
    rescued = late_ratio(0.0, outage_s, schedule_s, timeout_s)
    gaps = itertools.pairwise(at_s for at_s in schedule_s if at_s < timeout_s)
    ends = [(after - before, after - min(after, outage_s)) for before, after in gaps if before < outage_s]
    area = sum(longest**2 - shortest**2 for longest, shortest in ends) / 2
    return area / (rescued * outage_s) if rescued else 0.0


def dead_record_ratio(elapsed_s: float, ttl_s: Sequence[float], shares: Sequence[float] = (1.0,)) -> float:
    """Share of the clients that still hold a DNS record this long after it was taken out.

    A cached answer's age is uniform when the record goes, so with one TTL the share falls as 1 - t / TTL.
    Resolvers that keep answers longer than told are a second time with its share; 0 is no cache.

    Parameters
    ----------
    ttl_s, shares
        How long answers are kept, and by which share of the clients.
    """
    domain.not_negative(elapsed_s=elapsed_s)
    domain.require(len(ttl_s) == len(shares), "must be one for each TTL", field="shares", got=list(shares))
    for kept_s, share in zip(ttl_s, shares, strict=True):
        domain.not_negative(ttl_s=kept_s)
        domain.ratio(shares=share)
    whole = math.isclose(sum(shares), 1.0)
    domain.require(whole, "must add up to 1", field="shares", got=list(shares))
    return sum(
        share * max(1 - elapsed_s / kept_s, 0.0)
        for kept_s, share in zip(ttl_s, shares, strict=True)
        if kept_s
    )


def crash_loop_waits_s(restarts: int, initial_s: float = 10.0, cap_s: float = 300.0) -> list[float]:
    """Waits of the kubelet before the first, second ... restart of a container that keeps dying.

    The first restart is at once; then 10 s doubling to 5 min, forgotten after 10 min of running.
    """
    domain.count(0, restarts=restarts)
    domain.positive(initial_s=initial_s, cap_s=cap_s)
    return [0.0 if not k else min(initial_s * 2.0 ** min(k - 1, 60), cap_s) for k in range(restarts)]


def crash_loop_availability(alive_s: float, backoff_s: float = 300.0) -> float:
    """Share of the time a container that dies after `alive_s` is up, alive / (alive + back-off).

    In the long run the back-off stands at its cap; a container that lives for twice the cap resets it.
    """
    domain.not_negative(alive_s=alive_s)
    domain.positive(backoff_s=backoff_s)
    return alive_s / (alive_s + backoff_s)
