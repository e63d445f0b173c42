"""What retries and hedges buy, and what they cost in load.

A retry is a new connection and a new choice of the endpoint (iptables, nftables), so attempts are independent
while the cluster stays as it is. Modelled: that independence; budgets as a bound; a hedge as a second,
independent attempt after a delay. Left out: what the extra load does to the failing share (`metastable`
closes that loop), correlated failures, cancelled work.

Sources: Beyer et al., Site Reliability Engineering (O'Reilly 2016), ch. 21 (retry budgets) and 22 (retries
on several layers); Dean & Barroso, The Tail at Scale, doi:10.1145/2408776.2408794 (fan-out, hedges).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.theory import domain

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_DIGITS = 300  # Of attempts^layers: it must be a float.


def success_ratio(failing_ratio: float, attempts: int) -> float:
    """P(one of up to `attempts` attempts succeeds), 1 - p^n.

    >>> round(success_ratio(0.35, 3), 6)
    0.957125
    """
    domain.ratio(failing_ratio=failing_ratio)
    domain.count(1, attempts=attempts)
    return 1 - failing_ratio**attempts


def load_factor(failing_ratio: float, attempts: int) -> float:
    """Mean attempts per request, (1 - p^n) / (1 - p): what the servers see over what users want.

    The sum 1 + p + ... + p^(n-1), which has no division to fail where everything does.

    >>> round(load_factor(0.35, 3), 4)
    1.4725
    """
    domain.ratio(failing_ratio=failing_ratio)
    domain.count(1, attempts=attempts)
    if failing_ratio == 1:
        return float(attempts)
    return (1 - failing_ratio**attempts) / (1 - failing_ratio)


def budgeted_load_factor(failing_ratio: float, attempts: int, budget_ratio: float) -> float:
    """Mean attempts per request where retries are at most `budget_ratio` of the requests.

    The smaller of what failures ask for and of the bound 1 + ratio. It is the bound of many requests; a
    token bucket lets its size more through at once.
    """
    domain.not_negative(budget_ratio=budget_ratio)
    return min(load_factor(failing_ratio, attempts), 1 + budget_ratio)


def layered_load_factor(failing_ratio: float, attempts: int, layers: int) -> float:
    """Mean attempts at the lowest of `layers` layers, each of which tries up to `attempts` times.

    A layer fails where all its attempts do, so the next one up sees p^n in place of p. The product of the
    layers' factors telescopes to that of one layer with n^layers attempts: where nothing works, n^layers
    (64 for 4 attempts on 3 layers).
    """
    domain.count(1, attempts=attempts, layers=layers)
    small = layers * math.log10(attempts) < MOST_DIGITS
    domain.require(small, f"must keep attempts^layers below 1e{MOST_DIGITS}", field="layers", got=layers)
    return load_factor(failing_ratio, attempts**layers)


def fan_out_slow_ratio(slow_ratio: float, leaves: int) -> float:
    """P(a request that waits for all of `leaves` servers meets a slow one), 1 - (1 - q)^k.

    >>> round(fan_out_slow_ratio(0.01, 100), 3)
    0.634
    """
    domain.ratio(slow_ratio=slow_ratio)
    domain.count(0, leaves=leaves)
    return 1 - (1 - slow_ratio) ** leaves


def hedged_survival(survival: Callable[[float], float], time_s: float, delay_s: float) -> float:
    """P(latency > t) where a second attempt starts after `delay_s` and the first answer counts.

    S(t) before the delay, S(t) S(t - d) from then on. The share of requests that send a hedge, and so the
    extra load, is S(d).

    Parameters
    ----------
    survival
        S(t), the law of one attempt: P(latency > t).
    """
    domain.not_negative(time_s=time_s, delay_s=delay_s)
    alone = survival(time_s)
    return alone if time_s < delay_s else alone * survival(time_s - delay_s)


def hedged_exponential_mean_s(mean_s: float, delay_s: float) -> float:
    """Mean latency of hedged exponential attempts, m (1 - e^(-d/m) / 2).

    The integral of `hedged_survival`. A delay of 0 halves the mean at twice the load; the hedged share is
    e^(-d/m).
    """
    domain.positive(mean_s=mean_s)
    domain.not_negative(delay_s=delay_s)
    return mean_s * (1 - math.exp(-delay_s / mean_s) / 2)


def hedged_two_point(fast_s: float, slow_s: float, slow_ratio: float, delay_s: float) -> dict[float, float]:
    """Law of the latency where an attempt takes `fast_s` or, with chance `slow_ratio`, `slow_s`.

    A slow first attempt is rescued by a fast second one at d + fast, if that comes before `slow_s`; both are
    slow with chance q^2, and then the first one answers first. A delay below `fast_s` hedges every request.

    Returns
    -------
    dict
        Probability by latency in s.
    """
    domain.positive(fast_s=fast_s, slow_s=slow_s)
    domain.not_negative(delay_s=delay_s)
    domain.ratio(slow_ratio=slow_ratio)
    domain.require(slow_s >= fast_s, "must be at least fast_s", field="slow_s", got=slow_s)
    law = {fast_s: 1 - slow_ratio}
    rescued_s = min(delay_s + fast_s, slow_s)
    for at_s, chance in ((rescued_s, slow_ratio * (1 - slow_ratio)), (slow_s, slow_ratio**2)):
        law[at_s] = law.get(at_s, 0.0) + chance
    return law
