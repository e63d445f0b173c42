"""Pods that join late: their share of the requests beside an even one, by second since the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.report.plots.curves import Curve, Panel
from nodeportsim.report.words import count, significant

if TYPE_CHECKING:
    from nodeportsim.report.plots.curves import Row

_NEAR = 0.8  # Of the even share: from there on a pod may be said to take part.
_SMOOTH_S = 5  # Seconds whose mean must be there, so that chance does not decide.


def _joined(rows: list[Row]) -> str:
    """Say for each line when the new pods first get most of their even share."""
    even = {row["since_event_s"]: row["estimate"] for row in rows if row["kind"] != "simulated"}
    simulated = [row for row in rows if row["kind"] == "simulated"]
    told = []
    for name in dict.fromkeys(row["series"] for row in simulated):
        line = {row["since_event_s"]: row["estimate"] for row in simulated if row["series"] == name}
        joined = [
            s
            for s in line
            if even.get(s, 0.0) > 0.0
            and sum(line.get(s + k, 0.0) for k in range(_SMOOTH_S)) >= _NEAR * _SMOOTH_S * even[s]
        ]
        last = list(line.values())[-1]
        when = f"after {count(min(joined))} s" if joined else f"never ({significant(last)} % at the end)"
        told.append((name, when))
    if len(told) == 1:
        return f"New pods get most of an even share {told[0][1]}"
    return "New pods get most of an even share: " + ", ".join(f"{name} {when}" for name, when in told)


NEWBORNS = Curve(
    name="newborns",
    x="since_event_s",
    x_label="time since the change (s)",
    x_log=False,
    subtitle="Requests that pods made within the run answer, % of all",
    finding=_joined,
    panels=(Panel(y_label="requests (%)"),),
    named=None,
    window=(-10.0, float("inf")),
)
