"""The highest load a cluster carries within its limits: expected in closed form, then decided by simulation.

All clients' rates are scaled together, in steps of `STEP`; under common random numbers the requests stay
the same and come closer together, so what keeps to its limits at one rate does at lower ones. The answer is
a rate at which a trial (`nodeportsim.study.trial`) keeps to the limits, and fails at the next step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.study.search import smallest
from nodeportsim.study.slo import QUANTILES

if TYPE_CHECKING:
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.trial import Bench, State

STEP = 1.02
LOWEST = 0.001
"""Share of the scenario's own rate below which nothing is tried."""
ROOM = 1.5
"""How far beyond the first limit in closed form is looked."""


@dataclass(frozen=True, kw_only=True)
class Highest:
    """What was found.

    Parameters
    ----------
    expected_rps
        In closed form; None where none applies to these limits.
    rate_rps
        The highest rate that keeps to the limits in simulation; None where even the lowest tried does not.
    fails_at_rps, because
        The next rate, and why it does not; None where the highest tried does.
    """

    expected_rps: float | None
    rate_rps: float | None
    fails_at_rps: float | None
    because: str | None


def highest(scenario: Scenario, bench: Bench) -> Highest:
    """Find the highest rate of all clients together that keeps to the limits.

    Raises
    ------
    InputError
        The clients' arrivals have no rate.
    """
    for g, group in enumerate(scenario.clients):
        if group.arrivals == "trace" or group.loop == "closed":
            rule = "must be open, with a rate: it is what is raised"
            raise InputError(rule, field=f"clients[{g}]", got=group.arrivals)
    now_rps = sum(group.rate_rps for group in scenario.clients)

    def states(k: int) -> tuple[State, ...]:
        return bench.trial(scaled(scenario, STEP**k)).states

    @cache
    def reason(k: int) -> str | None:
        return bench.trial(scaled(scenario, STEP**k)).reason

    if not states(0):
        return Highest(
            expected_rps=None, rate_rps=None, fails_at_rps=now_rps, because=bench.trial(scenario).reason
        )
    first = [resource.breaks_at_rps for state in states(0) for resource in state.forms.resources()]
    low = math.floor(math.log(LOWEST, STEP))
    high = max(low + 1, math.ceil(math.log(ROOM * min(first) / now_rps, STEP))) if min(first) > 0 else low
    guess = smallest(low, high, high, lambda k: not all(_expected(state) for state in states(k)))
    applies = any(limit.name in QUANTILES for limit in bench.slo)
    wrong = smallest(
        low,
        high,
        high if guess is None else guess,
        lambda k: bench.trial(scaled(scenario, STEP**k)).reason is not None,
    )
    last = high if wrong is None else wrong - 1
    return Highest(
        expected_rps=now_rps * STEP ** (guess - 1) if guess is not None and applies else None,
        rate_rps=now_rps * STEP**last if last >= low else None,
        fails_at_rps=None if wrong is None else now_rps * STEP**wrong,
        because=None if wrong is None else reason(wrong),
    )


def scaled(scenario: Scenario, factor: float) -> Scenario:
    """Multiply the rates of all clients."""
    groups = (g.model_copy(update={"rate_rps": g.rate_rps * factor}) for g in scenario.clients)
    return scenario.model_copy(update={"clients": tuple(groups)})


def _expected(state: State) -> bool:
    """Whether a state keeps to the limits in closed form."""
    forms = state.forms
    return (
        state.full is None
        and forms.pods.is_stable
        and all(
            limit.keeps(forms.latency_quantile_s(QUANTILES[limit.name]))
            for limit in state.bench.slo
            if limit.name in QUANTILES
        )
    )
