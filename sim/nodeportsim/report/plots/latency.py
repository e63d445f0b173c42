"""How many requests are slower than x, and which part of that is TCP sending its SYN again.

On logarithmic axes a lost SYN shows as a step at the instant of its retransmission: Linux since 6.5 sends
again 1, 2, 3, 4, 5 s after the first SYN and then doubles the wait (tcp_syn_linear_timeouts = 4, Linux
Documentation/networking/ip-sysctl.rst; seen on the wire with 6.18); older kernels double from the start
(RFC 6298, 5.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SYN_S = {"linear": (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0), "doubling": (1.0, 3.0, 7.0, 15.0, 31.0)}
_PHASE = {"before": 2, "during": 1, "after": 0}
_LEVELS = {1.0: "all", 0.5: "50 %", 0.1: "10 % (p90)", 0.01: "1 % (p99)", 0.001: "0.1 % (p99.9)"}


def frames(summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `curve` (phase, latency_s, ccdf_ratio: the share that took longer) and `syn` (sent_s)."""
    import pandas as pd

    curve = tables.get("latency")
    if curve is None or curve.empty:
        return {}
    schedule = (summary.get("provenance") or {}).get("syn_schedule", "linear")
    return {
        "curve": curve[["phase", "latency_s", "ccdf_ratio"]],
        "syn": pd.DataFrame({"sent_s": SYN_S[schedule]}),
    }


def text(curve: DataFrame, syn: DataFrame) -> Text:
    """Say how much of the tail lies beyond the first SYN retransmission."""
    first_s = float(syn["sent_s"].min())
    parts = [(_beyond(lines, first_s), _phase(phase)) for phase, lines in _phases(curve)]
    if not parts:
        return Text("No request succeeded", "No request succeeded.", "Latency distribution, empty.")
    listing = ", ".join(f"{phase} {percent(ratio)}" for ratio, phase in parts)
    late = f"Share of requests at or above {seconds(first_s)}: {listing}."
    worst, when = max(parts)
    longest = seconds(float(curve["latency_s"].max()))
    title = (
        f"{percent(worst)} of requests took {seconds(first_s)} or more {when}"
        if worst
        else f"No answered request took longer than {longest}"
    )
    caption = (
        "Share of succeeded requests slower than each latency, from the intended arrival, by phase of "
        f"arrival (logarithmic axes). Dotted: when the client's kernel sends an unanswered SYN again. {late}"
    )
    levels = [
        f"{_phase(phase)} p50 {seconds(_at(lines, 0.5))}, p99 {seconds(_at(lines, 0.01))}"
        for phase, lines in _phases(curve)
    ]
    return Text(title, caption, f"Latency distribution, longest {longest}. {'; '.join(levels)}. {late}")


def _phases(curve: DataFrame) -> list[tuple[str, DataFrame]]:
    """Phases that hold requests, in order of time."""
    return [(phase, curve[curve["phase"] == phase]) for phase in _PHASE if (curve["phase"] == phase).any()]


def _phase(phase: str) -> str:
    return {"before": "before any fault", "during": "during the fault", "after": "after the fault"}[phase]


def _beyond(lines: DataFrame, latency_s: float) -> float:
    """Share of requests at or above a latency."""
    later = lines["ccdf_ratio"][lines["latency_s"] >= latency_s]
    return float(later.max()) if len(later) else 0.0


def _at(lines: DataFrame, ratio: float) -> float:
    """Least latency that at most this share of requests exceeds."""
    return float(lines["latency_s"][lines["ccdf_ratio"] <= ratio].min())


@canvas.drawing
def draw(curve: DataFrame, syn: DataFrame) -> Figure:
    """Draw one line a phase on logarithmic axes, and the instants at which the SYN goes out again."""
    title = text(curve, syn).title
    subtitle = "Share of succeeded requests that took at least this long, from the intended arrival"
    curve = curve[curve["ccdf_ratio"] > 0]
    if curve.empty:
        return canvas.nothing(title, subtitle)
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    palette = canvas.colours()
    phases = _phases(curve)
    for phase, lines in phases:
        axes.plot(lines["latency_s"], lines["ccdf_ratio"], color=palette[_PHASE[phase]], label=_phase(phase))
    axes.set(xscale="log", yscale="log", xlabel="latency", ylabel="share of requests")
    low_s, high_s = curve["latency_s"].min(), curve["latency_s"].max()
    canvas.ticks(axes.xaxis, seconds, canvas.log_ticks(low_s, high_s))
    axes.set_xlim(low_s * 0.8, high_s * 1.5)
    lowest = float(curve["ccdf_ratio"].min())
    levels = [10.0**-power for power in range(12) if 10.0**-power >= lowest] + [0.5]
    canvas.ticks(axes.yaxis, lambda level: _LEVELS.get(round(level, 9), percent(level)), levels)
    axes.set_ylim(lowest * 0.7, 1.6)
    _mark_syn(axes, list(syn["sent_s"]))
    if len(phases) > 1:
        axes.legend(loc="lower left")
    return figure


def _mark_syn(axes: Axes, sent_s: list[float]) -> None:
    """Mark the SYN's retransmissions that lie within the axis."""
    low_s, high_s = axes.get_xlim()
    instants = [instant_s for instant_s in sent_s if low_s < instant_s < high_s]
    for instant_s in instants:
        axes.axvline(
            instant_s, color=canvas.ink("axes.edgecolor"), linewidth=0.8, linestyle=(0, (1, 2)), zorder=1
        )
        axes.annotate(
            f"{instant_s:g}",
            (instant_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    if instants:
        axes.annotate(
            "SYN sent again at (s)  ",
            (instants[0], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-6, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
        )
