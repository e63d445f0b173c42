"""A log-normal law from counts or percentiles, and quantiles with their intervals.

Both kinds of data say how many latencies lie between two edges. Between fixed edges (buckets) the counts are
multinomial and the likelihood is that of grouped data (Kulldorff 1961, Estimation from grouped and partially
grouped samples). Between percentiles the edges are random and the counts fixed; the information on the law's
parameters is the same to first order (Ogawa 1951, Contributions to the theory of systematic statistics). So
one likelihood serves both, the sum of n_k log(F(b_k) - F(a_k)), and its curvature gives the errors.

The errors take requests as independent. Neighbours in a queue are not: at high load they are too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.loadtests.estimated import Z95
from nodeportsim.metrics import histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodeportsim.calibrate.loadtests.sample import Sample

    Floats = NDArray[np.float64]

Z99 = 2.3263478740408408
MISFIT_RATIO = 0.05
"""A law whose distribution function is further than this from the data's anywhere is not theirs."""
_TINY = 1e-300
_STEP = 1e-4  # Of mu and log sigma, for second differences.


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A log-normal law: mu and sigma of the logarithm of seconds, their covariance, and how it fits.

    `misfit` is the largest distance of its distribution function from the data's, at the data's edges.
    """

    mu: float
    sigma: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    misfit: float

    @property
    def mean_s(self) -> float:
        """exp(mu + sigma^2 / 2)."""
        return math.exp(self.mu + self.sigma**2 / 2)

    @property
    def variance_s2(self) -> float:
        """(exp(sigma^2) - 1) mean^2."""
        return math.expm1(self.sigma**2) * self.mean_s**2

    def quantile_s(self, z: float) -> float:
        """exp(mu + z sigma), with `z` the quantile of the standard normal law."""
        return math.exp(self.mu + z * self.sigma)

    def error_of_log(self, by_mu: float, by_sigma: float) -> float:
        """Standard error of a quantity whose logarithm has these derivatives (delta method)."""
        slope = np.array((by_mu, by_sigma))
        return math.sqrt(max(float(slope @ np.asarray(self.covariance) @ slope), 0.0))

    @property
    def fits(self) -> bool:
        """Whether the data may come from such a law."""
        return self.misfit <= MISFIT_RATIO


def groups(sample: Sample) -> tuple[Floats, Floats]:
    """Return inner edges (s), k of them, and the counts of the k + 1 groups they make.

    The first group starts at 0 and the last has no end, for a tool's extremes are no fixed edges. Neighbours
    are joined until a group holds `BEYOND` latencies; percentiles the sample cannot carry are left out.
    """
    edges: list[float] = []
    below: list[float] = []
    for share, value in sample.points:
        rank = share * sample.count
        room = sample.count - rank
        enough = rank - (below[-1] if below else 0.0) >= histogram.BEYOND and room >= histogram.BEYOND
        if enough and 0 < share < 1 and value > (edges[-1] if edges else 0.0):
            edges.append(value)
            below.append(rank)
    counts = np.diff(np.array([0.0, *below, float(sample.count)]))
    return np.array(edges), counts


def fit(sample: Sample) -> Fit | None:
    """Fit a log-normal law by maximum likelihood; None where the data have fewer than two inner edges."""
    from scipy.optimize import minimize

    edges_s, counts = groups(sample)
    if len(edges_s) < 2:  # noqa: PLR2004  Two parameters need two edges.
        return None
    logs = np.log(edges_s)
    start = _start(logs, counts)

    def cost(theta: Floats) -> float:
        return _cost(theta, logs, counts)

    found = minimize(
        cost, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 2000}
    )
    mu, log_sigma = found.x.tolist()
    sigma = math.exp(log_sigma)
    if not 1e-6 < sigma < 10:  # noqa: PLR2004  A constant, or no law of latencies.
        return None
    covariance = _covariance(np.array((mu, log_sigma)), logs, counts)
    if covariance is None:
        return None
    expected = _normal((logs - mu) / sigma)
    seen = np.cumsum(counts)[:-1] / counts.sum()
    return Fit(mu=mu, sigma=sigma, covariance=covariance, misfit=float(np.abs(expected - seen).max()))


def _start(logs: Floats, counts: Floats) -> Floats:
    """Regress the logarithms of the edges on the normal quantiles of their shares."""
    from scipy.special import ndtri

    z = ndtri(np.cumsum(counts)[:-1] / counts.sum())
    sigma, mu = np.polyfit(z, logs, 1)
    return np.array((mu, math.log(max(float(sigma), 1e-5))))


def _normal(z: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(z), dtype=np.float64)


def _cost(theta: Floats, logs: Floats, counts: Floats) -> float:
    """Minus the log-likelihood, in mu and log sigma."""
    z = (logs - theta[0]) * math.exp(-min(max(float(theta[1]), -30.0), 30.0))
    # Upper tails by symmetry, or the difference of two numbers near 1 loses all digits.
    lower, upper = np.concatenate(([-np.inf], z)), np.concatenate((z, [np.inf]))
    flip = lower > 0
    shares = _normal(np.where(flip, -lower, upper)) - _normal(np.where(flip, -upper, lower))
    return float(-(counts * np.log(np.maximum(shares, _TINY))).sum())


def _covariance(
    theta: Floats, logs: Floats, counts: Floats
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Invert the observed information; from log sigma back to sigma."""
    steps = np.eye(2) * _STEP
    curve = np.empty((2, 2))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        corners = [
            sign * _cost(theta + a * steps[i] + b * steps[j], logs, counts)
            for a, b, sign in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
        ]
        curve[i, j] = curve[j, i] = sum(corners) / (4 * _STEP**2)
    if not np.all(np.isfinite(curve)) or np.linalg.det(curve) <= 0 or curve[0, 0] <= 0:
        return None
    inverse = np.linalg.inv(curve)
    sigma = math.exp(float(theta[1]))
    scale = np.diag((1.0, sigma))
    (a, b), (_, d) = (scale @ inverse @ scale).tolist()
    return (a, b), (b, d)


def quantile_bounds_s(sample: Sample, q: float) -> tuple[float, float, float | None]:
    """Return a quantile (s) and its 95 % interval from ranks alone, without any law.

    The number of latencies below the quantile is binomial, so the order statistics of ranks
    n q -+ 1.96 sqrt(n q (1 - q)) enclose it (David and Nagaraja, Order Statistics, 7.1). They lie between
    known points of the distribution function, and those points are the bounds: no finer than the data. Where
    the upper rank lies beyond the last known point, the upper bound is None.
    """
    half = Z95 * math.sqrt(q * (1 - q) / sample.count)
    known = [(0.0, sample.min_s or 0.0), *sample.points]
    low_s = max(value for share, value in known if share <= max(q - half, 0.0))
    above = [value for share, value in known if share >= q + half]
    shares, values = zip(*known, strict=True)
    return float(np.interp(q, shares, values)), low_s, min(above) if above else None
