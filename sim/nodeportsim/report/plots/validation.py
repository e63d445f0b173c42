"""Figures of predicted against measured numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.report import canvas
from nodeportsim.report.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

TESTED = ("ok", "miss")
FIGURES = ("scatter", "quantiles", "by_source")


def write(table: DataFrame, folder: Path) -> list[Path]:
    """Write the figures into a folder, as SVG and PNG."""
    drawn = {"scatter": scatter, "quantiles": quantiles, "by_source": strips}
    paths: list[Path] = []
    for name in FIGURES:
        paths += canvas.save(drawn[name](table), folder / name)
    return paths


def _tested(table: DataFrame) -> DataFrame:
    """Rows that can stand on a logarithmic axis."""
    rows = table[table["status"].isin(TESTED) & (table["unit"] != "%")]
    return rows[(rows["measured"] > 0) & (rows["predicted"] > 0)]


def _ends(rows: DataFrame) -> list[float]:
    both = rows[["measured", "predicted"]].to_numpy(float)
    return [float(both.min()), float(both.max())]


@canvas.drawing
def scatter(table: DataFrame) -> Figure:
    """Draw predicted over measured, hollow where it misses."""
    rows = _tested(table)
    missed = int((rows["status"] == "miss").sum())
    title = f"{len(rows) - missed} of {len(rows)} published numbers are met by the prediction"
    subtitle = "each in its own unit; hollow: beyond its tolerance; the line: predicted as measured"
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    ends = [
        float(rows[["measured", "predicted"]].min().min()),
        float(rows[["measured", "predicted"]].max().max()),
    ]
    axes.plot(ends, ends, color=canvas.ink("text.color"), linewidth=1)
    for status, filled in (("ok", True), ("miss", False)):
        part, colour = rows[rows["status"] == status], canvas.colours()[0 if filled else 1]
        face = colour if filled else "none"
        axes.plot(part["measured"], part["predicted"], "o", color=colour, markerfacecolor=face, markersize=5)
    _log(axes, "x", ends, "measured")
    _log(axes, "y", ends, "predicted")
    return figure


@canvas.drawing
def quantiles(table: DataFrame) -> Figure:
    """Draw percentiles of latency, predicted over measured, a line a case."""
    rows = _tested(table)
    rows = rows[(rows["unit"] == "us") & rows["case"].str.contains(_PERCENTILE)]
    series = rows["source_id"] + " " + rows["case"].str.replace(_PERCENTILE, "", regex=True)
    title = "Percentiles of first packets and of a gateway, one case a line"
    subtitle = "µs; p01 to p99 from left to right; grey: 25 % or 8 µs; the line: predicted as measured"
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    ends = [
        float(rows[["measured", "predicted"]].min().min()),
        float(rows[["measured", "predicted"]].max().max()),
    ]
    at = [ends[0] * (ends[1] / ends[0]) ** (step / 99) for step in range(100)]
    reach = [max(0.25 * x, 8.0) for x in at]
    low = [max(x - r, ends[0] / 2) for x, r in zip(at, reach, strict=True)]
    high = [x + r for x, r in zip(at, reach, strict=True)]
    axes.fill_between(at, low, high, color=canvas.ink("text.color"), alpha=0.12, linewidth=0)
    axes.plot(ends, ends, color=canvas.ink("text.color"), linewidth=1)
    palette = canvas.colours()
    families = [name for name in _FAMILIES if series.str.contains(name).any()]
    for place, (name, colour) in enumerate(zip(families, palette, strict=False)):
        for _, part in rows[series.str.contains(name)].groupby(series):
            line = part.sort_values("measured")
            axes.plot(line["measured"], line["predicted"], "o-", color=colour, markersize=4, linewidth=1)
        _name(axes, place, _FAMILIES[name], colour)
    _log(axes, "x", ends, "measured (µs)")
    _log(axes, "y", [ends[0] / 1.5, ends[1] * 1.5], "predicted (µs)")
    return figure


_PERCENTILE = r",? ?\bp\d\d\b"
_FAMILIES = {
    "K8SBLOG.*nftables": "first packets, nftables",
    "K8SBLOG.*ipvs": "first packets, ipvs",
    "K8SBLOG.*iptables": "first packets, iptables",
    "NGF": "requests by a gateway",
}


_TINY = 6.5  # Points: thirty sources fit on a sheet.


@canvas.drawing
def strips(table: DataFrame) -> Figure:
    """Draw predicted over measured as a ratio, a row a source."""
    rows = _tested(table)
    sources = list(dict.fromkeys(rows["source_id"]))
    ratio = rows["predicted"] / rows["measured"]
    near = float(((ratio > 0.9) & (ratio < 1.1)).mean())  # noqa: PLR2004  (the title says so)
    title = f"{100 * near:.0f} % of the predictions lie within 10 % of what was measured"
    figure, panels = canvas.sheet(title, "predicted / measured by source; hollow: beyond its tolerance")
    axes = panels[0, 0]
    axes.axvline(1, color=canvas.ink("text.color"), linewidth=1)
    for status, filled in (("ok", True), ("miss", False)):
        part = rows["status"] == status
        colour = canvas.colours()[0 if filled else 1]
        places = [sources.index(name) for name in rows.loc[part, "source_id"]]
        face = colour if filled else "none"
        axes.plot(ratio[part], places, "o", color=colour, markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(sources)), sources, fontsize=_TINY)
    axes.set_ylim(len(sources) - 0.4, -0.6)
    _log(axes, "x", [float(ratio.min()), float(ratio.max())], "predicted / measured")
    return figure


def _name(axes: Axes, place: int, name: str, colour: str) -> None:
    axes.annotate(
        name,
        (0, 1),
        xycoords="axes fraction",
        xytext=(8, -10 - 15 * place),
        textcoords="offset points",
        va="top",
        color=colour,
        weight="bold",
    )


def _log(axes: Axes, which: str, ends: Sequence[float], label: str) -> None:
    low, high = ends[0] / 1.2, ends[1] * 1.2
    getattr(axes, f"set_{which}scale")("log")
    canvas.ticks(getattr(axes, f"{which}axis"), _tick, canvas.log_ticks(low, high))
    getattr(axes, f"set_{which}lim")(low, high)
    getattr(axes, f"set_{which}label")(label)


def _tick(value: float) -> str:
    return count(value) if value >= 1 else f"{value:g}"
