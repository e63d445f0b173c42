"""Curves of a study: one measured quantity against one parameter, a line a series, with its closed form.

The three figures share one shape of table: `series`, the parameter, `kind` (``simulated``, ``measured`` or
``closed form``), `estimate`, `low`, `high`. Lines and bands are simulated, open circles measured, dashes
theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
class Curve:
    """One figure of this shape.

    Parameters
    ----------
    name
        Of the figure, and of the table in which a study hands it over.
    x, x_label
        Column of the parameter, and the axis label with its unit.
    y_label, subtitle
        Axis label with the unit of `estimate`, and what is drawn.
    finding
        Makes the title from the table; the largest estimate by series is what most figures say.
    level
        Label of the horizontal line at the column `limit`, where the table has one.
    log, bottom
        Whether the vertical axis is logarithmic; where it starts if it is not.
    """

    name: str
    x: str
    x_label: str
    y_label: str
    subtitle: str
    finding: Callable[[list[Row]], str]
    level: str = ""
    log: bool = False
    bottom: float = 0.0

    def frames(self, _summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
        """Pick `table`; a single run has none."""
        table = tables.get(self.name)
        if table is None or table.empty:
            return {}
        return {"table": table.astype({"estimate": float, "low": float, "high": float})}

    def text(self, table: DataFrame) -> Text:
        """Say the finding, and each series' first and last value."""
        if table.empty:
            return Text("No cell was run", "No cell was run.", f"{self.subtitle}, empty.")
        ends = "; ".join(
            f"{name}: {significant(first['estimate'])} at {count(first[self.x])}, "
            f"{significant(last['estimate'])} at {count(last[self.x])}"
            for name, first, last in ((n, rows.iloc[0], rows.iloc[-1]) for n, rows in self.lines(table))
        )
        kinds = ", ".join(_LEGEND[kind] for kind in KINDS if (table["kind"] == kind).any())
        title = self.finding(table[table["kind"] != "measured"].to_dict("records"))
        caption = f"{self.subtitle} ({self.y_label}) against {self.x_label}: {kinds}. {ends}."
        return Text(title, caption, f"{self.subtitle}. {title}. {ends}.")

    def draw(self, table: DataFrame, theme: canvas.Theme = "light") -> Figure:
        """Draw a line a series, named at its end."""
        return _draw(self, table, theme=theme)

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
    "closed form": {"linestyle": (0, (4, 2)), "linewidth": 1.3},
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
    figure, panels = canvas.sheet(title, curve.subtitle)
    axes = panels[0, 0]
    palette = canvas.colours()
    axes.set(xscale="log", xlabel=curve.x_label, ylabel=curve.y_label)
    ends = []
    for place, (name, line) in enumerate(curve.lines(table)):
        colour = palette[place % len(palette)]
        _series(axes, curve.x, table[table["series"] == name], colour)
        last = line.iloc[-1]
        ends.append((last[curve.x], last["estimate"], name, colour))
    _scale(axes, curve, table)
    if "limit" in table:
        _limit(axes, float(table["limit"].max()), curve.level)
    canvas.end_labels(axes, ends)
    return figure


def _series(axes: Axes, x: str, rows: DataFrame, colour: str) -> None:
    """Draw what there is of one series: simulated line and band, measured points, closed form."""
    bounded = rows[rows["kind"] == "simulated"].sort_values(x).dropna(subset=["low", "high"])
    axes.fill_between(bounded[x], bounded["low"], bounded["high"], color=colour, alpha=0.2, linewidth=0)
    for kind, look in _LOOK.items():
        part = rows[rows["kind"] == kind].sort_values(x)
        if len(part):  # An empty unclipped line would still take its place in the layout.
            axes.plot(part[x], part["estimate"], color=colour, **look)


def _scale(axes: Axes, curve: Curve, table: DataFrame) -> None:
    """Set limits and ticks, which the names at the lines' ends need final."""
    first, last = table[curve.x].min(), table[curve.x].max()
    canvas.ticks(axes.xaxis, count, canvas.log_ticks(first, last))
    axes.set_xlim(0.9 * first, 1.04 * last)
    values = table[["estimate", "low", "high", *(["limit"] if "limit" in table else [])]]
    low, high = float(values.min().min()), float(values.max().max())
    if curve.log:
        axes.set_yscale("log")
        canvas.ticks(axes.yaxis, significant, canvas.log_ticks(low, high))
        axes.set_ylim(0.8 * low, 1.25 * high)
    else:
        canvas.ticks(axes.yaxis, significant)
        axes.set_ylim(curve.bottom, high + 0.08 * (high - curve.bottom))


def _limit(axes: Axes, limit: float, label: str) -> None:
    axes.axhline(limit, color=canvas.ink("text.color"), linewidth=1.2)
    axes.annotate(
        f"{label} {count(limit)}",
        (0, limit),
        xycoords=("axes fraction", "data"),
        xytext=(5, -4),
        textcoords="offset points",
        va="top",
    )


def _dearest(rows: list[Row]) -> str:
    most = max(rows, key=lambda row: row["estimate"])
    alike = [row for row in rows if row["services"] == most["services"]]
    least = min(alike, key=lambda row: row["estimate"])
    return (
        f"{count(most['services'])} Services: {significant(most['estimate'])} µs with {most['series']}, "
        f"{significant(least['estimate'])} µs with {least['series']}"
    )


def _evenest(rows: list[Row]) -> str:
    ends = [pick(row["connections"] for row in rows) for pick in (min, max)]
    few, many = (max(row["estimate"] for row in rows if row["connections"] == end) for end in ends)
    return (
        f"Hottest pod: {times(few)} the mean with {count(ends[0])} connections, "
        f"{times(many)} with {count(ends[1])}"
    )


def _first_full(rows: list[Row]) -> str:
    full = [row for row in rows if row["estimate"] >= row["limit"]]
    if not full:
        return f"No table fills up to {count(max(row['connections_per_s'] for row in rows))} connections/s"
    first = min(full, key=lambda row: row["connections_per_s"])
    rate = count(first["connections_per_s"])
    return f"At {rate} connections/s the conntrack table is full ({first['series']})"


FIRST_PACKET_COST = Curve(
    name="first_packet_cost",
    x="services",
    x_label="Services in the cluster",
    y_label="cost of the first packet (µs)",
    subtitle="CPU time that the rules cost a new connection's first packet, by kube-proxy mode",
    finding=_dearest,
    log=True,
)
HOTTEST_POD = Curve(
    name="hottest_pod",
    x="connections",
    x_label="open connections",
    y_label="hottest pod / mean",
    subtitle="Connections of the hottest pod over the mean of all pods (1 is even)",
    finding=_evenest,
    bottom=0.9,
)
CONNTRACK_WALL = Curve(
    name="conntrack_wall",
    x="connections_per_s",
    x_label="new connections per second",
    y_label="conntrack entries on the fullest node",
    subtitle="Occupancy of the conntrack table, by externalTrafficPolicy",
    finding=_first_full,
    level="maximum",
)
