"""What was left out as warm-up, and why: the series MSER-5 looked at, and what it minimised.

The decision is the first run's alone, so the series is its; the mean of all replications, which begin to
count where the warm-up ends, says whether it was the same in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SUBTITLE = "Mean latency (ms) by second of intended arrival; below, what MSER-5 minimises"
_LOG_FROM = 20.0  # Largest over smallest value: beyond it a linear axis shows the largest alone.


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `warm_up` (second_s, pilot_latency_s, latency_s, mser5_s2, left_out), where MSER-5 has looked."""
    table = tables.get("warm_up")
    return {} if table is None or table["mser5_s2"].isna().all() else {"table": table}


def text(table: DataFrame) -> Text:
    """Say how much was left out."""
    if table.empty:
        return Text("No second was simulated", "No second was simulated.", "Warm-up, empty.")
    dropped, seconds = int(table["left_out"].sum()), len(table)
    title = f"The first {count(dropped)} s of {count(seconds)} s are left out as warm-up"
    if not dropped:
        title = f"No warm-up is left out: MSER-5 finds none in {count(seconds)} s"
    errors = table.dropna(subset=["mser5_s2"])
    lowest_s = int(errors["second_s"].iloc[int(errors["mser5_s2"].to_numpy().argmin())])
    facts = f"the minimum of MSER-5 is at {lowest_s} s"
    if not dropped and lowest_s > 0:
        facts += ", in the second half: the run is too short to tell, or never settles"
    lines = "Thin: the first run, which decides; thick: mean of all replications from there on."
    caption = f"{lines} {facts[0].upper()}{facts[1:]}."
    return Text(title, caption, f"Mean latency by second and MSER-5. {title}; {facts}.")


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw the series above, the statistic below, and the truncation point through both."""
    if table.empty:
        return canvas.nothing(text(table).title, _SUBTITLE)
    figure, panels = canvas.sheet(text(table).title, _SUBTITLE, heights=(2.0, 1.0), sharex=True)
    series, statistic = panels[0, 0], panels[1, 0]
    palette = canvas.colours()
    series.plot(table["second_s"], 1e3 * table["pilot_latency_s"], color=palette[4], linewidth=1)
    series.plot(table["second_s"], 1e3 * table["latency_s"], color=palette[0], linewidth=2)
    errors = table.dropna(subset=["mser5_s2"])
    statistic.plot(errors["second_s"], 1e6 * errors["mser5_s2"], color=palette[1], marker="o", markersize=3)
    for axes, label, values in (
        (series, "mean latency (ms)", table["pilot_latency_s"]),
        (statistic, "MSER-5 (ms²)", errors["mser5_s2"]),
    ):
        _scale(axes, float(values.min()), float(values.max()))
        axes.set_ylabel(label)
        _cut(axes, int(table["left_out"].sum()))
    statistic.set_xlabel("second of intended arrival (s)")
    statistic.set_xlim(0, max(1, len(table) - 1))
    return figure


def _scale(axes: Axes, low: float, high: float) -> None:
    """Take a logarithmic axis where the beginning would press everything else flat."""
    if low > 0 and high > _LOG_FROM * low:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        canvas.ticks(axes.yaxis, significant)


def _cut(axes: Axes, dropped: int) -> None:
    """Shade what is left out."""
    if dropped:
        axes.axvspan(0, dropped, color=canvas.ink("grid.color"), alpha=0.6, linewidth=0)
        axes.axvline(dropped, color=canvas.ink("text.color"), linewidth=1, linestyle="--")
