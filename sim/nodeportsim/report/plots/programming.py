"""How long a change of the endpoints takes into the nodes' rules: the share of nodes that know it by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame

_SUBTITLE = "Share of (change, node) pairs whose rules know the change, by time since the change, %"
_POINTS_MAX = 500
_MARKS = {"p50": 0.5, "p99": 0.99, "slowest": 1.0}


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `programming`: delay_s, share_ratio, pooled over replications; at most `_POINTS_MAX` rows."""
    import numpy as np
    import pandas as pd

    table = tables.get("programming")
    if table is None or table.empty:
        return {}
    delays = np.sort(table["delay_s"].to_numpy())
    places = np.unique(np.ceil(np.linspace(1, len(delays), min(len(delays), _POINTS_MAX))).astype(int))
    rows = pd.DataFrame({"delay_s": delays[places - 1], "share_ratio": places / len(delays)})
    return {"programming": rows}


def text(programming: DataFrame) -> Text:
    """Say when half of them know, and when the last does."""
    if programming.empty:
        return Text("No endpoint changed", "No endpoint changed.", "Programming delay, empty.")
    marks = {name: significant(_at(programming, share)) for name, share in _MARKS.items()}
    title = f"Half of the nodes know after {marks['p50']} s, the last after {marks['slowest']} s"
    caption = (
        "From the write of a pod's condition to the API server to the end of the sync that has it, for every "
        f"change and node, all replications together: p50 {marks['p50']} s, p99 {marks['p99']} s, slowest "
        f"{marks['slowest']} s. Nodes that were down meanwhile are left out."
    )
    return Text(title, caption, f"{_SUBTITLE}. {title}.")


def _at(programming: DataFrame, share: float) -> float:
    """Smallest delay by which such a share is reached."""
    return float(programming["delay_s"][programming["share_ratio"] >= share - 1e-12].iloc[0])


@canvas.drawing
def draw(programming: DataFrame) -> Figure:
    """Draw the distribution as steps, with its marks."""
    if programming.empty:
        return canvas.nothing(text(programming).title, _SUBTITLE)
    figure, panels = canvas.sheet(text(programming).title, _SUBTITLE)
    axes = panels[0, 0]
    last = float(programming["delay_s"].iloc[-1])
    axes.step(
        [0.0, *programming["delay_s"], 1.05 * last],
        [0.0, *(100.0 * programming["share_ratio"]), 100.0],
        where="post",
        color=canvas.colours()[0],
    )
    for place, (name, share) in enumerate(_MARKS.items()):
        at = (_at(programming, share), 100.0 * share)
        axes.plot(*at, "o", color=canvas.ink("text.color"), clip_on=False)
        axes.annotate(name, at, xytext=(-6, -14 * place), textcoords="offset points", ha="right", va="top")
    axes.set(xlabel="time since the change (s)", ylabel="nodes that know (%)", ylim=(0, 102))
    axes.set_xlim(0, 1.05 * last)
    canvas.ticks(axes.xaxis, significant)
    canvas.ticks(axes.yaxis, significant)
    return figure
