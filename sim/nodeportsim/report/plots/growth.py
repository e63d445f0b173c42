"""Curves of changes: what new pods get, when rules know a change, how evenly affinity spreads clients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.report.plots.curves import Curve, Panel
from nodeportsim.report.words import count, significant, times

if TYPE_CHECKING:
    from nodeportsim.report.plots.curves import Row

_NEAR = 0.8  # Of the even share: from there on a pod may be said to take part.
_SMOOTH_S = 5  # Seconds whose mean must be there, so that chance does not decide.


def _joined(rows: list[Row]) -> str:
    """Say when the new pods first get most of an even share, on the first and on the last of the lines."""
    even = {row["since_event_s"]: row["estimate"] for row in rows if row["kind"] != "simulated"}
    simulated = [row for row in rows if row["kind"] == "simulated"]
    joined = {
        str(name): _first(
            {row["since_event_s"]: row["estimate"] for row in simulated if row["series"] == name}, even
        )
        for name in dict.fromkeys(row["series"] for row in simulated)
    }
    ends = dict.fromkeys(pick(joined, key=lambda name: joined[name]) for pick in (min, max))
    told = [
        (f"after {count(joined[name])} s" if joined[name] < math.inf else "never")
        + (f" ({name})" if len(joined) > 1 else "")
        for name in ends
    ]
    return f"New pods: even share {', '.join(told)}"


def _first(line: dict[float, float], even: dict[float, float]) -> float:
    """Find the second from which on a line is near the even share for some seconds; infinite if never."""
    found = [
        s
        for s in line
        if even.get(s, 0.0) > 0.0
        and sum(line.get(s + k, 0.0) for k in range(_SMOOTH_S)) >= _NEAR * _SMOOTH_S * even[s]
    ]
    return min(found, default=math.inf)


NEWBORNS = Curve(
    name="newborns",
    x="since_event_s",
    x_label="time since the change (s)",
    x_log=False,
    subtitle="Requests that pods made within the run answer, % of all",
    finding=_joined,
    panels=(Panel(y_label="requests (%)"),),
    window=(-10.0, float("inf")),
)


def _syncs(rows: list[Row]) -> str:
    """Say the longest and the shortest time at the most Services."""
    rows = [row for row in rows if row.get("panel", 0) == 0 and row["kind"] == "simulated"]
    most = max(row["services"] for row in rows)
    there = sorted((row for row in rows if row["services"] == most), key=lambda row: row["estimate"])
    told = " to ".join(f"{significant(there[end]['estimate'])} s ({there[end]['series']})" for end in (0, -1))
    return f"{count(most)} Services: a change takes {told}"


def _even_enough(rows: list[Row]) -> str:
    """Say what few addresses and what many do to the hottest pod."""
    rows = [row for row in rows if row.get("panel", 0) == 0 and row["kind"] == "simulated"]
    worst = max(rows, key=lambda row: row["estimate"])["series"]
    line = sorted((row for row in rows if row["series"] == worst), key=lambda row: row["addresses"])
    few, many = (f"{times(row['estimate'])} from {count(row['addresses'])}" for row in (line[0], line[-1]))
    return f"Hottest pod by number of source addresses: {few}, {many}"


SYNC_TIME = Curve(
    name="sync_time",
    x="services",
    x_label="Services in the cluster",
    subtitle="Time until the rules are right, by kube-proxy mode",
    finding=_syncs,
    panels=(
        Panel(title="a change of one endpoint, slowest of 20 nodes", y_label="time (s)", log=True),
        Panel(title="a full sync into empty rules", y_label="time (s)", log=True),
    ),
)
AFFINITY = Curve(
    name="affinity",
    x="addresses",
    x_label="source addresses",
    subtitle="How evenly connections fall on ten pods with ClientIP affinity",
    finding=_even_enough,
    panels=(
        Panel(title="hottest pod", y_label="connections / mean", bottom=0.0),
        Panel(title="pods without a connection", y_label="pods"),
    ),
    named=None,
)
