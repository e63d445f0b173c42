"""Sync prices of a profile and propagation delays from kube-proxy's own histograms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.calibrate.kubeproxy_metrics import PROGRAMMING, SYNCS
from nodeportsim.calibrate.loadtests.estimated import Z95, Estimates, Parameter
from nodeportsim.errors import InputError
from nodeportsim.metrics import histogram
from nodeportsim.metrics.intervals import FEWEST

if TYPE_CHECKING:
    from nodeportsim.calibrate.kubeproxy_metrics import Durations, Metrics
    from nodeportsim.scenario.prices import SyncPrice

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def sync_estimates(
    metrics: Metrics,
    *,
    service_ports: int,
    endpoints: int,
    family: str = "IPv4",
    price: dict[str, SyncPrice] | None = None,
) -> Estimates:
    """Say what the histograms tell of syncs in a cluster of this size.

    Parameters
    ----------
    metrics
        One scrape, or the difference of two (`since`).
    service_ports, endpoints
        The size of the rule set, as the user knows it: kube-proxy does not export it.
    family
        The IP family whose proxier counts.
    price
        Prices by kind (``partial``, ``full``) that hold the slopes: one size cannot tell a constant from
        what grows with the size. Without them the constant is the whole duration, for this size alone.

    Raises
    ------
    InputError
        The size is below 0, or nothing was synced.
    """
    for name, value in (("service_ports", service_ports), ("endpoints", endpoints)):
        if value < 0:
            raise InputError("must be at least 0", field=name, got=value)
    if not any(metrics.durations(name, family) for name in (*SYNCS.values(), PROGRAMMING)):
        there = ", ".join(sorted({family for _, family in metrics.histograms}))
        raise InputError(
            "must be an IP family of the metrics", field="family", got=family, hint=f"there are: {there}"
        )
    found: list[Parameter] = []
    for kind, name in {**SYNCS, "networkProgramming": PROGRAMMING}.items():
        durations = metrics.durations(name, family)
        if durations is not None:
            found += _of(f"sync.{kind}" if kind in SYNCS else kind, durations)
    rules = metrics.nat_rules.get(family, metrics.nat_rules.get("", 0))
    prices = {
        kind: _constant(kind, found, (service_ports, endpoints, rules), (price or {}).get(kind))
        for kind in ("partial", "full")
    }
    constants = [parameter for parameter in prices.values() if parameter is not None]
    return Estimates(
        parameters=(*found, *constants),
        warnings=(*metrics.notes, *_warnings(metrics, family)),
        fragment=_fragment(constants, price or {}, service_ports, endpoints),
    )


def _of(name: str, durations: Durations) -> list[Parameter]:
    """Mean (exact, from sum and count) and quantiles between the edges of their buckets."""
    if not durations.count:
        return [Parameter(name=f"{name}.mean", unit="s", why="none was counted")]
    mean_s = durations.sum_s / durations.count
    why = f"sum / count of {durations.count}"
    error_s = _error_s(durations, mean_s)
    if durations.count < FEWEST:
        mean = Parameter(
            name=f"{name}.mean",
            unit="s",
            value=mean_s,
            identified=True,
            why=f"{why}; an interval needs {FEWEST}",
        )
    else:
        mean = Parameter(
            name=f"{name}.mean",
            unit="s",
            value=mean_s,
            error=error_s,
            low95=None if error_s is None else max(mean_s - Z95 * error_s, 0.0),
            high95=None if error_s is None else mean_s + Z95 * error_s,
            identified=True,
            why=why if error_s is not None else f"{why}; some beyond the last bucket, so no error",
        )
    return [mean, *(_quantile(f"{name}.{key}", durations, q) for key, q in _QUANTILES.items())]


def _error_s(durations: Durations, mean_s: float) -> float | None:
    """Standard error (s) of the mean, with the largest variance the buckets allow.

    Within its bucket a duration is as far from the mean as it can be. None where some have no upper edge.
    """
    below, lower_s, squares = 0, 0.0, 0.0
    for edge_s, cumulative in zip(durations.edges_s, durations.cumulative, strict=True):
        here = cumulative - below
        if here and math.isinf(edge_s):
            return None
        if here:
            squares += here * max(mean_s - lower_s, edge_s - mean_s) ** 2
        below, lower_s = cumulative, edge_s
    return math.sqrt(squares) / durations.count


def _quantile(name: str, durations: Durations, q: float) -> Parameter:
    """Bound a quantile by the buckets of the ranks n q -+ 1.96 sqrt(n q (1 - q)): no finer than a bucket."""
    reason = histogram.why_not(durations.count, q)
    if reason is not None:
        return Parameter(name=name, unit="s", why=f"refused: {reason}")
    half = Z95 * math.sqrt(durations.count * q * (1 - q))
    low_s, _ = _bucket(durations, max(durations.count * q - half, 1.0))
    _, high_s = _bucket(durations, min(durations.count * q + half, durations.count))
    high = None if math.isinf(high_s) else high_s
    why = (
        "between bucket edges, no finer" if high is not None else "beyond the last bucket: only a lower bound"
    )
    return Parameter(name=name, unit="s", low95=low_s, high95=high, identified=high is not None, why=why)


def _bucket(durations: Durations, rank: float) -> tuple[float, float]:
    """Return the edges (s) of the bucket that holds a rank."""
    lower_s = 0.0
    for edge_s, cumulative in zip(durations.edges_s, durations.cumulative, strict=True):
        if cumulative >= rank:
            return lower_s, edge_s
        lower_s = edge_s
    return lower_s, math.inf


def _constant(
    kind: str, found: list[Parameter], size: tuple[int, int, int], price: SyncPrice | None
) -> Parameter | None:
    """What is left of the mean duration when the slopes of a price are taken off."""
    mean = next((one for one in found if one.name == f"sync.{kind}.mean"), None)
    if mean is None or mean.value is None:
        return None
    name = f"sync_{kind}.constant_s"
    ports, endpoints, rules = size
    where = f"{ports} service ports and {endpoints} endpoints"
    if price is None:
        why = f"the whole mean duration, for {where} alone: one size does not tell what grows with it"
        return Parameter(
            name=name,
            unit="s",
            value=mean.value,
            error=mean.error,
            low95=mean.low95,
            high95=mean.high95,
            identified=True,
            why=why,
        )
    if price.per_rule_squared_s.value and not rules:
        why = "the price grows with the rules of the nat table, and the metrics do not tell them"
        return Parameter(name=name, unit="s", why=why)
    slopes_s = (
        price.cost.duration_s(service_ports=ports, endpoints=endpoints, rules=rules) - price.constant_s.value
    )
    left_s = mean.value - slopes_s
    if left_s <= 0:
        why = f"the price's slopes alone take {slopes_s:.3g} s at {where}: they do not hold here"
        return Parameter(name=name, unit="s", why=why)
    why = f"mean duration less the price's slopes, {slopes_s:.3g} s at {where}, not measured here"
    low, high = (None if edge is None else max(edge - slopes_s, 0.0) for edge in (mean.low95, mean.high95))
    return Parameter(
        name=name, unit="s", value=left_s, error=mean.error, low95=low, high95=high, identified=False, why=why
    )


def _warnings(metrics: Metrics, family: str) -> list[str]:
    found = []
    if not metrics.durations(SYNCS["full"], family):
        found.append("no histogram of full and partial syncs: kube-proxy before 1.28, or mode ipvs")
    if not metrics.histograms.get((PROGRAMMING, family)) and not metrics.histograms.get((PROGRAMMING, "")):
        found.append("no histogram of network programming")
    return found


def _fragment(
    constants: list[Parameter], price: dict[str, SyncPrice], service_ports: int, endpoints: int
) -> str:
    """Write the sync prices in a profile's own form, for one of its modes."""
    lines = []
    for parameter in constants:
        if parameter.value is None:
            continue
        kind = parameter.name.partition(".")[0]
        error = "null" if parameter.error is None else f"{parameter.error:.3g}"
        given = price.get(kind.removeprefix("sync_"))
        source = f"kube-proxy metrics, {service_ports} service ports, {endpoints} endpoints"
        lines += [f"{kind}:", f"  constant_s: {_entry(parameter.value, error, parameter.identified, source)}"]
        for name in ("per_service_port_s", "per_endpoint_s", "per_rule_squared_s"):
            slope = getattr(given, name, None)
            if slope is not None and slope.value:
                error = "null" if slope.error is None else f"{slope.error:.3g}"
                lines.append(f"  {name}: {_entry(slope.value, error, False, 'not measured here')}")
    return "\n".join(lines) + "\n" if lines else ""


def _entry(value: float, error: str, identified: bool, source: str) -> str:
    known = "true" if identified else "false"
    return f'{{value: {value:.6g}, error: {error}, identified: {known}, source: "{source}"}}'
