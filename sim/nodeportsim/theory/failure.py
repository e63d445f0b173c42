"""What fails while a node is dead and the cluster does not know it yet.

From the fault until the rules of every surviving node are rewritten, a new connection fails if it enters by
a dead node or is sent to a dead endpoint. A retransmitted SYN stays with its endpoint (conntrack); a new
connection chooses anew. Modelled: random choice per connection (iptables, nftables), faults at a random
instant. Left out: ipvs rotation among retries, queues that build up meanwhile, retry storms.

Sources: k8s:pkg/controller/nodelifecycle/node_lifecycle_controller.go, k8s:pkg/kubelet/kubelet.go; Linux
net/ipv4/tcp_timer.c and Documentation/networking/ip-sysctl.rst (tcp_syn_linear_timeouts); RFC 6298.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nodeportsim.theory import domain

if TYPE_CHECKING:
    from collections.abc import Sequence

# Instants at which a client sends its SYN when nothing answers, in s. The first since Linux 6.5 (4 linear
# time-outs, then doubling; measured on 6.18), the second before (RFC 6298 doubling from 1 s; nominal, timer
# slack left out).
SYN_LINEAR_S = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 69.0)
SYN_DOUBLING_S = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0)


def failing_ratio(dead_entry_ratio: float, dead_endpoint_ratio: float) -> float:
    """Share of new connections that fail: 1 - (1 - dead entries) (1 - dead endpoints).

    DNS round robin over n nodes, one dead, with its share of the pods: 1 - (1 - 1/n)^2. A client whose
    entry node lives sees dead endpoints / all. Of the established connections (policy Cluster, entry and
    pod chosen independently) the same share crosses the dead node; the others survive.

    >>> round(failing_ratio(1 / 5, 2 / 10), 2)
    0.36
    """
    domain.ratio(dead_entry_ratio=dead_entry_ratio, dead_endpoint_ratio=dead_endpoint_ratio)
    return 1 - (1 - dead_entry_ratio) * (1 - dead_endpoint_ratio)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Time from a node's silent death to the removal of its endpoints from the rules: a trapezoid.

    The last renewal is U(0, lease) old at the fault. The controller saw it at its next pass, U(0, pass)
    later, and counts the grace from there by its own clock (``probeTimestamp = now``). It marks the node at
    the first pass after the grace has run out. Passes are a pass period *and a pass's own duration* apart
    (wait.UntilWithContext), so where the period divides the grace the pass at its end just qualifies: the
    node is marked n = ceil(grace / pass) passes after the sight. Hence fault to NotReady = n pass + U(0,
    pass) - U(0, lease), and `propagation_s` follows.

    Parameters
    ----------
    lease_s
        Interval of the kubelet's renewals (0.25 of the lease duration of 40 s).
    pass_s
        node-monitor-period.
    grace_s
        node-monitor-grace-period; 40 before Kubernetes 1.32.
    propagation_s
        From NotReady to the rules: pod status, EndpointSlice, kube-proxy's sync. Taken as constant.
    """

    lease_s: float = 10.0
    pass_s: float = 5.0
    grace_s: float = 50.0
    propagation_s: float = 0.0

    def __post_init__(self) -> None:
        domain.positive(lease_s=self.lease_s, pass_s=self.pass_s, grace_s=self.grace_s)
        domain.not_negative(propagation_s=self.propagation_s)
        healthy = self.grace_s >= self.lease_s + self.pass_s
        rule = "must be at least lease_s + pass_s, or healthy nodes are marked"
        domain.require(healthy, rule, field="grace_s", got=self.grace_s)

    @property
    def _counted_s(self) -> float:
        """From the controller's last sight of a renewal to the end of the window."""
        return math.ceil(self.grace_s / self.pass_s - 1e-9) * self.pass_s + self.propagation_s

    @property
    def min_s(self) -> float:
        """Shortest window: the renewal was due, and was seen at once."""
        return self._counted_s - self.lease_s

    @property
    def max_s(self) -> float:
        """Longest window: the node died just after a renewal, which a pass had just missed."""
        return self._counted_s + self.pass_s

    @property
    def mean_s(self) -> float:
        """Mean window."""
        return self._counted_s + (self.pass_s - self.lease_s) / 2

    @property
    def sd_s(self) -> float:
        """Standard deviation: that of two independent uniform phases."""
        return math.hypot(self.pass_s, self.lease_s) / math.sqrt(12)

    def cdf(self, time_s: float) -> float:
        """P(window <= time)."""
        after_s = time_s - self._counted_s
        corners = ((self.lease_s, 1), (self.lease_s - self.pass_s, -1), (0.0, -1), (-self.pass_s, 1))
        area = sum(sign * max(after_s + shift_s, 0.0) ** 2 / 2 for shift_s, sign in corners)
        return min(area / (self.pass_s * self.lease_s), 1.0)


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Time from a process's hang to its readiness probe's verdict: uniform over one period.

    The next probe is U(0, period) away; it and the following ones fail, and the last takes its time-out to
    do so. Hence U(0, period) + (threshold - 1) period + time-out; `propagation_s` follows.

    Parameters
    ----------
    period_s, timeout_s, threshold
        readinessProbe.periodSeconds, .timeoutSeconds, .failureThreshold (Kubernetes: 10 s, 1 s, 3).
    propagation_s
        From the verdict to the rules. Taken as constant.

    >>> Probing().mean_s
    26.0
    """

    period_s: float = 10.0
    timeout_s: float = 1.0
    threshold: int = 3
    propagation_s: float = 0.0

    def __post_init__(self) -> None:
        domain.positive(period_s=self.period_s, timeout_s=self.timeout_s)
        domain.count(1, threshold=self.threshold)
        domain.not_negative(propagation_s=self.propagation_s)

    @property
    def min_s(self) -> float:
        """Shortest window: a probe was due at the hang."""
        return (self.threshold - 1) * self.period_s + self.timeout_s + self.propagation_s

    @property
    def max_s(self) -> float:
        """Longest window: a probe had just passed."""
        return self.min_s + self.period_s

    @property
    def mean_s(self) -> float:
        """Mean window."""
        return self.min_s + self.period_s / 2


def flapping_ratio(period_s: float, *, grace_s: float = 50.0, pass_s: float = 5.0) -> tuple[float, float]:
    """Least and largest share of time for which a node is not ready that works and renews once a period.

    A pass sees the renewal up to one pass later and finds the node lost ceil(grace / pass) passes after
    that; the next renewal brings it back. Without the clock of the passes: (period - grace) / period.

    >>> flapping_ratio(100.0)
    (0.45, 0.5)
    """
    domain.positive(period_s=period_s, grace_s=grace_s, pass_s=pass_s)
    counted_s = math.ceil(grace_s / pass_s - 1e-9) * pass_s
    shortest_s, longest_s = (max(0.0, period_s - counted_s - seen_s) for seen_s in (pass_s, 0.0))
    return shortest_s / period_s, longest_s / period_s


def all_fail_ratio(
    attempts: int,
    *,
    nodes: int,
    dead_nodes: int,
    dead_endpoint_ratio: float,
    entry: Literal["same", "next", "random"] = "next",
) -> float:
    """P(the first `attempts` attempts of a request all fail), each a new connection.

    Parameters
    ----------
    attempts
        At least 0; none fail trivially.
    nodes, dead_nodes
        Entry nodes the client knows, and how many of them are dead.
    dead_endpoint_ratio
        Share of the endpoints in the rules that are dead.
    entry
        ``same``: the node drawn first is kept. ``next``: the nodes in random order, again from the front.
        With more than one dead node a fixed cyclic order differs. ``random``: a new draw each time.
    """
    domain.count(0, attempts=attempts, dead_nodes=dead_nodes)
    domain.count(max(dead_nodes, 1), nodes=nodes)
    domain.ratio(dead_endpoint_ratio=dead_endpoint_ratio)
    dead = dead_nodes / nodes
    if entry == "same":
        return dead * (attempts > 0) + (1 - dead * (attempts > 0)) * dead_endpoint_ratio**attempts
    if entry == "random":
        return failing_ratio(dead, dead_endpoint_ratio) ** attempts
    domain.require(entry == "next", "must be same, next or random", field="entry", got=entry)
    rounds, tried = divmod(attempts, nodes)
    total = math.comb(nodes, tried)
    return sum(
        math.comb(dead_nodes, hit)
        * math.comb(nodes - dead_nodes, tried - hit)
        / total
        * dead_endpoint_ratio ** (attempts - hit - rounds * dead_nodes)
        for hit in range(min(dead_nodes, tried) + 1)
    )


def load_factor(
    attempts: int,
    *,
    nodes: int,
    dead_nodes: int,
    dead_endpoint_ratio: float,
    entry: Literal["same", "next", "random"] = "next",
) -> float:
    """Mean attempts per request where each failure is tried again up to `attempts` in all.

    The k-th attempt happens if the k - 1 before it failed; with independent attempts of failing share p
    this is (1 - p^m) / (1 - p). Arguments as in `all_fail_ratio`.
    """
    domain.count(1, attempts=attempts)
    return sum(
        all_fail_ratio(
            before, nodes=nodes, dead_nodes=dead_nodes, dead_endpoint_ratio=dead_endpoint_ratio, entry=entry
        )
        for before in range(attempts)
    )


def syn_lumps(
    loss_ratio: float, timeout_s: float = math.inf, schedule_s: Sequence[float] = SYN_LINEAR_S
) -> tuple[dict[float, float], float]:
    """Where the connect times lie when each SYN is lost independently, round trip left out.

    The k-th SYN is the first to be answered with chance loss^(k-1) (1 - loss). A SYN to a dead endpoint is
    not lost independently: its retransmissions share its fate.

    Parameters
    ----------
    loss_ratio
        Chance that a SYN or its answer is lost.
    timeout_s
        The client's connect time-out; a SYN due at that instant is not sent.
    schedule_s
        Instants of the SYNs.

    Returns
    -------
    tuple
        Probability mass by back-off in s, and the share that never connects.
    """
    domain.ratio(loss_ratio=loss_ratio)
    sent = [at_s for at_s in schedule_s if at_s < timeout_s]
    return {at_s: loss_ratio**k * (1 - loss_ratio) for k, at_s in enumerate(sent)}, loss_ratio ** len(sent)


def failed_requests(rate_rps: float, window_s: float, failed_ratio: float) -> float:
    """Mean requests lost in an outage: rate x window x share that fails after all attempts.

    With Poisson arrivals and a fixed window their number is Poisson, so the variance equals the mean; a
    random window adds (rate x share x its standard deviation)^2.
    """
    domain.not_negative(rate_rps=rate_rps, window_s=window_s)
    domain.ratio(failed_ratio=failed_ratio)
    return rate_rps * window_s * failed_ratio


def old_connections_ratio(elapsed_s: float, max_age_s: float) -> float:
    """Share of the connections of an instant that are still open later, where each is closed at `max_age_s`.

    Their ages are uniform at that instant, so the share falls linearly: 1 - t / age. A pod that joined then
    has had 1 - this of its fair share of the connections offered.
    """
    domain.not_negative(elapsed_s=elapsed_s)
    domain.positive(max_age_s=max_age_s)
    return max(0.0, 1 - elapsed_s / max_age_s)
