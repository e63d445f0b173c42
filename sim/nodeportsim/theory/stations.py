"""A pod with several workers and any service-time law: how long a request waits, and takes in all.

No exact formula is known for M/G/c. Kimura's gives the mean wait from the two known ones, M/M/c and M/D/c;
who waits at all is taken from M/M/c (Erlang's C). How long those wait has the shape it has at one server: a
geometric sum of residual service times (Pollaczek-Khinchine), stretched to the mean. The time in the pod is
that wait and an own service time, independent of it. Exact for one server, and for exponential service.

Over kept connections the pods get unequal numbers of them: the law of a request is the mixture over the load
of its pod. There a request also waits for its own connection, one at a time: a queue M/G/1 whose service is
all of the above and the way there and back.

Modelled: Poisson arrivals at every pod, first come first served, steady state. Where this is claimed to hold:
`Pods.claim`. Left out: a limited accept queue, rejection, time-outs, work that takes longer or less, that a
client who waits sends no further requests to its pod.

Sources: Kimura 1986, doi:10.1287/mnsc.32.6.751; Bolch et al., Queueing Networks and Markov Chains (2nd ed.,
Wiley 2006) 6.3, which compares such formulas; the geometric sum: Kleinrock, Queueing Systems I (Wiley 1975)
5.7; waits of M/G/c shaped like those of M/G/1: Whitt 1993, doi:10.1111/j.1937-5956.1993.tb00094.x.
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
    Transform = NDArray[np.complex128]

GRID = 2**14
"""Points of the lattice on which laws of times stand."""

BUSIEST = 0.85
"""Utilisation of a pod up to which the latencies are claimed."""
BUSIEST_CONNECTION = 0.3
"""... and of a kept connection."""
MOST_WAITING = 0.02
"""Share of its time that a kept connection may wait: meanwhile it sends nothing."""
WIDEST_SCV = 4.0
"""Squared coefficient of variation of the service time up to which they are claimed."""
RARE_OVERLOAD = 0.01
"""Share of the requests that may meet an overloaded pod where the others are spoken of."""
RARE_LOAD = 0.001
"""Share of the requests whose pod may be busier than that, or overloaded, and is then not looked at."""
MOST_LOADS = 64
"""Different loads of pods that are told apart; more of them are taken together, at their mean."""
SPAN_SERVICES, SPAN_WAITS = 3.0, 16.0
"""The lattice reaches so many of the longest services and mean waits."""
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

    def later(self, times_s: Floats) -> Floats:
        """P(service time > t) at each of these times."""
        match self.dist:
            case "constant":
                return (times_s < self.mean_s).astype(np.float64)
            case "uniform":
                return np.clip(1 - times_s / (2 * self.mean_s), 0.0, 1.0)
            case "exponential":
                return np.exp(-np.maximum(times_s, 0.0) / self.mean_s)
        from scipy.special import ndtr

        sigma = queues.lognormal_sigma(self.mean_s, self.p99_s or 0.0)
        logs = np.log(np.maximum(times_s, 1e-300) / self.mean_s)
        return np.asarray(ndtr(-(logs + sigma**2 / 2) / sigma))

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
    """Pods that share a stream of requests, and the way to them.

    Parameters
    ----------
    law
        Of the service time.
    workers
        Requests a pod works on at a time.
    loads_rps, weights
        Arrival rate at the pod of a request, and with which chance it is that; one of them where all are
        alike.
    path_s
        Time of a request outside the pod.
    connection_rps
        Requests of one kept connection, that go one at a time; 0: each has a connection of its own.
    """

    law: Law
    workers: int
    loads_rps: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)
    path_s: float = 0.0
    connection_rps: float = 0.0

    def utilisation(self, load_rps: float) -> float:
        """Share of the workers' time that is taken."""
        return load_rps * self.law.mean_s / self.workers

    @property
    def is_stable(self) -> bool:
        """Whether each pod, and each connection, can do what it is given, but for rare ones."""
        return math.isfinite(self.quantile_s(1 - RARE_OVERLOAD))

    @cached_property
    def claim(self) -> str | None:
        """Why mean and quantiles are not claimed here; None where they are."""
        beyond = sum(weight for load, weight in self._parts if self.utilisation(load) > BUSIEST)
        if beyond > RARE_LOAD:
            busiest = 100 * max(self.utilisation(load) for load in self.loads_rps)
            return f"a pod is {busiest:.0f} % busy, claimed up to {100 * BUSIEST:.0f} %"
        if self.law.scv > WIDEST_SCV:
            return f"service times vary more than is claimed (scv {self.law.scv:.2g}, up to {WIDEST_SCV:g})"
        kept = self.connection_rps * (self.path_s + self.law.mean_s)
        if kept > BUSIEST_CONNECTION:
            most = f"claimed up to {100 * BUSIEST_CONNECTION:.0f} %"
            return f"a connection is {100 * kept:.0f} % busy, {most}"
        queued = self.connection_rps * self.mean_s - kept
        return "clients who wait send no more" if queued > MOST_WAITING else None

    @cached_property
    def mean_s(self) -> float:
        """Mean latency; infinite where a pod or a connection has more than it can do, but for rare ones."""
        step_s, masses, overloaded = self._law
        if overloaded > RARE_LOAD:
            return math.inf
        return self.path_s + step_s * float(masses @ np.arange(GRID)) / (1 - overloaded)

    def quantile_s(self, quantile: float) -> float:
        """Latency that a share `quantile` of the requests does not exceed; infinite in overload."""
        domain.require(0 < quantile < 1, "must be above 0 and below 1", field="quantile", got=quantile)
        step_s, masses, overloaded = self._law
        if overloaded >= 1 - quantile:
            return math.inf
        within = np.cumsum(masses)
        place = min(int(np.searchsorted(within, quantile)), GRID - 1)
        over = (within[place] - quantile) / max(float(masses[place]), 1e-300)
        return self.path_s + step_s * (place + 0.5 - float(np.clip(over, 0.0, 1.0)))

    @property
    def _parts(self) -> tuple[tuple[float, float], ...]:
        return tuple(zip(self.loads_rps, self.weights, strict=True))

    @cached_property
    def _law(self) -> tuple[float, Floats, float]:
        """Law of a latency less the path: step of the lattice, masses on it, share in overload."""
        busy = [self.utilisation(load) for load in self.loads_rps]
        able = [load for load, weight in self._parts if self.utilisation(load) < 1 and weight > RARE_LOAD]
        longest_s = max((self._wait_s(load)[1] for load in able), default=0.0)
        step_s = (SPAN_SERVICES * self.law.quantile_s(0.9999) + SPAN_WAITS * longest_s) / GRID
        masses, overloaded = np.zeros(GRID), 0.0
        for (load, weight), u in zip(self._parts, busy, strict=True):
            own = self._of(load, step_s) if u < 1 else None
            if own is None:
                overloaded += weight
            else:
                masses += weight * own
        return step_s, masses, overloaded

    def _of(self, load_rps: float, step_s: float) -> Floats | None:
        """Masses at one load; None where the connection cannot carry its requests."""
        edges_s = step_s * (np.arange(GRID + 1) - 0.5)
        later = self.law.later(np.maximum(edges_s, 0.0))
        later[0] = 1.0
        masses = later[:-1] - later[1:]
        waits, mean_s = self._wait_s(load_rps)
        if waits > 0:
            utilisation = self.utilisation(load_rps)
            # The mean of the residual service times whose geometric sum has this mean.
            stretch = mean_s * (1 - utilisation) / (self.law.mean_s * (1 + self.law.scv) / 2)
            residual = self.law.later(np.arange(GRID, dtype=np.float64) * (step_s / stretch))
            masses = _joined(masses, waits, _geometric(residual, utilisation))
        if self.connection_rps == 0:
            return masses
        return self._after_connection(masses, step_s)

    def _after_connection(self, masses: Floats, step_s: float) -> Floats | None:
        """Add the wait for the connection, whose service is path and pod together."""
        whole_s = self.path_s + step_s * float(masses @ np.arange(GRID))
        busy = self.connection_rps * whole_s
        if busy >= 1:
            return None
        shift = round(self.path_s / step_s)
        later = 1 - np.cumsum(masses)
        shifted = np.concatenate([np.ones(shift), later])[:GRID]
        return _joined(masses, busy, _geometric(np.maximum(shifted, 0.0), busy))

    def _wait_s(self, load_rps: float) -> tuple[float, float]:
        """Share of the requests that wait for a worker, and how long those do."""
        if load_rps <= 0:
            return 0.0, 0.0
        waits = queues.erlang_c(load_rps * self.law.mean_s, self.workers)
        mean_s = mgc_wait_s(load_rps, self.law.mean_s, self.law.scv, self.workers)
        return (waits, mean_s / waits) if waits > _RARE and mean_s > 0 else (0.0, 0.0)


