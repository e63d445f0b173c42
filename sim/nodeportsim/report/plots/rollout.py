"""What a rolling update costs: failed requests against the sleep between a pod's deletion and SIGTERM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.report.plots.curves import Curve, Panel
from nodeportsim.report.words import count, significant

if TYPE_CHECKING:
    from nodeportsim.report.plots.curves import Row


def _lossless(rows: list[Row]) -> str:
    """Say what a rollout costs without a sleep, and from which sleep on that costs less than a request."""
    rows = [row for row in rows if row["kind"] == "simulated"]
    most = max(rows, key=lambda row: row["estimate"])
    lossy = [row["pre_stop_s"] for row in rows if row["estimate"] >= 1 and row["series"] == most["series"]]
    free = [row["pre_stop_s"] for row in rows if row["pre_stop_s"] > max(lossy, default=-1)]
    told = f"less than one from {significant(min(free))} s on" if free else "no sleep is enough"
    return f"A rollout loses {count(round(most['estimate']))} requests without a sleep, {told}"


PRE_STOP = Curve(
    name="pre_stop",
    x="pre_stop_s",
    x_label="preStop sleep (s)",
    x_log=False,
    subtitle="Failed requests of one rolling update, by what a pod does on SIGTERM",
    finding=_lossless,
    panels=(Panel(y_label="failed requests"),),
)
