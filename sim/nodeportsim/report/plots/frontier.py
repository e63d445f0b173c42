"""How many nodes and pods: designs that keep to their limits, and what a lost node does to the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.plots.curves import Curve, Panel
from nodeportsim.report.words import Text, count, percent, significant

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame

    Row = dict[Hashable, Any]

_SUBTITLE = "Designs that were simulated; beside the cheapest: cost, and headroom of what binds (%)"
_MARKERS = "osD^vPXhd"


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table`: nodes, pods, family, cost, feasible, chosen, headroom, reason of each design tried."""
    table = tables.get("frontier")
    return {} if table is None or table.empty else {"table": table}


def text(table: DataFrame) -> Text:
    """Say which design is cheapest."""
    if table.empty:
        return Text("No design was tried", "No design was tried.", "Frontier of designs, empty.")
    chosen = table[table["chosen"]].sort_values(["cost", "nodes", "pods"]).to_dict("records")
    title = f"None of {len(table)} designs tried keeps to the limits"
    if chosen:
        best = chosen[0]
        title = f"Cheapest: {best['nodes']} nodes and {best['pods']} pods, cost {significant(best['cost'])}"
    fails = int((~table["feasible"]).sum())
    caption = (
        f"{len(table)} designs were simulated, {fails} of them miss a limit (crosses). Filled: the fewest "
        "pods of a number of nodes that keep to all; the cheapest are named. Others are screened out or dear."
    )
    named = "; ".join(f"{row['nodes']} nodes, {row['pods']} pods: {_label(row)}" for row in chosen)
    return Text(title, caption, f"Nodes against pods of {len(table)} designs. {title}. {named}")


def _label(row: Row) -> str:
    return f"{significant(row['cost'])}, {percent(row['headroom'])}"


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw a mark a design."""
    title = text(table).title
    if table.empty:
        return canvas.nothing(title, _SUBTITLE)
    figure, panels = canvas.sheet(title, _SUBTITLE)
    axes, palette = panels[0, 0], canvas.colours()
    families = list(dict.fromkeys(table["family"]))
    ends = []
    for place, family in enumerate(families):
        colour, marker = palette[place % len(palette)], _MARKERS[place % len(_MARKERS)]
        part = table[table["family"] == family]
        misses, keeps, chosen = (
            part[~part["feasible"]],
            part[part["feasible"] & ~part["chosen"]],
            part[part["chosen"]].sort_values("nodes"),
        )
        axes.plot(misses["nodes"], misses["pods"], "x", color=colour, alpha=0.7)
        axes.plot(keeps["nodes"], keeps["pods"], marker, color=colour, fillstyle="none")
        axes.plot(chosen["nodes"], chosen["pods"], "-", color=colour, alpha=0.25)
        axes.plot(chosen["nodes"], chosen["pods"], marker, color=colour, label=family)
        ends += [(row["nodes"], row["pods"], _label(row), colour) for row in chosen.to_dict("records")]
    low, high = int(table["nodes"].min()), int(table["nodes"].max())
    axes.set(xlabel="nodes", ylabel="pods", xlim=(low - 0.5, high + 0.5 + 0.12 * (high - low + 1)))
    canvas.ticks(axes.xaxis, significant, range(low, high + 1, 1 + (high - low) // 20))
    low, high = max(0, int(table["pods"].min()) - 1), int(table["pods"].max()) + 1
    axes.set_ylim(low, high)
    canvas.ticks(axes.yaxis, significant, range(low, high + 1, 1 + (high - low) // 10))
    if len(families) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    canvas.end_labels(axes, ends)
    return figure


def _fewest(rows: list[Row]) -> str:
    """Say what the loss of a node does to the tail where pods are fewest."""
    simulated = [row for row in rows if row["kind"] == "simulated"]
    few = min(row["pods"] for row in simulated)
    at_few = [row for row in simulated if row["pods"] == few]
    up, lost = (
        max((row["estimate"] for row in at_few if row.get("panel", 0) == panel), default=0)
        for panel in (0, 1)
    )
    told = f"{significant(1e3 * up)} ms, with a node lost {significant(1e3 * lost)} ms"
    return f"{count(few)} pods: p99 up to {told}"


DEGRADED_P99 = Curve(
    name="degraded_p99",
    x="pods",
    x_label="pods",
    x_log=False,
    subtitle="Latency at the 99th percentile, by number of nodes",
    finding=_fewest,
    named=None,
    panels=(
        Panel(title="all nodes up", y_label="p99 latency (s)", log=True),
        Panel(title="one node lost, and its pods", y_label="p99 latency (s)", log=True),
    ),
)
