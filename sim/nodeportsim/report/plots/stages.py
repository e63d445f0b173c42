"""Where the time of a request goes: its stages at the mean, the median and the 99th percentile.

The split at a percentile is the mean split of the requests whose latency is near it, so the parts add up
to their total. Totals differ by orders of magnitude; each bar therefore shows parts of its own total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import STAGES, Text, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_COLOUR = {
    "service": 2,
    "pod_queue": 6,
    "wire": 4,
    "rules": 0,
    "node_queue": 8,
    "pool_wait": 3,
    "syn_backoff": 1,
    "failed_attempts": 5,
    "backoff": 7,
}
_BARS = {"mean_s": "mean", "p50_s": "near p50", "p99_s": "near p99"}
_LABELLED_RATIO = 0.13  # A narrower part has no room for its name.


def frames(summary: Mapping[str, Any], _tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `stages` (stage, mean_s, p50_s, p99_s), without the stages nobody spent time in."""
    import pandas as pd

    rows = [
        [stage, *((split.get(key) or 0.0) for key in ("mean", "at_p50", "at_p99"))]
        for stage, split in (summary.get("stages_s") or {}).items()
    ]
    table = pd.DataFrame(rows, columns=["stage", *_BARS])
    table = table[table[[*_BARS]].sum(axis=1) > 0].reset_index(drop=True)
    return {} if table.empty else {"stages": table}


def text(stages: DataFrame) -> Text:
    """Say which stage dominates the mean and the 99th percentile."""
    parts = []
    for column, name in _BARS.items():
        total_s = float(stages[column].sum())
        if total_s > 0:
            top_s, top = max(zip(stages[column], stages["stage"], strict=True))
            parts.append((name, STAGES[top], top_s / total_s, total_s))
    if not parts:
        return Text("No request succeeded", "No request succeeded.", "Time by stage: no request succeeded.")
    name, stage, ratio, _ = parts[-1]
    title = f"{name.capitalize()}, {percent(ratio)} of the time is {stage}"
    listing = "; ".join(f"{n} {seconds(t)}, of it {s} {percent(r)}" for n, s, r, t in parts)
    caption = (
        "Parts of a succeeded request's time by stage, over all such requests (mean) and over those near "
        f"the 50th and 99th percentile; each bar is 100 % of its own total. Largest parts: {listing}."
    )
    return Text(title, caption, f"Time by stage. Largest parts: {listing}.")


@canvas.drawing
def draw(stages: DataFrame) -> Figure:
    """Draw a bar for the mean, the median and the 99th percentile, split by stage."""
    title, subtitle = text(stages).title, "Time of a succeeded request by stage, % of the bar's total"
    totals = {column: float(stages[column].sum()) for column in _BARS}
    if not max(totals.values()) > 0:
        return canvas.nothing(title, subtitle)
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    left = [0.0] * len(_BARS)
    for stage in stages.to_dict("records"):
        ratios = [stage[column] / total if total > 0 else 0.0 for column, total in totals.items()]
        colour = canvas.colours()[_COLOUR[stage["stage"]]]
        widths, name = [100 * ratio for ratio in ratios], STAGES[stage["stage"]]
        axes.barh(range(len(_BARS)), widths, 0.62, left=left, color=colour, label=name)
        _name_parts(axes, stage, ratios, left, colour)
        left = [start + 100 * ratio for start, ratio in zip(left, ratios, strict=True)]
    axes.set_yticks(range(len(_BARS)), [f"{name}\n{seconds(totals[c])}" for c, name in _BARS.items()])
    axes.set(xlim=(0, 100), xlabel="share of the request's time (%)")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(5, len(stages)))
    return figure


def _name_parts(
    axes: Axes, stage: dict[Hashable, Any], ratios: list[float], left: list[float], colour: str
) -> None:
    """Write name and time into the parts that are wide enough."""
    for row, (column, ratio) in enumerate(zip(_BARS, ratios, strict=True)):
        if ratio >= _LABELLED_RATIO:
            axes.text(
                left[row] + 50 * ratio,
                row,
                f"{STAGES[stage['stage']]}\n{seconds(float(stage[column]))}",
                ha="center",
                va="center",
                fontsize=8.5,
                color=canvas.readable_on(colour),
            )
