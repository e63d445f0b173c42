"""Service time of a pod, latency at no load, and what the way through the Service adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.calibrate.loadtests import lognormal, queueing
from nodeportsim.calibrate.loadtests.estimated import Z95, Parameter, measured
from nodeportsim.metrics import histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.calibrate.loadtests.lognormal import Fit
    from nodeportsim.calibrate.loadtests.sample import Sample

UNQUEUED_RATIO = 0.05
"""A wait of less than this share of the latency is taken as none, and charged to the interval."""
DIFFERENT_RATIO = 1.2
SAME_RATIO = 0.1
LARGEST_ERROR_RATIO = 0.25
"""A service time less sure than this is no estimate."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A sample, the law fitted to it, and its variance (s^2): the tool's own, else the law's."""

    sample: Sample
    fit: Fit | None
    variance_s2: float | None

    @property
    def error_s(self) -> float | None:
        """Standard error of the mean latency (s), requests taken as independent."""
        return None if self.variance_s2 is None else math.sqrt(self.variance_s2 / self.sample.count)


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """The longest mean wait (s) that the data allow in a sample, and why; None: no bound."""

    most_s: float | None
    why: str


def quantile(sample: Sample, name: str, q: float) -> Parameter:
    """Return a measured quantile, or why the sample cannot carry it."""
    reason = histogram.why_not(sample.count, q)
    known = [share for share, _ in sample.points if 0 < share < 1]
    if reason is None and not (known and min(known) <= q <= max(known)):
        reason = f"{sample.tool} told no percentile on either side of it"
    if reason is not None:
        return Parameter(name=f"latency.{name}", unit="s", why=f"refused: {reason}")
    value_s, low_s, high_s = lognormal.quantile_bounds_s(sample, q)
    why = "order statistics; no narrower than the points the file tells"
    told = bool(sample.cells) or q in known
    return Parameter(
        name=f"latency.{name}",
        unit="s",
        value=value_s if told else None,
        low95=low_s,
        high95=high_s,
        identified=True,
        why=why,
    )


def growth_of(seen: Sequence[Seen]) -> Parameter | None:
    """Latency at no load, between its bounds, from the lowest and the highest of the open-loop rates."""
    usable = _open(seen)
    name, unit = "latency.noLoad", "s"
    if len(usable) < 2:  # noqa: PLR2004  A growth needs two.
        return None
    low, high = usable[0], usable[-1]
    rates = low.sample.rate_rps or 0.0, high.sample.rate_rps or 0.0
    if rates[1] < DIFFERENT_RATIO * rates[0]:
        why = f"{rates[0]:.4g}/s and {rates[1]:.4g}/s are too alike to see the latency grow"
        return Parameter(name=name, unit=unit, why=why)
    error_s = math.hypot(low.error_s or 0.0, high.error_s or 0.0)
    most_s = max(high.sample.mean_s - low.sample.mean_s + Z95 * error_s, 0.0)
    wait_s = most_s * rates[0] / (rates[1] - rates[0])
    mean_s, own_s = low.sample.mean_s, Z95 * (low.error_s or 0.0)
    why = "the wait is convex in the rate and 0 at no load; upper bound: as measured at the lowest rate"
    return Parameter(
        name=name,
        unit=unit,
        low95=max(mean_s - own_s - wait_s, 0.0),
        high95=mean_s + own_s,
        identified=wait_s <= UNQUEUED_RATIO * mean_s,
        why=why,
    )


def _open(seen: Sequence[Seen]) -> list[Seen]:
    return [
        one for one in seen if one.sample.loop == "open" and one.sample.rate_rps and one.error_s is not None
    ]


def service_of(
    seen: Sequence[Seen],
    base: Seen,
    growth: Parameter | None,
    workers: int | None,
    pods: int,
    *,
    direct_given: bool,
) -> list[Parameter]:
    """Mean and p99 of the pod's service time, or the bound that is left."""
    if workers and growth is not None and growth.low95 is not None and not direct_given:
        apart = _separated(_open(seen), workers, pods)
        if apart:
            return apart
    wait = _longest_wait(base, None if direct_given else growth, workers, pods)
    if wait.most_s is not None and base.error_s is not None:
        return _unqueued(base, wait)
    sample = base.sample
    top_s = sample.mean_s + Z95 * (base.error_s or 0.0)
    if workers and sample.rate_rps:
        top_s = min(top_s, workers * pods / sample.rate_rps)
    why = (
        f"{wait.why}: only an upper bound. Measure at two open-loop rates and tell the number of workers, "
        "or with one connection in a closed loop"
    )
    bound = Parameter(name="pods.serviceTime.mean", unit="s", high95=top_s, why=why)
    return [bound, Parameter(name="pods.serviceTime.p99", unit="s", why=wait.why)]


