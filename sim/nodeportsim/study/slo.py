"""What a service must keep to, as people write it: ``p99<50ms, errors<0.1%, max_over_mean<1.3``.

A design is judged by the upper end of each measure's 95 % interval over replications, so every limit is from
above. Where no replication saw a failure, the share of failures counts as 0: such runs bound how often a run
holds a failure at all, not how many requests fail (see `nodeportsim.metrics.intervals.failed_ratio`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics import balance, intervals
from nodeportsim.units import duration_s, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nodeportsim.metrics.intervals import Estimate
    from nodeportsim.metrics.replication import Replication

    Measure = Callable[[Sequence[Replication]], Estimate]

Verdict = Literal["holds", "fails", "open"]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
FAR = 2.0
"""So many times its limit, an estimate from too few replications for an interval counts as beyond it."""
LONGEST = 400
_PART = re.compile(r"\s*([a-z0-9_.]+)\s*(<=|<|>=|>|==?)\s*(\S.*?)\s*")


def _latency(q: float) -> Measure:
    return lambda runs: intervals.quantile_interval(np.stack([r.latency.sum(axis=0) for r in runs]), q)


def _mean(runs: Sequence[Replication]) -> Estimate:
    sums_s = [float(r.latency_sum_ns.sum()) * 1e-9 for r in runs]
    return intervals.ratio_interval(sums_s, [r.succeeded for r in runs])


def _errors(runs: Sequence[Replication]) -> Estimate:
    return intervals.failed_ratio([r.failed for r in runs], [r.offered for r in runs])


def _lost(runs: Sequence[Replication]) -> Estimate:
    return intervals.mean_interval([r.failed for r in runs], intervals.POSITIVE)


def _hottest(runs: Sequence[Replication]) -> Estimate:
    return balance.balance([r.pods[r.lasting, 0] for r in runs])["max_over_mean"]


def _attempts(runs: Sequence[Replication]) -> Estimate:
    return intervals.ratio_interval([r.attempts for r in runs], [r.offered for r in runs])


MEASURES: Mapping[str, tuple[Measure, Callable[[str], float]]] = {
    **{name: (_latency(q), duration_s) for name, q in QUANTILES.items()},
    "mean": (_mean, duration_s),
    "errors": (_errors, ratio),
    "max_over_mean": (_hottest, float),
    "attempts": (_attempts, float),
}
"""Measures of a limit, and how its value is read: latencies, failed share of the requests, the pod with most
connections over the mean, attempts per request."""
DURING: Mapping[str, tuple[Measure, Callable[[str], float]]] = {"lost": (_lost, float)}
"""... of a failure: requests lost, from the fault until everything is noticed."""
RISING = ("max_over_mean",)
"""Measures that more pods make worse; they make all others better."""
LEAST = {"max_over_mean": 1.0, "attempts": 1.0}
"""Values that a measure cannot go below, where that is not 0."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A measure and what it must stay below.

    Parameters
    ----------
    name, text
        Of the measure; the limit as it was written.
    bound
        In SI units.
    allowed
        Whether the bound itself is allowed (``<=``).
    measure
        From replications to an estimate.
    """

    name: str
    text: str
    bound: float
    allowed: bool
    measure: Measure

    @property
    def rises(self) -> bool:
        """Whether more pods make it worse: they share the same connections less evenly."""
        return self.name in RISING

    def keeps(self, value: float) -> bool:
        """Say whether a value keeps to the limit."""
        return value <= self.bound if self.allowed else value < self.bound

    def judge(self, runs: Sequence[Replication]) -> Judged:
        """Judge replications by the interval, or without one by what is far beyond."""
        estimate = self.measure(runs)
        return Judged(self, estimate, self._verdict(estimate))

    def _verdict(self, estimate: Estimate) -> Verdict:
        if estimate.estimate is None:
            return "open"
        if estimate.low is None:
            return "fails" if estimate.estimate > FAR * self.bound else "open"
        # No failure seen: there is a lower end and no upper one.
        high = estimate.estimate if estimate.high is None else estimate.high
        return "holds" if self.keeps(high) else "fails" if not self.keeps(estimate.low) else "open"


class Judged(NamedTuple):
    """A limit, what was measured, and whether it holds; open where the interval lies on both sides."""

    limit: Limit
    estimate: Estimate
    verdict: Verdict


def parse_slo(text: str, *, field: str = "--slo", during: bool = False) -> tuple[Limit, ...]:
    """Read the limits a design must keep to.

    Parameters
    ----------
    text
        Separated by commas, ``and`` or semicolons.
    field
        What to call it in errors.
    during
        Read limits of a failure.

    Raises
    ------
    InputError
        There is no such measure, its limit is none, or they contradict each other.
    """
    known = DURING if during else MEASURES
    parts = [part for part in re.split(r",|;|\band\b", text[:LONGEST]) if part.strip()]
    if not parts or len(text) > LONGEST:
        example = "lost<5000" if during else "p99<50ms, errors<0.1%"
        raise InputError(f"must be limits, as in {example}", field=field, got=text)
    read = [_read(part, field, known) for part in parts]
    limits = tuple(limit for limit, above in read if not above)
    for lower in [limit for limit, above in read if above]:
        _refuse_lower(lower, limits, field)
    twice = [limit.name for k, limit in enumerate(limits) if limit.name in {x.name for x in limits[:k]}]
    if twice:
        raise InputError("is limited twice", field=f"{field} {twice[0]}", hint="give the smaller limit alone")
    return limits


def _read(
    part: str, field: str, known: Mapping[str, tuple[Measure, Callable[[str], float]]]
) -> tuple[Limit, bool]:
    """Read one limit, and whether it is from below."""
    match = _PART.fullmatch(part)
    if match is None:
        rule = "must be a measure, < or <=, and a limit, as in p99<50ms"
        raise InputError(rule, field=field, got=part.strip())
    name, sign, written = match.groups()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            "is not a metric", field=f"{field} {name}", hint=f"{meant}There are {', '.join(known)}."
        )
    measure, read = known[name]
    bound = _bound(read, written, f"{field} {name}")
    limit = Limit(
        name=name, text=f"{sign}{written}", bound=bound, allowed=sign in {"<=", "=", "=="}, measure=measure
    )
    if ">" not in sign:
        _assert_possible(limit, field)
    return limit, ">" in sign


def _bound(read: Callable[[str], float], written: str, field: str) -> float:
    if written in {"0", "0.0"}:
        return 0.0  # The same in every unit.
    try:
        bound = read(written)
    except InputError as error:
        raise InputError(error.rule, field=field, got=written) from None
    except ValueError:
        raise InputError("must be a number, as in 1.3", field=field, got=written) from None
    if not np.isfinite(bound):
        raise InputError("must be finite", field=field, got=written)
    return bound


def _assert_possible(limit: Limit, field: str) -> None:
    """Refuse what nothing keeps to."""
    least = LEAST.get(limit.name, 0.0)
    if not limit.keeps(least) or (limit.name in {*QUANTILES, "mean"} and limit.bound <= 0):
        rule = f"contradicts itself: nothing is below {least:g}"
        raise InputError(rule, field=f"{field} {limit.name}", got=limit.text)


def _refuse_lower(lower: Limit, limits: Sequence[Limit], field: str) -> None:
    """Refuse a limit from below: with one from above it may leave nothing, and alone it asks to be slow."""
    above = [limit for limit in limits if limit.name == lower.name and limit.bound <= lower.bound]
    if above:
        rule = f"contradicts itself: nothing is {above[0].text} and {lower.text}"
        raise InputError(rule, field=f"{field} {lower.name}")
    rule = "must be limited from above: a design is judged by the upper end of an interval"
    raise InputError(rule, field=f"{field} {lower.name}", got=lower.text)
