"""Whether an interval is narrow enough: ``latency.p99: 2%``, of its estimate, or ``1ms``.

Metrics are those of thresholds that have an interval. A width is the distance from the estimate to the
farther end of its 95 % interval; ``N%`` is always a share of the estimate, also where this is itself a share.

A rule that stops when an interval looks narrow stops too early too often: in the samples that happen to vary
little. The interval then covers less than 95 % (Chow and Robbins 1965, doi:10.1214/aoms/1177700156, for the
limit of small widths, where it does not; Law and Kelton 1982, doi:10.1287/mnsc.28.5.550; Singham and Schruben
2012, INFORMS J. Computing 24, 624-635, for how much is lost). So there are at least `FEWEST` replications and
few looks, each after half as many replications again, and a width has to hold at two looks in succession, or
at the last one. `tests/metrics/test_coverage.py` measures what is left of the loss; docs/compare.md says it.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics.balance import balance
from nodeportsim.metrics.intervals import FEWEST, Estimate, failed_ratio, quantile_interval, ratio_interval
from nodeportsim.metrics.replication import PHASES
from nodeportsim.metrics.summarise import QUANTILES, rounded
from nodeportsim.metrics.thresholds import METRICS
from nodeportsim.metrics.uncertainty import with_prices
from nodeportsim.units import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]

GROWTH = 1.5
"""From one look to the next."""
NAMES = tuple(
    name
    for name in METRICS
    if not name.startswith(("requests.", "errors."))  # Totals, without an interval.
)


class Aim(NamedTuple):
    """A metric and how near its estimate is to be: a share of it, or in its own unit."""

    name: str
    width: str
    bound: float
    relative: bool


def parse(precision: Mapping[str, str]) -> tuple[Aim, ...]:
    """Read what a scenario asks for.

    Raises
    ------
    InputError
        There is no such metric with an interval, or the width is not written as ``2%``, ``1ms``, ``0.05``.
    """
    return tuple(_parse(name, width) for name, width in precision.items())


def _parse(name: str, width: str) -> Aim:
    field = f"run.precision.{name}"
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        why = "is a total, which has no interval" if name in METRICS else "is not a metric"
        hint = f"{meant}Those with an interval are {', '.join(NAMES)}."
        raise InputError(why, field=field, hint=hint)
    relative = width.strip().endswith("%")
    try:
        bound = ratio(width) if relative else _own_unit(name, width)
    except InputError as error:
        hint = "N% is a share of the estimate; else the unit of the metric, as 1ms, or a plain number"
        raise InputError(error.rule, field=field, got=width, hint=hint) from None
    if bound <= 0:
        raise InputError("must be above zero", field=field, got=width)
    return Aim(name, width, bound, relative)


def _own_unit(name: str, width: str) -> float:
    """Read a width in the metric's unit; for a share a plain number: percent are of the estimate."""
    if not name.endswith("errors"):
        return METRICS[name].read(width)
    try:
        return float(width)
    except ValueError:
        raise InputError("must be a share of the estimate (10%) or a plain number (0.001)") from None


def looks(first: int, most: int) -> Iterator[int]:
    """Give the numbers of replications at which the widths are looked at, up to `most`."""
    size = max(FEWEST, first)
    while size < most:
        yield size
        size = math.ceil(size * GROWTH)
    yield most


def interval(name: str, replications: Sequence[Replication], nominal: Sequence[Replication] = ()) -> Estimate:
    """Give the interval that the summary has of a metric, without the rest of it."""
    if not nominal:
        return _interval(name, replications)
    last = "failed_ratio" if name.endswith("errors") else name.rpartition(".")[2]
    row = with_prices(lambda runs: {last: _interval(name, runs).as_dict()}, replications, nominal)
    return Estimate(**row[last])


def _interval(name: str, runs: Sequence[Replication]) -> Estimate:
    path = METRICS[name].path
    phase = PHASES.index(path[1]) if path[0] == "phases" else None
    if name.endswith("errors"):
        counts = np.array([[r.offered, r.failed] if phase is None else r.phases[phase, [0, 2]] for r in runs])
        return failed_ratio(counts[:, 1], counts[:, 0])
    if path[0] == "balance":
        members = [r.nodes if path[1] == "nodes" else r.pods[r.lasting] for r in runs]
        return balance([m[:, 0] for m in members])[path[2]]
    counts = np.stack([_histogram(r, path[0], phase) for r in runs])
    if path[-1] in QUANTILES:
        return quantile_interval(counts, QUANTILES[path[-1]])
    return ratio_interval([_sum_s(r, path[0], phase) for r in runs], counts.sum(axis=1))


def _histogram(r: Replication, family: str, phase: int | None) -> Counts:
    if family == "first_packet_s":
        return r.first_packet
    return np.asarray(r.latency.sum(axis=0) if phase is None else r.latency[phase])


def _sum_s(r: Replication, family: str, phase: int | None) -> float:
    from nodeportsim.metrics.histogram import midpoints_s

    if family == "first_packet_s":
        return float(r.first_packet @ midpoints_s())
    return float(r.latency_sum_ns.sum() if phase is None else r.latency_sum_ns[phase]) * 1e-9


def reached(
    aims: Sequence[Aim], replications: Sequence[Replication], nominal: Sequence[Replication] = ()
) -> list[dict[str, Any]]:
    """Look at the widths.

    Returns
    -------
    list of dict
        name, asked (as written), estimate, half_width (None where there is no interval), ok, and a reason
        where there is no interval.
    """
    rows = []
    for aim in aims:
        found = interval(aim.name, replications, nominal)
        half, bound = _half(found), aim.bound
        if aim.relative:
            bound *= abs(found.estimate or 0.0)
        row = {"name": aim.name, "asked": aim.width, "estimate": found.estimate}
        row |= {"half_width": half, "ok": half is not None and half <= bound}
        rows.append(rounded(row if found.reason is None else row | {"reason": found.reason}))
    return rows


def _half(found: Estimate) -> float | None:
    if found.estimate is None or found.low is None or found.high is None:
        return None
    return max(found.high - found.estimate, found.estimate - found.low)
