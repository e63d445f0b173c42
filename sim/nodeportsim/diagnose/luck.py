"""Is it luck? The chance of counts at least this uneven under each balancing rule.

A measured count stands for connections, addresses, whatever chose a pod on its own: requests on one kept
connection are one choice. So counts are scaled to the number of independent choices, and compared with what
each rule makes of so many: the hottest pod, and the coldest. The verdict looks at the rarer of the two, and
doubles its chance for having looked twice.

Left out: connections of other clients, which move the pointers of a rotation; connections that have ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics.balance import coldest_p_value, hottest_p_value
from nodeportsim.theory import balance, weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Extras = Callable[[np.random.Generator, int, int, int], "Counts"]
    Counts = np.ndarray[tuple[int, int], np.dtype[np.int64]]

MOST_CONNECTIONS = 1_000_000
MOST_PODS = 5_000
ORDINARY, RARE = 0.1, 0.001  # From here on (5 % at either end) luck explains it; below here it does not.
_KEY = 0x6C75636B  # "luck": any constant will do, as long as it stays.
_RUNS, _CELLS = 20_000, 20_000_000
_FEWEST_RUNS = 400  # A simulation that has time for fewer is not worth it: the bound must do.
_FEW = 10  # Hits of a simulation: with fewer its own error is too large, and the bound is told.
_WHOLE = 0.095  # From here on a share is written in whole per cent.
_EDGE = 1e-9  # A scaled count that should be whole may come out a hair beside it.


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Counts per pod, and how many independent choices they stand for.

    Parameters
    ----------
    counts
        Requests, connections, CPU: whatever shows the unevenness.
    connections
        None: the counts are the choices themselves.
    """

    counts: tuple[float, ...]
    connections: int | None = None

    def __post_init__(self) -> None:
        pods = len(self.counts)
        _require(1 < pods <= MOST_PODS, f"must be of 2 to {MOST_PODS} pods", pods)
        bad = next((count for count in self.counts if not 0 <= count < math.inf), None)
        _require(bad is None, "must be numbers of at least 0", bad)
        _require(0 < sum(self.counts) < math.inf, "must not all be 0, nor overflow", sum(self.counts))
        whole = all(count == int(count) for count in self.counts)
        rule = "must be whole numbers of connections, or come with --connections"
        _require(whole or self.connections is not None, rule, self.counts[0])
        fits = 1 <= self.choices <= MOST_CONNECTIONS
        rule = f"must be from 1 to {MOST_CONNECTIONS}: how many independent choices the counts stand for"
        _require(fits, rule, self.choices, "--connections")

    @property
    def choices(self) -> int:
        """Independent choices."""
        return int(sum(self.counts)) if self.connections is None else self.connections

    @property
    def hottest(self) -> int:
        """Choices of the hottest pod; a count is whole, so at least as many means rounding up."""
        return math.ceil(max(self.counts) * self.choices / sum(self.counts) - _EDGE)

    @property
    def coldest(self) -> int:
        """Choices of the coldest pod, rounded down for the same reason."""
        return math.floor(min(self.counts) * self.choices / sum(self.counts) + _EDGE)


def percent(ratio: float) -> str:
    """Write a share with two digits, and 100 % as such."""
    return f"{100 * ratio:.0f} %" if ratio >= _WHOLE else f"{100 * ratio:.2g} %"


