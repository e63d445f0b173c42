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
from nodeportsim.metrics.intervals import (
    ANY,
    POSITIVE,
    Estimate,
    mean_interval,
    paired_difference,
)
from nodeportsim.metrics.recovery import before_ratio
from nodeportsim.metrics.uncertainty import widened
from nodeportsim.study.design import coordinate
from nodeportsim.study.expected import closed_forms, failing_after, sync_s
from nodeportsim.study.phases import phase_table
from nodeportsim.study.run import MEASURES, compare
from nodeportsim.study.seconds import BY_SECOND, by_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from nodeportsim.engine.simulate import Replication
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.design import Value
    from nodeportsim.study.experiment import Curve, Experiment, Paired, Panel
    from nodeportsim.study.run import Outcome

    Row = dict[str, Any]

NUMBERS = ("estimate", "low", "high")
DIGITS = 9
SECOND = "second"
"""The parameter of a figure over time, instead of a varied path."""
CASE = "case"
"""The parameter of a figure whose columns are the cases."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid: what it is called, and what is set there."""

    variant: str
    point: Mapping[str, Value]
    sets: tuple[str, ...]
    case: str | None = None

    @property
    def labels(self) -> dict[str, Value]:
        """Columns that name this cell in a table."""
        return {"variant": self.variant, **self.place}

    @property
    def place(self) -> dict[str, Value]:
        """Where it stands but for the variant: its case, where there are any, and its point."""
        return {**({} if self.case is None else {CASE: self.case}), **self.point}

    def stands_at(self, where: Mapping[str, Value]) -> bool:
        """Say whether these paths have these values here."""
        return all(self.place.get(path) == value for path, value in where.items())


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an experiment gives: `table` with one row a cell and metric, and tables for the figures."""

    table: pd.DataFrame
    figures: dict[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What is kept of a cell once it has run; its replications, a megabyte each, only where they are paired.

    Parameters
    ----------
    rows
        Its part of the table: ``metric, estimate, low, high, closed_form``.
    runs, nominal
        Each metric of `PER_RUN` in every replication; the same at the profile's values, where each
        replication had prices of its own, else empty.
    seconds
        Each metric of `BY_SECOND` that a figure draws, second by second.
    """

    cell: Cell
    scenario: Scenario
    rows: dict[str, Row]
    runs: dict[str, list[float]]
    nominal: dict[str, list[float]]
    seconds: dict[str, list[Estimate]]
    outcome: Outcome | None


def digest(experiment: Experiment, cell: Cell, outcome: Outcome) -> Digest:
    """Take from a cell what the table and the figures need."""
    replications, scenario = outcome.replications, outcome.scenario
    values, plain = (
        {name: [measure(r, scenario) for r in runs] for name, measure in PER_RUN.items()}
        for runs in (replications, outcome.nominal)
    )
    known = closed_forms(scenario)
    rows = [*flattened(outcome.summary), *per_run(values, plain)]
    drawn = {panel.metric for curve in experiment.figures if curve.x == SECOND for panel in curve.panels}
    drawn |= {f"{name}.even" for name in drawn} & BY_SECOND.keys()
    _assert_drawable(experiment, cell, {row["metric"] for row in rows})
    return Digest(
        cell=cell,
        scenario=scenario,
        rows={row["metric"]: row | {"closed_form": _digits(known.get(row["metric"]))} for row in rows},
        runs=values,
        nominal=plain,
        seconds={name: by_second(name, outcome) for name in sorted(drawn)},
        outcome=outcome if _is_paired(experiment, cell) else None,
    )


def _is_paired(experiment: Experiment, cell: Cell) -> bool:
    """Say whether a cell is compared with the baseline's."""
    return experiment.paired is not None and experiment.paired.case in {None, cell.case}


def _assert_drawable(experiment: Experiment, cell: Cell, metrics: set[str]) -> None:
    """Refuse figures of metrics that are not there, after the first cell and not after the last."""
    for curve in experiment.figures:
        for panel in (panel for panel in curve.panels if cell.stands_at(panel.where)):
            given = metrics if not panel.minus else set(PER_RUN)
            given = given if curve.x != SECOND else set(BY_SECOND)
            if panel.metric not in given:
                among = "a measure of these runs" if given is metrics else f"of {', '.join(sorted(given))}"
                rule = f"must be {among}"
                raise InputError(rule, field="figures.metric", got=panel.metric)


