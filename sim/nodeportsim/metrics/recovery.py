"""What a fault cost and how long it lasted: detection, recovery, late answers, load, goodput.

Two clocks are in use. Failures and recovery belong to the second of *intended arrival*, as in
`timeline`. Attempts, answers and answers to nobody belong to the second in which they *happen*: only there
can be seen that retries go on after their reason has gone. Windows are whole seconds of one replication:
*before* its first fault, *during* from it until every live node's rules know, *after*.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import timeline
from nodeportsim.metrics.blast import blast
from nodeportsim.metrics.intervals import POSITIVE, SHARE, Estimate, mean_interval, ratio_interval
from nodeportsim.metrics.survival import survival

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Runs = Sequence[Replication]
    Row = dict[str, Any]

ATTEMPTS, ANSWERS, ORPHANS, LATE = range(4)  # Columns of `Replication.load`.
LEVELS = {"success_99": 100, "success_999": 1000}
"""Recovered means: of so many requests of a second at most one failed."""
FAULTS_LISTED = 10
NOT_BACK = "the last second had not recovered"
BACK = 0.9
"""A system that answers less than this share of what it is offered has not come back."""
LAST_PART = 0.75
"""Where the last quarter of a run begins, in which it is judged whether it came back."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Seconds of one replication around its faults; a window with equal ends is empty."""

    before: slice
    during: slice
    after: slice

    @property
    def since(self) -> slice:
        """From the first fault to the end of the arrivals."""
        return slice(self.during.start, self.after.stop)


def fault_s(run: Replication) -> float | None:
    """Instant of the first fault; None where none came."""
    return min(_instants(run, "fault"), default=None)


def _instants(run: Replication, *names: str) -> list[float]:
    return sorted(time_s for time_s, name, _ in run.milestones if name in names)


def windows(run: Replication) -> Windows:
    """Split a replication with a fault into seconds before, during and after."""
    end = len(run.timeline)
    counted = np.flatnonzero(run.timeline[:, timeline.OFFERED])
    fault = min(int(fault_s(run) or 0.0), end)
    right_s = _instants(run, "rules updated everywhere")
    until = min(end, ceil(right_s[-1])) if right_s else fault
    if int(run.phases[1, 0]) and (not right_s or right_s[-1] < (fault_s(run) or 0.0)):
        until = end  # Rules were stale, and stayed so.
    first = min(int(counted[0]) if counted.size else 0, fault)
    until = max(fault, until)
    return Windows(before=slice(first, fault), during=slice(fault, until), after=slice(until, end))


def recovery(replications: Runs) -> Row | None:
    """Sum up what the faults of a run did; None where no replication had one.

    Replications without a fault, as a random schedule may leave some, are left out.

    Returns
    -------
    dict
        lost, detection_s, recovery_s, late, amplification, goodput_rps, orphans, not_sent (null without a
        closed loop), survival (see `survival.survival`), blast (see `blast.blast`).
    """
    runs = [run for run in replications if fault_s(run) is not None]
    if not runs:
        return None
    return {
        "replications": len(runs),
        "lost": _lost(runs),
        "detection_s": _detection(runs),
        "recovery_s": {name: _recovered(runs, one_in) for name, one_in in LEVELS.items()},
        "late": _late(runs),
        "amplification": _amplification(runs),
        "goodput_rps": _goodput(runs),
        "orphans": ratio_interval(
            [run.orphans for run in runs], [run.load[:, ANSWERS].sum() for run in runs]
        ).as_dict(),
        "not_sent": _not_sent(runs),
        "survival": survival(runs),
        "blast": blast(runs),
    }


def _failed(run: Replication, part: slice) -> int:
    return int(run.timeline[part, timeline.CAUSES :].sum())


