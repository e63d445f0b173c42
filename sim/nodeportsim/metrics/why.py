"""One sentence on what dominates a run, built from its summary.

Failures come before unevenness, and unevenness before time: in that order they hurt. A sentence says
what the numbers show and where chance is an explanation; it claims no cause that the run did not vary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.balance import hottest_p_value
from nodeportsim.metrics.causes import cause as cause_of
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIKELY = 0.01
"""A hottest member less likely than this under random choice is not called luck."""

NOTICED = 1.5
"""Times its fair share from which a hottest member is worth a sentence even where it is luck."""

FULL = 0.95
"""Work over what can be done from which a queue hardly ever empties: M/M/1 holds 20 on average there."""


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
    requests, errors = summary["requests"], summary["errors"]
    failed = requests["failed"]
    cause = max(errors, key=errors.__getitem__)
    sentence = (
        f"{_percent(failed / requests['offered'])} of the requests failed, "
        f"{_part(errors[cause], failed)} {cause_of(cause).ending}"
    )
    if "during" in summary["phases"]:
        return f"{sentence}: {_around_fault(summary)}.{_omitted(summary)}"
    first, last = (summary["outage"][name]["estimate"] for name in ("first_s", "last_s"))
    reason = _exhausted(summary)
    return f"{sentence}, from second {first:.0f} to {last:.0f} on average{f'; {reason}' if reason else ''}."


def _around_fault(summary: Mapping[str, Any]) -> str:
    """Say which share failed while rules were stale and after, and what took how long."""
    phases, milestones = summary["phases"], summary["milestones"]
    fault, updated = (milestones.get(name) for name in ("fault", "rules updated everywhere"))
    began = ended = ""
    if fault and fault["first_s"] == fault["last_s"]:
        start_s = fault["first_s"]["estimate"]
        began = f" ({', '.join(fault['subjects'])} at {format_duration(start_s)})"
        if updated:
            ended = f", {format_duration(_round(updated['last_s']['estimate'] - start_s))} later"
        if seen := milestones.get("node not ready"):
            ended += (
                f" (node not ready after {format_duration(_round(seen['first_s']['estimate'] - start_s))})"
            )
    until = "the last node's rule update" if updated else "the end of the run"
    shares = [f"{_failed(phases['during'])} of those between the fault{began} and {until}{ended}"]
    if "after" in phases:
        shares.append(f"{_failed(phases['after'])} of those after it")
    return ", ".join(shares)


def _omitted(summary: Mapping[str, Any]) -> str:
    """Say what closed loops hide: clients that wait send less, so fewer requests can fail."""
    held_back = (summary["recovery"] or {}).get("not_sent") or {"low": None}
    if held_back["low"] is None or held_back["low"] <= 0:
        return ""
    number = f"{held_back['estimate']:,.0f}"
    return f" While clients waited, {number} requests a run were not sent that an open loop would have sent."


def _round(seconds: float) -> float:
    """Round to whole seconds: no clock of the control plane is finer."""
    return float(round(seconds))


def _failed(phase: Mapping[str, Any]) -> str:
    return _percent(phase["failed"] / phase["offered"]) if phase["failed"] else "none"


def _part(part: int, whole: int) -> str:
    """Say which part of the failures; what is not all is not called all."""
    if part == whole:
        return "all"
    return "nearly all" if part / whole >= 0.995 else f"{_percent(part / whole)} of them"  # noqa: PLR2004  # As `_percent` rounds.


def _exhausted(summary: Mapping[str, Any]) -> str | None:
    """Name what ran out, where something did."""
    saturation = summary["saturation"]
    if not summary["pods"]:
        return "the Service has no endpoints"
    if saturation["conntrack_drops"]:
        return f"full connection tracking tables dropped {saturation['conntrack_drops']:,} SYNs"
    if saturation["snat_drops"]:
        return f"nodes without a free masquerade port dropped {saturation['snat_drops']:,} SYNs"
    for kind, who in (("pods", "pods were given"), ("nodes", "nodes' CPUs were given")):
        busy = saturation[kind]["hottest"]["estimate"]
        if busy >= FULL:
            return f"the {who} up to {_percent(busy)} of the work they can do"
    if saturation["backlog_drops"]:
        return f"full listen queues dropped {saturation['backlog_drops']:,} SYNs"
    return None


def _uneven(summary: Mapping[str, Any]) -> str | None:
    """Speak of the kind of member that is furthest from even, if chance does not explain it or it is much."""
    luck = {kind: p for kind in ("pods", "nodes") if (p := _luck(summary, kind)) is not None}
    times = {kind: summary["balance"][kind]["max_over_mean"]["estimate"] for kind in luck}
    unlikely = [kind for kind in luck if luck[kind] < UNLIKELY]
    kind = min(unlikely, key=luck.__getitem__) if unlikely else max(times, key=times.__getitem__, default="")
    if not unlikely and times.get(kind, 0.0) < NOTICED:
        return None
    members, connections = len(summary[kind]), _connections(summary, kind)
    if times[kind] == members:
        return f"one of {members} {kind} got every connection"
    reason = (
        "more than uniform random choice explains"
        if unlikely
        else f"as chance gives where a run has {connections:,} connections"
    )
    return (
        f"the hottest of {members} {kind} got {times[kind]:.2g} times the mean share of connections, {reason}"
    )


def _connections(summary: Mapping[str, Any], kind: str) -> int:
    """Connections of one replication."""
    made: int = sum(member["connections"] for member in summary[kind])
    runs: int = summary["requests"]["replications"]
    return round(made / runs)


def _luck(summary: Mapping[str, Any], kind: str) -> float | None:
    """Return the probability of a member as hot as the average hottest one, in one replication."""
    members, connections = summary[kind], _connections(summary, kind)
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
