"""Whom a fault hit: how many requests clients lost, and by which entry node and group the lost ones came."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, fitted, percent, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_PARTS_MAX = 10
_NAME_MAX = 18
_SUBTITLE = "Left: clients that lost at least so many requests, %. Right: requests that failed, %"


def frames(summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `blast` (failed requests, share of clients with at least so many) and `parts`, if any failed."""
    import pandas as pd

    found, made = (summary.get("recovery") or {}).get("blast"), tables.get("clients")
    if not found or made is None or not (made["failed"] * made["clients"]).sum():
        return {}
    clients = made.groupby("failed")["clients"].sum()
    share = clients[::-1].cumsum()[::-1] / clients.sum()
    hit = pd.DataFrame({"failed": share.index, "clients_ratio": share.to_numpy()})
    rows = [["entry node", row["node"], row["failed_ratio"]] for row in found["nodes"]]
    rows += [["group", name, row["failed_ratio"]] for name, row in found["groups"].items()]
    ends = ("estimate", "low", "high")
    parts = pd.DataFrame(
        [[kind, name, *(ratio[end] for end in ends)] for kind, name, ratio in rows],
        columns=["kind", "name", "failed_ratio", "low_ratio", "high_ratio"],
    ).astype(dict.fromkeys(("failed_ratio", "low_ratio", "high_ratio"), float))
    return {"blast": hit[hit["failed"] > 0].reset_index(drop=True), "parts": parts}


def text(blast: DataFrame, parts: DataFrame) -> Text:
    """Say which share of the clients was hit, and where."""
    if blast.empty:
        return Text("No client lost a request", "No client lost a request.", "Blast radius, empty.")
    share, most = float(blast["clients_ratio"].iloc[0]), int(blast["failed"].max())
    title = f"{percent(share)} of the clients lost a request, none more than {count(most)}"
    named = ", ".join(f"{row['name']} {percent(row['failed_ratio'])}" for row in parts.to_dict("records"))
    groups = " and of each group" if (parts["kind"] == "group").any() else ""
    caption = (
        "Clients by the number of requests they lost in a run, all replications together; then the failed "
        f"share of the requests that ended at each entry node{groups}: {named or 'none came to a node'}."
    )
    return Text(title, caption, f"Blast radius. {title}. Failed shares: {named or 'none'}.")


@canvas.drawing
def draw(blast: DataFrame, parts: DataFrame) -> Figure:
    """Draw clients by losses at the left, failed shares by node and group at the right."""
    if blast.empty:
        return canvas.nothing(text(blast, parts).title, _SUBTITLE)
    figure, panels = canvas.sheet(text(blast, parts).title, _SUBTITLE, columns=2 if len(parts) else 1)
    _clients(panels[0, 0], blast)
    if len(parts):
        _shares(panels[0, 1], parts.head(_PARTS_MAX))
    return figure


def _clients(axes: Axes, blast: DataFrame) -> None:
    """Draw the share of clients that lost at least k requests, as steps."""
    edges = [0.5, *(blast["failed"] + 0.5)]
    percents = 100 * blast["clients_ratio"]
    axes.stairs(percents, edges, fill=True, color=canvas.colours()[0], alpha=0.85)
    axes.set(xlabel="requests lost, at least", ylabel="clients (%)", xlim=(0.5, edges[-1]))
    axes.set_ylim(0, 1.08 * float(percents.max()))
    axes.locator_params(axis="x", integer=True)
    axes.grid(visible=False, axis="x")
    canvas.ticks(axes.yaxis, significant)


def _shares(axes: Axes, parts: DataFrame) -> None:
    """Draw a bar an entry node or group, with its interval."""
    rows = parts.to_dict("records")
    palette = canvas.colours()
    for place, row in enumerate(rows):
        ratio = 100 * row["failed_ratio"]
        axes.barh(place, ratio, color=palette[1 if row["kind"] == "entry node" else 2], height=0.65)
        if isfinite(row["high_ratio"]):
            axes.plot(
                [100 * row["low_ratio"], 100 * row["high_ratio"]], [place] * 2, color=canvas.ink("text.color")
            )
    axes.set_yticks(range(len(rows)), [fitted(row["name"], _NAME_MAX) for row in rows])
    axes.set_ylim(max(len(rows), 4) - 0.4, -0.6)
    kinds = " and ".join(f"{kind}s" for kind in dict.fromkeys(row["kind"] for row in rows))
    axes.set(xlabel="failed requests (%)", title=kinds)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    canvas.ticks(axes.xaxis, significant)
