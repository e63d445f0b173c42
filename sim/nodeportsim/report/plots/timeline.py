"""Failed requests by second and cause, with what the control plane did meanwhile.

Second means the second of the *intended* arrival. Counts are totals over replications; the picture shows the
share of the requests offered in that second, so neither the rate nor the number of replications changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.causes import cause as cause_of
from nodeportsim.metrics.causes import in_order
from nodeportsim.report import canvas
from nodeportsim.report.plots import strip
from nodeportsim.report.words import Text, count, percent, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_ROOMY = 3  # So many causes have two lines each in the legend.


def frames(summary: Mapping[str, Any], _tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `timeline` (second, offered, succeeded, a column a cause) and `milestones`, if there are any."""
    import pandas as pd

    rows = summary.get("timeline") or []
    seen = in_order({cause for row in rows for cause, failed in row["failed"].items() if failed})
    lines = [
        [row["second"], row["offered"], row["succeeded"], *(row["failed"].get(c, 0) for c in seen)]
        for row in rows
    ]
    timeline = pd.DataFrame(lines, columns=["second", "offered", "succeeded", *seen])
    milestones = strip.frame(summary)
    return {"timeline": timeline, "milestones": milestones} if seen or len(milestones) else {}


def text(timeline: DataFrame, milestones: DataFrame) -> Text:
    """Say how many requests failed, when, and why."""
    totals = _totals(timeline)
    offered, failed = int(timeline["offered"].sum()), sum(totals.values())
    if not failed:
        title = f"None of {count(offered)} requests failed"
        return Text(title, f"{title}.", f"Timeline of failures, empty: {title}.")
    by_second = timeline[[*totals]].sum(axis=1)
    hurt = timeline["second"][by_second > 0]
    worst = float((by_second / timeline["offered"].clip(lower=1)).max())
    first, last = int(hurt.min()), int(hurt.max()) + 1
    title = f"{percent(failed / offered)} of requests failed, all between {first} s and {last} s"
    shares = ", ".join(
        f"{cause_of(cause).words} {percent(total / failed)}" for cause, total in totals.items()
    )
    caption = (
        f"Share of the requests offered in each second that failed, stacked by final cause ({shares}). "
        "Marks above: what happened in the control plane, mean over replications; a bar spans the first "
        "to the last node or pod concerned."
    )
    events = "; ".join(f"{row['name']} at {significant(row['first_s'])} s" for row in strip.rows(milestones))
    alt = (
        f"Stacked timeline of failures. {count(failed)} of {count(offered)} requests failed, between "
        f"second {first} and second {last}; in the worst second {percent(worst)} did. By cause: {shares}."
    )
    return Text(title, caption, f"{alt} Milestones: {events}." if events else alt)


def _totals(timeline: DataFrame) -> dict[str, int]:
    """Failed requests by cause, the most frequent first."""
    totals = {cause: int(timeline[cause].sum()) for cause in timeline.columns[3:]}
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


@canvas.drawing
def draw(timeline: DataFrame, milestones: DataFrame) -> Figure:
    """Draw the failures below, the milestones above, on one time axis."""
    title = text(timeline, milestones).title
    subtitle = "Failed requests by second of intended arrival, % of the requests offered in that second"
    if timeline.empty:
        return canvas.nothing(title, subtitle)
    events = strip.rows(milestones)
    heights = strip.heights(events)
    figure, panels = canvas.sheet(title, subtitle, heights=heights, sharex=True)
    main = panels[-1, 0]
    _stack(main, timeline)
    main.set(xlabel="intended arrival (s)", ylabel="failed requests (%)")
    main.set_xlim(timeline["second"].min(), timeline["second"].max() + 1)
    canvas.ticks(main.yaxis, significant)
    if events:
        canvas.close_rows(figure)
        strip.draw(panels[0, 0], main, events)
    return figure


def _stack(axes: Axes, timeline: DataFrame) -> None:
    """Stack the causes, the most frequent one at the bottom, with the totals as the legend."""
    totals = _totals(timeline)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0, 1)
    if not totals:
        return
    seconds = [*timeline["second"], timeline["second"].iloc[-1] + 1]
    percents = timeline[[*totals]].div(timeline["offered"].clip(lower=1), axis=0) * 100
    palette, failed = canvas.colours(), sum(totals.values())
    gap = "\n" if len(totals) <= _ROOMY else " "
    layers = axes.stackplot(
        seconds,
        [[*percents[cause], percents[cause].iloc[-1]] for cause in totals],
        colors=[palette[cause_of(cause).place % len(palette)] for cause in totals],
        labels=[f"{cause_of(cause).words}{gap}{percent(total / failed)}" for cause, total in totals.items()],
        step="post",
        linewidth=0,
    )
    for layer, cause in zip(layers, totals, strict=True):
        if pattern := canvas.hatch(cause_of(cause).place):
            layer.set(hatch=pattern, edgecolor=canvas.ink("figure.facecolor"))
    axes.set_ylim(0, 1.08 * float(percents.sum(axis=1).max()))
    axes.legend(
        handles=layers[::-1],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        labelspacing=0.5,
        title="of failures",
    )
