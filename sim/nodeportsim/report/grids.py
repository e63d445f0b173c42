"""The tables of a run's report, as text: what the terminal, Markdown and the page each render their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.metrics.causes import cause as cause_of
from nodeportsim.report.recovery import rows as lines_of_recovery
from nodeportsim.report.where import rows as lines_of_where
from nodeportsim.report.words import (
    NOTHING,
    QUANTILES,
    STAGES,
    count,
    duration,
    percent,
    plain,
    seconds,
    share,
    significant,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Summary = Mapping[str, Any]

MEMBERS_LISTED = 20
"""Ranks listed in a report; the CSV files hold all."""


class Grid(NamedTuple):
    """A table of text: the first column names the row, the others are numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]


def phases(summary: Summary) -> Grid:
    """Lay out requests, failures and latencies, a column a phase; one column where nothing happened."""
    parts = summary["phases"]
    if len(parts) == 1:
        columns, title = {"all requests": _whole(summary)}, "Requests"
    else:
        spans = _spans(summary)
        columns = {f"{name} {spans[name]}".strip(): part for name, part in parts.items()}
        columns["all"] = _whole(summary)
        title = "Requests before the fault, until every node's rules knew of it, and after"
    rows = [
        ["offered", *(count(part["offered"]) for part in columns.values())],
        ["failed", *(share(part["failed_ratio"]) for part in columns.values())],
    ]
    for key, name in QUANTILES.items():
        rows.append([f"latency {name}", *(duration(part["latency_s"].get(key)) for part in columns.values())])
    if found := summary.get("control_variates"):
        rows.append(["... with control variates", duration(found["latency_s.mean"])])
    return Grid(title, ["", *columns], rows)


def _spans(summary: Summary) -> dict[str, str]:
    """Say when each phase was, on average: ``30-80 s``; nothing where several faults make it many."""
    milestones, length_s = summary["milestones"], len(summary["timeline"])
    fault, updated = (milestones.get(name) for name in ("fault", "rules updated everywhere"))
    spans = dict.fromkeys(summary["phases"], "")
    if fault is None or len(fault["subjects"]) != 1:
        return spans
    start_s = fault["first_s"]["estimate"]
    end_s = updated["first_s"]["estimate"] if updated else length_s
    edges = {"before": (0, start_s), "during": (start_s, end_s), "after": (end_s, length_s)}
    return {name: f"{edges[name][0]:.0f}\N{EN DASH}{edges[name][1]:.0f} s" for name in spans}


def _whole(summary: Summary) -> dict[str, Any]:
    """Make all requests look like one phase; a single phase *is* all requests, with its interval."""
    requests, parts = summary["requests"], summary["phases"]
    if len(parts) == 1:
        return {**next(iter(parts.values())), "latency_s": summary["latency_s"]}
    ratio = requests["failed"] / requests["offered"] if requests["offered"] else None
    return {
        "offered": requests["offered"],
        "failed_ratio": {"estimate": ratio},
        "latency_s": summary["latency_s"],
    }


def failures(summary: Summary) -> Grid:
    """Failed requests by final cause, the most frequent first."""
    errors, offered = summary["errors"], max(1, summary["requests"]["offered"])
    failed = max(1, sum(errors.values()))
    rows = [
        [cause_of(cause).words, count(n), percent(n / failed), percent(n / offered)]
        for cause, n in sorted(errors.items(), key=lambda item: -item[1])
        if n
    ]
    return Grid("Failed requests by cause", ["cause", "requests", "of failures", "of requests"], rows)


def recovery(summary: Summary) -> Grid:
    """What the faults of the run cost, means of a replication."""
    return Grid("When it failed", ["", "mean of a run"], lines_of_recovery(summary))


def thresholds(summary: Summary) -> Grid:
    """Thresholds of the scenario, kept or broken."""
    rows = [
        ["✓" if row["ok"] else "✗", row["name"], row["limit"], _value(row["value"], row["limit"])]
        for row in summary.get("thresholds") or []
    ]
    return Grid("Thresholds", ["", "threshold", "limit", "value"], rows)


def _value(value: float | None, limit: str) -> str:
    """Write a value in the kind of unit its limit has."""
    if value is None:
        return NOTHING
    if limit.endswith("%"):
        return percent(value)
    return seconds(value) if limit.endswith("s") else significant(value)


def precision(summary: Summary) -> Grid:
    """Widths asked for, and what they are; nothing where none was."""
    found = summary.get("precision") or {"metrics": []}
    rows = [
        ["✓" if row["ok"] else "✗", row["name"], f"± {row['asked']}", _reached(row)]
        for row in found["metrics"]
    ]
    title = f"Precision after {count(found['replications'])} replications" if rows else "Precision"
    return Grid(title, ["", "metric", "asked", "reached"], rows)


def _reached(row: Mapping[str, Any]) -> str:
    half, estimate = row["half_width"], row["estimate"]
    if half is None:
        return NOTHING
    if row["asked"].strip().endswith("%"):
        return f"± {percent(half / abs(estimate))}" if estimate else NOTHING
    return f"± {_value(half, row['asked'])}"


def first_packet(summary: Summary) -> Grid:
    """How long establishing a connection takes."""
    times = summary["first_packet_s"]
    rows = [[name, duration(times.get(key))] for key, name in QUANTILES.items()]
    return Grid("First packet: SYN sent to connection established", ["", "time"], rows)


