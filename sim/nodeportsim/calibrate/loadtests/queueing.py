"""Mean waits, to tell service time from queueing by two rates or more.

The wait of GI/G/c is taken as M/M/c's, times (ca2 + cs2) / 2 (Allen and Cunneen), times the factor of
Kraemer and Langenbach-Belz (1976) for arrivals more regular than Poisson's. It is exact for M/G/1 and M/M/c,
and within `MODEL_ERROR_RATIO` of D/M/1 (a test says so). ca2 and cs2 are squared coefficients of
variation. A tool that sends at a constant rate has ca2 = 0; a random split over p pods leaves each
1 - 1/p (Whitt 1983, The Queueing Network Analyzer).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MODEL_ERROR_RATIO = 0.05
FULL = 0.999


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean latency of one pod at one rate: `mean_s` of `count` requests, `rate_rps` at that pod."""

    rate_rps: float
    mean_s: float
    variance_s2: float
    count: int


def wait_s(rate_rps: float, service_s: float, workers: int, ca2: float, cs2: float) -> float:
    """Return the mean wait (s) of GI/G/c; at or above capacity that of `FULL` load."""
    load = min(rate_rps * service_s / workers, FULL)
    if load <= 0 or ca2 + cs2 <= 0:
        return 0.0
    poisson_s = _erlang_c(load * workers, workers) * service_s / (workers * (1 - load))
    regular = 1.0
    if ca2 < 1:
        regular = math.exp(-2 * (1 - load) * (1 - ca2) ** 2 / (3 * load * (ca2 + cs2)))
    return poisson_s * (ca2 + cs2) / 2 * regular


def _erlang_c(offered: float, workers: int) -> float:
    """Probability that an arrival waits in M/M/c, by the stable recursion of Erlang B."""
    blocked = 1.0
    for servers in range(1, workers + 1):
        blocked = offered * blocked / (servers + offered * blocked)
    load = offered / workers
    return blocked / (1 - load * (1 - blocked))


def error_of_mean_s(point: Point, service_s: float, workers: int, ca2: float, cs2: float) -> float:
    """Return the standard error (s) of a mean latency whose requests follow each other through a queue.

    The variance of a mean wait over n arrivals is wait^2 2 (ca2 + cs2) / ((1 - load)^2 n) in heavy traffic
    (Whitt 1989, Planning queueing simulations); that of independent requests is less, and the least.
    """
    load = min(point.rate_rps * service_s / workers, FULL)
    queue_s = wait_s(point.rate_rps, service_s, workers, ca2, cs2)
    queued = 2 * (ca2 + cs2) * (queue_s / (1 - load)) ** 2
    return math.sqrt((point.variance_s2 + queued) / point.count)


@dataclass(frozen=True, kw_only=True)
class Separated:
    """Service time and path apart: means (s), their errors, and cs2 of the service time."""

    service_s: float
    service_error_s: float
    path_s: float
    path_error_s: float
    cs2: float


def separate(points: Sequence[Point], workers: int, ca2: float) -> Separated | None:
    """Find service time, its cs2 and the path from mean latencies at several rates.

    Three unknowns, and as many equations or more: the mean at each rate is path + service + wait, and the
    variance at the lowest rate is that of the service time and of the wait there. Weighted least squares.
    None where the fit does not settle.
    """
    from scipy.optimize import least_squares

    first = min(points, key=lambda point: point.rate_rps)
    fastest_rps = max(point.rate_rps for point in points)
    top_s = min(first.mean_s, FULL * workers / fastest_rps)
    errors = [math.sqrt(point.variance_s2 / point.count) for point in points]
    start = np.array((math.log(top_s * 0.8), 0.0, first.mean_s * 0.1))
    found = None
    for _ in range(4):  # The errors depend on the load, the load on the fit.

        def residuals(theta: Floats, errors: Sequence[float] = tuple(errors)) -> Floats:
            return _residuals(theta, points, first, errors, workers, ca2)

        lower, upper = (-30.0, -6.0, 0.0), (math.log(top_s), 3.0, first.mean_s)
        inside = np.clip(start, np.array(lower) + 1e-9, np.array(upper) - 1e-9 * first.mean_s)
        found = least_squares(
            residuals, inside, bounds=(lower, upper), x_scale=(0.1, 0.1, 0.1 * first.mean_s)
        )
        start = found.x
        service_s, cs2 = math.exp(start[0]), math.exp(start[1])
        errors = [error_of_mean_s(point, service_s, workers, ca2, cs2) for point in points]
    information = found.jac.T @ found.jac if found is not None else np.zeros((3, 3))
    if np.linalg.matrix_rank(information) < len(start):
        return None
    covariance = np.linalg.inv(information)
    return Separated(
        service_s=math.exp(start[0]),
        service_error_s=math.exp(start[0]) * math.sqrt(covariance[0, 0] + MODEL_ERROR_RATIO**2),
        path_s=float(start[2]),
        path_error_s=math.hypot(math.sqrt(covariance[2, 2]), MODEL_ERROR_RATIO * math.exp(start[0])),
        cs2=math.exp(start[1]),
    )


def _residuals(
    theta: Floats, points: Sequence[Point], first: Point, errors_s: Sequence[float], workers: int, ca2: float
) -> Floats:
    service_s, cs2, path_s = math.exp(theta[0]), math.exp(theta[1]), float(theta[2])
    means = [
        (path_s + service_s + wait_s(point.rate_rps, service_s, workers, ca2, cs2) - point.mean_s) / error_s
        for point, error_s in zip(points, errors_s, strict=True)
    ]
    wait = wait_s(first.rate_rps, service_s, workers, ca2, cs2)
    load = min(first.rate_rps * service_s / workers, FULL)
    waits = _erlang_c(load * workers, workers)
    # A wait is 0, or exponential with the mean of those that wait (exact for M/M/c).
    variance_s2 = cs2 * service_s**2 + wait**2 * (2 / max(waits, 1e-12) - 1) * (waits > 0)
    error = first.variance_s2 * math.sqrt(_KURTOSIS / first.count)
    return np.array([*means, (variance_s2 - first.variance_s2) / error])


_KURTOSIS = 20.0
"""Variance of a squared deviation over the squared variance: 8 of an exponential law, log-normals more."""
