"""What the cells of an experiment say together: one tidy table, and the tables of its figures.

A metric is a number of the summary under its dotted name (``latency_s.p99``), or one of `PER_RUN`, which is
taken in every replication and has an interval over them. Beside each stands the closed form of
`nodeportsim.study.expected`, where theory knows one for that cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics.intervals import POSITIVE, SHARE, Estimate, mean_interval, ratio_interval
from nodeportsim.study.expected import closed_forms, failing_after
from nodeportsim.study.run import MEASURES, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from nodeportsim.engine.simulate import Replication
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.experiment import Curve, Experiment, Paired, Panel, Value
    from nodeportsim.study.run import Outcome

    Row = dict[str, Any]
    Cells = Sequence[tuple["Cell", Outcome]]

SECOND = "second"
"""The parameter of a figure over time, instead of a varied path."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid: what it is called, and what is set there."""

    variant: str
    point: Mapping[str, Value]
    sets: tuple[str, ...]

    @property
    def labels(self) -> dict[str, Value]:
        """Columns that name this cell in a table."""
        return {"variant": self.variant, **self.point}

    def stands_at(self, where: Mapping[str, Value]) -> bool:
        """Say whether these paths have these values here."""
        return all(self.point.get(path) == value for path, value in where.items())


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an experiment gives: `table` with one row a cell and metric, and tables for the figures."""

    table: pd.DataFrame
    figures: dict[str, pd.DataFrame]


def found(experiment: Experiment, outcomes: Cells) -> Findings:
    """Tabulate the outcomes of all cells.

    Raises
    ------
    InputError
        The experiment's metrics are none of these runs.
    """
    import pandas as pd

    rows = [{**cell.labels, **row} for cell, outcome in outcomes for row in measures(outcome)]
    numbers = ("estimate", "low", "high", "closed_form")
    table = pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))
    if experiment.metrics:
        table = table[table["metric"].str.startswith(experiment.metrics)].reset_index(drop=True)
    if table.empty:
        raise InputError("name no measure of these runs", field="metrics", got=list(experiment.metrics))
    figures = {curve.name: _curve(curve, outcomes) for curve in experiment.figures}
    if experiment.paired is not None:
        figures["paired"] = _paired(experiment.paired, outcomes)
    return Findings(table=table, figures=figures)


def measures(outcome: Outcome) -> Iterator[Row]:
    """Give a row ``metric, estimate, low, high, closed_form`` for every number of a cell."""
    known = closed_forms(outcome.scenario)
    for row in [*flattened(outcome.summary), *per_run(outcome)]:
        yield row | {"closed_form": known.get(row["metric"])}


def flattened(summary: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Flatten a summary: one row ``metric, estimate, low, high`` for each number in it.

    Lists (shares by rank, the timeline) and provenance are no measures of a cell and are left out.
    """
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if name == "provenance":
            continue
        if isinstance(value, dict) and "estimate" in value:
            yield {"metric": name, **{k: value[k] for k in ("estimate", "low", "high")}}
        elif isinstance(value, dict):
            yield from flattened(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield {"metric": name, "estimate": float(value), "low": None, "high": None}


def _rules_s(r: Replication, _: Scenario) -> float:
    """CPU time of the rules on all nodes a first packet crosses, mean over succeeded requests."""
    from nodeportsim.engine.records import STAGES

    return float(r.stage_sum_ns[:, STAGES.index("rules")].sum()) * 1e-9 / max(r.succeeded, 1)


def _saturated(r: Replication, scenario: Scenario) -> float:
    """1 where the pod with the most connections is offered at least what its workers can do, else 0."""
    offered = sum(group.rate_rps for group in scenario.clients) * scenario.pods.service_time.mean_s
    hottest = r.pods[:, 0].max() / max(r.pods[:, 0].sum(), 1)
    return float(hottest * offered >= scenario.pods.workers * (1 - 1e-12))


PER_RUN: dict[str, Callable[[Replication, Scenario], float]] = {
    **{name: lambda r, _, measure=measure: measure(r) for name, measure in MEASURES.items()},  # type: ignore[misc]  # A lambda's default has no type.
    "failed_requests": lambda r, _: float(r.failed),
    "rules_s": _rules_s,
    "conntrack_peak": lambda r, _: float(r.conntrack_peak.max()),
    "saturated_ratio": _saturated,
}
"""Metrics taken within a replication, mean and interval over replications. `conntrack_peak`: entries on the
node that ever had most. `saturated_ratio`: share of the replications."""


def per_run(outcome: Outcome) -> Iterator[Row]:
    """Give a row for each metric of `PER_RUN`."""
    for name, values in _values(outcome).items():
        estimate = _share(values) if name == "saturated_ratio" else mean_interval(values, POSITIVE)
        yield {"metric": name, **_rounded(estimate)}


def _values(outcome: Outcome) -> dict[str, list[float]]:
    return {
        name: [measure(r, outcome.scenario) for r in outcome.replications]
        for name, measure in PER_RUN.items()
    }


def _share(hits: Sequence[float]) -> Estimate:
    """Share of the replications that are 1, with the exact interval (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    n, k = len(hits), sum(hits)
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return Estimate(estimate=k / n, low=low, high=high)


def _rounded(estimate: Estimate, scale: float = 1.0) -> dict[str, float | None]:
    """Round as the summary does: the last bits of a float differ between libraries."""
    parts = {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high}
    return {name: None if x is None else float(f"{x * scale:.9g}") for name, x in parts.items()}


def _curve(curve: Curve, outcomes: Cells) -> pd.DataFrame:
    """Shape the cells as the report's curves want them: what was simulated, then its closed form."""
    import pandas as pd

    drawn = [(cell, o) for cell, o in outcomes if not curve.variants or cell.variant in curve.variants]
    rows: list[Row] = []
    for place, panel in enumerate(curve.panels):
        at = {"panel": place} if len(curve.panels) > 1 else {}
        points = _seconds(panel, drawn) if curve.x == SECOND else _points(curve, panel, drawn)
        rows += [
            {
                "series": cell.variant,
                **at,
                curve.x_column: x,
                "kind": kind,
                **_rounded(value, panel.scale),
                **({"limit": limit} if (limit := _limit(outcome, panel)) else {}),
            }
            for cell, outcome, x, simulated, closed in points
            for kind, value in (("simulated", simulated), ("closed form", closed))
            if value.estimate is not None
        ]
    if not rows:
        raise InputError("must be measures of these runs", field="figures", got=curve.name)
    return pd.DataFrame(rows).astype(dict.fromkeys(("estimate", "low", "high"), float))


def _limit(outcome: Outcome, panel: Panel) -> int | None:
    """Where the measure ends: the table of conntrack, if it was set."""
    return outcome.scenario.cluster.conntrack.max if panel.metric == "conntrack_peak" else None


Point = tuple[Cell, "Outcome", Any, Estimate, Estimate]


def _points(curve: Curve, panel: Panel, drawn: Cells) -> Iterator[Point]:
    """Give each cell's value at its place on the x axis."""
    for cell, outcome in drawn:
        if not cell.stands_at(panel.where):
            continue
        row = next((row for row in measures(outcome) if row["metric"] == panel.metric), None)
        if row is None:
            raise InputError("must be a measure of these runs", field="figures.metric", got=panel.metric)
        closed = row.pop("closed_form")
        value = Estimate(**{name: row[name] for name in ("estimate", "low", "high")})
        if panel.minus:
            other = _partner(cell, panel, drawn)
            base = closed_forms(other.scenario).get(panel.metric)
            closed = None if closed is None or base is None else closed - base
            pairs = (_values(o)[panel.metric] for o in (other, outcome))
            value = mean_interval([b - a for a, b in zip(*pairs, strict=True)])
        yield cell, outcome, cell.point[curve.x], value, Estimate(estimate=closed)


def _partner(cell: Cell, panel: Panel, drawn: Cells) -> Outcome:
    """Find the cell that differs from this one only where the panel's `minus` says so."""
    wanted = cell.labels | panel.minus
    return next(outcome for other, outcome in drawn if other.labels == wanted)


def _seconds(panel: Panel, drawn: Cells) -> Iterator[Point]:
    """Give a cell's value second by second, from the first event on; before it there is no closed form."""
    for cell, outcome in drawn:
        scenario = outcome.scenario
        fault_s = int(min((event.at_s for event in scenario.events), default=0.0))
        failing = failing_after(scenario) if panel.metric == "failed_ratio" else None
        for second, value in enumerate(BY_SECOND[panel.metric](outcome.replications)):
            after_s = second - fault_s
            closed = failing(after_s + 0.5) if failing and after_s >= 0 else None
            yield cell, outcome, after_s, value, Estimate(estimate=closed)


def _failed_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    tables = [r.timeline for r in replications]
    return [
        ratio_interval([t[second, 2:].sum() for t in tables], [t[second, 0] for t in tables], SHARE)
        for second in range(min(map(len, tables)))
    ]


def _latency_by_second(replications: Iterable[Replication]) -> list[Estimate]:
    runs = list(replications)
    return [
        ratio_interval(
            [r.second_latency_ns[second] * np.float64(1e-9) for r in runs],
            [r.timeline[second, 1] for r in runs],
        )
        for second in range(min(len(r.timeline) for r in runs))
    ]


BY_SECOND = {"failed_ratio": _failed_by_second, "latency_mean_s": _latency_by_second}
"""Metrics over the second of intended arrival: failed share of the offered requests, mean latency of those
that succeeded."""


def _paired(paired: Paired, outcomes: Cells) -> pd.DataFrame:
    """Compare every cell with the baseline's cell at the same point."""
    import pandas as pd

    bases = {tuple(cell.point.items()): o for cell, o in outcomes if cell.variant == paired.baseline}
    parts = []
    for cell, outcome in outcomes:
        if cell.variant != paired.baseline:
            name = ", ".join((cell.variant, *(f"{path} {value}" for path, value in cell.point.items())))
            table = compare(bases[tuple(cell.point.items())], outcome)
            parts.append(table.assign(variant=name, baseline=paired.baseline))
    pairs = pd.concat(parts)
    pairs = pairs[pairs["metric"].isin(paired.metrics)].dropna(subset=["difference_ratio"])
    return pairs.sort_values("metric", kind="stable", ignore_index=True)
