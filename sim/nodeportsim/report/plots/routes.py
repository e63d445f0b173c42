"""Where requests go, as a map: a row an entry, a column a pod, or a row and a column a zone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, percent, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame

ROUTES_SUBTITLE = "Requests of one replication by the node they entered and the pod that answered"
ZONES_SUBTITLE = "Share of requests by the zone they entered and the zone of the pod that answered (%)"
_PALEST, _DEEPEST = 0.03, 0.65  # Opacities: text is readable on the deepest in either theme.
_WRITTEN_MAX = 250  # Cells; more have no room for their numbers.
_NAMED_MAX = 40  # Rows or columns.


def route_frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `routes` where there is a choice to see."""
    table = tables.get("routes")
    if table is None or not table["requests"].any() or len(set(table["node"])) == 1:
        return {}
    return {"routes": table}


def zone_frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `zones` where there are several."""
    table = tables.get("zones")
    return {} if table is None or not table["share_ratio"].any() else {"zones": table}


def route_text(routes: DataFrame) -> Text:
    """Say how far apart the pods are."""
    if routes.empty:
        return Text("No request was answered", "No request was answered.", "Requests by node and pod, empty.")
    pods = routes.groupby("pod")["requests"].sum()
    title = f"The pods got {count(int(pods.min()))} to {count(int(pods.max()))} requests"
    silent = int((routes["requests"] == 0).sum())
    caption = (
        f"{ROUTES_SUBTITLE}, of the first {count(int(pods.sum()))} requests of replication 0: over several "
        f"replications every pod would look alike. {count(silent)} of {count(len(routes))} pairs saw none."
    )
    return Text(title, caption, f"{ROUTES_SUBTITLE}. {title}.")


def zone_text(zones: DataFrame) -> Text:
    """Say how much crosses zones, and which zone answers most."""
    if zones.empty:
        return Text("No request was answered", "No request was answered.", "Requests by zone, empty.")
    own = float(zones["share_ratio"][zones["entry_zone"] == zones["pod_zone"]].sum())
    answered = zones.groupby("pod_zone")["share_ratio"].sum()
    title = (
        f"{percent(1 - own)} of requests cross zones; {answered.idxmax()} answers most, "
        f"{percent(float(answered.max()))}"
    )
    listing = ", ".join(f"{zone} {percent(float(share))}" for zone, share in answered.items())
    return Text(title, f"{ZONES_SUBTITLE}. Answered by zone: {listing}.", f"{title}. Answered: {listing}.")


@canvas.drawing
def draw_routes(routes: DataFrame) -> Figure:
    """Draw nodes x pods."""
    if routes.empty:
        return canvas.nothing(route_text(routes).title, ROUTES_SUBTITLE)
    grid = routes.pivot_table(index="node", columns="pod", values="requests", sort=False)
    return _map(grid, route_text(routes).title, ROUTES_SUBTITLE, ("pod", "entry node"))


@canvas.drawing
def draw_zones(zones: DataFrame) -> Figure:
    """Draw zones x zones."""
    if zones.empty:
        return canvas.nothing(zone_text(zones).title, ZONES_SUBTITLE)
    grid = 100.0 * zones.pivot_table(index="entry_zone", columns="pod_zone", values="share_ratio", sort=False)
    return _map(grid, zone_text(zones).title, ZONES_SUBTITLE, ("zone of the pod", "zone of entry"))


def _map(grid: DataFrame, title: str, subtitle: str, labels: tuple[str, str]) -> Figure:
    """Shade every cell by its value; write the values where there is room."""
    from matplotlib.patches import Rectangle

    figure, panels = canvas.sheet(title, subtitle)
    axes, values = panels[0, 0], grid.to_numpy(float)
    most, colour = max(float(values.max()), 1e-12), canvas.colours()[0]
    for (row, column), value in np.ndenumerate(values):
        shade = _PALEST + (_DEEPEST - _PALEST) * value / most
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=shade, linewidth=0))
        if values.size <= _WRITTEN_MAX:
            axes.text(column, row, significant(value), ha="center", va="center", size=9)
    axes.set(xlim=(-0.5, len(grid.columns) - 0.5), ylim=(len(grid) - 0.5, -0.5))
    axes.set(xlabel=labels[0], ylabel=labels[1])
    for axis, names in ((axes.xaxis, grid.columns), (axes.yaxis, grid.index)):
        if len(names) <= _NAMED_MAX:
            axis.set_ticks(range(len(names)), [str(name) for name in names])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return figure
