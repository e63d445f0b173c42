"""Failed requests by second and cause, with what the control plane did meanwhile.

Second means the second of the *intended* arrival. Counts are totals over replications; the picture shows the
share of the requests offered in that second, so neither the rate nor the number of replications changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import CAUSES, Text, count, fitted, percent, significant

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

# A cause has the same colour in every report: its place in the style's colour cycle.
_COLOUR = {
    "connect_timeout": 1,
    "no_route": 5,
    "refused": 3,
    "reset": 8,
    "request_timeout": 0,
    "pool_timeout": 2,
    "rejected": 7,
    "total_timeout": 6,
    "connection_lost": 4,
    "server_error": 4,
    "no_ports": 4,
    "circuit_open": 4,
}

_PANELS_IN, _STRIP_IN, _ROW_IN = 3.4, 1.7, 0.26  # Height of all panels, of the strip at most, of its rows.
_ROOMY = 3  # So many causes have two lines each in the legend.
_NAME_MAX = 40  # Characters of a milestone: it has half of the width.
_MILESTONES_MAX = 10  # More rows than this would overlap.


def frames(summary: Mapping[str, Any], _tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `timeline` (second, offered, succeeded, a column a cause) and `milestones`, if there are any."""
    import pandas as pd

    rows = summary.get("timeline") or []
    seen = [cause for cause in CAUSES if any(row["failed"].get(cause) for row in rows)]
    lines = [
        [row["second"], row["offered"], row["succeeded"], *(row["failed"].get(c, 0) for c in seen)]
        for row in rows
    ]
    timeline = pd.DataFrame(lines, columns=["second", "offered", "succeeded", *seen])
    events = [
        [_named(name, times.get("subjects") or []), times["first_s"]["estimate"], times["last_s"]["estimate"]]
        for name, times in (summary.get("milestones") or {}).items()
        if times["first_s"].get("estimate") is not None
    ]
    milestones = pd.DataFrame(events, columns=["name", "first_s", "last_s"]).sort_values(
        ["first_s", "last_s"], kind="stable", ignore_index=True
    )
    return {"timeline": timeline, "milestones": milestones} if seen or events else {}


def _named(name: str, subjects: list[str]) -> str:
    """Name the one node or pod that a milestone is about; several are the bar's business."""
    return f"{name}: {subjects[0]}" if len(subjects) == 1 else name


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
    shares = ", ".join(f"{CAUSES[cause]} {percent(total / failed)}" for cause, total in totals.items())
    caption = (
        f"Share of the requests offered in each second that failed, stacked by final cause ({shares}). "
        "Marks above: what happened in the control plane, mean over replications; a bar spans the first "
        "to the last node or pod concerned."
    )
    events = "; ".join(f"{row['name']} at {significant(row['first_s'])} s" for row in _rows(milestones))
    alt = (
        f"Stacked timeline of failures. {count(failed)} of {count(offered)} requests failed, between "
        f"second {first} and second {last}; in the worst second {percent(worst)} did. By cause: {shares}."
    )
    return Text(title, caption, f"{alt} Milestones: {events}." if events else alt)


def _totals(timeline: DataFrame) -> dict[str, int]:
    """Failed requests by cause, the most frequent first."""
    totals = {cause: int(timeline[cause].sum()) for cause in CAUSES if cause in timeline}
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _rows(milestones: DataFrame) -> list[dict[Hashable, Any]]:
    return milestones.head(_MILESTONES_MAX).to_dict("records")


@canvas.drawing
def draw(timeline: DataFrame, milestones: DataFrame) -> Figure:
    """Draw the failures below, the milestones above, on one time axis."""
    title = text(timeline, milestones).title
    subtitle = "Failed requests by second of intended arrival, % of the requests offered in that second"
    if timeline.empty:
        return canvas.nothing(title, subtitle)
    events = _rows(milestones)
    strip_in = min(_ROW_IN * len(events), _STRIP_IN)
    heights = (strip_in, _PANELS_IN - strip_in) if events else (1.0,)
    figure, panels = canvas.sheet(title, subtitle, heights=heights, sharex=True)
    main = panels[-1, 0]
    _stack(main, timeline)
    main.set(xlabel="intended arrival (s)", ylabel="failed requests (%)")
    main.set_xlim(timeline["second"].min(), timeline["second"].max() + 1)
    canvas.ticks(main.yaxis, significant)
    if events:
        canvas.close_rows(figure)
        _strip(panels[0, 0], main, events)
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
        colors=[palette[_COLOUR[cause]] for cause in totals],
        labels=[f"{CAUSES[cause]}{gap}{percent(total / failed)}" for cause, total in totals.items()],
        step="post",
        linewidth=0,
    )
    axes.set_ylim(0, 1.08 * float(percents.sum(axis=1).max()))
    axes.legend(
        handles=layers[::-1],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        labelspacing=0.5,
        title="of failures",
    )


def _strip(axes: Axes, main: Axes, events: list[dict[Hashable, Any]]) -> None:
    """Draw a row a milestone, its name on the side where there is room."""
    low, high = main.get_xlim()
    ink = canvas.ink("text.color")
    for row, event in enumerate(events):
        first_s, last_s = event["first_s"], event["last_s"]
        for panel in (axes, main):
            panel.axvline(
                first_s, color=canvas.ink("axes.edgecolor"), linewidth=0.8, linestyle=(0, (2, 2)), zorder=0
            )
        axes.plot([first_s, last_s], [row, row], color=ink, linewidth=3)
        axes.plot([first_s], [row], "o", color=ink, markersize=4.5)
        left = first_s > low + 0.55 * (high - low)
        axes.annotate(
            f"{fitted(event['name'], _NAME_MAX)}, {_when(first_s, last_s)}",
            (first_s if left else last_s, row),
            xytext=(-8 if left else 8, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
            bbox={"facecolor": canvas.ink("axes.facecolor"), "edgecolor": "none", "pad": 1.0},
        )
    axes.set_ylim(len(events) - 0.4, -0.6)
    axes.set_axis_off()


def _when(first_s: float, last_s: float) -> str:
    first, last = f"{first_s:.1f}", f"{last_s:.1f}"
    return f"{first} s" if first == last else f"{first} to {last} s"