def _longest_wait(base: Seen, growth: Parameter | None, workers: int | None, pods: int) -> _Wait:
    """Bound the mean wait in the base sample by what is known of concurrency, load or growth."""
    sample = base.sample
    if sample.loop == "closed" and sample.connections and sample.connections <= (workers or 1):
        word = "worker" if (workers or 1) == 1 else "workers"
        return _Wait(most_s=0.0, why=f"{sample.connections} under way, {workers or 1} {word}: nothing waits")
    if workers and sample.loop == "open" and sample.rate_rps and base.variance_s2 is not None:
        ca2 = 1 - 1 / pods
        cs2 = base.variance_s2 / sample.mean_s**2
        wait_s = queueing.wait_s(sample.rate_rps / pods, sample.mean_s, workers, ca2, cs2)
        if wait_s <= UNQUEUED_RATIO * sample.mean_s:
            return _Wait(
                most_s=wait_s, why=f"at this rate {workers} workers let it wait {wait_s:.2g} s at most"
            )
    if growth is not None and growth.identified and growth.low95 is not None:
        wait_s = max(sample.mean_s - growth.low95, 0.0)
        return _Wait(most_s=wait_s, why="the latency does not grow with the rate: next to nothing waits")
    return _Wait(most_s=None, why="the data cannot tell service time from queueing")


def _unqueued(base: Seen, wait: _Wait) -> list[Parameter]:
    """Service time of a sample in which nothing waited: its latency, path included."""
    sample, wait_s, error_s = base.sample, wait.most_s or 0.0, base.error_s or 0.0
    why = f"{wait.why}; the path to the pod is in it"
    low_s, high_s = sample.mean_s - wait_s - Z95 * error_s, sample.mean_s + Z95 * error_s
    mean = Parameter(
        name="pods.serviceTime.mean",
        unit="s",
        value=sample.mean_s,
        error=error_s,
        low95=max(low_s, 0.0),
        high95=high_s,
        identified=True,
        why=why,
    )
    return [mean, _unqueued_p99(base, wait_s, why)]


def _unqueued_p99(base: Seen, wait_s: float, why: str) -> Parameter:
    name, fit = "pods.serviceTime.p99", base.fit
    carried = quantile(base.sample, "p99", 0.99)
    if fit is None or not fit.fits:
        reason = (
            f"not log-normal; the 99th percentile as measured. {why}" if carried.identified else carried.why
        )
        low, high = carried.low95, carried.high95
        return Parameter(name=name, unit="s", value=carried.value, low95=low, high95=high, why=reason)
    value_s = fit.quantile_s(lognormal.Z99)
    log_error = fit.error_of_log(1.0, lognormal.Z99)
    low_s = max(value_s * math.exp(-Z95 * log_error) - wait_s, 0.0)
    beyond = "" if carried.identified else " (beyond the sample: from the law alone)"
    return Parameter(
        name=name,
        unit="s",
        value=value_s,
        error=value_s * log_error,
        low95=low_s,
        high95=value_s * math.exp(Z95 * log_error),
        identified=carried.identified,
        why=f"of the fitted log-normal law{beyond}; {why}",
    )


def _separated(usable: Sequence[Seen], workers: int, pods: int) -> list[Parameter]:
    points = [
        queueing.Point(
            rate_rps=(one.sample.rate_rps or 0.0) / pods,
            mean_s=one.sample.mean_s,
            variance_s2=one.variance_s2 or 0.0,
            count=one.sample.count,
        )
        for one in usable
    ]
    apart = queueing.separate(points, workers, ca2=1 - 1 / pods)
    if apart is None or apart.service_error_s > LARGEST_ERROR_RATIO * apart.service_s:
        return []
    why = f"growth of the mean latency over {len(points)} rates with {workers} workers a pod (GI/G/c)"
    sigma = math.sqrt(math.log1p(apart.cs2))
    p99_s = apart.service_s * math.exp(lognormal.Z99 * sigma - sigma**2 / 2)
    shape = (
        "of the log-normal law with this mean and the variance at the lowest rate; not checked by the data"
    )
    return [
        measured("pods.serviceTime.mean", "s", apart.service_s, apart.service_error_s, why),
        Parameter(name="pods.serviceTime.p99", unit="s", value=p99_s, why=shape),
        measured("path.roundTrip", "s", apart.path_s, apart.path_error_s, f"the rest of the latency; {why}"),
    ]


def path_of(seen: Sequence[Seen], direct: Seen) -> Parameter:
    """What the way through the Service adds to a request, against the pod's own address."""
    name, unit = "path.added", "s"
    rate = direct.sample.rate_rps or 0.0
    other = min(seen, key=lambda one: abs((one.sample.rate_rps or 0.0) - rate))
    added_s = other.sample.mean_s - direct.sample.mean_s
    alike = other.sample.loop == direct.sample.loop and (
        other.sample.loop == "closed" and other.sample.connections == direct.sample.connections
        if other.sample.loop == "closed"
        else rate > 0 and abs((other.sample.rate_rps or 0.0) / rate - 1) <= SAME_RATIO
    )
    if not alike:
        why = "the two tests differ in rate, loop or connections: their queueing may differ, not their paths"
        return Parameter(name=name, unit=unit, value=added_s, why=why)
    if direct.error_s is None or other.error_s is None:
        return Parameter(
            name=name, unit=unit, value=added_s, why="no spread is told, so there is no interval"
        )
    error_s = math.hypot(direct.error_s, other.error_s)
    low_s, high_s = added_s - Z95 * error_s, added_s + Z95 * error_s
    resolved = low_s > 0 or high_s < 0
    why = "difference of mean latencies, through the Service less directly on the pod"
    if not resolved:
        why += ": not resolved, the interval spans 0"
    elif high_s < 0:
        why += ": below 0, so the two pods or times were not alike"
    return Parameter(
        name=name,
        unit=unit,
        value=added_s,
        error=error_s,
        low95=low_s,
        high95=high_s,
        identified=low_s > 0,
        why=why,
    )
