"""Variants of one scenario against its baseline: paired differences, so that shared chance cancels out.

Variants share arrivals and service demands (common random numbers), so a difference is taken inside each
replication and its interval is far narrower than the difference of two intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, fitted, metric_name, signed

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_NAMED = 2  # Metrics that the subtitle has room for.
_NAME_MAX = 44  # Characters of a row's name: what leaves the differences half of the width.


def frames(_summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `table` (metric, variant, baseline, difference_ratio, low_ratio, high_ratio) of a comparison."""
    table = tables.get("paired")
    return {} if table is None or table.empty else {"table": table}


def text(table: DataFrame) -> Text:
    """Say the largest difference that chance does not explain."""
    rows = table.to_dict("records")
    if not rows:
        return Text("No variant was run", "No variant was run.", "Paired differences, empty.")
    baseline = rows[0]["baseline"]
    title = f"No difference to {baseline} that chance does not explain"
    real = [row for row in rows if row["low_ratio"] > 0 or row["high_ratio"] < 0]
    if real:
        most = max(real, key=lambda row: abs(row["difference_ratio"]))
        metric = metric_name(most["metric"])
        title = f"{most['variant']}: {metric} {signed(most['difference_ratio'])} against {baseline}"
    listing = "; ".join(
        f"{row['variant']}, {metric_name(row['metric'])}: {signed(row['difference_ratio'])} "
        f"[{signed(row['low_ratio'])}, {signed(row['high_ratio'])}]"
        for row in rows
    )
    caption = (
        f"Difference to {baseline}, % of its value, within replications that share arrivals and demands; "
        f"95 % intervals. Hollow: the interval holds zero. {listing}."
    )
    return Text(title, caption, f"Paired differences to {baseline}. {listing}.")


@canvas.drawing
def draw(table: DataFrame) -> Figure:
    """Draw a row a metric and variant, with its interval."""
    rows = table.to_dict("records")
    names = list(dict.fromkeys(metric_name(row["metric"]) for row in rows))
    metrics = " and ".join(names) if len(names) <= _NAMED else f"{len(names)} metrics"
    title = text(table).title
    subtitle = f"Paired difference to the baseline in {metrics or 'nothing'}, % of the baseline's value"
    if not rows:
        return canvas.nothing(title, subtitle)
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    axes.axvline(0, color=canvas.ink("text.color"), linewidth=1)
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    palette = canvas.colours()
    for place, row in enumerate(rows):
        _row(axes, place, row, palette[variants.index(row["variant"]) % len(palette)])
    canvas.ticks(axes.xaxis, lambda value: signed(value / 100).removesuffix(" %"))
    axes.set_yticks(range(len(rows)), [fitted(name, _NAME_MAX) for name in _names(rows)])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"difference to {rows[0]['baseline']} (%)")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure


def _names(rows: list[dict[Hashable, Any]]) -> list[str]:
    """Name each row: by its variant alone, where all compare the same metric."""
    if len({row["metric"] for row in rows}) == 1:
        return [row["variant"] for row in rows]
    return [f"{metric_name(row['metric'])}, {row['variant']}" for row in rows]


def _row(axes: Axes, place: int, row: dict[Hashable, Any], colour: str) -> None:
    """Draw one difference: interval, estimate, and its value at the right edge."""
    low, middle, high = (100 * row[f"{end}_ratio"] for end in ("low", "difference", "high"))
    face = canvas.ink("axes.facecolor") if low <= 0 <= high else colour
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2)
    axes.plot([middle], [place], "o", color=colour, markerfacecolor=face, markersize=7)
    axes.annotate(
        signed(middle / 100),
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
    )
