"""Policies against failures: what each loses where, and at what load, as two tables one can see through.

The table has `series` (a policy), `case` (a failure), `panel` (0: failed requests, % of those offered;
1: attempts a request) and `estimate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

LOST, LOAD = 0, 1
TITLES = {LOST: "failed requests (%)", LOAD: "attempts a request"}
SUBTITLE = "Failed requests and attempts a request, mean over replications; a frame marks what loses least"
_NAME_MAX, _CASE_MAX = 26, 22
_PALEST, _DEEPEST = 0.02, 0.65  # Opacities: text is readable on the deepest in either theme.


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table` of a study."""
    table = tables.get("policies")
    return {} if table is None or table.empty else {"table": table}


def text(table: DataFrame) -> Text:
    """Say which policy loses least in most failures, and what it loses."""
    if table.empty:
        return Text("No cell was run", "No cell was run.", "Policies against failures, empty.")
    lost = grid_of(table, LOST)
    best = {case: (str(values.idxmin()), float(values.min())) for case, values in lost.items()}
    winners = [name for name, _ in best.values()]
    winner = max(dict.fromkeys(winners), key=winners.count)
    title = f"{winner} loses least in {winners.count(winner)} of {len(best)} failures"
    listing = "; ".join(f"{case}: {name}, {value:.3g} %" for case, (name, value) in best.items())
    return Text(title, f"{SUBTITLE}. Least lost: {listing}.", f"{title}. Least lost: {listing}.")


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw a panel for what is lost and one for the load."""
    title = text(table).title
    if table.empty:
        return canvas.nothing(title, SUBTITLE)
    figure, panels = canvas.sheet(title, SUBTITLE, columns=2, sharey=True)
    palette = canvas.colours()
    for place, axes in enumerate(panels[0]):
        fill(axes, grid_of(table, place), palette[place], best=place == LOST)
        axes.set_title(TITLES[place], loc="left", size=9.5)
    return figure


def grid_of(table: DataFrame, panel: int) -> DataFrame:
    """Give one panel's values, a row a policy and a column a failure, in the order of the table."""
    rows = table[(table["panel"] == panel) & (table["kind"] == "simulated")]
    grid = rows.pivot_table(index="series", columns="case", values="estimate", sort=False)
    return grid.loc[list(dict.fromkeys(rows["series"])), list(dict.fromkeys(rows["case"]))]


def fill(axes: Axes, grid: DataFrame, colour: str, *, best: bool) -> None:
    """Fill every cell of a panel with its value, in words and as a shade; frame the least of each column."""
    from matplotlib.patches import Rectangle

    least, most = float(grid.to_numpy().min()), float(grid.to_numpy().max())
    span = max(most - least, 1e-12)
    for row, values in enumerate(grid.to_numpy()):
        for column, value in enumerate(values):
            shade = _PALEST + (_DEEPEST - _PALEST) * ((value - least) / span) ** 0.5
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=shade, linewidth=0)
            )
            axes.text(column, row, _number(value), ha="center", va="center", size=6.5)
    if best:
        for column, case in enumerate(grid):
            row = int(grid[case].to_numpy().argmin())
            edge = canvas.ink("text.color")
            axes.add_patch(
                Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=edge, linewidth=1.4)
            )
    axes.set_xlim(-0.5, grid.shape[1] - 0.5)
    axes.set_ylim(grid.shape[0] - 0.5, -0.5)
    axes.set_xticks(range(grid.shape[1]), [fitted(str(case), _CASE_MAX) for case in grid], size=7.5)
    axes.tick_params(axis="x", rotation=40, length=0)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(grid.shape[0]), [fitted(str(name), _NAME_MAX) for name in grid.index], size=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _number(value: float) -> str:
    """Write a value in at most four characters."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004
