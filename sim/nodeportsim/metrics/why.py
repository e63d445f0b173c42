"""One sentence on what dominates a run, built from its summary.

Failures come before unevenness, and unevenness before time: in that order they hurt. A sentence says
what the numbers show and where chance is an explanation; it claims no cause that the run did not vary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.balance import hottest_p_value
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIKELY = 0.01
"""A hottest member less likely than this under random choice is not called luck."""

_DURING = {
    "before": "before any fault",
    "during": "between the fault and the last node's rule update",
    "after": "after every node's rules were updated",
}


def why(summary: Mapping[str, Any]) -> str:
    """Explain the dominant thing of a run in one sentence.

    Parameters
    ----------
    summary
        As made by `summarise.summarise`.
    """
    requests = summary["requests"]
    if requests["offered"] == 0:
        return "No request was offered."
    if requests["failed"]:
        return _failures(summary)
    start = "No request failed" if not requests["in_flight"] else "No request failed, but some never ended"
    return f"{start}; {_uneven(summary) or _time(summary)}."


def _failures(summary: Mapping[str, Any]) -> str:
    requests, errors, phases = summary["requests"], summary["errors"], summary["phases"]
    failed = requests["failed"]
    cause = max(errors, key=errors.__getitem__)
    sentence = (
        f"{_percent(failed / requests['offered'])} of the requests failed "
        f"({_percent(errors[cause] / failed)} {cause.replace('_', ' ')})"
    )
    if len(phases) > 1:
        phase = max(phases, key=lambda name: phases[name]["failed"])
        part = phases[phase]["failed"]
        sentence += f", {'all' if part == failed else _percent(part / failed)} of them {_DURING[phase]}"
    first, last = (summary["outage"][name]["estimate"] for name in ("first_s", "last_s"))
    return f"{sentence}; failures were seen from second {first:.0f} to {last:.0f} on average."


def _uneven(summary: Mapping[str, Any]) -> str | None:
    """Speak of the kind of member whose hottest is furthest from what chance gives, if any is."""
    found = {
        kind: p for kind in ("pods", "nodes") if (p := _luck(summary, kind)) is not None and p < UNLIKELY
    }
    if not found:
        return None
    kind = min(found, key=found.__getitem__)
    times = summary["balance"][kind]["max_over_mean"]["estimate"]
    return (
        f"the hottest of {len(summary[kind])} {kind} got {times:.2g} times the mean share of connections, "
        f"more than uniform random choice explains"
    )


def _luck(summary: Mapping[str, Any], kind: str) -> float | None:
    """Return the probability of a member as hot as the average hottest one, in one replication."""
    members, runs = summary[kind], summary["requests"]["replications"]
    connections = round(sum(member["connections"] for member in members) / runs)
    times = summary["balance"][kind]["max_over_mean"]["estimate"]
    if times is None or len(members) < 2 or connections == 0:  # noqa: PLR2004  # One member is even by itself.
        return None
    return hottest_p_value(len(members), connections, math.floor(times * connections / len(members)))


def _time(summary: Mapping[str, Any]) -> str:
    for name, at in (("p99", "at_p99"), ("p50", "at_p50"), ("mean", "mean")):
        split = {stage: row[at] for stage, row in summary["stages_s"].items()}
        total_s = sum(value or 0.0 for value in split.values())
        if total_s > 0:
            stage = max(split, key=lambda s: split[s] or 0.0)
            share = _percent(split[stage] / total_s)
            return (
                f"the largest part of the time at {name} is {stage.replace('_', ' ')}: {share} "
                f"of {format_duration(total_s)}"
            )
    return "no request was answered"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"  # noqa: PLR2004  # 99.6 is not 1e+02.
