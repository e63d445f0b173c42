"""A pod with several workers and any service-time law: how long a request waits, and takes in all.

No exact formula is known for M/G/c. Kimura's gives the mean wait from the two known ones, M/M/c and M/D/c;
who waits at all is taken from M/M/c (Erlang's C), and how long those wait as exponential about their mean.
The time in the pod is that wait and an own service time, independent of it. Over kept connections the pods
get unequal numbers of them: the law of a request is the mixture over the load of its pod.

Modelled: Poisson arrivals at every pod, first come first served, steady state. Where these approximations
are claimed to hold: `claim`. Left out: a limited accept queue, rejection, time-outs, work that takes longer
or less, clients who wait for each other on one connection.

Sources: Kimura 1986, doi:10.1287/mnsc.32.6.751; Allen & Cunneen's and others' formulas compared: Bolch et
al., Queueing Networks and Markov Chains (2nd ed., Wiley 2006) 6.3; the exponential tail: Whitt 1993,
doi:10.1111/j.1937-5956.1993.tb00094.x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.theory import domain, queues

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POINTS = 2000
"""Points of equal probability that stand for a service-time law: a tail of 1 % is 20 of them."""

BUSIEST = 0.85
"""Utilisation up to which the quantiles are claimed."""
WIDEST_SCV = 4.0
"""Squared coefficient of variation of the service time up to which they are claimed."""
RARE_OVERLOAD = 0.01
"""Share of the requests that may meet an overloaded pod where the others are spoken of."""
_RARE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Law:
    """A service-time law.

    Parameters
    ----------
    dist, mean_s, p99_s
        As in `queues.service_scv`.
    """

    dist: str
    mean_s: float
    p99_s: float | None = None

    @cached_property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return queues.service_scv(self.dist, self.mean_s, self.p99_s)

    def quantile_s(self, quantile: float) -> float:
        """Service time that a share `quantile` of the requests does not exceed."""
        domain.require(0 < quantile < 1, "must be above 0 and below 1", field="quantile", got=quantile)
        return float(self._inverse(np.array([quantile]))[0])

    @cached_property
    def points_s(self) -> Floats:
        """Service times of equal probability, shape (POINTS,)."""
        return self._inverse((np.arange(POINTS) + 0.5) / POINTS)

    def _inverse(self, shares: Floats) -> Floats:
        match self.dist:
            case "constant":
                return np.full_like(shares, self.mean_s)
            case "uniform":
                return 2 * self.mean_s * shares
            case "exponential":
                return -self.mean_s * np.log1p(-shares)
        from scipy.special import ndtri

        sigma = queues.lognormal_sigma(self.mean_s, self.p99_s or 0.0)
        return np.asarray(self.mean_s * np.exp(sigma * ndtri(shares) - sigma**2 / 2))


@lru_cache(maxsize=1024)  # A quantile asks for the same one many times.
def mgc_wait_s(arrival_rps: float, service_s: float, scv: float, servers: int = 1) -> float:
    """Mean wait in M/G/c: (1 + scv) / (2 scv / W(M/M/c) + (1 - scv) / W(M/D/c)). Kimura 1986.

    Exact for one server, and for exponential and constant service.
    """
    domain.not_negative(scv=scv)
    exponential_s = queues.mmc_wait_s(arrival_rps, service_s, servers)
    constant_s = queues.mdc_wait_s(arrival_rps, service_s, servers)
    if min(exponential_s, constant_s) <= _RARE * service_s:  # Few wait: the difference has no digits left.
        return (1 + scv) / 2 * exponential_s
    return (1 + scv) / (2 * scv / exponential_s + (1 - scv) / constant_s)


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Pods that share a stream of requests.

    Parameters
    ----------
    law
        Of the service time.
    workers
        Requests a pod works on at a time.
    loads_rps, weights
        Arrival rate at the pod of a request, and with which chance it is that; one of them where all are
        alike.
    """

    law: Law
    workers: int
    loads_rps: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)

    def utilisation(self, load_rps: float) -> float:
        """Share of the workers' time that is taken."""
        return load_rps * self.law.mean_s / self.workers

    @property
    def is_stable(self) -> bool:
        """Whether each pod can do what it is given, but for rare ones."""
        return sum(weight for load, weight in self._parts if self.utilisation(load) >= 1) < RARE_OVERLOAD

    @cached_property
    def mean_s(self) -> float:
        """Mean time in the pod; infinite where a pod has more than it can do."""
        return sum(
            weight * (self.law.mean_s + self._wait_s(load)) for load, weight in self._parts if weight > _RARE
        )

    def later_ratio(self, time_s: float) -> float:
        """P(time in the pod > time_s)."""
        return sum(weight * self._later(time_s, load) for load, weight in self._parts)

    def quantile_s(self, quantile: float) -> float:
        """Time in the pod that a share `quantile` of the requests does not exceed; infinite in overload."""
        domain.require(0 < quantile < 1, "must be above 0 and below 1", field="quantile", got=quantile)
        overloaded = sum(weight for load, weight in self._parts if self.utilisation(load) >= 1)
        if overloaded >= 1 - quantile:
            return math.inf
        low_s, high_s = 0.0, self.law.mean_s
        while self.later_ratio(high_s) > 1 - quantile:
            low_s, high_s = high_s, 2 * high_s
        while high_s - low_s > 1e-6 * high_s:
            middle_s = (low_s + high_s) / 2
            late = self.later_ratio(middle_s) > 1 - quantile
            low_s, high_s = (middle_s, high_s) if late else (low_s, middle_s)
        return high_s

    @property
    def claim(self) -> str | None:
        """Why mean and quantiles are not claimed here; None where they are."""
        busiest = max(self.utilisation(load) for load, weight in self._parts if weight > 1 - 0.99)
        if busiest > BUSIEST:
            return f"a pod is {100 * busiest:.0f} % busy, claimed up to {100 * BUSIEST:.0f} %"
        if self.law.scv > WIDEST_SCV:
            return f"service times vary more than is claimed (scv {self.law.scv:.2g}, up to {WIDEST_SCV:g})"
        return None

    @property
    def _parts(self) -> tuple[tuple[float, float], ...]:
        return tuple(zip(self.loads_rps, self.weights, strict=True))

    def _wait_s(self, load_rps: float) -> float:
        if self.utilisation(load_rps) >= 1:
            return math.inf
        return mgc_wait_s(load_rps, self.law.mean_s, self.law.scv, self.workers) if load_rps > 0 else 0.0

    def _later(self, time_s: float, load_rps: float) -> float:
        """P(service + wait > time_s): over the points of the service-time law."""
        if self.utilisation(load_rps) >= 1:
            return 1.0
        waits = queues.erlang_c(load_rps * self.law.mean_s, self.workers) if load_rps > 0 else 0.0
        left_s = np.maximum(time_s - self.law.points_s, 0.0)
        longer = self.law.points_s > time_s
        wait_s = self._wait_s(load_rps)
        tail = waits * np.exp(-left_s * waits / wait_s) if wait_s > 0 else np.zeros(POINTS)
        return float(np.mean(np.where(longer, 1.0, tail)))