def findings(experiment: Experiment, digests: Sequence[Digest]) -> Findings:
    """Tabulate all cells.

    Raises
    ------
    InputError
        The metrics of the table or of a figure are none of these runs.
    """
    import pandas as pd

    rows = [{**d.cell.labels, **row} for d in digests for row in d.rows.values()]
    table = pd.DataFrame(rows).astype(dict.fromkeys((*NUMBERS, "closed_form"), float))
    if experiment.metrics:
        table = table[table["metric"].str.startswith(experiment.metrics)].reset_index(drop=True)
    if table.empty:
        raise InputError("name no measure of these runs", field="metrics", got=list(experiment.metrics))
    figures = {curve.name: _curve(curve, digests) for curve in experiment.figures}
    if experiment.paired is not None:
        figures["paired"] = _paired(experiment.paired, digests)
    if experiment.phase_diagram is not None:
        figures["phase_diagram"] = phase_table(experiment.phase_diagram, digests)
    return Findings(table=table, figures=figures)


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
    from nodeportsim.engine.codes import STAGES

    return float(r.stage_sum_ns[:, STAGES.index("rules")].sum()) * 1e-9 / max(r.succeeded, 1)


def _newborns(r: Replication, _: Scenario) -> float:
    """Share of the requests of the last quarter that pods made within the run answered."""
    new, served = r.newborns[len(r.timeline) * 3 // 4 : len(r.timeline), :2].sum(axis=0)
    return float(new / max(served, 1))


def _saturated(r: Replication, scenario: Scenario) -> float:
    """1 where the pod with the most connections is offered at least what its workers can do, else 0."""
    offered = sum(group.rate_rps for group in scenario.clients) * scenario.pods.service_time.mean_s
    hottest = r.pods[:, 0].max() / max(r.pods[:, 0].sum(), 1)
    return float(hottest * offered >= scenario.pods.workers * (1 - 1e-12))


PER_RUN: dict[str, Callable[[Replication, Scenario], float]] = {
    **{name: lambda r, _, measure=measure: measure(r) for name, measure in MEASURES.items()},  # type: ignore[misc]  # A lambda's default has no type.
    "before_ratio": lambda r, _: before_ratio(r),
    "rules_s": _rules_s,
    "conntrack_peak": lambda r, _: float(r.conntrack_peak.max()),
    "newborns_ratio": _newborns,
    "sync_partial_s": lambda _, scenario: sync_s(scenario, "partial"),
    "sync_full_s": lambda _, scenario: sync_s(scenario, "full"),
    "saturated_ratio": _saturated,
}
"""Metrics taken within a replication, mean and interval over replications. `conntrack_peak`: entries on the
node that ever had most. `newborns_ratio`: of the last quarter's requests, by pods made within the run.
`saturated_ratio`: share of the replications. `sync_partial_s`, `sync_full_s`: what
the profile says one sync of a node's kube-proxy takes."""


def per_run(values: Mapping[str, list[float]], nominal: Mapping[str, list[float]]) -> Iterator[Row]:
    """Give a row for each metric of `PER_RUN`."""
    for name, each in values.items():
        estimate = _share(each) if name == "saturated_ratio" else mean_interval(each, POSITIVE)
        if nominal[name]:
            estimate = widened(estimate, np.subtract(each, nominal[name]))
        yield {"metric": name, **_rounded(estimate)}


def _share(hits: Sequence[float]) -> Estimate:
    """Share of the replications that are 1, with the exact interval (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    n, k = len(hits), sum(hits)
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return Estimate(estimate=k / n, low=low, high=high)


def _rounded(estimate: Estimate, scale: float = 1.0) -> dict[str, float | None]:
    parts = {name: getattr(estimate, name) for name in NUMBERS}
    return {name: None if x is None else _digits(x * scale) for name, x in parts.items()}


def _digits(value: float | None) -> float | None:
    """Round as the summary does: the last bits of a float differ between libraries."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _curve(curve: Curve, digests: Sequence[Digest]) -> pd.DataFrame:
    """Shape the cells as the report's curves want them: what was simulated, then its closed form."""
    import pandas as pd

    drawn = [d for d in digests if not curve.variants or d.cell.variant in curve.variants]
    rows: list[Row] = []
    for place, panel in enumerate(curve.panels):
        at = {"panel": place} if len(curve.panels) > 1 else {}
        points = _seconds(panel, drawn) if curve.x == SECOND else _points(curve, panel, drawn)
        rows += [
            {
                "series": d.cell.variant,
                **at,
                curve.x_column: x,
                "kind": kind,
                **_rounded(value, panel.scale),
                **_limit(d.scenario, panel),
            }
            for d, x, simulated, closed in points
            for kind, value in (("simulated", simulated), ("closed form", Estimate(estimate=closed)))
            if value.estimate is not None
        ]
    if not rows:
        raise InputError("has no cell to draw", field="figures", got=curve.name)
    return pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))


