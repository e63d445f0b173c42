"""The words and number formats that the terminal, the page and the figures share.

A number is written with the precision its interval supports: ``27.9 ms ± 0.4``. Where there is no interval
(fewer than ten replications) three significant digits stand alone; where there is no estimate, a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from nodeportsim.units import format_duration

Interval = Mapping[str, Any]
"""``{estimate, low, high, reason}`` as in ``summary.json``; each may be None or absent."""

NOTHING = "-"
_DIGITS = 3  # Significant digits of an estimate: more than its readers compare, or its interval carries.
_ROUNDING = 1e-6  # Of the last digit: floating-point noise must not round 0.3 up to 0.4.

STAGES = {
    "pool_wait": "pool wait",
    "syn_backoff": "SYN back-off",
    "wire": "wire",
    "rules": "rules",
    "node_queue": "node queue",
    "pod_queue": "pod queue",
    "service": "service",
    "failed_attempts": "failed attempts",
    "backoff": "retry back-off",
}
METRICS = {
    "attempts_per_request": "attempts per request",
    "orphans_per_request": "answers to nobody per request",
    "recovered_ratio": "answered share of the last quarter",
    "failed_ratio": "share of failed requests",
    "failed_requests": "failed requests",
    "latency_s.p50": "median latency",
    "latency_s.p99": "p99 latency",
    "latency_s.mean": "mean latency",
    "first_packet_s.p50": "median time to connect",
    "first_packet_s.p99": "p99 time to connect",
    "throughput_rps": "answers per second",
    "balance.pods.max_over_mean": "hottest pod over the mean",
    "balance.nodes.max_over_mean": "hottest node over the mean",
}
QUANTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "mean": "mean"}


class Text(NamedTuple):
    """What stands around a figure: its finding, how to read it, and what stands in for it."""

    title: str
    caption: str
    alt: str


def metric_name(path: str) -> str:
    """Name a metric of a summary in words, where there are some."""
    return METRICS.get(path, path)


def fitted(text: str, limit: int) -> str:
    """Shorten a text, such as a user's long name, that would not fit its place."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def significant(value: float) -> str:
    """Write a number with three significant digits and thousands separators, never with an exponent."""
    if not math.isfinite(value):
        return NOTHING
    decimals = _DIGITS - 1 - _magnitude(value) if value else 0
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(ratio: float) -> str:
    """Write a share: 0.1784 is ``17.8 %``."""
    return f"{significant(100 * ratio)} %"


def times(ratio: float) -> str:
    """Write a multiple: 1.61 with a multiplication sign."""
    return f"{significant(ratio)}\N{MULTIPLICATION SIGN}"


def signed(ratio: float) -> str:
    """Write a relative difference: -0.03 is a true minus sign and ``3 %``."""
    sign = "+" if ratio > 0 else "\N{MINUS SIGN}" if ratio < 0 else ""
    return f"{sign}{percent(abs(ratio))}"


def count(value: float) -> str:
    """Write a number of things: ``12,000``."""
    return f"{value:,.0f}"


def seconds(value_s: float) -> str:
    """Write a time without interval, a tick or a label: ``1 ms``, ``35 s``."""
    return format_duration(value_s)


def known(interval: Interval | None) -> TypeGuard[Interval]:
    """Say whether there is an estimate."""
    return interval is not None and interval.get("estimate") is not None


def half_width(interval: Interval) -> float:
    """Half of the interval's length; 0 where there is none."""
    if interval.get("low") is None or interval.get("high") is None:
        return 0.0
    return float(interval["high"] - interval["low"]) / 2


def plus_minus(interval: Interval | None, unit: str = "", scale: float = 1.0) -> str:
    """Write an estimate and its half-width in one unit.

    Parameters
    ----------
    interval
        What to write; `NOTHING` stands for one without an estimate.
    unit
        Printed after the estimate.
    scale
        What estimate and bounds are multiplied with: 1000 for milliseconds.
    """
    if not known(interval):
        return NOTHING
    value, half = scale * interval["estimate"], scale * half_width(interval)
    suffix = f" {unit}" if unit else ""
    if not half:
        return significant(value) + suffix
    decimals = max(
        0, min(-_magnitude(half * (1 + _ROUNDING)), _DIGITS - 1 - _magnitude(value) if value else _DIGITS)
    )
    # Rounded up: a printed interval may be wider than the true one, never narrower.
    half = math.ceil(half * 10**decimals - _ROUNDING) / 10**decimals
    return f"{value:,.{decimals}f}{suffix} ± {half:,.{decimals}f}"


def _magnitude(value: float) -> int:
    """Power of ten of the first significant digit."""
    return math.floor(math.log10(abs(value)))


def duration(interval: Interval | None) -> str:
    """Write an estimated time in the unit of its size: ``27.9 ms ± 0.4``."""
    size_s = abs(interval["estimate"]) if known(interval) else 0.0
    if size_s >= 1:
        return plus_minus(interval, "s")
    return plus_minus(interval, "ms", 1e3) if size_s >= _MILLISECOND_S else plus_minus(interval, "µs", 1e6)


_MILLISECOND_S = 1e-3


def share(interval: Interval | None) -> str:
    """Write an estimated share: ``17.8 % ± 0.9``."""
    return plus_minus(interval, "%", 100.0)


def plain(interval: Interval | None) -> str:
    """Write an estimated number without a unit: ``1.61 ± 0.09``."""
    return plus_minus(interval)
