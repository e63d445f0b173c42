"""How even the load is over nodes or pods, and whether chance alone explains it.

iptables and nftables choose an endpoint at random for every connection, so a few connections on many
pods are uneven by nature: ten connections on ten pods leave 3.5 pods idle on average. The measures
are computed inside a replication and averaged afterwards, and members are listed by rank (hottest
first): the hottest pod has another name in every replication, and pooling by name would erase it.

Pods that a rollout or an autoscaler makes or deletes within the run had less time to be given anything; only
those that stood from the beginning to the end are measured.

What chance gives is the multinomial law: `connections` thrown independently and uniformly on `members`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.intervals import POSITIVE, SHARE, Estimate, mean_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

MEASURES = ("max_over_mean", "jain", "cv", "idle")
RUNS = 2000  # Simulated runs behind a band: a 2.5 % point then has a standard error of 0.35 % in probability.
_KEY = 0x706F6473  # "pods": any constant will do, as long as it stays.
_RARE = 1e-9  # Below it 1 - probability loses its digits, and the union bound is exact to as many.


def measures(counts: ArrayLike) -> Floats:
    """Measure the unevenness of each row.

    Parameters
    ----------
    counts
        Shape (replications, members), no row all zero.

    Returns
    -------
    ndarray, shape (replications, 4)
        In the order of `MEASURES`: the largest over the mean; Jain's index (Jain, Chiu and Hawe 1984,
        DEC-TR-301), 1 where even, 1/members where one has all; standard deviation over mean; members
        without any. jain = 1 / (1 + cv**2).
    """
    table = np.asarray(counts, dtype=np.float64)
    members, mean = table.shape[1], table.mean(axis=1)
    jain = table.sum(axis=1) ** 2 / (members * (table**2).sum(axis=1))
    return np.stack(
        [table.max(axis=1) / mean, jain, table.std(axis=1) / mean, (table == 0).sum(axis=1)], axis=1
    )


def stacked(members: Sequence[Counts]) -> Counts:
    """Stack the members of all replications; one that had fewer than another has zeros at its end."""
    table = np.zeros((len(members), max(map(len, members)), 2), np.int64)
    for row, given in zip(table, members, strict=True):
        row[: len(given)] = given
    return table


def balance(counts: Sequence[Counts]) -> dict[str, Estimate]:
    """Average `measures` over replications, (members,) each; those without any count are left out."""
    used = [measures(row[np.newaxis]) for row in counts if row.any()]
    values = np.concatenate(used) if used else np.empty((0, len(MEASURES)))
    return dict(zip(MEASURES, mean_intervals(values, POSITIVE), strict=True))


def ranked(members: Counts) -> Counts:
    """Sort the members of each replication, hottest first.

    Parameters
    ----------
    members
        Shape (replications, members, 2): connections, requests. Requests break ties.
    """
    order = np.lexsort((-members[:, :, 1], -members[:, :, 0]), axis=-1)
    return np.take_along_axis(members, order[:, :, np.newaxis], axis=1)


def shares_by_rank(members: Counts) -> list[Estimate]:
    """Return the share of the connections that the hottest, second, ... member has, averaged by rank."""
    connections = ranked(members)[:, :, 0]
    used = connections[connections.any(axis=1)]
    return mean_intervals(used / used.sum(axis=1, keepdims=True), SHARE)


@functools.lru_cache(maxsize=32)
def chance_band(
    members: int,
    connections: int,
    *,
    replications: int = 1,
    quantiles: tuple[float, ...] = (0.025, 0.5, 0.975),
) -> Floats:
    """Return the shares by rank that chance alone gives.

    Parameters
    ----------
    members, connections
        What is thrown on what, in one replication.
    replications
        Average the shares of so many replications, as `shares_by_rank` does; 1 is the band of one run.
    quantiles
        Which quantiles of the share.

    Returns
    -------
    ndarray, shape (quantiles, members), read only
        By Monte Carlo with fixed draws.
    """
    random = np.random.Generator(np.random.Philox(key=_KEY))
    runs = random.multinomial(connections, np.full(members, 1 / members), size=RUNS)
    shares = -np.sort(-runs, axis=1) / max(connections, 1)
    if replications > 1:
        chosen = random.integers(RUNS, size=(replications, RUNS))
        shares = sum((shares[row] for row in chosen), start=np.zeros_like(shares)) / replications
    band = np.quantile(shares, quantiles, axis=0)
    band.flags.writeable = False
    return np.asarray(band)


def hottest_p_value(members: int, connections: int, hottest: int) -> float:
    """Return the probability that chance gives some member `hottest` connections or more; exact."""
    from scipy.special import bdtrc  # scipy takes 0.15 s to import.

    p = 1 - _all_within(members, connections, 0, hottest - 1)
    return p if p > _RARE else float(members * bdtrc(hottest - 1, connections, 1 / members))


def coldest_p_value(members: int, connections: int, coldest: int) -> float:
    """Return the probability that chance gives some member `coldest` connections or fewer; exact."""
    from scipy.special import bdtr  # scipy takes 0.15 s to import.

    p = 1 - _all_within(members, connections, coldest + 1, connections)
    return p if p > _RARE else float(members * bdtr(coldest, connections, 1 / members))


def _all_within(members: int, connections: int, low: int, high: int) -> float:
    """Return the probability that every member gets low .. high of the connections.

    A multinomial is independent Poisson counts given their sum (Levin 1981, doi:10.1214/aos/1176345593):
    the probability that the truncated counts add up to `connections`, by a Fourier transform as long as
    the sums that can occur, over the Poisson probability of that sum. Sums beyond the mean by more than
    its eightfold are folded back; their probability is below 1e-20.
    """
    rest = connections - members * low
    if rest < 0 or high * members < connections:
        return 0.0
    if members == 1 or connections == 0:
        return 1.0
    counts = np.arange(low, min(high, low + rest) + 1)
    rate = connections / members
    log_factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, connections + 1)))))
    each = np.exp(counts * math.log(rate) - rate - log_factorials[counts])
    size = min(members * (len(counts) - 1), 8 * connections + 64) + 1
    total = np.fft.irfft(np.fft.rfft(each, size) ** members, size)[rest] if size > 1 else each[0] ** members
    of_sum = math.exp(connections * math.log(connections) - connections - log_factorials[connections])
    return float(min(max(total / of_sum, 0.0), 1.0))
