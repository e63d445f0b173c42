"""What became of the connections that stood when the first fault came.

A connection is *torn* when its client got RST or FIN, *given up* when a time-out of the client ended it, and
closed *as usual* by age, idleness or number of requests. One whose far end has died in silence goes on
standing until its client finds out: by using it, or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import timeline
from nodeportsim.metrics.intervals import POSITIVE, SHARE, mean_interval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]

CLOSED, TORN, TIMED_OUT = range(3)  # Columns of `Replication.fates`.
USABLE, DEAD = range(2)  # Of `Replication.standing`.


def first_s(run: Replication) -> float:
    """Instant of the first fault."""
    return min(time_s for time_s, name, _ in run.milestones if name == "fault")


def stood(run: Replication) -> int:
    """Connections that stood when the first fault came."""
    return int(run.fates.sum() + run.standing.sum())


def survival(runs: Sequence[Replication]) -> dict[str, Any] | None:
    """Sum up their fates as shares of those that stood; None where none did."""
    whole = [stood(run) for run in runs]
    if not any(whole):
        return None
    parts = {
        "closed_ratio": [run.fates[:, CLOSED].sum() for run in runs],
        "torn_ratio": [run.fates[:, TORN].sum() for run in runs],
        "timed_out_ratio": [run.fates[:, TIMED_OUT].sum() for run in runs],
        "usable_ratio": [run.standing[USABLE] for run in runs],
        "dead_unnoticed_ratio": [run.standing[DEAD] for run in runs],
    }
    shares = {name: ratio_interval(part, whole, SHARE).as_dict() for name, part in parts.items()}
    known = timeline.merge(run.fates for run in runs)[:, [TORN, TIMED_OUT]].sum(axis=1)
    return {"connections": mean_interval(whole, POSITIVE).as_dict(), **shares, **_noticed(known)}


def _noticed(known: Counts) -> dict[str, int | None]:
    """Seconds from the fault until half of the ends that clients came to know of were known, and the last."""
    seen = np.flatnonzero(known)
    if not seen.size:
        return {"noticed_half_s": None, "noticed_last_s": None}
    half = int(np.searchsorted(np.cumsum(known) * 2, known.sum()))
    return {"noticed_half_s": half + 1, "noticed_last_s": int(seen[-1]) + 1}


def curve(runs: Sequence[Replication]) -> Counts:
    """Cumulate the fates, shape (seconds, 4): standing, closed, torn, given up, second by second.

    Row s is s seconds after the fault: row 0 has all of them standing. It goes on to the end of the arrivals.
    """
    length = max(len(run.timeline) - int(first_s(run)) for run in runs)
    ends = timeline.merge([*(run.fates for run in runs), np.zeros((max(length, 0), 3), np.int64)])
    whole = sum(stood(run) for run in runs)
    gone = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(ends, axis=0)])
    return np.column_stack([whole - gone.sum(axis=1), gone])
