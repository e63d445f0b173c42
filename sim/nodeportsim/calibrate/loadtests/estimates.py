"""What follows from load tests, and what does not.

A latency is path + queueing + service. One test at one rate bounds the service time from above and tells no
more, unless nothing can have waited: no more requests under way than workers. Two open-loop tests at
different rates show how the latency grows with the load. The mean wait of M/G/c is convex in the rate and 0
at rate 0, so at the lower rate it is at most rate1 / (rate2 - rate1) of the growth, whatever the law and the
number of workers; with the number of workers told, `queueing.separate` gives the service time itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.calibrate.loadtests import lognormal
from nodeportsim.calibrate.loadtests.estimated import Z95, Estimates, Parameter, measured
from nodeportsim.calibrate.loadtests.fragment import scenario_fragment
from nodeportsim.calibrate.loadtests.service import SAME_RATIO, Seen, growth_of, path_of, quantile, service_of
from nodeportsim.errors import InputError, Location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.calibrate.loadtests.sample import Sample

BEHIND_RATIO = 0.95
MANY_ERRORS_RATIO = 0.01
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def estimates(
    samples: Sequence[Sample], *, direct: Sample | None = None, workers: int | None = None, pods: int = 1
) -> Estimates:
    """Say what load tests tell of a pod's service time and of the path to it.

    Parameters
    ----------
    samples
        Tests through the Service, at one rate or more.
    direct
        A test of one pod by its own address, without the Service.
    workers, pods
        Requests a pod works on at a time, and pods behind the Service, where the user knows them.

    Raises
    ------
    InputError
        No sample, or one that breaks Little's law.
    """
    if not samples:
        raise InputError("must hold at least one sample", field="samples")
    for name, value in (("workers", workers), ("pods", pods)):
        if value is not None and value < 1:
            raise InputError("must be at least 1", field=name, got=value)
    seen = sorted((_see(sample) for sample in samples), key=lambda one: one.sample.rate_rps or 0.0)
    base = seen[0] if direct is None else _see(direct)
    base_pods = pods if direct is None else 1
    found = [*_latency(base), *_law(base)]
    think = [_little(one.sample) for one in [*seen, *([base] if direct else [])]]
    found += think[0]  # The others are checked, but clients have one think time.
    growth = growth_of(seen)
    found += [growth] if growth else []
    service = service_of(seen, base, growth, workers, base_pods, direct_given=direct is not None)
    found += service
    path = [] if direct is None else [path_of(seen, base)]
    fragment = scenario_fragment(seen[0].sample, [*found, *path], workers)
    warnings = [text for one in [*seen, *([base] if direct else [])] for text in _warnings(one)]
    return Estimates(parameters=(*found, *path), warnings=tuple(dict.fromkeys(warnings)), fragment=fragment)


def _see(sample: Sample) -> Seen:
    fit = lognormal.fit(sample)
    variance_s2 = sample.std_s**2 if sample.std_s is not None else fit.variance_s2 if fit else None
    return Seen(sample=sample, fit=fit, variance_s2=variance_s2)


def _latency(one: Seen) -> list[Parameter]:
    """Mean and percentiles as measured; those the sample cannot carry are refused."""
    sample, error_s = one.sample, one.error_s
    why = f"mean of {sample.count} requests of {sample.tool}, taken as independent"
    if error_s is None:
        mean = Parameter(name="latency.mean", unit="s", value=sample.mean_s, identified=True, why=why)
    else:
        mean = measured("latency.mean", "s", sample.mean_s, error_s, why)
    return [mean, *(quantile(sample, name, q) for name, q in _QUANTILES.items())]


def _law(one: Seen) -> list[Parameter]:
    """The log-normal law of the latencies: mu and sigma of the logarithm of seconds."""
    if one.fit is None:
        why = "the file tells fewer than two usable percentiles or buckets, or all latencies are alike"
        return [Parameter(name=f"latency.{name}", unit="log s", why=why) for name in ("mu", "sigma")]
    fit = one.fit
    why = f"maximum likelihood; furthest from the data by {fit.misfit:.3f} of the requests"
    if not fit.fits:
        why += f": more than {lognormal.MISFIT_RATIO}, the latencies are not log-normal"
    both = (("mu", fit.mu, fit.covariance[0][0]), ("sigma", fit.sigma, fit.covariance[1][1]))
    return [
        Parameter(
            name=f"latency.{name}",
            unit="log s",
            value=value,
            error=math.sqrt(variance),
            low95=value - Z95 * math.sqrt(variance),
            high95=value + Z95 * math.sqrt(variance),
            identified=fit.fits,
            why=why,
        )
        for name, value, variance in both
    ]


def _little(sample: Sample) -> list[Parameter]:
    """Little's law in a closed loop: connections = rate x (latency + think time).

    Raises
    ------
    InputError
        More requests were under way than there were connections.
    """
    if sample.loop == "open" or sample.rate_rps is None or sample.connections is None:
        return []
    busy = sample.rate_rps * sample.mean_s
    if busy > sample.connections * (1 + SAME_RATIO):
        rule = (
            f"breaks Little's law: {sample.rate_rps:.6g}/s x {sample.mean_s:.4g} s = {busy:.3g} requests "
            f"under way, over {sample.connections} connections that hold one each"
        )
        hint = "is the loop open, or the number of connections another?"
        raise InputError(rule, hint=hint, location=Location(file=sample.file, line=1, column=1))
    think_s = max(sample.connections / sample.rate_rps - sample.mean_s, 0.0)
    why = "connections / rate - mean latency (Little's law); pacing, set-up and the tool's own time are in it"
    return [Parameter(name="clients.thinkTime.mean", unit="s", value=think_s, identified=True, why=why)]


def _warnings(one: Seen) -> list[str]:
    sample = one.sample
    found = [f"{sample.file}: {note}" for note in sample.notes]
    if sample.errors > MANY_ERRORS_RATIO * sample.requests:
        found.append(
            f"{sample.file}: {sample.errors} of {sample.requests} requests failed: a test of failing"
        )
    if sample.keep_alive is False:
        found.append(f"{sample.file}: connections were not reused, so connecting may be in the latency")
    if sample.loop == "closed":
        text = "a closed loop does not send while it waits, so its percentiles omit what arrivals would meet"
        found.append(f"{sample.file}: {text} (coordinated omission)")
    if sample.target_rps and sample.rate_rps and sample.rate_rps < BEHIND_RATIO * sample.target_rps:
        text = (
            f"{sample.rate_rps:.4g}/s of {sample.target_rps:.4g}/s: the tool fell behind, waits are missing"
        )
        found.append(f"{sample.file}: {text}")
    return found
