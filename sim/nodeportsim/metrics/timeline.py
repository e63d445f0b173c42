"""What happened when: seconds with failures, recovery, milestones, and the end of the warm-up.

A request belongs to the second of its *intended* arrival, so a second's failures are those of the
users who came in it, however late the failure became known. Seconds are whole and counted from 0; a
table has one row a second: offered, succeeded, failed by cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.intervals import Estimate, mean_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Counts = NDArray[np.int64]

BATCH = 5  # The 5 of MSER-5.
OFFERED, SUCCEEDED, CAUSES = 0, 1, 2  # Columns; from CAUSES on, one per cause of failure.
SUBJECTS_LISTED = 10


def merge(tables: Iterable[Counts]) -> Counts:
    """Add timelines second by second; a shorter one counts nothing in the seconds it lacks."""
    rows = list(tables)
    total = np.zeros((max(map(len, rows)), rows[0].shape[1]), dtype=np.int64)
    for table in rows:
        total[: len(table)] += table
    return total


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The window in which requests failed.

    Parameters
    ----------
    first_s, last_s
        First and last second with a failure.
    seconds
        How many seconds held one.
    lost
        Failed requests.
    worst_s
        The second that lost the largest share of its resolved requests; the first of equals.
    worst_ratio
        That share.
    recovered_99_s, recovered_999_s
        The second from which on, to the end of the table, every second succeeds to at least 99 %
        (99.9 %); None where the last second does not. A second without resolved requests counts as good.
    """

    first_s: int
    last_s: int
    seconds: int
    lost: int
    worst_s: int
    worst_ratio: float
    recovered_99_s: int | None
    recovered_999_s: int | None


def outage(table: Counts) -> Outage | None:
    """Find the failure window of a timeline (seconds, 2 + causes); None where nothing failed."""
    failed = table[:, CAUSES:].sum(axis=1)
    hurt = np.flatnonzero(failed)
    if not hurt.size:
        return None
    resolved = failed + table[:, SUCCEEDED]
    ratio = failed / np.maximum(resolved, 1)
    return Outage(
        first_s=int(hurt[0]),
        last_s=int(hurt[-1]),
        seconds=int(hurt.size),
        lost=int(failed.sum()),
        worst_s=int(ratio.argmax()),
        worst_ratio=float(ratio.max()),
        recovered_99_s=_good_from(failed * 100 > resolved),
        recovered_999_s=_good_from(failed * 1000 > resolved),
    )


def _good_from(bad: NDArray[np.bool_]) -> int | None:
    """Return the second after the last bad one, None where that is the end."""
    after = int(np.flatnonzero(bad)[-1]) + 1 if bad.any() else 0
    return after if after < len(bad) else None


def outage_summary(tables: Sequence[Counts]) -> dict[str, object] | None:
    """Summarise the failure windows of replications; None where none of them saw a failure.

    Instants and losses are means over the replications that saw one, the worst second is that of
    the merged timeline.
    """
    merged, each = outage(merge(tables)), [found for table in tables if (found := outage(table))]
    if merged is None:
        return None
    names = ("first_s", "last_s", "lost", "recovered_99_s", "recovered_999_s")
    values = {name: [v for found in each if (v := getattr(found, name)) is not None] for name in names}
    means = {name: mean_interval(value).as_dict() for name, value in values.items()}
    return means | {
        "worst_second_s": merged.worst_s,
        "worst_failed_ratio": merged.worst_ratio,
        "replications": len(each),
    }


def milestone_summary(runs: Sequence[Sequence[tuple[float, str, str]]]) -> dict[str, dict[str, object]]:
    """Summarise named instants over replications, in order of their first mean instant.

    Parameters
    ----------
    runs
        Per replication: (time in seconds, name, subject).

    Returns
    -------
    dict
        Per name: `first_s` and `last_s`, means over the replications that saw it of its first and last
        instant there; `replications` that saw it; `subjects`, sorted, at most `SUBJECTS_LISTED`.
    """
    names = dict.fromkeys(name for run in runs for _, name, _ in run)
    rows = {name: _milestone([[(t, s) for t, n, s in run if n == name] for run in runs]) for name in names}
    return dict(sorted(((name, row) for name, (_, row) in rows.items()), key=lambda item: rows[item[0]][0]))


def _milestone(runs: list[list[tuple[float, str]]]) -> tuple[float, dict[str, object]]:
    seen = [run for run in runs if run]
    first = mean_interval([min(time for time, _ in run) for run in seen])
    last: Estimate = mean_interval([max(time for time, _ in run) for run in seen])
    subjects = sorted({subject for run in seen for _, subject in run if subject})
    row = {
        "first_s": first.as_dict(),
        "last_s": last.as_dict(),
        "replications": len(seen),
        "subjects": subjects[:SUBJECTS_LISTED],
    }
    return first.estimate or 0.0, row


def mser5(series: ArrayLike) -> int | None:
    """Find how much of the start of a series is warm-up, by MSER-5.

    White 1997 (doi:10.1177/003754979706900601), batches of 5: of all truncation points take the one that
    minimises the squared standard error of the mean of the rest, sum((y - mean)**2) / m**2 over the m
    batches kept.

    Parameters
    ----------
    series
        Observations in order of time, as the mean latency of each second.

    Returns
    -------
    int or None
        Observations to drop, a multiple of 5. None where the minimum lies in the second half: the
        series is too short to tell, or never settles.
    """
    errors = mser5_errors(series)
    half = (len(errors) + 1) // 2
    if half < 1:
        return None
    best = int(errors.argmin())
    return best * BATCH if best <= half else None


def mser5_errors(series: ArrayLike) -> NDArray[np.float64]:
    """Return what MSER-5 minimises, for each number of batches that may be dropped; empty below two."""
    values = np.asarray(series, dtype=np.float64)
    batches = values[: len(values) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    kept = np.arange(len(batches), 0, -1)
    centred = batches - batches.mean() if len(batches) else batches  # Sums of squares keep their digits.
    sums, squares = (np.cumsum(part[::-1])[::-1] for part in (centred, centred**2))
    return np.asarray(((squares - sums**2 / kept) / kept**2)[: max(len(batches) - 1, 0)])
