"""A question asked over a grid: one scenario, varied, every cell run alike, one tidy table.

An ``experiment.yaml`` names a base scenario and what changes::

    apiVersion: nodeportsim/v1
    kind: Experiment
    question: What do many Services cost a new connection?
    scenario: scenario.yaml
    variants: {iptables: {proxy.mode: iptables}, ipvs: {proxy.mode: ipvs}}
    vary: {background.services: [10, 1000, 30000]}
    metrics: [latency_s.p50, rules_s]
    figures:
      - {name: first_packet_cost, x: background.services, xColumn: services,
         panels: [{metric: rules_s, scale: 1e6}]}

Every variant is crossed with every value of every `vary` and with every one of `cases`, which are settings
with a name, as variants are; paths are those of ``--set``. All cells share
the scenario's seed, so they share arrivals and demands and their differences are paired. The table has a
row a cell and metric: the estimate, its 95 % interval, and the closed form where theory knows one.
"""

from __future__ import annotations

import difflib
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nodeportsim.errors import InputError
from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.documents import Source, documents
from nodeportsim.scenario.quantities import Many  # noqa: TC001  (pydantic reads the annotation)
from nodeportsim.study.design import Value
from nodeportsim.study.findings import CASE, SECOND, Cell, Digest, Findings, digest, findings
from nodeportsim.study.mistakes import mistake
from nodeportsim.study.run import MEASURES, run
from nodeportsim.study.store import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from nodeportsim.engine.simulate import Engine

Settings = dict[str, Value]


class Panel(Spec):
    """What one panel of a curve draws.

    Parameters
    ----------
    metric
        A metric of the table; with `Curve.x` ``second``, one of `nodeportsim.study.seconds.BY_SECOND`.
    scale
        Factor from the table's SI unit to the figure's.
    where
        Draw only the cells at this point.
    minus
        Draw their difference to the cells at that point, taken replication by replication.
    """

    metric: str
    scale: Annotated[float, Field(gt=0, strict=False)] = 1.0
    where: dict[str, Value] = Field(default_factory=dict)
    minus: dict[str, Value] = Field(default_factory=dict)


class Curve(Spec):
    """A figure of metrics against one parameter, a line a variant.

    Parameters
    ----------
    name
        A figure of `nodeportsim.report` that draws curves.
    x, x_column
        The varied path on the x axis, and the column in which that figure expects it. ``second`` instead
        of a path: the second of intended arrival, counted from the first event; ``case``: the cases.
    panels
        From left to right.
    variants
        Those that are drawn; default: all.
    """

    name: str
    x: str
    x_column: str
    panels: Many[Panel] = Field(min_length=1)
    variants: Many[str] = ()


class Paired(Spec):
    """A figure of each variant's difference to one of them, within replications that share their draws.

    Parameters
    ----------
    baseline
        The variant that the others are compared with.
    metrics
        Of `nodeportsim.study.run.MEASURES`.
    case
        Compare only here, where there are cases: pairs keep all of their replications, a megabyte each.
    """

    baseline: str
    metrics: Many[str] = tuple(MEASURES)
    case: str | None = None


class PhaseDiagram(Spec):
    """A map of where the service comes back after a trigger, over two parameters.

    Parameters
    ----------
    x, y
        Varied paths, ``variant`` or ``case``: as a rule load across, retries up. What else varies has one
        value.
    x_label, y_label
        Of the axes; default: the paths.
    """

    x: str
    y: str
    x_label: str | None = None
    y_label: str | None = None


class Experiment(Spec):
    """What ``experiment.yaml`` declares."""

    api_version: Literal["nodeportsim/v1"] = "nodeportsim/v1"
    kind: Literal["Experiment"]
    question: str
    scenario: str
    variants: dict[str, Settings] = Field({"base": {}}, description="name: settings")
    cases: dict[str, Settings] = Field(
        default_factory=dict, description="name: settings, crossed with the variants in a column of their own"
    )
    vary: dict[str, Many[Value]] = Field(default_factory=dict)
    metrics: Many[str] = Field((), description="names or beginnings of names; default: all")
    figures: Many[Curve] = ()
    paired: Paired | None = None
    phase_diagram: PhaseDiagram | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.variants or not all(self.vary.values()):
            raise ValueError("variants and vary must not be empty")
        _assert_mapped(self)
        if self.paired is not None and self.paired.baseline not in self.variants:
            raise ValueError(f"paired.baseline must be one of {', '.join(self.variants)}")
        if self.paired is not None and not set(self.paired.metrics) <= MEASURES.keys():
            raise ValueError(f"paired.metrics must be of {', '.join(MEASURES)}")
        if self.paired is not None and self.paired.case not in {None, *self.cases}:
            raise ValueError(f"paired.case must be one of {', '.join(self.cases)}")
        for curve in self.figures:
            if curve.x not in {*self.vary, SECOND, *([CASE] if self.cases else [])}:
                raise ValueError(
                    "x of a figure must be a path of vary, or second, or case where there are cases"
                )
            if not set(curve.variants) <= self.variants.keys():
                raise ValueError(f"variants of a figure must be of {', '.join(self.variants)}")
            points = [(path, value) for p in curve.panels for path, value in (p.where | p.minus).items()]
            known = {**self.vary, CASE: tuple(self.cases)}
            if not all(value in known.get(path, ()) for path, value in points):
                raise ValueError(
                    "where and minus of a panel must be case or paths of vary, with a value of theirs"
                )
        return self


