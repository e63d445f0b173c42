"""Curves of a study: quantities against one parameter, a line a series, each with its closed form.

The figures share one shape of table: `series`, the parameter, `kind` (``simulated``, ``measured`` or
``closed form``), `estimate`, `low`, `high`; with several panels also `panel`, counted from 0. Lines and
bands are simulated, open circles measured, dashes theory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, significant, times

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    Row = dict[Hashable, Any]

KINDS = ("simulated", "measured", "closed form")
_PREFERRED = ("simulated", "closed form", "measured")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the quantities that stand side by side.

    Parameters
    ----------
    y_label
        Axis label with the unit of `estimate`.
    title
        What tells it from its neighbours; none where it stands alone.
    level
        Label of the horizontal line at the column `limit`, where the table has one.
    log, bottom
        Whether the vertical axis is logarithmic; where it starts if it is not.
    """

    y_label: str
    title: str = ""
    level: str = ""
    log: bool = False
    bottom: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure of this shape.

    Parameters
    ----------
    name
        Of the figure, and of the table in which a study hands it over.
    x, x_label, x_log
        Column of the parameter, the axis label with its unit, whether the axis is logarithmic.
    subtitle
        What is drawn.
    finding
        Makes the title from the table without its measured points.
    panels
        From left to right; with the same axis label they have the same limits.
    named
        The panel beside which the series are named, where their ends lie apart; None makes a legend.
    window
        What of the parameter is drawn; all by default.
    """

    name: str
    x: str
    x_label: str
    subtitle: str
    finding: Callable[[list[Row]], str]
    panels: tuple[Panel, ...]
    x_log: bool = True
    named: int | None = -1
    window: tuple[float, float] = (-math.inf, math.inf)

    def frames(self, _summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
        """Pick `table`; a single run has none."""
        table = tables.get(self.name)
        if table is None or table.empty:
            return {}
        return {"table": table.astype({"estimate": float, "low": float, "high": float})}

    def seen(self, table: DataFrame) -> DataFrame:
        """Take the part of the table that is drawn.

        Raises
        ------
        InputError
            The table is about another parameter.
        """
        if self.x not in table or (self.x_log and not (table[self.x] > 0).all()):
            rule = f"needs the column {self.x}{', above zero' if self.x_log else ''}"
            raise InputError(rule, field=self.name, hint="xColumn of the figure names it")
        return table[table[self.x].between(*self.window)]

    def text(self, table: DataFrame) -> Text:
        """Say the finding, and each series' first and last value."""
        if table.empty:
            return Text("No cell was run", "No cell was run.", f"{self.subtitle}, empty.")
        table = self.seen(table)
        ends = "; ".join(
            f"{panel.title or panel.y_label}: {self._ends(part)}" for panel, part in self.parts(table)
        )
        kinds = ", ".join(_LEGEND[kind] for kind in KINDS if (table["kind"] == kind).any())
        title = self.finding(table[table["kind"] != "measured"].to_dict("records"))
        caption = f"{self.subtitle} against {self.x_label}: {kinds}. {ends}."
        return Text(title, caption, f"{self.subtitle}. {title}. {ends}.")

    def _ends(self, part: DataFrame) -> str:
        return "; ".join(
            f"{name}: {significant(first['estimate'])} at {count(first[self.x])}, "
            f"{significant(last['estimate'])} at {count(last[self.x])}"
            for name, first, last in ((n, rows.iloc[0], rows.iloc[-1]) for n, rows in self.lines(part))
        )

    def draw(self, table: DataFrame, theme: canvas.Theme = "light") -> Figure:
        """Draw a line a series, named at its end."""
        return _draw(self, table, theme=theme)

    def parts(self, table: DataFrame) -> list[tuple[Panel, DataFrame]]:
        """Split the table over the panels."""
        if "panel" not in table:
            return [(self.panels[0], table)]
        return [(panel, table[table["panel"] == place]) for place, panel in enumerate(self.panels)]

    def lines(self, table: DataFrame) -> list[tuple[str, DataFrame]]:
        """Series in order of appearance, each with the rows of its best kind."""
        lines = []
        for name in table["series"].drop_duplicates():
            rows = table[table["series"] == name]
            kind = next(kind for kind in _PREFERRED if (rows["kind"] == kind).any())
            lines.append((str(name), rows[rows["kind"] == kind].sort_values(self.x)))
        return lines


_LOOK: dict[str, dict[str, Any]] = {
    "simulated": {"marker": "o", "markersize": 3.5, "clip_on": False},
    "measured": {
        "marker": "o",
        "linestyle": "",
        "markerfacecolor": "none",
        "markersize": 7,
        "clip_on": False,
    },
    "closed form": {"linestyle": (0, (4, 3)), "linewidth": 1.1, "clip_on": False},
}
_LEGEND = {
    "simulated": "lines simulated, with 95 % intervals",
    "measured": "open circles measured on a real kernel",
    "closed form": "dashes closed form",
}


