"""Which of many parameters matter: a sweep whose design makes the answer add up.

* `tornado`: each parameter alone to its low and its high end, the others as the scenario has them. Points
  share arrivals and demands, so a bar is a paired difference with a t interval over replications. Cheap
  (2 k + 1 points), and blind to what parameters do together. A quantile is here the mean of the
  replications' own quantiles.
* `morris`: trajectories through a grid of four levels, one parameter a step (Morris 1991,
  doi:10.1080/00401706.1991.10484804). `mu_star`, the mean size of a step's effect over the whole range of the
  parameter (Campolongo, Cariboni and Saltelli 2007, doi:10.1016/j.envsoft.2006.10.004), says how much it
  matters, `sigma` how much that depends on where the others stand. N (k + 1) points.
* `sobol`: shares of the variance of the metric over the whole space (Saltelli et al. 2010,
  doi:10.1016/j.cpc.2009.09.018): `first`, of the parameter alone, and `total`, with all that it does together
  with others. N (k + 2) points, N a power of two.

Samples, indices and their intervals (bootstraps of the design) are SALib's. A parameter that changes nothing
changes no draw either, so its effect is exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics.intervals import paired_difference
from nodeportsim.metrics.observables import chosen
from nodeportsim.study.design import point
from nodeportsim.study.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nodeportsim.study.design import Axis, Point
    from nodeportsim.study.folder import Folder
    from nodeportsim.study.sweep import Read

    Floats = NDArray[np.float64]
    Row = dict[str, Any]

Analysis = Literal["tornado", "morris", "sobol"]
ANALYSES: tuple[Analysis, ...] = get_args(Analysis)
SAMPLES = {"tornado": 1, "morris": 20, "sobol": 64}
LEVELS = 4
RESAMPLES = 1000
DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked: which parameters, over which ranges, by which method.

    Parameters
    ----------
    axes
        Ranges, or values among which is chosen; `tornado` takes the first and the last.
    samples
        Trajectories of `morris`, base samples of `sobol`.
    """

    axes: tuple[Axis, ...]
    method: Analysis
    samples: int
    seed: int

    @property
    def names(self) -> list[str]:
        """Paths of the parameters, as they were written."""
        return [axis.path for axis in self.axes]

    @property
    def problem(self) -> Row:
        """What SALib calls the problem: the unit cube, which `Axis.drawn` maps to values."""
        return {"num_vars": len(self.axes), "names": self.names, "bounds": [[0.0, 1.0]] * len(self.axes)}


def planned(axes: Sequence[Axis], method: Analysis, samples: int | None, seed: int) -> Plan:
    """Make a plan.

    Raises
    ------
    InputError
        There is nothing to compare, or the method cannot take so many samples.
    """
    if len(axes) < 2 and method != "tornado":  # noqa: PLR2004  (a comparison needs two)
        rule = "needs at least two parameters to compare"
        raise InputError(rule, field=f"--method {method}", hint="give --vary PATH=LOW..HIGH for each")
    if not axes:
        raise InputError("is needed, once for each parameter, as PATH=LOW..HIGH", field="--vary")
    for axis in axes:
        if axis.range is None and len(axis.texts) < 2:  # noqa: PLR2004  (two ends)
            raise InputError("needs a range or two values", field=f"--vary {axis.path}", got=axis.texts[0])
    if samples is not None and method == "tornado":
        raise InputError("are for morris and sobol: tornado takes both ends alone", field="--samples")
    count = SAMPLES[method] if samples is None else samples
    if method != "tornado" and count < 4:  # noqa: PLR2004  (a bootstrap of fewer says nothing)
        raise InputError("must be at least 4", field="--samples", got=count)
    if method == "sobol" and count & (count - 1):
        raise InputError("must be a power of two for sobol", field="--samples", got=count)
    return Plan(axes=tuple(axes), method=method, samples=count, seed=seed)


def sweep_of(plan: Plan, read: Read) -> Sweep:
    """Make the sweep that measures a plan's points."""
    design = {"method": plan.method, "samples": plan.samples, "vary": [axis.written for axis in plan.axes]}
    return Sweep(base=read(()), read=read, design=design, points=tuple(_points(plan)))


def _points(plan: Plan) -> Iterator[Point]:
    if plan.method == "tornado":
        yield point((), ())
        for axis in plan.axes:
            for end in axis.ends:
                yield point((axis,), (end,))
        return
    for row in sample(plan).tolist():
        yield point(plan.axes, [axis.drawn(u) for axis, u in zip(plan.axes, row, strict=True)])


