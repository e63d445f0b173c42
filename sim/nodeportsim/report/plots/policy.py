"""Traffic policies against placements: how uneven the load is, and what is saved, as tables to see through.

The table is that of `policies`: `series` (a policy), `case` (pods by node), `panel`, `estimate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.plots.policies import fill, grid_of
from nodeportsim.report.words import Text, percent, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame

TITLES = ("hottest pod / mean pod", "answered on another node (%)", "mean latency (ms)", "failed (%)")
LOAD, HOPS = 0, 1  # Panels.
SUBTITLE = "By traffic policy (rows) and pods on each node (columns), mean over replications"


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table` of a study."""
    table = tables.get("traffic_policy")
    return {} if table is None or table.empty else {"table": table}


def text(table: DataFrame) -> Text:
    """Say the worst load, and the shares of hops that stand against it."""
    if table.empty:
        return Text("No cell was run", "No cell was run.", "Traffic policies, empty.")
    load, hops = (grid_of(table, panel).T.to_dict() for panel in (LOAD, HOPS))
    most = {name: max(cases.values()) for name, cases in load.items()}
    worst = max(most, key=lambda name: most[name])
    case = max(load[worst], key=lambda case: load[worst][case])
    title = f"{worst}, pods {case}: the hottest pod gets {times(most[worst])} the mean"
    means = {name: sum(cases.values()) / len(cases) / 100 for name, cases in hops.items()}
    listing = "; ".join(f"{name} {times(most[name])} at most, {percent(means[name])} hops" for name in load)
    return Text(title, f"{SUBTITLE}. {listing}.", f"{title}. {listing}.")


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw four panels, two in a row."""
    title = text(table).title
    if table.empty:
        return canvas.nothing(title, SUBTITLE)
    figure, panels = canvas.sheet(title, SUBTITLE, columns=2, heights=(1.0, 1.0), sharex=True, sharey=True)
    palette = canvas.colours()
    for place, (axes, words) in enumerate(zip(panels.ravel(), TITLES, strict=True)):
        fill(axes, grid_of(table, place), palette[place], best=False)
        axes.set_title(words, loc="left", size=9.5)
    return figure