def stages(summary: Summary) -> Grid:
    """Time of a request by stage."""
    keys = ("mean", "at_p50", "at_p99")
    rows = [
        [STAGES[stage], *(NOTHING if split.get(key) is None else seconds(split[key]) for key in keys)]
        for stage, split in summary["stages_s"].items()
        if any(split.get(key) for key in keys)
    ]
    return Grid("Time by stage", ["stage", "mean", "at p50", "at p99"], rows)


def balance(summary: Summary) -> Grid:
    """Evenness of connections over nodes and pods, within a replication."""
    names = {"max_over_mean": "hottest / mean", "jain": "Jain's index", "cv": "coefficient of variation"}
    names["idle"] = "idle members"
    kinds = summary["balance"]
    rows = [[name, *(plain(kinds[kind].get(key)) for kind in kinds)] for key, name in names.items()]
    return Grid("Balance of connections", ["", *kinds], rows)


def saturation(summary: Summary) -> Grid:
    """What ran out: work over what pods and nodes' CPUs can do, dropped packets."""
    found = summary["saturation"]
    rows = [
        [name, share(found[kind]["mean"]), share(found[kind]["hottest"])]
        for kind, name in (("pods", "pods: work / capacity"), ("nodes", "nodes: CPU time of packets"))
    ]
    drops = {"conntrack_drops": "SYNs dropped, conntrack full", "backlog_drops": "SYNs dropped, backlog full"}
    drops["snat_drops"] = "SYNs dropped, no masquerade port"
    drops["retransmissions"] = "packets sent again"
    rows += [[name, count(found[key]), ""] for key, name in drops.items() if found[key]]
    return Grid("Saturation", ["", "mean or total", "hottest"], rows)


def members(summary: Summary, kind: str) -> Grid:
    """Shares of nodes or pods by rank, the hottest first."""
    ranked = summary[kind]
    rows = [
        [str(row["rank"]), share(row["share"]), count(row["connections"]), count(row["requests"])]
        for row in ranked[:MEMBERS_LISTED]
    ]
    more = f", the {MEMBERS_LISTED} hottest of {count(len(ranked))}" if len(ranked) > MEMBERS_LISTED else ""
    return Grid(f"{kind.capitalize()} by rank{more}", ["rank", "share", "connections", "requests"], rows)


def where(summary: Summary) -> Grid:
    """Which hops requests take, and when rules know a change."""
    return Grid("Where requests go", ["", "mean of a run"], lines_of_where(summary))


def milestones(summary: Summary) -> Grid:
    """When the control plane did what, mean over replications."""
    rows = [
        [name, duration(times["first_s"]), duration(times["last_s"]), _names(times.get("subjects") or [])]
        for name, times in (summary.get("milestones") or {}).items()
    ]
    return Grid("Milestones", ["what", "first", "last", "of"], rows)


def _names(subjects: list[str]) -> str:
    """List one or two names; of more, the first says what kind they are."""
    return ", ".join(subjects) if len(subjects) <= 2 else f"{subjects[0]}, {subjects[1]} ..."  # noqa: PLR2004


def everything(summary: Summary) -> list[Grid]:
    """All tables that have rows, in reading order."""
    made = [
        phases(summary),
        thresholds(summary),
        precision(summary),
        failures(summary),
        recovery(summary),
        milestones(summary),
        balance(summary),
        where(summary),
        first_packet(summary),
        stages(summary),
        saturation(summary),
        members(summary, "nodes"),
        members(summary, "pods"),
    ]
    return [grid for grid in made if grid.rows]


def headline(summary: Summary) -> str:
    """Say what was run, in one line."""
    provenance, requests = summary["provenance"], summary["requests"]
    runs, length_s = requests["replications"], len(summary["timeline"])
    counted_s = length_s - provenance.get("warmup_s", 0)
    size = [provenance[key] for key in ("mode",) if provenance.get(key)]
    size += [_plural(len(summary[kind]), kind) for kind in ("nodes", "pods")]
    if counted_s and runs:
        size.append(f"{significant(requests['offered'] / runs / counted_s)} requests/s")
    runs_long = f"{runs} \N{MULTIPLICATION SIGN} {significant(counted_s)} s"
    return f"{', '.join(size)}; {runs_long}, {count(requests['offered'])} requests"


def _plural(number: int, plural: str) -> str:
    return f"{count(number)} {plural if number != 1 else plural.removesuffix('s')}"


def limits(summary: Summary) -> Iterator[str]:
    """Say what these numbers cannot carry, from the reasons they give themselves."""
    reasons: dict[str, list[str]] = {}
    for name, key in (("latency", "latency_s"), ("first packet", "first_packet_s")):
        for quantile, interval in summary[key].items():
            if interval.get("reason"):
                reasons.setdefault(interval["reason"], []).append(f"{name} {QUANTILES[quantile]}")
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: {reason}."
    if how := summary["latency_s"]["mean"].get("method"):
        mean = summary["latency_s"]["mean"]
        yield f"latency mean: interval by {how}, {mean['batches']} of {mean['batch_s']} s in one run."
    if not summary["requests"]["failed"]:
        yield (
            "No failure was seen; what bounds the failed share is the number of replications, not that of "
            "requests."
        )
    prices = "sampled_prices" in summary["provenance"]
    yield (
        f"Intervals are 95 % over replications: they say how far chance {'and prices ' if prices else ''}"
        f"{'move' if prices else 'moves'} these numbers, not how far the model is from your machines."
    )