def sample(plan: Plan) -> Floats:
    """Draw the design of `morris` or `sobol` in the unit cube, shape (points, parameters)."""
    _assert_installed()
    from SALib.sample import morris, sobol

    if plan.method == "morris":
        found = morris.sample(plan.problem, plan.samples, num_levels=LEVELS, seed=plan.seed)
    else:
        found = sobol.sample(plan.problem, plan.samples, calc_second_order=False, seed=plan.seed)
    return np.asarray(found, dtype=np.float64)


def _assert_installed() -> None:
    try:
        import SALib  # noqa: F401  (asked for by name)
    except ImportError:
        hint = "pip install 'nodeportsim[sensitivity]', or take --method tornado"
        raise InputError("needs the library SALib", field="--method", hint=hint) from None


def indices(plan: Plan, values: Floats) -> list[Row]:
    """Turn the values of a metric at the plan's points into indices with 95 % intervals.

    Parameters
    ----------
    values
        Shape (points,), in the order of `sample`.

    Returns
    -------
    list of dict
        parameter, index, estimate, low, high; two rows a parameter.
    """
    _assert_installed()
    from SALib.analyze import morris, sobol

    if np.ptp(values) == 0.0:  # Nothing varies: no shares of a variance either.
        names = ("mu_star", "sigma") if plan.method == "morris" else ("first", "total")
        return [_row(name, index, 0.0, 0.0) for name in plan.names for index in names]
    how = {"num_resamples": RESAMPLES, "conf_level": 0.95, "seed": plan.seed}
    if plan.method == "morris":
        found = morris.analyze(plan.problem, sample(plan), values, num_levels=LEVELS, **how)
        columns = {"mu_star": ("mu_star", "mu_star_conf"), "sigma": ("sigma", None)}
    else:
        found = sobol.analyze(plan.problem, values, calc_second_order=False, **how)
        columns = {"first": ("S1", "S1_conf"), "total": ("ST", "ST_conf")}
    return [
        _row(name, index, float(found[key][at]), float(found[half][at]) if half else None)
        for at, name in enumerate(plan.names)
        for index, (key, half) in columns.items()
    ]


def _row(parameter: str, index: str, estimate: float, half: float | None) -> Row:
    ends = (None, None) if half is None else (estimate - half, estimate + half)
    numbers = [None if x is None else float(f"{x:.{DIGITS}g}") for x in (estimate, *ends)]
    return {"parameter": parameter, "index": index, "setting": None} | dict(
        zip(("estimate", "low", "high"), numbers, strict=True)
    )


def analyse(plan: Plan, metric: str, folder: Folder) -> list[Row]:
    """Say how much each parameter matters for a metric, from the finished points of its sweep.

    Returns
    -------
    list of dict
        metric, method, parameter, index, setting, estimate, low, high. Of `tornado` the index is the end, and
        the setting what was set there.

    Raises
    ------
    InputError
        There is no such metric, or some point has no value of it.
    """
    (name,) = one(metric)
    records = [record for record in folder.records() if record is not None]
    if plan.method == "tornado":
        rows = _tornado(plan, [_each(record, name) for record in records])
    else:
        rows = indices(plan, np.array([_estimate(record, name) for record in records]))
    return [{"metric": name, "method": plan.method, **row} for row in rows]


def one(metric: str) -> tuple[str, ...]:
    """Check that a name means one measure.

    Raises
    ------
    InputError
        It means none, or several.
    """
    names = chosen([metric])
    if len(names) > 1:
        raise InputError("means several metrics", field=metric, hint=f"one of {', '.join(names)}")
    return names


def _estimate(record: Row, name: str) -> float:
    estimate, _, _, reason = record["estimates"][record["metrics"].index(name)]
    if estimate is None:
        raise _no_value(record, name, reason)
    return float(estimate)


def _each(record: Row, name: str) -> list[float]:
    """Give the values of a metric in each replication."""
    at = record["metrics"].index(name)
    values = [row[at] for row in record["values"]]
    if None in values:
        raise _no_value(record, name, "a replication alone cannot carry it")
    return values


def _no_value(record: Row, name: str, reason: str) -> InputError:
    hint = "longer runs or more load carry more; or take another --metric"
    return InputError(f"has no value at point {record['point']}: {reason}", field=name, hint=hint)


def _tornado(plan: Plan, values: Sequence[Sequence[float]]) -> list[Row]:
    base, *ends = values
    rows = []
    for at, axis in enumerate(plan.axes):
        for place, (index, setting) in enumerate(zip(("low", "high"), axis.ends, strict=True)):
            found = paired_difference(base, ends[2 * at + place])
            row = _row(axis.path, index, found.estimate or 0.0, None)
            rows.append(row | {"setting": setting, "low": _digits(found.low), "high": _digits(found.high)})
    return rows


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
