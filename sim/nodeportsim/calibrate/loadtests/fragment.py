"""What load tests tell, as YAML to put into a scenario. Only what is identified stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.scenario.declared import WIDEST
from nodeportsim.units import write_duration, write_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.calibrate.loadtests.estimated import Parameter
    from nodeportsim.calibrate.loadtests.sample import Sample

_DIGITS = 4


def scenario_fragment(sample: Sample, found: Sequence[Parameter], workers: int | None) -> str:
    """Write `pods`, `cluster.network` and `clients` of a scenario; empty without a service time.

    The clients are those of `sample`. An added path is charged to the hop between nodes, half each
    way: what the rules cost is a thousandth of it and comes from the profile.
    """
    by_name = {parameter.name: parameter for parameter in found}
    law = _law(by_name.get("pods.serviceTime.mean"), by_name.get("pods.serviceTime.p99"))
    if not law:
        return ""
    lines = ["pods:", f"  serviceTime: {law}"]
    lines += [f"  workers: {workers}"] if workers else []
    added = by_name.get("path.added")
    if added and added.identified and added.value is not None:
        lines += ["cluster:", f"  network: {{nodeNode: {_duration(added.value / 2)}}}"]
    return "\n".join([*lines, *_clients(sample, by_name.get("clients.thinkTime.mean"))]) + "\n"


def _law(mean: Parameter | None, p99: Parameter | None) -> str:
    """A law in the scenario's words; log-normal where its p99 may be one of such a law."""
    if mean is None or not mean.identified or not mean.value:
        return ""
    if p99 is not None and p99.value and 1.0 < _round(p99.value) / _round(mean.value) < WIDEST:
        return f"{{dist: lognormal, mean: {_duration(mean.value)}, p99: {_duration(p99.value)}}}"
    return f"{{dist: exponential, mean: {_duration(mean.value)}}}  # spread not known: assumed"


def _clients(sample: Sample, think: Parameter | None) -> list[str]:
    lines = ["clients:"]
    if sample.loop == "closed" and sample.connections and think and think.value is not None:
        wait = f"{{dist: constant, mean: {_duration(think.value)}}}"
        lines += ["  loop: closed", f"  count: {sample.connections}", f"  thinkTime: {wait}"]
    elif sample.loop == "open" and sample.rate_rps:
        lines += ["  loop: open", f"  rate: {write_rate(_round(sample.rate_rps))}", "  arrivals: fixed"]
    if sample.keep_alive:
        lines.append("  connections: {reuse: lifo}")
    return lines if len(lines) > 1 else []


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _duration(value_s: float) -> str:
    return write_duration(_round(value_s))
