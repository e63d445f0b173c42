"""Where a service comes back by itself after a trigger has gone, over two parameters: a map of cells.

The colour is what is answered in the last quarter of the run, over what is offered there. Hatched cells have
not come back though their trigger is gone: metastable. Dotted ones were overloaded before it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, fitted, significant

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    Row = dict[Hashable, Any]

_PLACE, _DARKEST = 2, 0.9  # One hue, the stronger the more is answered: no kind of colour vision is needed.
_HATCH = {"recovers": "", "metastable": "///", "overloaded before": "..", "trigger still there": "\\\\"}
_NAME_MAX = 22
_SUBTITLE = "Answers over requests offered in the last quarter of the run, %"


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table`: x, y, estimate, low, high, before_ratio, state, x_label, y_label of each cell."""
    table = tables.get("phase_diagram")
    return {} if table is None or table.empty else {"table": table}


def text(table: DataFrame) -> Text:
    """Say how many cells do not come back."""
    if table.empty:
        return Text("No cell was run", "No cell was run.", "Phase diagram, empty.")
    states = table["state"].value_counts()
    told = ", ".join(f"{int(states[name])} {name}" for name in _HATCH if name in states)
    stuck = int(states.get("metastable", 0))
    title = f"{stuck} of {len(table)} cells never come back though the trigger is gone"
    if not stuck:
        title = f"No cell of {len(table)} is kept down by its own retries"
    cells = "; ".join(f"({row['x']}, {row['y']}) {row['state']}" for row in table.to_dict("records"))
    labels = " and ".join(table[["x_label", "y_label"]].iloc[0])
    caption = (
        f"Colour and number: answers over requests offered in the last quarter of the run. {told}. From 90 % "
        "on a cell has come back. Metastable: it answered so well before the trigger, and not after its end."
    )
    return Text(title, caption, f"Phase diagram of {labels}. {title}. {cells}.")


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw a rectangle a cell."""
    title = text(table).title
    if table.empty:
        return canvas.nothing(title, _SUBTITLE)
    figure, panels = canvas.sheet(title, _SUBTITLE)
    axes = panels[0, 0]
    xs, ys = (list(dict.fromkeys(table[name])) for name in ("x", "y"))
    for row in table.to_dict("records"):
        _cell(axes, xs.index(row["x"]), ys.index(row["y"]), row)
    axes.set_xticks(range(len(xs)), [_tick(x) for x in xs])
    axes.set_yticks(range(len(ys)), [_tick(y) for y in ys])
    axes.set(xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5))
    axes.set(xlabel=table["x_label"].iloc[0], ylabel=table["y_label"].iloc[0])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    _legend(axes, [name for name in _HATCH if (table["state"] == name).any()])
    return figure


def _tick(value: Any) -> str:
    return fitted(value if isinstance(value, str) else significant(float(value)), _NAME_MAX)


def _cell(axes: Axes, x: int, y: int, row: Row) -> None:
    """Draw one cell: colour, hatch, number."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    ratio = min(1.0, max(0.0, row["estimate"]))
    ink, ground = canvas.ink("text.color"), canvas.ink("figure.facecolor")
    axes.add_patch(
        Rectangle(
            (x - 0.5, y - 0.5),
            1,
            1,
            facecolor=to_rgba(canvas.colours()[_PLACE], _DARKEST * ratio),
            edgecolor=ink,
            hatch=_HATCH[row["state"]],
            linewidth=0.8,
        )
    )
    axes.annotate(
        significant(100 * row["estimate"]),
        (x, y),
        ha="center",
        va="center",
        weight="bold",
        bbox={"facecolor": ground, "edgecolor": "none", "pad": 2.5},
    )


def _legend(axes: Axes, states: list[str]) -> None:
    """Name the hatches that occur."""
    from matplotlib.patches import Patch

    ink, ground = canvas.ink("text.color"), canvas.ink("figure.facecolor")
    patches = [
        Patch(
            facecolor=ground,
            edgecolor=ink,
            hatch=_HATCH[name],
            linewidth=0.8,
            label=name.replace(" ", "\n", 1),
        )
        for name in states
    ]
    axes.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelspacing=0.9, handlelength=1.8
    )