def shared_evenly(law: Law, *, workers: int, rate_rps: float, pods: int) -> Pods:
    """Give the pods of new connections: each request goes to a random one, so arrivals stay Poisson."""
    domain.count(1, workers=workers, pods=pods)
    domain.positive(rate_rps=rate_rps)
    return Pods(law=law, workers=workers, loads_rps=(rate_rps / pods,))


def shared_by_connections(law: Law, *, workers: int, rate_rps: float, pods: int, connections: int) -> Pods:
    """Give the pods of kept connections, all as busy, each on a random pod for good.

    The pod of a request holds its own connection and a binomial number of the others; as many Poisson
    streams come together there.
    """
    from scipy.special import gammaln, xlog1py, xlogy

    domain.count(1, workers=workers, pods=pods, connections=connections)
    domain.positive(rate_rps=rate_rps)
    others = np.arange(connections)
    n, p = connections - 1, 1 / pods
    logs = gammaln(n + 1) - gammaln(others + 1) - gammaln(n - others + 1)
    chances = np.exp(logs + xlogy(others, p) + xlog1py(n - others, -p))
    likely = chances > _RARE
    return Pods(
        law=law,
        workers=workers,
        loads_rps=tuple(((1 + others[likely]) * rate_rps / connections).tolist()),
        weights=tuple((chances[likely] / chances[likely].sum()).tolist()),
    )