def _geometric(later: Floats, ratio: float) -> Transform:
    """Transform of a geometric sum of times: k of them with chance (1 - ratio) ratio^(k - 1).

    Parameters
    ----------
    later
        Proportional to the density of one of them, on the lattice.
    """
    weights = later.copy()
    weights[0] /= 2  # Half a cell: times are not negative.
    one = np.fft.rfft(weights / weights.sum(), 2 * GRID)
    return np.asarray((1 - ratio) * one / (1 - ratio * one))


def _joined(masses: Floats, share: float, wait: Transform) -> Floats:
    """Add an independent wait, given by its transform, to a share of the times."""
    both = np.fft.irfft(np.fft.rfft(masses, 2 * GRID) * (1 - share + share * wait), 2 * GRID)
    return np.maximum(both[:GRID], 0.0)


def shared_by_connections(
    law: Law, *, workers: int, rate_rps: float, pods: int, connections: int, path_s: float = 0.0
) -> Pods:
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
    likely = np.flatnonzero(chances > _RARE)
    alike = np.array_split(likely, min(MOST_LOADS, len(likely)))
    weights = np.array([chances[part].sum() for part in alike])
    held = np.array([(1 + others[part]) @ chances[part] for part in alike]) / weights
    return Pods(
        law=law,
        workers=workers,
        loads_rps=tuple((held * rate_rps / connections).tolist()),
        weights=tuple((weights / weights.sum()).tolist()),
        path_s=path_s,
        connection_rps=rate_rps / connections,
    )
