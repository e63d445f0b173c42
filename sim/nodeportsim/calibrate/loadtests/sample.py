"""A load test as its tool reported it: one shape for all tools, and what must hold in it.

A tool gives counts between edges (*cells*), or a few percentiles, or each request by itself, which is
counted into cells 0.4 % wide. All times are seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nodeportsim.errors import InputError, Location
from nodeportsim.metrics import histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

Tool = Literal["fortio", "k6", "vegeta", "oha", "wrk2"]
Loop = Literal["open", "closed"]

FEWEST_REQUESTS = 2 * histogram.BEYOND
"""The fewest requests whose median is carried (`nodeportsim.metrics.histogram.why_not`)."""
SLACK_RATIO = 0.1
"""How far a tool's own counts, rate and duration may disagree: it may count start-up or the last answers."""
LONGEST_S = 1e6


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of requests whose latency is above `low_s` and at most `high_s`."""

    low_s: float
    high_s: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One load test.

    Parameters
    ----------
    tool, file
        Who measured, and where the result stands.
    loop
        ``open`` where requests are sent whether or not earlier ones were answered, else ``closed``.
    requests, errors, count
        Requests that ended, those of them that failed, and those whose latency was kept.
    mean_s, std_s
        Of the latencies; the standard deviation is None where the tool keeps it to itself.
    cells, quantiles
        Counts between edges; (share, seconds) of each percentile. One of them may be empty.
    min_s, max_s
        The extremes, where told.
    rate_rps, duration_s, connections, keep_alive
        What was achieved and with what; None where the file does not tell.
    target_rps
        The rate that was asked for.
    notes
        What reading took for granted, for people.
    """

    tool: Tool
    file: str
    loop: Loop
    requests: int
    errors: int
    count: int
    mean_s: float
    std_s: float | None = None
    cells: tuple[Cell, ...] = ()
    quantiles: tuple[tuple[float, float], ...] = ()
    min_s: float | None = None
    max_s: float | None = None
    rate_rps: float | None = None
    duration_s: float | None = None
    connections: int | None = None
    keep_alive: bool | None = None
    target_rps: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> list[tuple[float, float]]:
        """(share, seconds) wherever the distribution function is known, the extremes included."""
        inside = list(self.quantiles)
        if self.cells:
            below = np.cumsum([cell.count for cell in self.cells]).tolist()
            inside = [(n / self.count, cell.high_s) for n, cell in zip(below, self.cells, strict=True)]
        first = [] if self.min_s is None else [(0.0, self.min_s)]
        last = [] if self.max_s is None or self.cells else [(1.0, self.max_s)]
        return [*first, *inside, *last]


def of_latencies(latencies_s: Sequence[float], **fields: Any) -> Sample:
    """Make a sample of single latencies (s); `fields` are the others of `Sample`."""
    times_s = np.asarray(latencies_s, dtype=np.float64)
    counts, edges_s = histogram.count(times_s), histogram.edges_s()
    cells = tuple(
        Cell(low_s=float(edges_s[k]), high_s=float(edges_s[k + 1]), count=int(counts[k]))
        for k in np.flatnonzero(counts)
    )
    several = len(times_s) > 1
    return Sample(
        count=len(times_s),
        mean_s=float(times_s.mean()) if len(times_s) else 0.0,
        std_s=float(times_s.std(ddof=1)) if several else None,
        min_s=float(times_s.min()) if len(times_s) else None,
        max_s=float(times_s.max()) if len(times_s) else None,
        cells=cells,
        **fields,
    )


def checked(sample: Sample) -> Sample:
    """Return a sample whose parts agree with each other.

    Raises
    ------
    InputError
        Too few requests, or numbers that cannot all be true.
    """
    if sample.count < FEWEST_REQUESTS:
        rule = f"must hold at least {FEWEST_REQUESTS} answered requests: fewer carry no median"
        raise _refused(sample, rule, sample.count, "let the test run longer")
    values = [sample.mean_s, *(value for _, value in sample.points)]
    if not all(0 <= value <= LONGEST_S for value in values):
        raise _refused(sample, "must hold latencies from 0 to 1e6 s", None, "compare the unit of the file")
    if sample.mean_s <= 0:
        raise _refused(sample, "must have a mean latency above 0", sample.mean_s, _AGAIN)
    _check_order(sample)
    _check_counts(sample)
    _check_mean(sample)
    return _with_rate(sample)


_AGAIN = "write the result again with the tool itself; edited or merged files may not fit together"


def _refused(sample: Sample, rule: str, got: object, hint: str) -> InputError:
    return InputError(rule, got=got, hint=hint, location=Location(file=sample.file, line=1, column=1))


def _check_order(sample: Sample) -> None:
    for (share, value), (next_share, next_value) in pairwise(sample.points):
        if next_share < share or next_value < value * (1 - 1e-9):
            rule = f"contradicts itself: the {100 * next_share:.6g}th percentile lies below"
            raise _refused(sample, f"{rule} the {100 * share:.6g}th, {value:g} s", next_value, _AGAIN)


def _check_counts(sample: Sample) -> None:
    total = sum(cell.count for cell in sample.cells)
    if sample.cells and total != sample.count:
        rule = f"contradicts itself: its buckets hold {total} requests, its total is another"
        raise _refused(sample, rule, sample.count, _AGAIN)
    if max(sample.errors, sample.count) > sample.requests:
        rule = f"contradicts itself: {sample.errors} errors and {sample.count} latencies of fewer requests"
        raise _refused(sample, rule, sample.requests, _AGAIN)


def mean_bounds_s(points: Sequence[tuple[float, float]], count: int) -> tuple[float, float]:
    """Bound the mean (s) of `count` values by what is known of their distribution function.

    The share between two points costs at least its lower and at most its upper edge. Nothing bounds the
    last share above where the maximum is not known. A tool may round a rank by one.
    """
    known = [(0.0, 0.0), *points]
    low_s = sum((b - a) * x for (a, x), (b, _) in pairwise(known)) + (1 - known[-1][0]) * known[-1][1]
    high_s = sum((b - a) * y for (a, _), (b, y) in pairwise(known))
    rounded_s = known[-1][1] * len(points) / count
    return low_s - rounded_s, high_s + rounded_s if known[-1][0] >= 1 else math.inf


def _check_mean(sample: Sample) -> None:
    low_s, high_s = mean_bounds_s(sample.points, sample.count)
    if not low_s * 0.98 <= sample.mean_s <= high_s * 1.02:
        rule = f"contradicts itself: with these percentiles the mean lies from {low_s:.4g} to {high_s:.4g} s"
        raise _refused(sample, rule, sample.mean_s, _AGAIN)


def _with_rate(sample: Sample) -> Sample:
    """Compute the rate where only the duration is told, or see that both fit."""
    for name in ("rate_rps", "duration_s"):
        value = getattr(sample, name)
        if value is not None and not 0 < value < math.inf:
            raise _refused(sample, f"must have a {name} above 0", value, _AGAIN)
    if sample.duration_s is None:
        return sample
    if sample.rate_rps is None:
        return replace(sample, rate_rps=sample.requests / sample.duration_s)
    expected = sample.rate_rps * sample.duration_s
    if not sample.count * (1 - SLACK_RATIO) <= expected <= sample.requests * (1 + SLACK_RATIO):
        rule = f"contradicts itself: {sample.rate_rps:.6g}/s for {sample.duration_s:.6g} s are other requests"
        raise _refused(sample, rule, sample.requests, _AGAIN)
    return sample
