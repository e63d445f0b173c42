"""Stations in steady state: how long a request waits, and how many are turned away.

A pod's workers are the servers, its backlog the waiting room; a node's cores are queues of their own.
Modelled: Poisson arrivals (or a closed group of clients), independent service times, first come first
served. Left out: start-up, bursts, correlation between connections, anything after a change.

Throughout, the offered load in erlangs is ``arrival_rps * service_s`` and the utilisation
``rho = offered / servers``; a station without a limit is stable only for rho < 1.

Sources: Kleinrock, Queueing Systems I (Wiley 1975); Gross & Harris, Fundamentals of Queueing Theory
(3rd ed., Wiley 1998); Erlang, Elektroteknikeren 13 (1917) 5-13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodeportsim.theory import domain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FloatArray = npt.NDArray[np.float64]


def little_count(rate_rps: float, time_s: float) -> float:
    """Mean number present, L = lambda W: holds for any system in steady state (doi:10.1287/opre.9.3.383)."""
    domain.not_negative(rate_rps=rate_rps, time_s=time_s)
    return rate_rps * time_s


def _offered(arrival_rps: float, service_s: float, servers: int) -> float:
    """Offered load in erlangs of a station without a limit; refused where its queue grows for ever."""
    domain.positive(arrival_rps=arrival_rps, service_s=service_s)
    domain.count(1, servers=servers)
    offered = arrival_rps * service_s
    domain.require(
        offered < servers, "must be below servers / service_s", field="arrival_rps", got=arrival_rps
    )
    return offered


# Many servers: M/M/c, M/D/c.


def erlang_b(offered_erlangs: float, servers: int) -> float:
    """Share of arrivals lost by M/G/c/c, a station without a waiting room.

    The recursion B(c) = a B(c-1) / (c + a B(c-1)) has no factorials to overflow. It holds for every
    service-time law of the same mean. Erlang (1917); Gross & Harris 2.5.
    """
    domain.positive(offered_erlangs=offered_erlangs)
    domain.count(0, servers=servers)
    loss = 1.0
    for c in range(1, servers + 1):
        loss = offered_erlangs * loss / (c + offered_erlangs * loss)
    return loss


def erlang_c(offered_erlangs: float, servers: int) -> float:
    """Share of arrivals that wait in M/M/c. Erlang (1917); Gross & Harris 2.3."""
    domain.positive(offered_erlangs=offered_erlangs)
    domain.require(
        offered_erlangs < servers, "must be below servers", field="offered_erlangs", got=offered_erlangs
    )
    loss = erlang_b(offered_erlangs, servers)
    return loss / (1 - (1 - loss) * offered_erlangs / servers)


def mmc_wait_s(arrival_rps: float, service_s: float, servers: int = 1) -> float:
    """Mean wait in M/M/c, without service: C / (c mu - lambda). Gross & Harris 2.3."""
    offered = _offered(arrival_rps, service_s, servers)
    return erlang_c(offered, servers) * service_s / (servers - offered)


def mmc_response_cdf(time_s: float, arrival_rps: float, service_s: float, servers: int = 1) -> float:
    """P(wait + service <= time) in M/M/c, first come first served. Gross & Harris 2.3.

    A request waits with chance C (Erlang's), then for an exponential time of rate c mu - lambda,
    independent of its service; without a wait it is served at once.
    """
    domain.not_negative(time_s=time_s)
    offered = _offered(arrival_rps, service_s, servers)
    serve, drain = 1 / service_s, (servers - offered) / service_s
    gap = abs(drain - serve)
    spread = -math.expm1(-gap * time_s) / gap if gap > 0 else time_s
    waited = drain * math.exp(-min(serve, drain) * time_s) * spread
    return 1 - math.exp(-serve * time_s) - erlang_c(offered, servers) * (serve / drain) * waited


def mmc_response_quantile_s(quantile: float, arrival_rps: float, service_s: float, servers: int = 1) -> float:
    """Response time that a share `quantile` of the requests to M/M/c does not exceed."""
    return _quantile_s(quantile, service_s, lambda t: mmc_response_cdf(t, arrival_rps, service_s, servers))


def mdc_wait_s(arrival_rps: float, service_s: float, servers: int = 1) -> float:
    """Mean wait in M/D/c, exact.

    The number waiting, seen every `service_s`, obeys Q' = (Q + A - c)^+ with A Poisson of mean a. With z_k
    the c - 1 roots of z^c = exp(a (z - 1)) inside the unit circle, E Q = sum 1/(1 - z_k) - (c (c - 1) -
    a^2) / (2 (c - a)), and Little's law gives the wait. Crommelin, P.O. Electr. Engr. J. 25 (1932) 41-50.
    Cancellation leaves an absolute error of E Q of some 1e-15 c^2.
    """
    offered = _offered(arrival_rps, service_s, servers)
    turns = np.exp(2j * np.pi * np.arange(1, servers) / servers)
    roots = np.zeros(servers - 1, dtype=complex)
    for _ in range(math.ceil(40 / -math.log(offered / servers)) + 1):  # A contraction by rho at each step.
        roots = turns * np.exp(offered / servers * (roots - 1))
    waiting = float(np.sum(1 / (1 - roots)).real)
    waiting -= (servers * (servers - 1) - offered**2) / (2 * (servers - offered))
    return max(waiting, 0.0) / arrival_rps


# One server, any service-time law: M/G/1, M/D/1.


def lognormal_sigma(mean_s: float, p99_s: float) -> float:
    """Spread of the log-normal law with this mean and 99th percentile (the smaller of two solutions).

    From p99 / mean = exp(z sigma - sigma^2 / 2) with z = 2.326; p99 is at most exp(z^2 / 2) = 14.97 means.
    """
    domain.positive(mean_s=mean_s, p99_s=p99_s)
    z = NormalDist().inv_cdf(0.99)
    inside = z * z - 2 * math.log(p99_s / mean_s)
    domain.require(
        0 <= inside < z * z, "must be above mean_s, at most 14.97 mean_s", field="p99_s", got=p99_s
    )
    return z - math.sqrt(inside)


def service_scv(dist: str, mean_s: float = 1.0, p99_s: float | None = None) -> float:
    """Squared coefficient of variation of a service-time law, variance / mean^2.

    Parameters
    ----------
    dist
        ``constant``, ``exponential``, ``uniform`` (from 0 to twice the mean) or ``lognormal``.
    mean_s, p99_s
        Fix the spread of ``lognormal``; the others need neither.
    """
    fixed = {"constant": 0.0, "exponential": 1.0, "uniform": 1 / 3}
    if dist in fixed:
        return fixed[dist]
    domain.require(dist == "lognormal", f"must be lognormal, {', '.join(fixed)}", field="dist", got=dist)
    domain.require(p99_s is not None, "is needed for lognormal", field="p99_s", got=None)
    return math.expm1(lognormal_sigma(mean_s, p99_s or 0.0) ** 2)


def mg1_wait_s(arrival_rps: float, service_s: float, scv: float) -> float:
    """Mean wait in M/G/1: rho / (1 - rho) * (1 + scv) / 2 * service. Pollaczek-Khinchine; Kleinrock 5.6.

    Parameters
    ----------
    scv
        `service_scv` of the law: 0 gives M/D/1, 1 gives M/M/1.
    """
    rho = _offered(arrival_rps, service_s, 1)
    domain.not_negative(scv=scv)
    return rho / (1 - rho) * (1 + scv) / 2 * service_s


def md1_wait_cdf(time_s: float, arrival_rps: float, service_s: float) -> float:
    """P(wait <= time) in M/D/1.

    Erlang's series of 1909 alternates in sign and loses every digit at some ten service times. Franx's
    form (doi:10.1016/S0167-6377(01)00108-0) adds positive terms only: with k = floor(t / D) + 1,
    P(W <= t) = sum over j < k of P(at most k - 1 - j wait) Poisson(j; lambda (k D - t)).
    """
    domain.not_negative(time_s=time_s)
    rho = _offered(arrival_rps, service_s, 1)
    k = math.floor(time_s / service_s) + 1
    at_most = np.cumsum(_md1_states(rho, k + 1))[1:]  # At most n wait if at most n + 1 are present.
    arrived = _poisson(max(arrival_rps * (k * service_s - time_s), 0.0), k)
    return min(float(arrived @ at_most[::-1]), 1.0)


def md1_response_quantile_s(quantile: float, arrival_rps: float, service_s: float) -> float:
    """Response time (wait and service) that a share `quantile` of the requests to M/D/1 does not exceed."""
    if quantile <= 1 - _offered(arrival_rps, service_s, 1):
        domain.require(quantile >= 0, "must be from 0 to below 1", field="quantile", got=quantile)
        return service_s  # That share does not wait at all.
    return service_s + _quantile_s(quantile, service_s, lambda t: md1_wait_cdf(t, arrival_rps, service_s))


def _md1_states(rho: float, size: int) -> FloatArray:
    """P(n present), n < size, by flows across the cut below n: up from each lower state, down only from n.

    p_n a_0 = p_0 P(A >= n) + sum over 0 < i < n of p_i P(A > n - i), A Poisson of mean rho; no minus sign.
    """
    from scipy.special import gammainc

    more_than = gammainc(np.arange(1, size + 1), rho)  # P(A > m), m = 0 .. size - 1.
    states = np.zeros(size)
    states[0] = 1 - rho
    for n in range(1, size):
        up = states[0] * more_than[n - 1] + states[1:n] @ more_than[n - 1 : 0 : -1]
        states[n] = up * math.exp(rho)
    return states


def _poisson(mean: float, size: int) -> FloatArray:
    """P(j events), j < size."""
    from scipy.special import gammaln, xlogy

    j = np.arange(size)
    masses: FloatArray = np.exp(xlogy(j, mean) - mean - gammaln(j + 1))
    return masses


def _quantile_s(quantile: float, scale_s: float, cdf: Callable[[float], float]) -> float:
    """Invert a distribution function by bisection, to 1e-12 of the answer."""
    domain.require(0 <= quantile < 1, "must be from 0 to below 1", field="quantile", got=quantile)
    low, high = 0.0, scale_s
    while cdf(high) < quantile:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if cdf(middle) >= quantile else (middle, high)
    return high


# Limited rooms and closed groups: birth and death.


def _birth_death(births: Sequence[float] | FloatArray, deaths: Sequence[float] | FloatArray) -> FloatArray:
    """Stationary law of states 0 .. n: p_k / p_(k-1) = births[k-1] / deaths[k-1], without overflow."""
    steps: Any = np.log(np.asarray(births, dtype=float)) - np.log(np.asarray(deaths, dtype=float))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())
    states: FloatArray = weights / weights.sum()
    return states


def mmck_states(arrival_rps: float, service_s: float, servers: int, capacity: int) -> FloatArray:
    """P(n present), n = 0 .. capacity, of M/M/c/K; stable at any load. Gross & Harris 2.4.

    Parameters
    ----------
    capacity
        Most requests present, those in service included: a pod's ``workers + backlog``.
        The last state is the share of arrivals turned away (arrivals see time averages).
    """
    domain.positive(arrival_rps=arrival_rps, service_s=service_s)
    domain.count(1, servers=servers)
    domain.count(servers, capacity=capacity)
    busy = np.minimum(np.arange(1, capacity + 1), servers)
    return _birth_death(np.full(capacity, arrival_rps), busy / service_s)


def mmck_response_s(arrival_rps: float, service_s: float, servers: int, capacity: int) -> float:
    """Mean response of the accepted requests, by Little's law over their rate lambda (1 - loss)."""
    states = mmck_states(arrival_rps, service_s, servers, capacity)
    return float(np.arange(capacity + 1) @ states) / (arrival_rps * (1 - float(states[-1])))


@dataclass(frozen=True, kw_only=True)
class Closed:
    """What a closed group of clients sees: its throughput and its mean response time."""

    throughput_rps: float
    response_s: float


def closed(clients: int, think_s: float, service_s: float, servers: int = 1) -> Closed:
    """Machine repair: `clients` think, then wait for one of `servers`, for ever.

    Exponential service; any think-time law of this mean (the thinkers are a delay station). Kleinrock 3.8.
    The response obeys the interactive law R = N / X - Z (Denning & Buzen, doi:10.1145/356733.356735).
    """
    domain.count(1, clients=clients, servers=servers)
    domain.not_negative(think_s=think_s)
    domain.positive(service_s=service_s)
    present = np.arange(1, clients + 1)
    busy = np.minimum(present, servers)
    if think_s == 0:  # Nobody ever thinks: all are present.
        throughput_rps = min(clients, servers) / service_s
        return Closed(throughput_rps=throughput_rps, response_s=clients / throughput_rps)
    states = _birth_death((clients - present + 1) / think_s, busy / service_s)
    throughput_rps = float(busy @ states[1:]) / service_s
    return Closed(throughput_rps=throughput_rps, response_s=float(present @ states[1:]) / throughput_rps)
