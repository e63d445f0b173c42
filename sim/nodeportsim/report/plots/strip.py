"""The strip of milestones above a figure over time: what happened when in the control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import fitted

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from pandas import DataFrame

    Row = dict[Hashable, Any]

_PANELS_IN, _STRIP_IN, _ROW_IN = 3.4, 1.7, 0.26  # Height of all panels, of the strip at most, of its rows.
_NAME_MAX = 40  # Characters of a milestone: it has half of the width.
_MILESTONES_MAX = 10  # More rows than this would overlap.


def frame(summary: Mapping[str, Any]) -> DataFrame:
    """Pick the milestones of a run: name, first_s, last_s, in order of time."""
    import pandas as pd

    events = [
        [_named(name, times.get("subjects") or []), times["first_s"]["estimate"], times["last_s"]["estimate"]]
        for name, times in (summary.get("milestones") or {}).items()
        if times["first_s"].get("estimate") is not None
    ]
    milestones = pd.DataFrame(events, columns=["name", "first_s", "last_s"])
    return milestones.sort_values(["first_s", "last_s"], kind="stable", ignore_index=True)


def _named(name: str, subjects: list[str]) -> str:
    """Name the one node or pod that a milestone is about; several are the bar's business."""
    return f"{name}: {subjects[0]}" if len(subjects) == 1 else name


def rows(milestones: DataFrame) -> list[Row]:
    """Take as many as have room."""
    return milestones.head(_MILESTONES_MAX).to_dict("records")


def heights(events: list[Row]) -> tuple[float, ...]:
    """Share a sheet between the strip and the panel below it; without milestones there is no strip."""
    strip_in = min(_ROW_IN * len(events), _STRIP_IN)
    return (strip_in, _PANELS_IN - strip_in) if events else (1.0,)


def draw(axes: Axes, main: Axes, events: list[Row]) -> None:
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