def _lost(runs: Runs) -> Row:
    """Failed requests: in all, and from each fault to the next where all replications had the same ones."""
    lists = [_faults(run) for run in runs]
    names = [name for _, name in lists[0]]
    alike = len(names) <= FAULTS_LISTED and all([name for _, name in faults] == names for faults in lists)
    return {
        "total": mean_interval([_failed(run, slice(None)) for run in runs], POSITIVE).as_dict(),
        "by_fault": [
            {
                "fault": name,
                "at_s": mean_interval([faults[place][0] for faults in lists]).as_dict(),
                "lost": mean_interval(
                    [
                        _failed(run, _until_next(faults, place))
                        for run, faults in zip(runs, lists, strict=True)
                    ],
                    POSITIVE,
                ).as_dict(),
            }
            for place, name in enumerate(names if alike else [])
        ],
    }


def _faults(run: Replication) -> list[tuple[int, str]]:
    """Name the faults of a replication by the second they came in; those of one second are one."""
    found: dict[int, list[str]] = {}
    for time_s, name, subject in sorted(run.milestones):
        if name == "fault":
            found.setdefault(int(time_s), []).append(subject)
    return [(second, ", ".join(subjects)) for second, subjects in found.items()]


def _until_next(faults: Sequence[tuple[int, str]], place: int) -> slice:
    return slice(faults[place][0], faults[place + 1][0] if place + 1 < len(faults) else None)


def _detection(runs: Runs) -> Row:
    """From the first fault to what the control plane did, where it did anything."""
    kinds: dict[str, tuple[Callable[[list[float]], float], str]] = {
        "node_not_ready": (min, "node not ready"),
        "endpoints_changed": (min, "endpoints changed"),
        "first_rules": (min, "rules updated"),
        "all_rules": (max, "rules updated everywhere"),
    }
    rows = {}
    for key, (pick, name) in kinds.items():
        seen = [
            (fault_s(run) or 0.0, [t for t in _instants(run, name) if t >= (fault_s(run) or 0.0)])
            for run in runs
        ]
        rows[key] = mean_interval([pick(times) - start for start, times in seen if times], POSITIVE).as_dict()
    return rows


def _recovered(runs: Runs, one_in: int) -> Row:
    """From the first fault to the second from which on no second loses more than one request in `one_in`.

    A second of n requests that loses any loses 1/n at least. So a timeline is judged only if a second since
    the fault resolves `one_in` requests on average; else one failure anywhere would count as an outage.
    """
    each = [_back_after_s(run.timeline, windows(run).since.start, one_in) for run in runs]
    back = [value for value, _ in each if value is not None]
    reasons = [reason for _, reason in each if reason not in (None, NOT_BACK)]
    merged, reason = _back_after_s(
        timeline.merge(run.timeline for run in runs), min(windows(run).since.start for run in runs), one_in
    )
    mean = Estimate(estimate=None, reason=reasons[0]) if reasons else mean_interval(back, POSITIVE)
    if not back and not reasons:
        mean = Estimate(estimate=None, reason="no replication recovered")
    return {
        "each": mean.as_dict(),
        "recovered": None if reasons else len(back),
        "merged": Estimate(estimate=merged, reason=reason).as_dict(),
    }


def _back_after_s(table: Counts, fault: int, one_in: int) -> tuple[float | None, str | None]:
    """Seconds from the fault to recovery, or the reason why there are none."""
    failed = table[fault:, timeline.CAUSES :].sum(axis=1)
    resolved = failed + table[fault:, timeline.SUCCEEDED]
    mean = float(resolved.mean()) if len(resolved) else 0.0
    if mean < one_in:
        return None, f"{mean:.0f} resolved requests a second; {100 - 100 / one_in:.4g} % needs {one_in}"
    bad = np.flatnonzero(failed * one_in > resolved)
    after = int(bad[-1]) + 1 if bad.size else 0
    return (float(after), None) if after < len(resolved) else (None, NOT_BACK)


