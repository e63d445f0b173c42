"""Thresholds of a scenario against its summary, in the manner of k6: ``latency.p99: <50ms``.

Metrics: ``latency.p99`` and ``first_packet.p99`` (p50, p90, p99, p999, mean), ``errors`` (failed share of
the offered requests), ``errors.connect_timeout`` (of one cause), ``requests.failed`` and the other counts
(totals over replications), ``pods.max_over_mean`` and the other measures of balance, for pods and nodes.
``during.`` or another phase in front of a latency or of ``errors`` looks at that phase.

The estimate is compared, not its interval. A metric that the run cannot give (no request succeeded, the
phase did not occur) does not hold any threshold.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.errors import InputError
from nodeportsim.metrics.balance import MEASURES
from nodeportsim.metrics.replication import CAUSES, PHASES
from nodeportsim.units import duration_s, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_LIMIT = re.compile(rf"\s*({'|'.join(COMPARISONS)})\s*(\S.*?)\s*")
_TIMES = ("p50", "p90", "p99", "p999", "mean")
_COUNTS = ("offered", "succeeded", "failed", "in_flight")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError("must be a number, as in 1.3", got=text)
    return value


class _Metric(NamedTuple):
    """Where a metric stands in a summary, and how its limit is written."""

    path: tuple[str, ...]
    read: Callable[[str], float]

    def value(self, summary: Mapping[str, Any]) -> float | None:
        found: Any = summary
        for key in self.path:
            found = found.get(key) if found is not None else None
        return found.get("estimate") if isinstance(found, dict) else found


class _Errors(_Metric):
    """Failed requests, of all causes or of one, over offered ones."""

    def value(self, summary: Mapping[str, Any]) -> float | None:
        offered = summary["requests"]["offered"]
        failed = super().value(summary) or 0
        return failed / offered if offered else None


def _metrics() -> dict[str, _Metric]:
    metrics: dict[str, _Metric] = {"errors": _Errors(("requests", "failed"), ratio)}
    metrics |= {f"errors.{cause}": _Errors(("errors", cause), ratio) for cause in CAUSES}
    for time in _TIMES:
        metrics[f"latency.{time}"] = _Metric(("latency_s", time), duration_s)
        metrics[f"first_packet.{time}"] = _Metric(("first_packet_s", time), duration_s)
    for phase in PHASES:
        metrics[f"{phase}.errors"] = _Metric(("phases", phase, "failed_ratio"), ratio)
        paths = {time: ("phases", phase, "latency_s", time) for time in _TIMES}
        metrics |= {f"{phase}.latency.{time}": _Metric(path, duration_s) for time, path in paths.items()}
    metrics |= {f"requests.{count}": _Metric(("requests", count), _number) for count in _COUNTS}
    metrics |= {
        f"{kind}.{name}": _Metric(("balance", kind, name), _number)
        for kind in ("nodes", "pods")
        for name in MEASURES
    }
    return metrics


METRICS = _metrics()
FAMILIES = (
    "errors, errors.CAUSE, latency.TIME, first_packet.TIME, PHASE.errors, PHASE.latency.TIME, "
    f"requests.COUNT, nodes.MEASURE, pods.MEASURE; CAUSE: {', '.join(CAUSES)}; TIME: {', '.join(_TIMES)}; "
    f"PHASE: {', '.join(PHASES)}; COUNT: {', '.join(_COUNTS)}; MEASURE: {', '.join(MEASURES)}"
)


class Threshold(NamedTuple):
    """A metric, a comparison and a limit, read."""

    name: str
    limit: str
    compare: Callable[[float, float], bool]
    bound: float


def parse(thresholds: Mapping[str, str]) -> tuple[Threshold, ...]:
    """Read thresholds as the scenario declares them.

    Raises
    ------
    InputError
        There is no such metric, or its limit is not written as ``<50ms``, ``<0.5%``, ``>=3``.
    """
    return tuple(_parse(name, limit) for name, limit in thresholds.items())


def _parse(name: str, limit: str) -> Threshold:
    field = f"thresholds.{name}"
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InputError("is not a metric", field=field, hint=f"{meant}The metrics are {FAMILIES}.")
    match = _LIMIT.fullmatch(limit)
    if match is None:
        raise InputError(
            f"must be a comparison ({', '.join(COMPARISONS)}) and a limit, as in <50ms",
            field=field,
            got=limit,
        )
    try:
        # Zero is the same in every unit.
        bound = 0.0 if match[2] == "0" else METRICS[name].read(match[2])
    except InputError as error:
        raise InputError(error.rule, field=field, got=limit) from None
    return Threshold(name, limit, COMPARISONS[match[1]], bound)


def check(thresholds: Mapping[str, str], summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare a summary with thresholds.

    Returns
    -------
    list of dict
        name, limit (as written), value (in SI units, None where there is none), ok.

    Raises
    ------
    InputError
        As `parse`.
    """
    rows = []
    for threshold in parse(thresholds):
        value = METRICS[threshold.name].value(summary)
        ok = value is not None and bool(threshold.compare(value, threshold.bound))
        rows.append({"name": threshold.name, "limit": threshold.limit, "value": value, "ok": ok})
    return rows