def _require(holds: bool, rule: str, got: object, field: str = "--counts") -> None:
    if not holds:
        raise InputError(rule, field=field, got=got)


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What a rule makes of so many choices.

    Parameters
    ----------
    hottest_p, coldest_p
        P(some pod gets as much as the hottest, or more), P(some pod gets as little as the coldest, or less).
    how
        ``exact``, or how many runs were simulated; ``bound``: at most so much, from the exact law of one pod.
    """

    rule: str
    assumes: str
    hottest_p: float
    coldest_p: float
    how: str

    @property
    def p(self) -> float:
        """The rarer of both ends, doubled for having looked at two."""
        return min(1.0, 2 * min(self.hottest_p, self.coldest_p))

    @property
    def verdict(self) -> str:
        """Plain words."""
        end = "hot" if self.hottest_p < self.coldest_p else "cold"
        least = min(self.hottest_p, self.coldest_p)
        if least == 0:
            return f"impossible: no pod can get so {'much' if end == 'hot' else 'little'}"
        most = "at most " if self.how == "bound" else ""
        if self.p < RARE:
            return f"not luck: p = {most}{least:.1g}"
        often = f"{most}{percent(least)} of the time a pod is as {end} as this"
        return f"luck explains this: {often}" if self.p >= ORDINARY else f"luck seldom does this: {often}"


def at_random(measured: Measured) -> Chance:
    """Modes iptables and nftables: every connection chooses on its own, uniformly; exact."""
    pods, choices = len(measured.counts), measured.choices
    return Chance(
        rule="iptables, nftables",
        assumes=f"each of {choices} connections chooses a pod at random",
        hottest_p=hottest_p_value(pods, choices, measured.hottest) if measured.hottest else 1.0,
        coldest_p=coldest_p_value(pods, choices, measured.coldest) if measured.coldest < choices else 1.0,
        how="exact",
    )


def by_affinity(measured: Measured, addresses: int) -> Chance:
    """Session affinity: an address chooses once, and all that it sends goes there; exact."""
    once = at_random(Measured(counts=measured.counts, connections=addresses))
    return Chance(
        rule="sessionAffinity ClientIP",
        assumes=f"{addresses} addresses choose once, through one entry node each, and send equally much",
        hottest_p=once.hottest_p,
        coldest_p=once.coldest_p,
        how="exact",
    )


def by_local(measured: Measured, shares: Sequence[float]) -> Chance:
    """Policy Local: what enters a node chooses among its own pods; exact.

    `shares` are those of the pods, of what is served at all.
    """
    whole = sum(shares)
    parts = tuple(share / whole for share in shares)
    return Chance(
        rule="policy Local",
        assumes=f"entry even over nodes with pods: {100 * min(parts):.3g} to {100 * max(parts):.3g} % a pod",
        hottest_p=weighted.hottest_p_value(measured.choices, parts, measured.hottest),
        coldest_p=weighted.coldest_p_value(measured.choices, parts, measured.coldest),
        how="exact",
    )


def by_rotation(measured: Measured, nodes: int) -> Chance:
    """Mode ipvs, rr: every node rotates from a random place; the connections enter evenly."""
    how = "each rotates from a random place"
    return _per_node(measured, nodes, "ipvs rr", how, _rotated)


def by_least(measured: Measured, nodes: int) -> Chance:
    """Mode ipvs, lc: every node keeps its own counts even; the connections stay, and enter evenly."""
    how = "each keeps its own counts even, which pods get the odd ones is random"
    return _per_node(measured, nodes, "ipvs lc", how, _odd_ones)


def _per_node(measured: Measured, nodes: int, rule: str, how: str, extras: Extras) -> Chance:
    """Compare with sums over nodes of floor(k/n), and one more for some pods."""
    pods, choices = len(measured.counts), measured.choices
    turns = [choices // nodes + (node < choices % nodes) for node in range(nodes)]
    low, _ = balance.rotation_range(turns, pods)
    law = balance.rotation_pmf(turns, pods)
    hot, cold = measured.hottest - low, measured.coldest - low
    bounds = (
        float(min(pods * law[max(hot, 0) :].sum(), 1.0)),
        float(min(pods * law[: max(cold + 1, 0)].sum(), 1.0)),
    )
    runs = min(_CELLS // (nodes * pods), _RUNS)
    hits = _hits(turns, pods, runs, extras, hot, cold) if runs >= _FEWEST_RUNS else (0, 0)
    ends = [hit / runs if hit >= _FEW else bound for hit, bound in zip(hits, bounds, strict=True)]
    least = min(ends)
    if hits[ends.index(least)] >= _FEW:
        told = f"{runs} runs, ± {percent(1.96 * math.sqrt(least * (1 - least) / runs))}"
    else:
        told = "bound" if least else "exact"
    return Chance(
        rule=f"{rule}, {nodes} node{'s' if nodes > 1 else ''}",
        assumes=f"{choices} connections enter evenly by {nodes} nodes, no others between; {how}",
        hottest_p=ends[0],
        coldest_p=ends[1],
        how=told,
    )


def _hits(turns: list[int], pods: int, runs: int, extras: Extras, hot: int, cold: int) -> tuple[int, int]:
    """Count seeded runs with a pod at least as hot, and those with one at least as cold."""
    random = np.random.Generator(np.random.Philox(key=_KEY))
    counts = np.zeros((runs, pods), dtype=np.int64)
    for turn in turns:
        if turn % pods:
            counts += extras(random, runs, pods, turn % pods)
    return int((counts.max(axis=1) >= hot).sum()), int((counts.min(axis=1) <= cold).sum())


def _rotated(random: np.random.Generator, runs: int, pods: int, extra: int) -> Counts:
    """One more for `extra` pods in a row, from a random one on."""
    starts = random.integers(pods, size=(runs, 1))
    chosen: Counts = ((np.arange(pods) - starts) % pods < extra).astype(np.int64)
    return chosen


def _odd_ones(random: np.random.Generator, runs: int, pods: int, extra: int) -> Counts:
    """One more for `extra` random pods."""
    chosen: Counts = (random.random((runs, pods)).argsort(axis=1) < extra).astype(np.int64)
    return chosen


def explained_up_to(measured: Measured) -> int:
    """About the most independent choices of which luck still makes counts so uneven, in one of 20 runs.

    Few choices are uneven by nature. The chance is a saw-tooth in their number; a bisection finds a tooth.
    """
    low, high = 1, MOST_CONNECTIONS
    while high - low > 1:
        middle = int(math.sqrt(low * high)) if high > 2 * low else (low + high) // 2
        often = at_random(Measured(counts=measured.counts, connections=middle)).p >= ORDINARY
        low, high = (middle, high) if often else (low, middle)
    return low