@canvas.drawing
def _draw(curve: Curve, table: DataFrame) -> Figure:
    title = curve.text(table).title
    if table.empty:
        return canvas.nothing(title, curve.subtitle)
    table = curve.seen(table)
    parts = curve.parts(table)
    dashes = "; dashes: closed form" if (table["kind"] == "closed form").any() else ""
    figure, grid = canvas.sheet(title, f"{curve.subtitle}{dashes}", columns=len(parts))
    colours = dict(zip(table["series"].drop_duplicates(), cycle(canvas.colours()), strict=False))
    alike = len({panel.y_label for panel in curve.panels}) == 1
    ends = []
    for axes, (panel, part) in zip(grid[0], parts, strict=True):
        ends.append(_panel(axes, curve, panel, part, colours))
        _vertical(axes, panel, table if alike else part)
    if curve.named is None:
        _legend(grid[0][-1], colours)
    else:
        canvas.end_labels(grid[0][curve.named], ends[curve.named])
    return figure


def _panel(
    axes: Axes, curve: Curve, panel: Panel, part: DataFrame, colours: Mapping[str, str]
) -> list[tuple[float, float, str, str]]:
    """Draw one panel; give the ends of its lines, to be named when all panels have their final limits."""
    axes.set(xlabel=curve.x_label, ylabel=panel.y_label, title=panel.title)
    for name in part["series"].drop_duplicates():
        _series(axes, curve, part[part["series"] == name], colours[name])
    _horizontal(axes, curve, part)
    if panel.level and "limit" in part:
        _limit(axes, float(part["limit"].max()), panel.level)
    lasts = [(name, line.iloc[-1]) for name, line in curve.lines(part)]
    return [(last[curve.x], last["estimate"], name, colours[name]) for name, last in lasts]


def _legend(axes: Axes, colours: Mapping[str, str]) -> None:
    """Name the series in their colours, in the upper right corner."""
    for row, (name, colour) in enumerate(colours.items()):
        axes.annotate(
            name,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-4, -8 - 15 * row),
            textcoords="offset points",
            ha="right",
            va="top",
            color=colour,
            weight="bold",
        )


def _series(axes: Axes, curve: Curve, rows: DataFrame, colour: str) -> None:
    """Draw what there is of one series: simulated line and band, measured points, closed form."""
    bounded = rows[rows["kind"] == "simulated"].sort_values(curve.x).dropna(subset=["low", "high"])
    axes.fill_between(bounded[curve.x], bounded["low"], bounded["high"], color=colour, alpha=0.2, linewidth=0)
    # Theory is drawn in ink over the colours, or it could not be seen where it holds.
    ink = {"closed form": canvas.ink("text.color")}
    for kind, look in _LOOK.items():
        part = rows[rows["kind"] == kind].sort_values(curve.x).dropna(subset=["estimate"])
        if len(part):  # An empty unclipped line would still take its place in the layout.
            crowded = len(part) > _CROWDED and kind == "simulated"
            axes.plot(
                part[curve.x],
                part["estimate"],
                color=ink.get(kind, colour),
                **(look | {"marker": ""} if crowded else look),
            )


_CROWDED = 40  # Points closer together than this on a line are no longer seen one by one.


def _horizontal(axes: Axes, curve: Curve, part: DataFrame) -> None:
    """Set limits and ticks of the parameter, which the names at the lines' ends need final."""
    first, last = float(part[curve.x].min()), float(part[curve.x].max())
    if curve.x_log:
        axes.set_xscale("log")
        canvas.ticks(axes.xaxis, count, canvas.log_ticks(first, last))
        axes.set_xlim(0.9 * first, 1.04 * last)
    else:
        canvas.ticks(axes.xaxis, count)
        axes.set_xlim(first, last)


def _vertical(axes: Axes, panel: Panel, part: DataFrame) -> None:
    """Set limits and ticks of the quantity."""
    limits = ["limit"] if panel.level and "limit" in part else []
    values = part[["estimate", "low", "high", *limits]]
    low, high = float(values.min().min()), float(values.max().max())
    if panel.log:
        axes.set_yscale("log")
        canvas.ticks(axes.yaxis, significant, canvas.log_ticks(low, high, short_decades=3.0))
        axes.set_ylim(0.8 * low, 1.25 * high)
    else:
        canvas.ticks(axes.yaxis, significant)
        axes.set_ylim(panel.bottom, high + 0.08 * (high - panel.bottom))


def _limit(axes: Axes, limit: float, label: str) -> None:
    axes.axhline(limit, color=canvas.ink("text.color"), linewidth=1.2)
    axes.annotate(
        f"{label} {count(limit)}",
        (0, limit),
        xycoords=("axes fraction", "data"),
        xytext=(5, 3),
        textcoords="offset points",
        va="bottom",
    )


