"""Whether a live run is what the simulation says: one row a number, and the rule by which it holds.

A live run is one run; its quantiles scatter, and requests that queue behind one another scatter more than
their number tells. How much a run of this length scatters is known from the simulated ones. With m and s the
mean and standard deviation of a number over R simulated runs, a live x *holds* when::

    |x - m| <= reach + t((1 + level) / 2, R - 1) s sqrt(1 + 1/R)

The reach is relative or absolute, fixed before anything was measured; the other term is the prediction
interval of one more run, at a level of 95 % in a recorded run and of 99.99 % in tests, which must not fail by
chance. ``within_reach`` tells whether x holds without that term. Two kinds of rows have no such term:
``replayed.*`` (`replay`), and the mean ratio of live to simulated over all cases without a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.live.replay import replay
from nodeportsim.calibrate.live.seen import QUANTILES, measures, of_answers, of_replication

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nodeportsim.calibrate.live.cases import Overheads
    from nodeportsim.calibrate.live.lab import Answer
    from nodeportsim.calibrate.live.seen import Seen
    from nodeportsim.scenario.spec import Scenario

RELATIVE = {"p50": 0.05, "p90": 0.10, "p99": 0.15}
ABSOLUTE = {"failed": 0.03, "recovered": 1.0, "connects": 0.03}
UNLIKELY = 1e-4
"""Live counts per pod less likely than this under equal chances do not hold."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of one case. `low` and `high`: the simulation's prediction interval of one run."""

    case: str
    measure: str
    live: float
    simulated: float
    low: float
    high: float
    live_low: float | None = None
    live_high: float | None = None
    reach: float | None = None

    @property
    def within_reach(self) -> bool | None:
        """Near enough, chance not counted; None without a reach."""
        return None if not self.reach else abs(self.live - self.simulated) <= self.reach

    @property
    def holds(self) -> bool | None:
        """Near enough for one run; None without a reach."""
        if self.reach is None:
            return None
        return self.low - self.reach <= self.live <= self.high + self.reach


def compare(
    scenario: Scenario,
    answers: Sequence[Answer],
    simulated: Sequence[Seen],
    machine: Overheads,
    *,
    label: str = "",
    level: float = 0.95,
) -> list[Row]:
    """Compare a live run with simulated ones of the same scenario."""
    seen = of_answers(answers, scenario)
    live, runs = measures(seen, scenario), [measures(run, scenario) for run in simulated]
    rows = []
    for name in live:
        values = np.array([run[name] for run in runs])
        interval = _order_statistics(name, answers, scenario)
        rows.append(_row(label, name, live[name], values, interval, level))
    if scenario.events:
        return rows
    return [*rows, *_replayed(label, answers, scenario, machine), _balance(label, seen, simulated, scenario)]


def pooled(rows: Sequence[Row]) -> list[Row]:
    """Give the geometric mean ratio of live to simulated quantiles over cases, with its 95 % interval."""
    from scipy.stats import t

    found = []
    for name, reach in RELATIVE.items():
        logs = np.log([row.live / row.simulated for row in rows if row.measure == f"latency.{name}"])
        mean, error = logs.mean(), t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / sqrt(len(logs))
        ratios = [float(np.exp(mean + k * error)) for k in (0, -1, 1)]
        label = f"mean ratio of {len(logs)} cases"
        found.append(_plain(label, f"latency.{name}", ratios[0], 1.0, reach, (ratios[1], ratios[2])))
    return found


def _plain(
    label: str,
    name: str,
    live: float,
    simulated: float,
    reach: float | None,
    between: tuple[float, float] | None = None,
) -> Row:
    """Make a row whose simulated value is exact."""
    low, high = between or (None, None)
    return Row(
        case=label,
        measure=name,
        live=live,
        simulated=simulated,
        low=simulated,
        high=simulated,
        live_low=low,
        live_high=high,
        reach=reach,
    )


def _replayed(label: str, answers: Sequence[Answer], scenario: Scenario, machine: Overheads) -> Iterator[Row]:
    """Hold the live quantiles against what the pods must have done with these requests."""
    counted = np.array([row.born_s >= (scenario.run.warmup_s or 0.0) for row in answers])
    live_s = np.array([row.latency_s for row in answers])[counted]
    due_s = np.array(replay(scenario, answers, machine))[counted]
    for name, reach in RELATIVE.items():
        live, due = (float(np.quantile(times_s, QUANTILES[name])) for times_s in (live_s, due_s))
        yield _plain(label, f"replayed.{name}", live, due, reach * due)
    # The 99 % point of what single requests differ by.
    yield _plain(label, "replayed.error_p99", float(np.quantile(abs(live_s - due_s), 0.99)), 0.0, None)


def simulate(scenario: Scenario) -> list[Seen]:
    """Simulate all replications of a scenario."""
    from nodeportsim.study.run import run

    outcome = run(scenario)
    stages = list(outcome.summary["stages_s"])
    return [of_replication(replication, stages) for replication in outcome.replications]


def _row(
    label: str,
    name: str,
    live: float,
    values: NDArray[np.float64],
    between: tuple[float, float] | None,
    level: float,
) -> Row:
    from scipy.stats import t

    count, mean = len(values), float(values.mean())
    error = float(t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) * sqrt(1 + 1 / count))
    kind, _, quantile = name.partition(".")
    reach = ABSOLUTE.get(kind)
    if kind == "latency":
        reach = RELATIVE[quantile] * mean
    low, high = between or (None, None)
    return Row(
        case=label,
        measure=name,
        live=live,
        simulated=mean,
        low=mean - error,
        high=mean + error,
        live_low=low,
        live_high=high,
        reach=reach,
    )


def _order_statistics(name: str, answers: Sequence[Answer], scenario: Scenario) -> tuple[float, float] | None:
    """Give the 95 % interval of a live quantile from its ranks, as if requests were independent."""
    kind, _, quantile = name.partition(".")
    if kind != "latency":
        return None
    q = QUANTILES[quantile]
    begin_s = scenario.run.warmup_s or 0.0
    ordered = sorted(row.latency_s for row in answers if row.cause is None and row.born_s >= begin_s)
    middle, half = q * len(ordered), 1.96 * sqrt(len(ordered) * q * (1 - q))
    ranks = np.clip([middle - half, middle + half], 0, len(ordered) - 1).astype(int)
    return ordered[ranks[0]], ordered[ranks[1]]


def _balance(label: str, seen: Seen, simulated: Sequence[Seen], scenario: Scenario) -> Row:
    """Tell how likely the counts per pod are when every endpoint has the same chance (chi-square).

    The interval is what a p-value may be at all, the simulated value the mean of those of its runs.
    """
    from scipy.stats import chisquare

    local = scenario.service.external_traffic_policy == "Local"
    first = scenario.cluster.names[0]
    usable = [p for p, pod in enumerate(scenario.placement) if pod.node == first or not local]
    strays = int(seen.pods.sum() - seen.pods[usable].sum())
    p = 0.0 if strays else float(chisquare(seen.pods[usable]).pvalue)
    mean = float(np.mean([chisquare(run.pods[usable]).pvalue for run in simulated]))
    return Row(case=label, measure="pods.p_value", live=p, simulated=mean, low=UNLIKELY, high=1.0, reach=0.0)
