"""Load and goodput by second: what was wanted, what was tried for it, what was answered.

Attempts and answers belong to the second in which they *happen*. Where attempts stay high and answers low
after the milestones say that all is well, the retries keep the service down: a metastable failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.plots import strip
from nodeportsim.report.words import Text, count, percent, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SERIES = {
    "attempts": ("attempts begun", 1, 1.8),
    "offered": ("requests offered", None, 1.1),
    "answers": ("answers", 0, 1.8),
}
_SUBTITLE = "Requests offered, attempts begun and answers that came in each second, mean over replications"


def frames(summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `load` (second; offered, attempts, answers in it) of a run with a fault, and `milestones`."""
    found, made = summary.get("recovery"), tables.get("load")
    if not found or made is None or not made["offered"].any():
        return {}
    rates = made[["offered", "attempts", "answers"]] / found["replications"]
    rates.insert(0, "second", made["second_s"])
    return {"load": rates, "milestones": strip.frame(summary)}


def text(load: DataFrame, milestones: DataFrame) -> Text:
    """Say how many attempts a request cost at worst, and how far the answers fell."""
    whole = load[load["offered"] > 0]
    if whole.empty:
        return Text("No request was offered", "No request was offered.", "Load and goodput, empty.")
    attempts, offered, answers = (float(whole[name].sum()) for name in ("attempts", "offered", "answers"))
    most = whole.iloc[int((whole["attempts"] / whole["offered"]).to_numpy().argmax())]
    least = whole.iloc[int((whole["answers"] / whole["offered"]).to_numpy().argmin())]
    title = (
        f"At most {significant(most['attempts'] / most['offered'])} attempts a request (second "
        f"{count(most['second'])}); {percent(least['answers'] / least['offered'])} answered in second "
        f"{count(least['second'])}"
    )
    facts = (
        f"Over the run {significant(attempts / offered)} attempts and {significant(answers / offered)} "
        f"answers a request; in second {count(most['second'])} {significant(most['attempts'])} attempts for "
        f"{significant(most['offered'])} requests, in second {count(least['second'])} "
        f"{significant(least['answers'])} answers for {significant(least['offered'])}"
    )
    caption = (
        "Requests by the second in which they were wanted, attempts and answers by the second in which they "
        f"happened. {facts}. Clients of a closed loop want less while they wait: then the thin line falls."
    )
    events = "; ".join(f"{row['name']} at {significant(row['first_s'])} s" for row in strip.rows(milestones))
    return Text(title, caption, f"Load and goodput by second. {facts}. Milestones: {events}.")


@canvas.drawing
def draw(load: DataFrame, milestones: DataFrame) -> Figure:
    """Draw the three rates below, the milestones above, on one time axis."""
    if not load["offered"].any():
        return canvas.nothing(text(load, milestones).title, _SUBTITLE)
    events = strip.rows(milestones)
    figure, panels = canvas.sheet(
        text(load, milestones).title, _SUBTITLE, heights=strip.heights(events), sharex=True
    )
    main = panels[-1, 0]
    last = int(load.loc[load["offered"] > 0, "second"].max()) + 1
    _lines(main, load[load["second"] < last])
    main.set(xlabel="time (s)", ylabel="per second", xlim=(0, last))
    main.set_ylim(0, 1.08 * float(load[list(_SERIES)].max().max()))
    canvas.ticks(main.yaxis, significant)
    if events:
        canvas.close_rows(figure)
        strip.draw(panels[0, 0], main, events)
    return figure


def _lines(axes: Axes, load: DataFrame) -> None:
    """Draw the rates as steps, a second each."""
    palette = canvas.colours()
    edges = [*load["second"], load["second"].iloc[-1] + 1]
    for name, (label, place, width) in _SERIES.items():
        colour = canvas.ink("text.color") if place is None else palette[place]
        axes.stairs(load[name], edges, baseline=None, color=colour, linewidth=width, label=label)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), labelspacing=0.7)
