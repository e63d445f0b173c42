"""The table "When it failed": what the faults of a run cost, how long it took, whom it hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.recovery import NOT_BACK
from nodeportsim.report.words import (
    count,
    duration,
    known,
    percent,
    plain,
    plus_minus,
    share,
    significant,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Summary = Mapping[str, Any]
    Row = Mapping[str, Any]

NEVER_BELOW = "never below"
_LEVELS = {"success_99": "99 %", "success_999": "99.9 %"}


def rows(summary: Summary) -> list[list[str]]:
    """Lay out what a reader wants to know after a fault; nothing without one."""
    found = summary.get("recovery")
    if not found:
        return []
    return [
        *_lost(summary, found),
        *_times(found),
        *_load(found),
        *_whom(found["blast"]),
        *_connections(found["survival"]),
    ]


def _lost(summary: Summary, found: Row) -> Iterator[list[str]]:
    """Requests lost, and when most."""
    yield ["requests lost in a run", plain(found["lost"]["total"])]
    if len(found["lost"]["by_fault"]) > 1:
        for row in found["lost"]["by_fault"]:
            yield [f"... from {row['fault']} on", plain(row["lost"])]
    worst = summary.get("outage")
    if worst:
        yield ["worst second", f"{worst['worst_second_s']} s: {percent(worst['worst_failed_ratio'])} failed"]
    if known(found["not_sent"]):
        yield ["not sent, as closed loops wait", plain(found["not_sent"])]


def _times(found: Row) -> Iterator[list[str]]:
    """Name the instants, all from the first fault."""
    noticed = found["detection_s"]
    for key, name in (("node_not_ready", "node not ready"), ("all_rules", "all rules updated")):
        if known(noticed[key]):
            yield [f"{name}, after", duration(noticed[key])]
    for key, level in _LEVELS.items():
        yield [f"{level} succeed again, after", _again(found["recovery_s"][key], found["replications"])]
    late = found["late"]
    if late["requests"]["estimate"]:
        yield [
            "answered late, by a SYN sent again",
            f"{plain(late['requests'])}; last {duration(late['last_s'])}",
        ]


def _again(row: Row, replications: int) -> str:
    """Say when a level was reached: per replication, else on the sum of all, else why not."""
    if row["recovered"] == replications:
        return NEVER_BELOW if row["each"]["estimate"] == 0 else duration(row["each"])
    if row["recovered"]:
        return f"{duration(row['each'])}, {row['recovered']} of {replications} runs"
    merged = row["merged"]
    if row["recovered"] == 0 or merged.get("reason") == NOT_BACK:
        return "not in this run"
    if merged["estimate"] == 0:
        return NEVER_BELOW
    return f"{duration(merged)} (all runs)" if known(merged) else "too few requests to say"


def _load(found: Row) -> Iterator[list[str]]:
    """What was tried, and what came of it."""
    load, good = found["amplification"], found["goodput_rps"]
    named = ", ".join(_parts(good))
    if load["all"]["estimate"] != 1:
        yield [f"attempts a request {named}", ", ".join(plain(load[name]) for name in _parts(load))]
        yield ["... most", f"{significant(load['worst_ratio'])} in second {load['worst_second_s']}"]
    yield [f"answers a second {named}", ", ".join(plain(good[name]) for name in _parts(good))]
    if "least_ratio" in good:
        yield ["... least", f"{percent(good['least_ratio'])} of before in second {good['least_second_s']}"]
    if found["orphans"]["estimate"]:
        yield ["answers to nobody, per answer", share(found["orphans"])]


def _parts(row: Row) -> list[str]:
    return [name for name in ("before", "during", "after") if name in row]


def _whom(blast: Row) -> Iterator[list[str]]:
    """Which clients, and how unevenly."""
    yield ["clients hit", f"{share(blast['hit_ratio'])} of {count(blast['clients']['estimate'])}"]
    for name, row in blast["groups"].items():
        yield [f"... of {name}", share(row["hit_ratio"])]
    if known(blast["top_1_percent_ratio"]):
        yield ["... failures of the 1 % hit most", share(blast["top_1_percent_ratio"])]


def _connections(survival: Row | None) -> Iterator[list[str]]:
    """What became of the connections that stood."""
    if not survival or survival["connections"]["estimate"] < 1:
        return  # Where every request has its own, hardly any stands at a given instant.
    yield ["connections that stood at the fault", plain(survival["connections"])]
    names = {"timed_out_ratio": "given up by a time-out", "torn_ratio": "ended by RST or FIN"}
    names["dead_unnoticed_ratio"] = "dead unnoticed at the end"
    for key, name in names.items():
        if survival[key]["estimate"]:
            yield [f"... {name}", share(survival[key])]
    if survival["noticed_last_s"]:
        half, last = (plus_minus({"estimate": survival[f"noticed_{k}_s"]}) for k in ("half", "last"))
        yield ["... half of these known, the last, after", f"{half} s, {last} s"]
