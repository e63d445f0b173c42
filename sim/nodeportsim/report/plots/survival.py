"""What became of the connections that stood when the first fault came, second by second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, percent, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame

# Name, and place among the colours; standing ones are not told dead, which is what their clients know.
_FATES = {
    "standing": ("standing, for all\ntheir client knows", 4),
    "timed_out": ("given up by\na time-out", 0),
    "torn": ("ended by\nRST or FIN", 8),
    "closed": ("closed as usual", 3),
}
_SUBTITLE = "Connections that stood at the first fault, % of them, by seconds since it"


def frames(summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `survival`: since_fault_s, the share of each fate, at the end that of the dead unnoticed."""
    found, made = (summary.get("recovery") or {}).get("survival"), tables.get("survival")
    if not found or made is None:
        return {}
    shares = made[list(_FATES)].div(made[list(_FATES)].sum(axis=1), axis=0).add_suffix("_ratio")
    shares.insert(0, "since_fault_s", made["since_fault_s"])
    shares["dead_unnoticed_ratio"] = [float("nan")] * (len(shares) - 1) + [
        found["dead_unnoticed_ratio"]["estimate"]
    ]
    return {"survival": shares}


def text(survival: DataFrame) -> Text:
    """Say how many were lost, and how long their clients took to know."""
    if survival.empty:
        return Text("No connection stood", "No connection stood.", "Survival of connections, empty.")
    last = survival.iloc[-1]
    lost = survival["timed_out_ratio"] + survival["torn_ratio"]
    ended, dead = float(lost.iloc[-1]), float(last["dead_unnoticed_ratio"])
    known_s = int(survival["since_fault_s"][lost >= ended].iloc[0])
    title = f"{percent(ended)} of the standing connections were lost, the last known after {known_s} s"
    if not ended:
        title = "No client came to know of a lost connection"
    facts = ", ".join(
        f"{name.replace(chr(10), ' ')} {percent(last[f'{fate}_ratio'])}" for fate, (name, _) in _FATES.items()
    )
    caption = (
        f"At the end: {facts}; of the standing ones {percent(dead)} of all are dead without their client's "
        "knowledge: it finds out when it uses them and a time-out ends."
    )
    half = int(survival["since_fault_s"][lost >= ended / 2].iloc[0])
    alt = f"Survival of connections after the fault. At the end {facts}."
    return Text(
        title, caption, f"{alt} Half of the losses were known after {count(half)} s." if ended else alt
    )


@canvas.drawing
def draw(survival: DataFrame) -> Figure:
    """Stack the fates; those that stand are at the bottom, so their upper edge is the survival curve."""
    if survival.empty:
        return canvas.nothing(text(survival).title, _SUBTITLE)
    figure, panels = canvas.sheet(text(survival).title, _SUBTITLE)
    axes, palette = panels[0, 0], canvas.colours()
    seen = [fate for fate in _FATES if fate == "standing" or survival[f"{fate}_ratio"].any()]
    layers = axes.stackplot(
        survival["since_fault_s"],
        [100 * survival[f"{fate}_ratio"] for fate in seen],
        colors=[palette[_FATES[fate][1]] for fate in seen],
        labels=[_FATES[fate][0] for fate in seen],
        linewidth=0,
    )
    axes.plot(
        survival["since_fault_s"],
        100 * survival["standing_ratio"],
        color=canvas.ink("text.color"),
        linewidth=1.6,
    )
    axes.set(xlabel="time since the first fault (s)", ylabel="connections (%)", ylim=(0, 100))
    axes.set_xlim(0, max(1, int(survival["since_fault_s"].iloc[-1])))
    axes.grid(visible=False, axis="x")
    canvas.ticks(axes.yaxis, significant)
    axes.legend(handles=layers[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0), labelspacing=0.7)
    return figure
