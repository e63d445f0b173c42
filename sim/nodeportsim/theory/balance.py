"""How evenly connections fall on pods: balls in bins, rotation, and where the node decides.

iptables and nftables choose an endpoint at random for every new connection (statistic module, numgen),
independently: counts over pods are multinomial, as measured (chi-square over 20,000 connections). ipvs `rr`
rotates, with a pointer per node. Nothing here knows about requests: with long-lived connections a
connection is the ball. Affinity makes the ball a pair (source address, entry node), for each node remembers
its own. Left out: pods that join late, connections of unequal weight, least-connection.

Sources: Raab & Steger 1998, doi:10.1007/3-540-49543-6_13 (the hottest bin for large numbers); Johnson & Kotz,
Urn Models and Their Application (Wiley 1977); k8s:pkg/proxy/iptables/proxier.go.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nodeportsim.theory import domain

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = npt.NDArray[np.float64]

SMALLEST_RATIO = 1.02  # A linear search: closer to 1 it would need minutes.
_NEVER = 1e-15  # Below it a chance is what subtraction leaves of none.
ACCURACY = 1e-9  # Absolute, of every probability here up to a million connections.


def band_probability(connections: int, pods: int, low: int, high: int) -> float:
    """P(every pod holds from `low` to `high` connections), each connection choosing a pod at random.

    Multinomial counts are independent Poisson counts given their sum, so the answer is P(all in the band,
    sum = k) / P(sum = k). The numerator is one Fourier coefficient of the n-th power of the banded
    Poisson's transform; a period of ten standard deviations of the sum folds nothing noticeable onto it.
    The absolute error is below 1e-9 up to a million connections.
    """
    from scipy.special import gammaln, xlogy

    _throw(connections, pods)
    domain.count(0, low=low)
    high = min(high, connections)
    if low * pods > connections or high * pods < connections or high < low:
        return 0.0
    load = np.arange(low, high + 1)
    mean = connections / pods
    masses = np.exp(xlogy(load, mean) - mean - gammaln(load + 1))
    period = 60 + 10 * math.isqrt(connections)
    transform = np.fft.fft(np.bincount(load % period, weights=masses, minlength=period))
    turn = np.exp(2j * np.pi * ((connections % period) * np.arange(period) % period) / period)
    together = float(np.mean(transform**pods * turn).real)
    total = math.exp(float(xlogy(connections, connections) - connections - gammaln(connections + 1)))
    return min(max(together / total, 0.0), 1.0)


def _throw(connections: int, pods: int) -> None:
    """Refuse what cannot be thrown into bins."""
    domain.count(1, pods=pods)
    domain.count(0, connections=connections)


def hottest_cdf(connections: int, pods: int, load: int) -> float:
    """P(no pod holds more than `load` of the connections)."""
    return band_probability(connections, pods, 0, load)


def hottest_quantile(connections: int, pods: int, quantile: float) -> int:
    """Smallest load that the hottest pod keeps to with at least this probability."""
    domain.require(0 < quantile < 1, "must be above 0 and below 1", field="quantile", got=quantile)
    _throw(connections, pods)
    low, high = math.ceil(connections / pods) - 1, connections
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if hottest_cdf(connections, pods, middle) >= quantile else (middle, high)
    return high


def hottest_mean(connections: int, pods: int) -> float:
    """Mean load of the hottest pod, E max = sum over m >= 0 of P(max > m); over the mean load: max/mean."""
    _throw(connections, pods)
    load = math.ceil(connections / pods)
    total = float(load)
    above = 1.0
    while load < connections and above > ACCURACY:
        above = 1 - hottest_cdf(connections, pods, load)
        total += above
        load += 1
    return total


def hot_probability(connections: int, pods: int, ratio: float) -> float:
    """P(hottest pod / mean >= ratio)."""
    _throw(connections, pods)
    domain.positive(ratio=ratio, connections=connections)
    # A product that should be whole may come out a hair above it; such a load still counts.
    load = math.ceil(ratio * connections / pods * (1 - 1e-12))
    return 1 - hottest_cdf(connections, pods, load - 1)


def saturation_probability(connections: int, pods: int, utilisation_ratio: float) -> float:
    """P(some pod is offered at least what it can do) where the mean pod is at `utilisation_ratio`.

    Equal connections and equal pods: a pod saturates once its share is 1 / utilisation times the mean.
    """
    domain.require(
        0 < utilisation_ratio <= 1,
        "must be above 0, at most 1",
        field="utilisation_ratio",
        got=utilisation_ratio,
    )
    return hot_probability(connections, pods, 1 / utilisation_ratio)


def idle_mean(connections: int, pods: int) -> float:
    """Mean number of pods without a connection, n (1 - 1/n)^k. Johnson & Kotz 3.1."""
    _throw(connections, pods)
    return pods * (1 - 1 / pods) ** connections


def connections_per_pod_for(pods: int, ratio: float = 1.2, confidence: float = 0.95) -> int:
    """Smallest number of connections per pod that keeps the hottest within `ratio` of the mean.

    That is, P(hottest / mean <= ratio) >= confidence.

    Counts are whole, so the chance is a saw-tooth over connections per pod with a tooth of 1 / (ratio - 1).
    The answer is the smallest count from which on one complete tooth satisfies the demand.
    """
    domain.require(ratio >= SMALLEST_RATIO, f"must be at least {SMALLEST_RATIO}", field="ratio", got=ratio)
    sure = 1 - 10 * ACCURACY
    domain.require(0 <= confidence <= sure, "must be from 0 to below 1", field="confidence", got=confidence)
    domain.count(1, pods=pods)
    tooth = math.ceil(1 / (ratio - 1))
    each = satisfied = 0
    while satisfied < tooth:
        each += 1
        load = math.floor(ratio * each * (1 + 1e-12))
        satisfied = satisfied + 1 if hottest_cdf(each * pods, pods, load) >= confidence else 0
    return each - tooth + 1


def share_cv(draws: int, bins: int) -> float:
    """Coefficient of variation of one bin's count after independent uniform draws, sqrt((n - 1) / k).

    Bins are pods (draws: connections) or entry nodes (draws: clients that pick one at random and stay).
    """
    domain.count(1, draws=draws, bins=bins)
    return math.sqrt((bins - 1) / draws)


def rotation_range(turns: Sequence[int], bins: int) -> tuple[int, int]:
    """Fewest and most that a bin can receive from rotations of these lengths, whatever their phases.

    One rotation is exact to one: floor(k/n) or ceil(k/n). ipvs `rr`: one length per entry node, bins are
    pods (k8s:pkg/proxy/ipvs/proxier.go, net/netfilter/ipvs/ip_vs_rr.c). DNS round robin: one length, bins
    are nodes.
    """
    domain.count(1, bins=bins)
    return sum(k // bins for k in turns), sum(-(-k // bins) for k in turns)


def rotation_pmf(turns: Sequence[int], bins: int) -> FloatArray:
    """Distribution of one bin's count where every rotation starts at a random place.

    A rotation gives floor(k/n), and one more with chance (k mod n) / n; the rotations are independent.

    Returns
    -------
    numpy.ndarray
        P(count = rotation_range(...)[0] + i), i = 0, 1, ...
    """
    domain.count(1, bins=bins)
    pmf = np.ones(1)
    for k in turns:
        if k % bins:
            extra = k % bins / bins
            pmf = np.convolve(pmf, [1 - extra, extra])
    return pmf


def local_shares(pods_by_node: Sequence[int], entry_ratios: Sequence[float] | None = None) -> list[float]:
    """Share of all new connections of every pod under externalTrafficPolicy Local, in the order of the nodes.

    A node serves what enters it, by its own pods alone; what enters a node without one is dropped silently,
    so the shares then sum to less than 1 (k8s:pkg/proxy/topology.go, iptables KUBE-SVL).

    Parameters
    ----------
    pods_by_node
        Ready pods of every node.
    entry_ratios
        Share of the traffic that enters each node; default: even over the nodes with pods, as
        a balancer with health checks does. Clients that know no better enter 1/n each.
    """
    holders = sum(1 for pods in pods_by_node if pods > 0)
    domain.require(holders > 0, "must hold a pod", field="pods_by_node", got=list(pods_by_node))
    ratios = entry_ratios or [(pods > 0) / holders for pods in pods_by_node]
    domain.require(
        len(ratios) == len(pods_by_node), "must name every node", field="entry_ratios", got=len(ratios)
    )
    return [entry / pods for entry, pods in zip(ratios, pods_by_node, strict=True) for _ in range(pods)]


def local_hottest_pmf(nodes: int, pods: int) -> dict[float, float]:
    """Distribution of hottest pod / mean under policy Local where every pod stands on a random node.

    Entries are even over the h nodes with pods (`local_shares`), so the hottest stands on the node with
    fewest of them, m, and gets P / (h m) times the mean. Counts by node are multinomial: independent Poisson
    counts given their sum, here with n - h of them 0 and the others at least m.

    Returns
    -------
    dict
        Probability of every ratio that can occur, by rising ratio.
    """
    domain.count(1, nodes=nodes, pods=pods)
    counts = np.arange(pods + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
    each = np.exp(counts * math.log(pods / nodes) - pods / nodes - factorials)
    whole = math.exp(pods * math.log(pods) - pods - factorials[pods])
    at_least: dict[tuple[int, int], float] = {}
    for least in range(1, pods + 1):
        held, ways = np.where(counts >= least, each, 0.0), np.eye(1, pods + 1)[0]
        for holders in range(1, min(nodes, pods // least) + 1):
            ways = np.convolve(ways, held)[: pods + 1]
            empty = math.comb(nodes, holders) * each[0] ** (nodes - holders)
            at_least[holders, least] = float(empty * ways[pods] / whole)
    pmf: dict[float, float] = {}
    for (holders, least), chance in at_least.items():
        ratio = pods / (holders * least)
        pmf[ratio] = pmf.get(ratio, 0.0) + chance - at_least.get((holders, least + 1), 0.0)
    return {ratio: chance for ratio, chance in sorted(pmf.items()) if chance > _NEVER}


def local_hottest_quantile(nodes: int, pods: int, quantile: float) -> float:
    """Smallest hottest pod / mean that a random placement keeps to with at least this probability."""
    domain.require(0 < quantile < 1, "must be between 0 and 1", field="quantile", got=quantile)
    total = 0.0
    for ratio, chance in local_hottest_pmf(nodes, pods).items():
        total += chance
        if total >= quantile - ACCURACY:
            return ratio
    return ratio