def _assert_mapped(experiment: Experiment) -> None:
    """Refuse a phase diagram whose cells the grid does not hold, or holds more than once."""
    if (diagram := experiment.phase_diagram) is None:
        return
    values = {**experiment.vary, "variant": tuple(experiment.variants), "case": tuple(experiment.cases)}
    axes = (diagram.x, diagram.y)
    if axes[0] == axes[1] or not all(values.get(axis) for axis in axes):
        raise ValueError("x and y of phaseDiagram must be two of: a path of vary, variant, case")
    if any(len(given) > 1 for path, given in values.items() if path not in axes):
        raise ValueError("what is no axis of phaseDiagram must have one value")


def cells(experiment: Experiment) -> Iterator[Cell]:
    """Every variant crossed with every case and combination of values, in the order of the file."""
    cases: list[tuple[str | None, Settings]] = [*experiment.cases.items()] or [(None, {})]
    for (variant, settings), (case, more) in itertools.product(experiment.variants.items(), cases):
        for combination in itertools.product(*experiment.vary.values()):
            point = dict(zip(experiment.vary, combination, strict=True))
            sets = tuple(f"{path}={_text(value)}" for path, value in {**settings, **more, **point}.items())
            yield Cell(variant=variant, case=case, point=point, sets=sets)


def _text(value: Value) -> str:
    """Write a value as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def experiments() -> list[str]:
    """Name the experiments that come with the package."""
    from nodeportsim.scenario.profile import data_folder

    return sorted(path.parent.name for path in data_folder("experiments").glob("*/experiment.yaml"))


def find(name: str) -> tuple[Experiment, Path]:
    """Read an experiment by file or by the name of one of ours; give its folder too.

    Raises
    ------
    InputError
        There is none, or it is not usable; located.
    """
    from nodeportsim.scenario.profile import data_folder

    if name in experiments():
        path = Path(data_folder("experiments")) / name / "experiment.yaml"
    elif Path(name).exists():
        path = Path(name)
    else:
        near = difflib.get_close_matches(name, experiments(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"ours are {', '.join(experiments())}"
        raise InputError("is neither a file nor one of our experiments", field=name, hint=hint)
    return read_experiment(Source(file=str(path), text=text_of(path))), path.parent


def read_experiment(source: Source) -> Experiment:
    """Turn the text of an ``experiment.yaml`` into an `Experiment`; errors say where."""
    found = documents(source)
    if len(found) != 1 or not isinstance(found[0], dict):
        raise InputError("must hold one mapping: an experiment", location=source.at(0, 0))
    try:
        return Experiment.model_validate(found[0], context={"file": True}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise mistake(error, source, 0, Experiment, Curve, Panel, Paired, PhaseDiagram) from None


def run_experiment(
    experiment: Experiment,
    folder: Path,
    *,
    replications: int | None = None,
    engine: Engine | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Run every cell; `folder` is where the experiment's file stands.

    Raises
    ------
    InputError
        A cell is no scenario. All cells are read before the first one runs.
    """
    from nodeportsim.scenario.read import read

    more = () if replications is None else (f"run.replications={replications}",)
    grid = [(cell, read(folder / experiment.scenario, sets=cell.sets + more)) for cell in cells(experiment)]
    digests: list[Digest] = []
    for cell, scenario in grid:
        digests.append(digest(experiment, cell, run(scenario, engine=engine, jobs=jobs)))
        if progress:
            progress(len(digests), len(grid))
    return findings(experiment, digests)


def conclusions(experiment: Experiment, result: Findings) -> str:
    """Write in Markdown what the table says: each metric's extremes, and whether they can be told apart."""
    lines = [f"# {experiment.question}", ""]
    for metric, rows in result.table.dropna(subset=["estimate"]).groupby("metric", sort=False):
        order = rows["estimate"].argsort()
        low, high = rows.iloc[order.iloc[0]], rows.iloc[order.iloc[-1]]
        lines.append(f"- `{metric}`: {_extremes(experiment, low, high)}")
    return "\n".join(lines) + "\n"


def _extremes(experiment: Experiment, low: pd.Series, high: pd.Series) -> str:
    """Say lowest and highest cell of one metric."""
    if low["estimate"] == high["estimate"]:
        return f"{low['estimate']:.4g} in every cell."
    where = [_name(experiment, row) for row in (low, high)]
    verdict = "the 95 % intervals overlap" if _overlap(low, high) else "the 95 % intervals do not overlap"
    if any(row[["low", "high"]].isna().any() for row in (low, high)):
        verdict = "there are no intervals"
    return f"from {_number(low)} ({where[0]}) to {_number(high)} ({where[1]}); {verdict}."


def _overlap(low: pd.Series, high: pd.Series) -> bool:
    return bool(high["low"] <= low["high"])


def _name(experiment: Experiment, row: pd.Series) -> str:
    named = [str(row[column]) for column in ("variant", *([CASE] if experiment.cases else []))]
    return ", ".join([*named, *(f"{path} {row[path]}" for path in experiment.vary)])


def _number(row: pd.Series) -> str:
    text = f"{row['estimate']:.4g}"
    return text if row[["low", "high"]].isna().any() else f"{text} [{row['low']:.4g}, {row['high']:.4g}]"
