"""Who gets the connections: share per node and per pod, by rank, against what chance alone gives.

Names are not pooled over replications: the hottest pod is another one each time, and an average by name
would show perfect balance. So shares are ranked inside a replication and then averaged. The band is where
the average share of that rank falls in 95 % of cases if every connection chose uniformly at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import Text, count, percent, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

KINDS = ("node", "pod")
_COLUMNS = ["kind", "rank", "share_ratio", "low_ratio", "high_ratio", "chance_low_ratio", "chance_high_ratio"]
_MARKERS_MAX = 60
_AVERAGED_MAX = 100  # Replications; the band of more would be narrower still.
_CHANCE_MAX = 2000  # Members; the band is drawn at random, in memory of a few thousand times that.


def frames(summary: Mapping[str, Any], _tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Pick `shares`: a row a kind and rank, with interval and chance band."""
    import pandas as pd

    rows: list[list[Any]] = []
    for kind in KINDS:
        members = summary.get(f"{kind}s") or []
        if len(members) == 1:
            continue  # A single one has everything, always.
        made = sum(member["connections"] for member in members)
        runs = max(1, summary["requests"]["replications"])
        band = _chance(len(members), round(made / runs), runs)
        for member, (low, high) in zip(members, band, strict=True):
            share = member["share"]
            if share["estimate"] is not None:
                rows.append([kind, member["rank"], share["estimate"], share["low"], share["high"], low, high])
    table = pd.DataFrame(rows, columns=_COLUMNS)
    ratios = [column for column in _COLUMNS if column.endswith("_ratio")]
    return {"shares": table.astype(dict.fromkeys(ratios, float))} if rows else {}


def _chance(members: int, connections: int, runs: int) -> list[tuple[float, float]]:
    """Shares by rank, hottest first, between which 95 % of averages over so many runs lie by chance alone."""
    import numpy as np

    from nodeportsim.metrics.balance import chance_band

    if not 0 < members <= _CHANCE_MAX or not connections:
        return [(float("nan"), float("nan"))] * members
    low, high = chance_band(
        members, connections, replications=min(runs, _AVERAGED_MAX), quantiles=(0.025, 0.975)
    )
    return list(zip(np.asarray(low).tolist(), np.asarray(high).tolist(), strict=True))


def text(shares: DataFrame) -> Text:
    """Say how much the hottest node and pod get, and whether chance explains it."""
    facts = [_fact(kind, members) for kind, members in _kinds(shares)]
    title = "; ".join(f"hottest {kind} {times(ratio)} its fair share" for kind, ratio, _, _ in facts)
    title = title[:1].upper() + title[1:] if title else "No connection was made"
    verdicts = ". ".join(
        f"The hottest of {total} {kind}s gets {times(ratio)} the mean, {verdict} the chance band"
        for kind, ratio, total, verdict in facts
    )
    caption = (
        "Share of connections by rank, ranked within each replication and then averaged, with 95 % "
        "intervals. Shaded: 95 % of such averages if every connection chose uniformly at random. Dashed: "
        f"equal shares. {verdicts}."
    )
    return Text(title, caption, f"Share of connections per node and per pod. {verdicts}.")


def _kinds(shares: DataFrame) -> list[tuple[str, DataFrame]]:
    return [(kind, shares[shares["kind"] == kind]) for kind in KINDS if (shares["kind"] == kind).any()]


def _fact(kind: str, members: DataFrame) -> tuple[str, float, int, str]:
    """Kind, hottest share over the mean, number of members, and where the hottest stands against chance."""
    hottest = members.iloc[0]
    verdict = "within"
    if hottest["share_ratio"] > hottest["chance_high_ratio"]:
        verdict = "above"
    elif hottest["share_ratio"] < hottest["chance_low_ratio"]:
        verdict = "below"
    return kind, float(hottest["share_ratio"] * len(members)), len(members), verdict


@canvas.drawing
def draw(shares: DataFrame) -> Figure:
    """Draw a panel for the nodes and one for the pods."""
    title = text(shares).title
    subtitle = "Share of connections by rank, % (mean and 95 % interval); shaded: what chance alone gives"
    kinds = _kinds(shares)
    if not kinds:
        return canvas.nothing(title, subtitle)
    figure, panels = canvas.sheet(title, subtitle, columns=len(kinds))
    for axes, (kind, members) in zip(panels[0], kinds, strict=True):
        _panel(axes, kind, members)
    panels[0, 0].set_ylabel("share of connections (%)")
    return figure


def _panel(axes: Axes, kind: str, members: DataFrame) -> None:
    rank, percents = list(members["rank"]), 100 * members[_COLUMNS[2:]]
    edges = [place - 0.5 for place in (*rank, rank[-1] + 1)]
    low, high = ([*percents[c], percents[c].iloc[-1]] for c in ("chance_low_ratio", "chance_high_ratio"))
    shade: dict[str, Any] = {"color": canvas.colours()[4], "alpha": 0.45, "linewidth": 0}
    axes.fill_between(edges, low, high, step="post", label="chance alone, 95 %", **shade)
    axes.axhline(100 / len(members), color=canvas.ink("axes.edgecolor"), linewidth=1, linestyle=(0, (4, 3)))
    few = len(members) <= _MARKERS_MAX
    axes.errorbar(
        rank,
        percents["share_ratio"],
        yerr=[
            (percents["share_ratio"] - percents["low_ratio"]).fillna(0),
            (percents["high_ratio"] - percents["share_ratio"]).fillna(0),
        ],
        fmt="o" if few else "-",
        markersize=5,
        elinewidth=1.4 if few else 0.4,
        color=canvas.ink("text.color"),
        label="this run",
    )
    plural = "s" if len(members) > 1 else ""
    axes.set_title(f"{count(len(members))} {kind}{plural}, equal share {percent(1 / len(members))}")
    axes.set(xlabel=f"{kind} by rank, hottest first", xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, 1.25 * float(percents.max().max()))
    axes.locator_params(axis="x", integer=True)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper right")
