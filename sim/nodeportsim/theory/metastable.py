"""When retries keep a service down after the cause has gone: fixed points of the offered load.

Clients want `rate_rps`. The station sees more, L, for every failed attempt is tried again; and the larger L,
the more attempts fail. In the mean field L = rate x attempts per request (f(L)). Where the right side crosses
the diagonal three times there are two stable loads: the healthy one, and one at which the station is busy
with work whose clients have gone. A trigger that lifts the load over the unstable point between them tips
the system, and removing the trigger does not bring it back.

Modelled: attempts arrive as a Poisson stream (waits between attempts are long and spread, against the
queue's memory); an attempt fails when it is turned away or answered after the client's time-out, and the
station works on it all the same. Left out: the chance that a small system tips by itself, cancelled work,
attempts that come in waves.

Sources: Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021, doi:10.1145/3458336.3465286;
Huang et al., Metastable Failures in the Wild, OSDI 2022. The station is M/M/c/K (`queues.mmck_states`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.theory import domain, queues, retries

if TYPE_CHECKING:
    from nodeportsim.theory.queues import FloatArray

POINTS = 2000  # Of a scan; a fold narrower than 0.1 % of its range is not seen.
_NEVER = 700.0  # Service times: e^-700 is 1e-304.
_BESIDE = 1e-9  # A bracket is so much wider than what it must hold.


@dataclass(frozen=True, kw_only=True)
class Station:
    """A pod, or all pods as one: M/M/c/K whose answers are worth nothing after a time-out.

    Parameters
    ----------
    service_s
        Mean of the exponential service time.
    servers, capacity
        Workers, and workers + backlog.
    timeout_s
        The client's, from arrival to answer.
    """

    service_s: float
    servers: int
    capacity: int
    timeout_s: float = math.inf

    def __post_init__(self) -> None:
        domain.positive(service_s=self.service_s)
        domain.count(1, servers=self.servers)
        domain.count(self.servers, capacity=self.capacity)
        domain.require(self.timeout_s > 0, "must be above 0", field="timeout_s", got=self.timeout_s)

    @property
    def limit_rps(self) -> float:
        """What all servers do together."""
        return self.servers / self.service_s

    @cached_property
    def late_ratios(self) -> FloatArray:
        """P(answer after the time-out | an arrival finds n present), n = 0 .. capacity; 1 if turned away.

        Who finds a free server stays for one exponential time. Who finds j - 1 waiting needs j departures
        of rate c/s, then a service. With N Poisson of mean c t/s that is P(N < j) + S_j, where S_j = P(N = j)
        + (1 - 1/c) S_(j+1): the time-out falls into the own service.
        """
        late = np.zeros(self.capacity + 1)
        late[-1] = 1.0
        places = self.capacity - self.servers
        services = self.timeout_s / self.service_s
        if services > _NEVER + 2 * places:
            return late  # Nobody waits so long: the chance is no float.
        late[: self.servers] = math.exp(-services)
        if places:
            late[self.servers : -1] = self._late_after_waiting(places)
        return late

    def _late_after_waiting(self, places: int) -> FloatArray:
        """P(late) with j = 1 .. places departures to wait for."""
        from scipy.special import gammaln, pdtr, xlogy

        mean = self.limit_rps * self.timeout_s
        size = max(places, math.ceil(mean + 12 * math.sqrt(mean))) + 60
        j = np.arange(size + 1)
        masses = np.exp(xlogy(j, mean) - mean - gammaln(j + 1))
        served = np.zeros(size + 2)
        for k in range(size, 0, -1):
            served[k] = masses[k] + (1 - 1 / self.servers) * served[k + 1]
        late: FloatArray = np.minimum(pdtr(j[:places], mean) + served[1 : places + 1], 1.0)
        return late

    def failing_ratio(self, load_rps: float) -> float:
        """Share of attempts that are turned away or answered too late, at this load."""
        states = queues.mmck_states(load_rps, self.service_s, self.servers, self.capacity)
        return min(float(states @ self.late_ratios), 1.0)


@dataclass(frozen=True, kw_only=True)
class FixedPoints:
    """Loads that sustain themselves, in requests/s, lowest first.

    `thresholds` are the unstable ones: pushed above one, the load runs on to the next stable point.
    """

    stable: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RetryLoop:
    """A station and clients that try again.

    Parameters
    ----------
    attempts
        At most, of a request.
    budget_ratio
        Retries are at most this share of the requests; infinite: no budget.
    """

    station: Station
    attempts: int
    budget_ratio: float = math.inf

    def __post_init__(self) -> None:
        domain.count(1, attempts=self.attempts)
        domain.require(
            self.budget_ratio >= 0, "must be at least 0", field="budget_ratio", got=self.budget_ratio
        )

    def load_factor(self, load_rps: float) -> float:
        """Attempts per request while the station sees this load."""
        factor = retries.load_factor(self.station.failing_ratio(load_rps), self.attempts)
        return min(factor, 1 + self.budget_ratio)

    def sustained_rps(self, load_rps: float) -> float:
        """Rate of requests that keeps the load where it is, L / attempts(L).

        A load is a fixed point of exactly this rate, and a stable one where the curve rises: there a bit
        more load brings fewer attempts than it would take to stay.
        """
        return load_rps / self.load_factor(load_rps)

    def fixed_points(self, rate_rps: float) -> FixedPoints:
        """Loads that sustain themselves while clients want `rate_rps`."""
        from scipy.optimize import brentq

        domain.positive(rate_rps=rate_rps)
        loads = self._scan(rate_rps * (1 - _BESIDE), rate_rps * self._most * (1 + _BESIDE))
        over = np.array([self.sustained_rps(load) for load in loads]) - rate_rps
        stable: list[float] = []
        thresholds: list[float] = []
        for i in np.flatnonzero((over[:-1] < 0) != (over[1:] < 0)):
            root = brentq(
                lambda load: self.sustained_rps(load) - rate_rps, loads[i], loads[i + 1], rtol=1e-12
            )
            (stable if over[i] < 0 else thresholds).append(float(root))
        return FixedPoints(stable=tuple(stable), thresholds=tuple(thresholds))

    def vulnerable_rps(self) -> tuple[float, float] | None:
        """Rates of requests between which two loads are stable; None where there are none.

        Below, the system comes back by itself; above, it has no healthy state. The curve `sustained_rps`
        rises to the upper one, falls to the lower one, and rises again.
        """
        from scipy.optimize import minimize_scalar

        loads = self._scan(self.station.limit_rps / POINTS, 4 * self._most * self.station.limit_rps)
        rates = np.array([self.sustained_rps(load) for load in loads])
        falls = np.flatnonzero(np.diff(rates) < 0)
        if not falls.size:
            return None
        ends: list[float] = []
        for i, sign in ((falls[0], -1.0), (falls[-1] + 1, 1.0)):
            around: Any = (loads[max(i - 1, 0)], loads[min(i + 1, len(loads) - 1)])
            found = minimize_scalar(lambda load, s=sign: s * self.sustained_rps(load), bounds=around)
            ends.append(sign * float(found.fun))
        return ends[1], ends[0]

    @property
    def _most(self) -> float:
        """Attempts per request where everything fails."""
        return min(float(self.attempts), 1 + self.budget_ratio)

    def _scan(self, low_rps: float, high_rps: float) -> FloatArray:
        loads: FloatArray = np.geomspace(low_rps, high_rps, POINTS)
        return loads
