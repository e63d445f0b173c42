"""The two figures of `bench.py`, in the style of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from growth import GROWTHS

from nodeportsim.report import canvas
from nodeportsim.report.words import count, significant, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Row = dict[str, Any]

COLUMNS = 3
PER_S = {"floor_per_s": "plain C", "compiled_per_s": "nodeportsim", "oracle_per_s": "idiomatic SimPy"}


def over_floor(rows: list[Row]) -> str:
    """Say how the engine stands to the same model in C."""
    shares = [row["compiled_over_floor"] for row in rows if "plain.c" not in row["case"]]
    low, high = times(round(min(shares), 1)), times(round(max(shares), 1))
    return f"The engine does {low} to {high} what the same model in plain C does"


@canvas.drawing
def ratios(rows: list[Row]) -> Figure:
    """Draw a row a case, each program's rate over that of the C floor."""
    subtitle = "Requests per CPU second over those of the C floor, all in one run on a logarithmic axis"
    figure, grid = canvas.sheet(over_floor(rows), subtitle)
    axes: Axes = grid[0, 0]
    colours = dict(zip(PER_S, ("#8A929C", *canvas.colours()), strict=False))
    for name, words in PER_S.items():
        points = [(row[name] / row["floor_per_s"], k) for k, row in enumerate(rows) if row[name]]
        axes.plot(*zip(*points, strict=True), "o", color=colours[name], markersize=7, clip_on=False)
        x, y = points[0]
        axes.annotate(
            words,
            (x, y),
            xytext=(0, 9),
            textcoords="offset points",
            ha="right" if name == "floor_per_s" else "center",
            color=colours[name],
            weight="bold",
        )
    axes.set_xscale("log")
    least = min(row["oracle_per_s"] / row["floor_per_s"] for row in rows if row["oracle_per_s"])
    canvas.ticks(axes.xaxis, significant, canvas.log_ticks(least, 5.0, short_decades=0.0))
    axes.set(xlim=(0.7 * least, 5.0), xlabel="requests per CPU second / those of the C floor")
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    return figure


def grown(rows: list[Row], what: str = "pods") -> float:
    """Cost of a request at the last value over that at the first."""
    costs = [row["cpu_ns_per_request"] for row in rows if row["what"] == what]
    return float(costs[-1] / costs[0])


@canvas.drawing
def growth(rows: list[Row]) -> Figure:
    """Draw a panel for each thing that grows, all with one vertical axis."""
    title = f"From 10 nodes to 5,000, a request's cost grows {times(grown(rows))}"
    subtitle = "CPU time that a request takes the compiled engine (ns), one thing varied at a time"
    figure, grid = canvas.sheet(title, subtitle, columns=COLUMNS, heights=(1.0, 1.0), sharey=True)
    top = 1.08 * max(row["cpu_ns_per_request"] for row in rows)
    panels = list(grid.flat)
    for axes, what in zip(panels, GROWTHS, strict=False):
        part = [row for row in rows if row["what"] == what]
        values = [row["value"] for row in part]
        axes.plot(values, [row["cpu_ns_per_request"] for row in part], "o-", markersize=3.5, clip_on=False)
        axes.set_xscale("log")
        decades = [10.0**k for k in range(0, 7, 2) if values[0] <= 10**k <= values[-1]]
        canvas.ticks(axes.xaxis, count, decades)
        canvas.ticks(axes.yaxis, count)
        axes.set(title=GROWTHS[what].words, ylim=(0, top))
    for axes in panels[len(GROWTHS) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("ns a request")
    return figure