def _late(runs: Runs) -> Row:
    """Answers that came only after the rules were right, by a second SYN or attempt."""
    parts = [windows(run) for run in runs]
    late = [run.load[:, LATE] for run in runs]
    offered = [
        run.timeline[part.during, timeline.OFFERED].sum() for run, part in zip(runs, parts, strict=True)
    ]
    last = [
        int(np.flatnonzero(row)[-1]) + 1 - part.after.start
        for row, part in zip(late, parts, strict=True)
        if row.any()
    ]
    return {
        "requests": mean_interval([row.sum() for row in late], POSITIVE).as_dict(),
        "of_during_ratio": ratio_interval([row.sum() for row in late], offered, SHARE).as_dict(),
        "last_s": mean_interval(last, POSITIVE).as_dict(),
    }


def _per(runs: Runs, column: int) -> Row:
    """A column of `load` per request offered, over the run and in each window that there is."""
    rows = {"all": _over(runs, column, [slice(None)] * len(runs))}
    for name in ("before", "during", "after"):
        parts = [getattr(windows(run), name) for run in runs]
        if any(part.stop > part.start for part in parts):
            rows[name] = _over(runs, column, parts)
    return rows


def _over(runs: Runs, column: int, parts: Sequence[slice]) -> Row:
    done = [run.load[part, column].sum() for run, part in zip(runs, parts, strict=True)]
    offered = [run.timeline[part, timeline.OFFERED].sum() for run, part in zip(runs, parts, strict=True)]
    return ratio_interval(done, offered).as_dict()


def _amplification(runs: Runs) -> Row:
    """Attempts per request offered; the worst second is that of all replications together."""
    offered, load = (
        timeline.merge(tables) for tables in ([r.timeline for r in runs], [r.load for r in runs])
    )
    ratio = load[: len(offered), ATTEMPTS] / np.maximum(offered[:, timeline.OFFERED], 1)
    ratio[offered[:, timeline.OFFERED] == 0] = 0.0
    worst = int(ratio.argmax())
    return _per(runs, ATTEMPTS) | {"worst_second_s": worst, "worst_ratio": float(ratio[worst])}


def _goodput(runs: Runs) -> Row:
    """Answers in time per second; the least second since the fault, of all replications together."""
    rows: Row = {}
    for name in ("before", "during", "after"):
        parts = [getattr(windows(run), name) for run in runs]
        lengths = [part.stop - part.start for part in parts]
        if any(lengths):
            answers = [run.load[part, ANSWERS].sum() for run, part in zip(runs, parts, strict=True)]
            rows[name] = ratio_interval(answers, lengths).as_dict()
    merged = timeline.merge(run.load for run in runs)[:, ANSWERS]
    since, usual = min(windows(run).since.start for run in runs), rows.get("before", {}).get("estimate")
    seen = merged[since : min(len(run.timeline) for run in runs)]
    if usual and seen.size:
        rows |= {
            "least_second_s": since + int(seen.argmin()),
            "least_ratio": float(seen.min()) / len(runs) / usual,
        }
    return rows


def _not_sent(runs: Runs) -> Row | None:
    """What closed loops held back: the requests at the rate before the fault, less those that came."""
    if not any(loop == "closed" for _, loop in runs[0].groups):
        return None
    missing = []
    for run in runs:
        part, offered = windows(run), run.timeline[:, timeline.OFFERED]
        usual = offered[part.before]
        if usual.size:
            since = offered[part.since]
            missing.append(float(usual.mean()) * len(since) - int(since.sum()))
    return mean_interval(missing).as_dict()


def answered_ratio(run: Replication, part: slice) -> float:
    """Answers that came in some seconds over the requests offered in them; 1 where none was."""
    offered = int(run.timeline[part, timeline.OFFERED].sum())
    return float(run.load[part, ANSWERS].sum()) / offered if offered else 1.0


def recovered_ratio(run: Replication) -> float:
    """Goodput over offered load in the last quarter of the run."""
    length = len(run.timeline)
    return answered_ratio(run, slice(ceil(LAST_PART * length), length))


def before_ratio(run: Replication) -> float:
    """Goodput over offered load before the first fault; without one, of the whole run."""
    return answered_ratio(
        run, windows(run).before if fault_s(run) is not None else slice(0, len(run.timeline))
    )
