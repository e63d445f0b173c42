"""Mean waits, to tell service time from queueing by two rates or more.

The wait of GI/G/c is taken as M/M/c's, times (ca2 + cs2) / 2 (Allen and Cunneen), times the factor of
Kraemer and Langenbach-Belz (1976) for arrivals more regular than Poisson's. It is exact for M/G/1 and M/M/c.
ca2 and cs2 are squared coefficients of variation. A tool that sends at a constant rate has ca2 = 0; a random
split over p pods leaves each 1 - 1/p (Whitt 1983, The Queueing Network Analyzer). Such thinned arrivals
stand on a lattice, which two moments do not know: that is the larger part of the model's error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MODEL_ERROR_RATIO = 0.15
"""The wait is this share of a service time off at most, for constant arrivals split over pods (a test)."""
SERVICE_ERROR_RATIO = 0.05
"""What of it stays in a service time: it is nearly the same at all loads, so differences lose most of it."""
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


def latency_variance_s2(rate_rps: float, service_s: float, workers: int, ca2: float, cs2: float) -> float:
    """Return the variance (s^2) of wait + service, exact for M/G/1 with a log-normal service time.

    The second moment of its wait is 2 wait^2 + rate E[S^3] / (3 (1 - load)) (Takacs), and E[S^3] is
    s^3 (1 + cs2)^3.
    """
    wait = wait_s(rate_rps, service_s, workers, ca2, cs2)
    return cs2 * service_s**2 + wait**2 + wait * service_s * (1 + cs2) ** 2 * (2 / 3) / workers


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
    first = min(points, key=lambda point: point.rate_rps)
    top_s = min(first.mean_s, FULL * workers / max(point.rate_rps for point in points))
    start = np.array((math.log(top_s * 0.8), 0.0, first.mean_s * 0.1))
    found = _least_squares(start, top_s, points, first, workers, ca2)
    for _ in range(3):  # The errors depend on the load, the load on the fit.
        found = _least_squares(found.x, top_s, points, first, workers, ca2)
    theta = found.x
    information = found.jac.T @ found.jac
    if not np.all(np.isfinite(information)) or np.linalg.matrix_rank(information) < len(theta):
        return None
    variances = np.maximum(np.diag(np.linalg.inv(information)), 0.0)
    service_s = math.exp(theta[0])
    return Separated(
        service_s=service_s,
        service_error_s=service_s * math.hypot(math.sqrt(variances[0]), SERVICE_ERROR_RATIO),
        path_s=float(theta[2]),
        path_error_s=math.hypot(math.sqrt(variances[2]), MODEL_ERROR_RATIO * service_s),
        cs2=math.exp(theta[1]),
    )


def _least_squares(
    start: Floats, top_s: float, points: Sequence[Point], first: Point, workers: int, ca2: float
) -> Any:
    """Fit log service time, log cs2 and path, with the errors that belong to where it starts."""
    from scipy.optimize import least_squares

    errors = _errors(start, points, first, workers, ca2)
    lower, upper = (-30.0, -6.0, 0.0), (math.log(top_s), 3.0, first.mean_s)
    inside = np.clip(start, np.array(lower) + 1e-9, np.array(upper) - 1e-9 * first.mean_s)
    return least_squares(
        lambda theta: _misses(theta, points, first, workers, ca2) / errors,
        inside,
        bounds=(lower, upper),
        x_scale=(0.1, 0.1, 0.1 * first.mean_s),
    )


def _errors(theta: Floats, points: Sequence[Point], first: Point, workers: int, ca2: float) -> Floats:
    """Standard errors of the means (s), then of the lowest rate's variance (s^2)."""
    service_s, cs2 = math.exp(theta[0]), math.exp(theta[1])
    means = [error_of_mean_s(point, service_s, workers, ca2, cs2) for point in points]
    w = 1 + cs2  # exp(sigma^2) of a log-normal law, whose fourth moment is that of this polynomial.
    fourth = w**4 + 2 * w**3 + 3 * w**2 - 4
    return np.array([*means, first.variance_s2 * math.sqrt(fourth / first.count)])


def _misses(theta: Floats, points: Sequence[Point], first: Point, workers: int, ca2: float) -> Floats:
    """Model less data: mean latencies (s), then the variance at the lowest rate (s^2)."""
    service_s, cs2, path_s = math.exp(theta[0]), math.exp(theta[1]), float(theta[2])
    waits = [wait_s(point.rate_rps, service_s, workers, ca2, cs2) for point in points]
    means = [path_s + service_s + wait - point.mean_s for wait, point in zip(waits, points, strict=True)]
    spread_s2 = latency_variance_s2(first.rate_rps, service_s, workers, ca2, cs2)
    return np.array([*means, spread_s2 - first.variance_s2])
