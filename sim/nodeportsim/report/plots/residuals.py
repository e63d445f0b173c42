"""What a fit leaves over: every measured cell against its prediction, held out cells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.report import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

REACH_RATIO = 0.15


@canvas.drawing
def draw(cells: DataFrame, name: str) -> Figure:
    """Draw predicted against measured, and the relative error along the measured time.

    Parameters
    ----------
    cells
        ``mode, measured_ns, predicted_ns, held``.
    name
        The profile's.
    """
    cells = cells.dropna(subset=["measured_ns", "predicted_ns"])
    if cells.empty:
        return canvas.nothing(f"{name}: no cells", "")
    error = cells["predicted_ns"] / cells["measured_ns"] - 1
    held = cells["held"].astype(bool)
    shown = held if held.any() else ~held
    which = "held out" if held.any() else "fitted"
    title = f"{name}: half of the {which} cells are predicted within {error[shown].abs().median():.1%}"
    subtitle = "filled: fitted, open: held out; measured is the quiet time of a cell; grey: 15 % off"
    figure, panels = canvas.sheet(title, subtitle, columns=2)
    _against(panels[0, 0], cells, held)
    _errors(panels[0, 1], cells, held, error)
    return figure


def _against(axes: Axes, cells: DataFrame, held: Series) -> None:
    ends = [cells["measured_ns"].min() / 1.2e3, cells["measured_ns"].max() * 1.2e-3]
    axes.plot(ends, ends, color=canvas.ink("axes.edgecolor"), linewidth=1)
    _points(axes, cells, held, cells["predicted_ns"] / 1e3)
    axes.set(xscale="log", yscale="log", xlabel="measured (µs)", ylabel="predicted (µs)")
    for axis in (axes.xaxis, axes.yaxis):
        canvas.ticks(axis, lambda value: f"{value:g}", canvas.log_ticks(*ends))
    axes.legend(loc="upper left", frameon=False)


def _errors(axes: Axes, cells: DataFrame, held: Series, error: Series) -> None:
    axes.axhspan(-REACH_RATIO, REACH_RATIO, color=canvas.ink("grid.color"), alpha=0.5)
    axes.axhline(0, color=canvas.ink("axes.edgecolor"), linewidth=1)
    _points(axes, cells, held, error)
    axes.set(xscale="log", xlabel="measured (µs)", ylabel="predicted / measured - 1")
    low, high = cells["measured_ns"].min() / 1e3, cells["measured_ns"].max() / 1e3
    canvas.ticks(axes.xaxis, lambda value: f"{value:g}", canvas.log_ticks(low, high))
    canvas.ticks(axes.yaxis, lambda value: f"{value:+.0%}")


def _points(axes: Axes, cells: DataFrame, held: Series, heights: Series) -> None:
    places = np.arange(len(canvas.colours()))
    for place, (mode, group) in zip(places, cells.groupby("mode"), strict=False):
        colour = canvas.colours()[place]
        for open_, chosen in ((False, group[~held[group.index]]), (True, group[held[group.index]])):
            axes.plot(
                chosen["measured_ns"] / 1e3,
                heights[chosen.index],
                linestyle="none",
                marker="o",
                markersize=5,
                color=colour,
                markerfacecolor="none" if open_ else colour,
                label=str(mode) if not open_ else None,
            )