def _of(rows: list[Row], panel: int = 0) -> list[Row]:
    """Rows of a panel; a table without that column has one."""
    return [row for row in rows if row.get("panel", panel) == panel]


def _dearest(rows: list[Row]) -> str:
    rows = _of(rows)
    most = max(rows, key=lambda row: row["estimate"])
    alike = [row for row in rows if row["services"] == most["services"]]
    least = min(alike, key=lambda row: row["estimate"])
    return (
        f"{count(most['services'])} Services: {significant(most['estimate'])} µs with {most['series']}, "
        f"{significant(least['estimate'])} µs with {least['series']}"
    )


def _evenest(rows: list[Row]) -> str:
    rows = _of(rows)
    ends = [pick(row["connections"] for row in rows) for pick in (min, max)]
    few, many = (max(row["estimate"] for row in rows if row["connections"] == end) for end in ends)
    return (
        f"Hottest pod: {times(few)} the mean with {count(ends[0])} connections, "
        f"{times(many)} with {count(ends[1])}"
    )


def _first_full(rows: list[Row]) -> str:
    rows = _of(rows)
    full = [row for row in rows if row["estimate"] >= row["limit"]]
    if not full:
        return f"No table fills up to {count(max(row['connections_per_s'] for row in rows))} connections/s"
    first = min(full, key=lambda row: row["connections_per_s"])
    rate = count(first["connections_per_s"])
    return f"At {rate} connections/s the conntrack table is full ({first['series']})"


def _plateaus(rows: list[Row]) -> str:
    """Say each series' share while nobody has noticed: the first half minute, before any detection."""
    early = [row for row in _of(rows) if 0 <= row["since_fault_s"] < _UNNOTICED_S]
    early = [row for row in early if row["kind"] == "simulated"]
    shares = {
        name: [row["estimate"] for row in early if row["series"] == name]
        for name in dict.fromkeys(row["series"] for row in early)
    }
    told = [f"{significant(sum(share) / len(share))} %" for share in shares.values()]
    return f"Until the dead node is noticed, {', '.join(told[:-1])} or {told[-1]} of requests fail"


def _spikes(rows: list[Row]) -> str:
    """Say how soon the failures are over with connections that are kept."""
    failing = [row for row in _of(rows) if row["kind"] == "simulated" and row["since_fault_s"] >= 0]
    worst = max(failing, key=lambda row: row["estimate"])
    late = [row["since_fault_s"] for row in failing if row["estimate"] >= worst["estimate"] / 10]
    return (
        f"Keep-alive: {significant(worst['estimate'])} % of requests fail in the first second, "
        f"a tenth of it after {count(max(late) + 1)} s"
    )


_UNNOTICED_S = 30.0  # Shorter than any detection with the default clocks (theory.failure.Detection).

FIRST_PACKET_COST = Curve(
    name="first_packet_cost",
    x="services",
    x_label="Services in the cluster",
    subtitle="CPU time that the rules cost a new connection's first packet, by kube-proxy mode",
    finding=_dearest,
    panels=(
        Panel(title="on the entry node, which is the pod's too", y_label="CPU time (µs)", log=True),
        Panel(title="added by the pod's node, if another", y_label="CPU time (µs)", log=True),
    ),
)
HOTTEST_POD = Curve(
    name="hottest_pod",
    x="connections",
    x_label="open connections",
    subtitle="How unevenly connections fall on ten pods, and what it does at 50 % mean load",
    finding=_evenest,
    named=None,
    panels=(
        Panel(title="hottest pod", y_label="connections / mean", bottom=0.9),
        Panel(title="some pod is offered more than it can do", y_label="chance (%)"),
    ),
)
CONNTRACK_WALL = Curve(
    name="conntrack_wall",
    x="connections_per_s",
    x_label="new connections per second",
    x_log=False,
    subtitle="Short connections against the conntrack table, by externalTrafficPolicy",
    finding=_first_full,
    panels=(
        Panel(title="the fullest node", y_label="conntrack entries", level="maximum"),
        Panel(title="requests", y_label="failed requests (%)"),
    ),
)
FAILURE_RETRY = Curve(
    name="failure_retry",
    x="since_fault_s",
    x_label="intended arrival after the node's death (s)",
    x_log=False,
    subtitle="Failed requests by second of intended arrival, a new connection for every request",
    finding=_plateaus,
    panels=(Panel(y_label="failed requests (%)"),),
)
FAILURE_KEEP_ALIVE = Curve(
    name="failure_keep_alive",
    x="since_fault_s",
    x_label="arrival after the node's death (s)",
    x_log=False,
    window=(-5, 30),
    subtitle="The same death where each of 100 clients keeps one connection open",
    finding=_spikes,
    named=None,
    panels=(
        Panel(title="requests that fail", y_label="failed requests (%)"),
        Panel(title="requests that succeed", y_label="mean latency (s)"),
    ),
)
