"""Which parameter matters most: a pair of bars a parameter, the longest on top.

Of a one-at-a-time analysis the bars are the metric's change at the low and at the high end, to either
side of the scenario's own value; of Morris mean effect and its spread, of Sobol' first and total shares
of the variance. Lines are 95 % intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.metrics.importance import importance, leaders
from nodeportsim.report import canvas
from nodeportsim.report.words import Text, fitted, metric_name, percent, seconds, significant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    Rows = list[dict[str, Any]]

_NAME_MAX = 40  # Characters of a parameter's name: what leaves the bars half of the width.
_MOST = 12  # Parameters that have room.
_HEIGHT = 0.38
_TIMES = ("latency_s", "first_packet_s", "rules_s", "stages_s", "outage")
_SUBTITLE = "One pair of bars a parameter; lines: 95 % intervals"
_WORDS = {
    "low": "at its low end",
    "high": "at its high end",
    "mu_star": "mean effect over its range",
    "sigma": "how much that depends on the others",
    "first": "alone",
    "total": "with what it does together with others",
}


class _Unit(NamedTuple):
    """How values are written, and their unit on the axis."""

    write: Callable[[float], str]
    label: str


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table` (metric, method, parameter, index, setting, estimate, low, high) of an analysis."""
    table = tables.get("tornado")
    return {} if table is None or table.empty else {"table": table}


def _unit(table: DataFrame) -> _Unit:
    metric, method = table["metric"].iloc[0], table["method"].iloc[0]
    if method == "sobol" or metric.endswith("_ratio"):
        return _Unit(percent, "(%)")
    return _Unit(seconds, "(s)") if metric.startswith(_TIMES) else _Unit(significant, "")


def _ranked(table: DataFrame) -> list[tuple[str, Rows]]:
    """Give each parameter with its rows, the most important first."""
    rows = _records(table)
    groups = {name: [row for row in rows if row["parameter"] == name] for name in table["parameter"]}
    return [(found["parameter"], groups[found["parameter"]]) for found in importance(rows)]


def _records(table: DataFrame) -> Rows:
    """Give the rows; what is not there is None, and not the table's NaN."""
    whole = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in whole.to_dict("records")]


def _title(table: DataFrame, unit: _Unit) -> str:
    """Name what stands out, and nothing that does not."""
    rows, metric = _records(table), metric_name(str(table["metric"].iloc[0]))
    ranked = importance(rows)
    if any(row["low"] is None for row in ranked):
        return f"{metric}: {len(ranked)} parameters, not ranked without intervals"
    found = leaders(rows)
    if not found:
        return f"{metric}: none of {len(ranked)} parameters can be shown to move it"
    first = found[0]["parameter"]
    if len(found) > 1:
        return f"{metric}: {first} and {len(found) - 1} more move it most, not told apart"
    return f"{metric}: {first} moves it most, {unit.write(found[0]['estimate'])}"


def text(table: DataFrame) -> Text:
    """Name the parameter with the longest bar, and all values."""
    if table.empty:
        return Text("No parameter was varied", "No parameter was varied.", "Sensitivity, empty.")
    unit, ranked = _unit(table), _ranked(table)
    metric = metric_name(str(table["metric"].iloc[0]))
    listing = "; ".join(f"{name}: {', '.join(_said(row, unit) for row in rows)}" for name, rows in ranked)
    caption = f"What each parameter does to {metric}. Lines: 95 % intervals. {listing}."
    return Text(_title(table, unit), caption, f"Bars, a pair a parameter. {listing}.")


def _said(row: dict[str, Any], unit: _Unit) -> str:
    setting = row["setting"]
    where = "" if setting is None else f" ({setting})"
    value = unit.write(row["estimate"])
    ends = "" if row["low"] is None else f" [{unit.write(row['low'])}, {unit.write(row['high'])}]"
    return f"{_WORDS[row['index']]}{where} {value}{ends}"


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw the bars of the parameters that matter most."""
    if table.empty:
        return canvas.nothing(text(table).title, _SUBTITLE)
    unit, ranked = _unit(table), _ranked(table)[:_MOST]
    metric = metric_name(str(table["metric"].iloc[0]))
    is_change = table["method"].iloc[0] == "tornado"
    what = f"change of {metric}" if is_change else f"effect on {metric}"
    figure, panels = canvas.sheet(text(table).title, _SUBTITLE)
    axes = panels[0, 0]
    axes.axvline(0, color=canvas.ink("text.color"), linewidth=1)
    palette = canvas.colours()
    for place, (_, rows) in enumerate(ranked):
        for side, row in enumerate(rows):
            _bar(axes, place + (side - 0.5) * _HEIGHT, row, palette[side], first=place == 0)
    canvas.ticks(axes.xaxis, lambda value: _tick(value, unit))
    axes.set_yticks(range(len(ranked)), [fitted(_name(name, rows), _NAME_MAX) for name, rows in ranked])
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.set_xlabel(f"{what} {unit.label}".rstrip())
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    return figure


def _tick(value: float, unit: _Unit) -> str:
    return unit.write(value).removesuffix(" %")


def _name(name: str, rows: Rows) -> str:
    """Name a parameter, with its two ends where these are what the bars are."""
    ends = [str(row["setting"]) for row in rows if row["setting"] is not None]
    return f"{name} {' .. '.join(ends)}" if ends else name


def _bar(axes: Axes, at: float, row: dict[str, Any], colour: str, *, first: bool) -> None:
    label = _WORDS[row["index"]] if first else None
    axes.barh(at, row["estimate"], _HEIGHT, color=colour, label=label)
    if row["low"] is not None:
        axes.plot([row["low"], row["high"]], [at, at], color=canvas.ink("text.color"), linewidth=1.4)
