"""An interval from one long run, by batch means: for a mean and a share by second, in steady state.

Seconds of one run depend on each other, long batches of them hardly do. Non-overlapping batches of equal
length stand for replications (Law, Simulation Modeling and Analysis, 9.5.3). As Law and Carson do (1979,
doi:10.1287/opre.27.5.1011), independence is tested on short batches, and the interval is made of longer ones,
of which few are enough: between 10 and 30 (Schmeiser 1982, doi:10.1287/opre.30.3.556).

* 40 to 79 short batches: von Neumann's ratio, the mean squared successive difference over the variance, as a
  one-sided test for positive correlation at 10 % (Fishman 1978, doi:10.1287/mnsc.24.5.510);
* 10 to 19 long ones, each of four short ones: t interval of the ratio of their totals.

Where short batches still depend on each other there is no interval: it would be too narrow. In one of ten
runs whose seconds are independent the test says so, too. Near saturation dependence lasts for minutes, and a
test on a short run can miss it; such a run needs replications.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import POSITIVE, SHARE, Estimate, t_factor
from nodeportsim.metrics.timeline import CAUSES, OFFERED, SUCCEEDED

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from nodeportsim.metrics.replication import Replication

    Floats = NDArray[np.float64]

SHORT = 40
"""Short batches at least: fewer would not show a correlation."""
JOINED = 4
"""Short batches in a long one."""
_Z90 = 1.2815515655446004  # Normal quantile of 90 %.


def batch_ratio(
    parts: ArrayLike, wholes: ArrayLike, within: tuple[float, float] = POSITIVE
) -> tuple[Estimate, dict[str, Any]]:
    """Return sum(parts) / sum(wholes) over the seconds of one run, with the t interval of batch means.

    Parameters
    ----------
    parts, wholes
        One value per second each, from the end of the warm-up on: as summed latency and answers.
    within
        Limits that the ratio has by nature.

    Returns
    -------
    Estimate
        Without an interval where the run is too short or its batches depend on each other.
    dict
        How it was made: method, batches, batch_s; empty without an interval.
    """
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    seconds, total = len(whole), float(whole.sum())
    if total == 0:
        return Estimate(estimate=None, reason="there were none to take the ratio of"), {}
    ratio = float(part.sum()) / total
    if seconds < SHORT:
        rule = f"1 replication of {seconds} s; batch means need {SHORT} s, replications 10"
        return Estimate(estimate=ratio, reason=rule), {}
    length = seconds // SHORT
    residuals = part - ratio * whole
    if depend(_summed(residuals, length)):
        rule = f"1 replication, and batches of {length} s depend on each other: make 10 replications"
        return Estimate(estimate=ratio, reason=rule), {}
    length *= JOINED
    batches = _summed(residuals, length)
    # Batches leave out what fills none of them at the beginning; the ratio is that of all seconds.
    spread = float(batches.std(ddof=1)) / (total * length / seconds)
    half = t_factor(len(batches)) * spread / math.sqrt(seconds / length)
    low, high = max(ratio - half, within[0]), min(ratio + half, within[1])
    how = {"method": "batch means", "batches": len(batches), "batch_s": length}
    return Estimate(estimate=ratio, low=low, high=high), how


def _summed(series: Floats, length: int) -> Floats:
    """Sum batches of so many seconds; what is left over stands at the beginning and is left out."""
    return np.asarray(series[len(series) % length :].reshape(-1, length).sum(axis=1))


def depend(batches: Floats) -> bool:
    """Say whether successive batches are more alike than independent ones are in 9 of 10 cases.

    With v von Neumann's ratio, 1 - v / 2 is normal about 0 with the variance (k - 2) / (k**2 - 1) for k
    independent normal batches. What never varies does not depend.
    """
    centred = batches - batches.mean()
    squares, k = float((centred**2).sum()), len(batches)
    if squares == 0.0:
        return False
    alike = 1 - float((np.diff(centred) ** 2).sum()) / (2 * squares)
    return alike > _Z90 * math.sqrt((k - 2) / (k**2 - 1))


def of_run(replication: Replication, warmup_s: float) -> dict[str, dict[str, Any]]:
    """Estimate what one run in steady state carries: ``latency_s.mean`` and ``failed_ratio``.

    A share of zero stays without an upper end: batches that saw no failure bound nothing.
    """
    start = math.ceil(warmup_s)
    table, sums_ns = replication.timeline[start:], replication.second_latency_ns[start:]
    mean = batch_ratio(sums_ns * np.float64(1e-9), table[:, SUCCEEDED])
    failed = batch_ratio(table[:, CAUSES:].sum(axis=1), table[:, OFFERED], SHARE)
    found = {"latency_s.mean": mean}
    if failed[0].estimate:
        found["failed_ratio"] = failed
    return {name: estimate.as_dict() | how for name, (estimate, how) in found.items()}