def _limit(scenario: Scenario, panel: Panel) -> dict[str, int]:
    """Give the column `limit` where the measure has one: conntrack's table, if its size was set."""
    limit = scenario.cluster.conntrack.max if panel.metric == "conntrack_peak" else None
    return {} if limit is None else {"limit": limit}


Point = tuple[Digest, Any, Estimate, float | None]  # A cell, its x, what was simulated, the closed form.


def _points(curve: Curve, panel: Panel, drawn: Sequence[Digest]) -> Iterator[Point]:
    """Give each cell's value at its place on the x axis."""
    for d in drawn:
        if not d.cell.stands_at(panel.where):
            continue
        row = d.rows[panel.metric]
        value, closed = Estimate(**{name: row[name] for name in NUMBERS}), row["closed_form"]
        if panel.minus:
            base = next(other for other in drawn if other.cell.labels == d.cell.labels | panel.minus)
            value = _minus(base, d, panel.metric)
            under = base.rows[panel.metric]["closed_form"]
            closed = None if None in (closed, under) else closed - under
        yield d, coordinate(d.cell.place[curve.x]), value, closed


def _minus(base: Digest, d: Digest, metric: str) -> Estimate:
    """Subtract a cell's value from another's, replication by replication."""
    found = paired_difference(base.runs[metric], d.runs[metric])
    if not d.nominal[metric]:
        return found
    effects = [np.subtract(cell.runs[metric], cell.nominal[metric]) for cell in (base, d)]
    return widened(found, effects[1] - effects[0], ANY)


def _seconds(panel: Panel, drawn: Sequence[Digest]) -> Iterator[Point]:
    """Give a cell's value second by second, counted from the first event; theory speaks from there on."""
    for d in drawn:
        if not d.cell.stands_at(panel.where):
            continue
        fault_s = int(min((event.at_s for event in d.scenario.events), default=0.0))
        failing = failing_after(d.scenario) if panel.metric == "failed_ratio" else None
        even = d.seconds.get(f"{panel.metric}.even")
        for second, value in enumerate(d.seconds[panel.metric]):
            after_s = second - fault_s
            closed = failing(after_s + 0.5) if failing and after_s >= 0 else None
            yield d, after_s, value, even[second].estimate if even else closed


def _paired(paired: Paired, digests: Sequence[Digest]) -> pd.DataFrame:
    """Compare every cell with the baseline's cell at the same point."""
    import pandas as pd

    outcomes = [(d.cell, d.outcome) for d in digests if d.outcome is not None]
    bases = {tuple(cell.place.items()): o for cell, o in outcomes if cell.variant == paired.baseline}
    parts = []
    for cell, outcome in outcomes:
        if cell.variant != paired.baseline:
            name = ", ".join((cell.variant, *(f"{path} {value}" for path, value in cell.place.items())))
            table = compare(bases[tuple(cell.place.items())], outcome)
            parts.append(table.assign(variant=name, baseline=paired.baseline))
    pairs = pd.concat(parts)
    pairs = pairs[pairs["metric"].isin(paired.metrics)].dropna(subset=["difference_ratio"])
    return pairs.sort_values("metric", kind="stable", ignore_index=True)
