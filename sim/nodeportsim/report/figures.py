"""Every figure by its name, and how one is written: pictures, their data, their words.

A figure is drawn from its tables alone; the tables are written beside it as CSV.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.report import canvas
from nodeportsim.report.plots import (
    blast,
    curves,
    frontier,
    growth,
    latency,
    load,
    paired,
    phase_diagram,
    policies,
    policy,
    programming,
    rollout,
    routes,
    shares,
    stages,
    survival,
    timeline,
    tornado,
    warm_up,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from pandas import DataFrame

    from nodeportsim.report.words import Text

    Frames = Callable[[Mapping[str, Any], Mapping[str, DataFrame]], dict[str, DataFrame]]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure: what it needs, what it says, how it looks.

    Parameters
    ----------
    question
        What it answers, for lists of figures.
    frames
        Picks the figure's tables from (summary, tables); empty where these do not carry it.
    text
        Makes title, caption and alternative text from these tables, given by name.
    draw
        Draws them; takes `theme` too.
    """

    question: str
    frames: Frames
    text: Callable[..., Text]
    draw: Callable[..., Figure]


def _curve(question: str, curve: curves.Curve) -> Plot:
    return Plot(question=question, frames=curve.frames, text=curve.text, draw=curve.draw)


PLOTS = {
    "failure_timeline": Plot(
        question="How many requests fail, when, why, and what was the control plane doing?",
        frames=timeline.frames,
        text=timeline.text,
        draw=timeline.draw,
    ),
    "load": Plot(
        question="Do retries save requests, or keep the service down after the fault has gone?",
        frames=load.frames,
        text=load.text,
        draw=load.draw,
    ),
    "survival": Plot(
        question="How long do connections hang that were open when the fault came?",
        frames=survival.frames,
        text=survival.text,
        draw=survival.draw,
    ),
    "blast": Plot(
        question="Which clients are hit, and how hard?",
        frames=blast.frames,
        text=blast.text,
        draw=blast.draw,
    ),
    "latency_ccdf": Plot(
        question="How long do requests take, and is the tail a SYN sent again?",
        frames=latency.frames,
        text=latency.text,
        draw=latency.draw,
    ),
    "shares": Plot(
        question="Is the load even over nodes and pods, or worse than chance?",
        frames=shares.frames,
        text=shares.text,
        draw=shares.draw,
    ),
    "stages": Plot(
        question="Where does the time of a request go?",
        frames=stages.frames,
        text=stages.text,
        draw=stages.draw,
    ),
    "warm_up": Plot(
        question="How much of the beginning was left out, and why?",
        frames=warm_up.frames,
        text=warm_up.text,
        draw=warm_up.draw,
    ),
    "routes": Plot(
        question="Which pod answers what enters by which node?",
        frames=routes.route_frames,
        text=routes.route_text,
        draw=routes.draw_routes,
    ),
    "zones": Plot(
        question="How much traffic crosses zones, and which zone answers most?",
        frames=routes.zone_frames,
        text=routes.zone_text,
        draw=routes.draw_zones,
    ),
    "programming": Plot(
        question="How long until every node's rules know a change of the endpoints?",
        frames=programming.frames,
        text=programming.text,
        draw=programming.draw,
    ),
    "traffic_policy": Plot(
        question="Local, Cluster or hints: how uneven is the load, and what is saved?",
        frames=policy.frames,
        text=policy.text,
        draw=policy.draw,
    ),
    "newborns": _curve("When do new pods get their share?", growth.NEWBORNS),
    "sync_time": _curve("How long until rules know a change, with many Services?", growth.SYNC_TIME),
    "affinity": _curve("How many source addresses make ClientIP affinity even?", growth.AFFINITY),
    "first_packet_cost": _curve("What do many Services cost a new connection?", curves.FIRST_PACKET_COST),
    "hottest_pod": _curve("How many connections make the load even?", curves.HOTTEST_POD),
    "conntrack_wall": _curve("At which rate is the conntrack table full?", curves.CONNTRACK_WALL),
    "pre_stop": _curve("Which preStop sleep makes a rolling update lossless?", rollout.PRE_STOP),
    "failure_retry": _curve("Which retry saves how much while a node is dead?", curves.FAILURE_RETRY),
    "failure_keep_alive": _curve("What does keep-alive make of a dead node?", curves.FAILURE_KEEP_ALIVE),
    "policies": Plot(
        question="Which client policy loses least in which failure, and at what load?",
        frames=policies.frames,
        text=policies.text,
        draw=policies.draw,
    ),
    "paired": Plot(
        question="What does a variant change?",
        frames=paired.frames,
        text=paired.text,
        draw=paired.draw,
    ),
    "tornado": Plot(
        question="Which of many parameters matters most?",
        frames=tornado.frames,
        text=tornado.text,
        draw=tornado.draw,
    ),
    "frontier": Plot(
        question="How many nodes and pods are enough, and which are cheapest?",
        frames=frontier.frames,
        text=frontier.text,
        draw=frontier.draw,
    ),
    "degraded_p99": _curve("How many pods, also with a node lost?", frontier.DEGRADED_P99),
    "phase_diagram": Plot(
        question="At which load, with which retries, does the service come back by itself?",
        frames=phase_diagram.frames,
        text=phase_diagram.text,
        draw=phase_diagram.draw,
    ),
}


def plot(name: str) -> Plot:
    """Find a figure by its name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in PLOTS:
        close = get_close_matches(name, PLOTS, n=1)
        hint = f"did you mean {close[0]}?" if close else None
        raise InputError(f"must be one of {', '.join(PLOTS)}", field="figure", got=name, hint=hint)
    return PLOTS[name]


def available(summary: Mapping[str, Any], tables: Mapping[str, DataFrame]) -> dict[str, dict[str, DataFrame]]:
    """Name the figures that a run or a study carries, each with its tables."""
    found = {name: plot.frames(summary, tables) for name, plot in PLOTS.items()}
    return {name: frames for name, frames in found.items() if frames}


def draw(
    name: str,
    summary: Mapping[str, Any],
    tables: Mapping[str, DataFrame],
    *,
    theme: canvas.Theme = "light",
) -> Figure:
    """Draw one figure of a run or a study.

    Raises
    ------
    InputError
        There is no such figure, or what was run does not carry it.
    """
    chosen = plot(name)
    frames = chosen.frames(summary, tables)
    if not frames:
        raise InputError(f"is not a figure of what was run: {chosen.question}", field="figure", got=name)
    return chosen.draw(**frames, theme=theme)


def write(
    name: str,
    frames: Mapping[str, DataFrame],
    folder: Path,
    *,
    theme: canvas.Theme = "light",
    formats: Sequence[canvas.Format] = ("svg", "png"),
) -> list[Path]:
    """Write ``<name>.svg``, ``<name>.png`` and the tables as ``<name>.csv``, ``<name>.<table>.csv``.

    The first table, the one that is drawn, has the figure's own name. A dark figure is ``<name>-dark.*``.
    """
    stem = folder / (name if theme == "light" else f"{name}-{theme}")
    paths = canvas.save(plot(name).draw(**frames, theme=theme), stem, formats, theme)
    for place, (table, frame) in enumerate(frames.items()):
        path = folder / (f"{name}.csv" if place == 0 else f"{name}.{table}.csv")
        frame.to_csv(path, index=False, lineterminator="\n")
        paths.append(path)
    return paths
