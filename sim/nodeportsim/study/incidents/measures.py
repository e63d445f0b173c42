"""How a figure of an incident is measured in a run.

A measure is a number of the summary under its dotted name (``phases.during.failed_ratio``), or one of
`MEASURES`, taken from the replications; what stands after a colon is its argument
(``since_fault_s:node not ready``).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics import histogram
from nodeportsim.metrics.survival import TIMED_OUT
from nodeportsim.metrics.timeline import CAUSES, OFFERED, SUCCEEDED
from nodeportsim.study.findings import flattened

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.study.run import Outcome

    Measure = Callable[[Outcome, str], float]

GOOD_RATIO = 0.99
"""A second is good when this share of its requests succeeded; a run has recovered when its last ones are."""


def measured(outcome: Outcome, measure: str) -> float:
    """Measure a run.

    Raises
    ------
    InputError
        There is no such measure, or the runs do not hold it.
    """
    name, _, argument = measure.partition(":")
    if name in MEASURES:
        return float(MEASURES[name](outcome, argument))
    numbers = {row["metric"]: row["estimate"] for row in flattened(outcome.summary)}
    if numbers.get(measure) is None:
        near = difflib.get_close_matches(measure, [*MEASURES, *numbers], n=1)
        hint = f"did you mean {near[0]}?" if near else f"measures are {', '.join(MEASURES)}"
        raise InputError("is no measure of these runs", field="measure", got=measure, hint=hint)
    return float(numbers[measure])


def since_fault_s(outcome: Outcome, milestone: str) -> float:
    """Take the mean time from the first fault to the first milestone of a name."""
    return float(_since_fault_s(outcome, milestone).mean())


def since_fault_p95_s(outcome: Outcome, milestone: str) -> float:
    """Take the time that 95 % of the replications do not exceed."""
    return float(np.quantile(_since_fault_s(outcome, milestone), 0.95))


def _since_fault_s(outcome: Outcome, milestone: str) -> np.ndarray:
    at_s = min(event.at_s for event in outcome.scenario.events)
    firsts = [
        [t for t, name, _ in r.milestones if name == milestone and t >= at_s][:1]
        for r in outcome.replications
    ]
    if not any(firsts):
        seen = sorted({name for r in outcome.replications for _, name, _ in r.milestones})
        hint = f"there are {', '.join(seen) or 'none'}"
        raise InputError("is no milestone of these runs", field="measure", got=milestone, hint=hint)
    return np.array([first[0] - at_s for first in firsts if first])


def outage_s(outcome: Outcome, _: str) -> float:
    """Take the median over replications of the time from the fault to the end of its last failing second."""
    return float(np.median(_outages_s(outcome)))


def outage_p95_s(outcome: Outcome, _: str) -> float:
    """Take the outage that 95 % of the replications do not exceed."""
    return float(np.quantile(_outages_s(outcome), 0.95))


def _outages_s(outcome: Outcome) -> list[float]:
    at_s = min(event.at_s for event in outcome.scenario.events)
    failing = [np.flatnonzero(r.timeline[:, CAUSES:].sum(axis=1)) for r in outcome.replications]
    return [float(seconds[-1] + 1 - at_s) if seconds.size else 0.0 for seconds in failing]


def success_ratio(outcome: Outcome, _: str) -> float:
    """Divide what succeeded by what was offered, over all replications."""
    requests = outcome.summary["requests"]
    return float(requests["succeeded"] / requests["offered"])


def failed_ratio(outcome: Outcome, _: str) -> float:
    """Divide what failed by what was offered, over all replications."""
    requests = outcome.summary["requests"]
    return float(requests["failed"] / requests["offered"])


def attempts_ratio(outcome: Outcome, _: str) -> float:
    """Divide the attempts by the requests, over all replications."""
    return float(outcome.summary["attempts"] / outcome.summary["requests"]["offered"])


def extra_attempts_ratio(outcome: Outcome, _: str) -> float:
    """Take what the attempts are above the requests, as a share of the requests."""
    return attempts_ratio(outcome, "") - 1.0


def recovered_ratio(outcome: Outcome, _: str) -> float:
    """Share of the replications whose last quarter is good: it recovered."""
    good = []
    for r in outcome.replications:
        span = int(outcome.scenario.run.duration_s)
        last = r.timeline[span - span // 4 : span]
        good.append(last[:, SUCCEEDED].sum() >= GOOD_RATIO * last[:, OFFERED].sum())
    return float(np.mean(good))


def fewest(outcome: Outcome, _: str) -> float:
    """Take the mean over replications of the connections of the pod with the fewest."""
    return float(np.mean([r.pods[:, 0].min() for r in outcome.replications]))


def most(outcome: Outcome, _: str) -> float:
    """Take the mean over replications of the connections of the pod with the most."""
    return float(np.mean([r.pods[:, 0].max() for r in outcome.replications]))


def commonest(outcome: Outcome, _: str) -> float:
    """Take the number of connections that most pods got."""
    return float(np.bincount(np.concatenate([r.pods[:, 0] for r in outcome.replications])).argmax())


def share_of(outcome: Outcome, pod: str) -> float:
    """Share of all answered requests that one pod, counted from 1, answered."""
    counts = np.sum([r.pods[:, 1] for r in outcome.replications], axis=0)
    return float(counts[int(pod) - 1] / counts.sum())


def connect_lump_s(outcome: Outcome, bounds: str) -> float:
    """Take the median connect time between two bounds in seconds, ``0.5-2``."""
    low, high = (float(bound) for bound in bounds.split("-"))
    counts = np.sum([r.first_packet for r in outcome.replications], axis=0)
    times_s = histogram.midpoints_s()
    return histogram.quantile(np.where((times_s > low) & (times_s < high), counts, 0), 0.5)


def answered_rps(outcome: Outcome, _: str) -> float:
    """Divide the answered requests by the time in which they were wanted."""
    scenario = outcome.scenario
    seconds = (scenario.run.duration_s - outcome.warmup_s) * len(outcome.replications)
    return float(outcome.summary["requests"]["succeeded"] / seconds)


def failed_between(outcome: Outcome, seconds: str) -> float:
    """Share of the requests wanted in the seconds ``START-STOP`` after the first fault that failed."""
    start, stop = (int(second) for second in seconds.split("-"))
    at_s = int(min(event.at_s for event in outcome.scenario.events))
    window = np.sum([r.timeline[at_s + start : at_s + stop] for r in outcome.replications], axis=0)
    return float(window[:, CAUSES:].sum() / window[:, OFFERED].sum())


def hung_s(outcome: Outcome, _: str) -> float:
    """Take the longest time from the first fault until a client gave a connection up that stood before."""
    last = [np.flatnonzero(r.fates[:, TIMED_OUT]) for r in outcome.replications]
    return float(np.mean([seconds[-1] + 1 for seconds in last if seconds.size]))


def longest_s(outcome: Outcome, _: str) -> float:
    """Take the mean over replications of the longest time a request took."""
    times_s = histogram.midpoints_s()
    return float(np.mean([times_s[np.flatnonzero(r.latency.sum(axis=0))[-1]] for r in outcome.replications]))


MEASURES: dict[str, Measure] = {
    "since_fault_s": since_fault_s,
    "since_fault_p95_s": since_fault_p95_s,
    "outage_s": outage_s,
    "outage_p95_s": outage_p95_s,
    "success_ratio": success_ratio,
    "failed_ratio": failed_ratio,
    "attempts_ratio": attempts_ratio,
    "extra_attempts_ratio": extra_attempts_ratio,
    "recovered_ratio": recovered_ratio,
    "fewest": fewest,
    "most": most,
    "commonest": commonest,
    "share_of": share_of,
    "connect_lump_s": connect_lump_s,
    "answered_rps": answered_rps,
    "failed_between": failed_between,
    "hung_s": hung_s,
    "longest_s": longest_s,
}
