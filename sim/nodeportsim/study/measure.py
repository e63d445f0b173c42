"""One point of a sweep, measured: a scenario goes in, a plain record comes out, wherever that happens.

A record is what is kept of a point: every measure in every replication, and the estimates with intervals over
them. Replications themselves, a megabyte each, never leave the process that made them. A point that cannot be
simulated becomes a record, too, with the reason: one bad corner of a parameter space must not stop the rest.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan
from typing import TYPE_CHECKING, Any

from nodeportsim.engine.cache import folder as engine_folder
from nodeportsim.errors import InputError, NodePortSimError
from nodeportsim.metrics.estimates import estimates
from nodeportsim.metrics.observables import NAMES, observe
from nodeportsim.metrics.summarise import DIGITS
from nodeportsim.study.provenance import scenario_sha256
from nodeportsim.study.run import replicate

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    Record = dict[str, Any]

DONE, FAILED = "done", "failed"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One point to measure.

    Parameters
    ----------
    number
        Which point it is, from 0.
    scenario, profile
        The question and its prices: a worker needs no file.
    engine
        What runs it.
    made_by
        Versions of who asks, see `versions`; a worker with others must not answer.
    """

    number: int
    scenario: Scenario
    profile: Profile
    engine: Engine
    made_by: dict[str, str]


class VersionError(InputError):
    """A worker runs other code than the one who asks: its numbers could differ."""


def versions() -> dict[str, str]:
    """Give what must be the same wherever the points of one sweep are measured."""
    major, minor, _ = platform.python_version_tuple()
    libraries = {name: version(name) for name in ("nodeportsim", "numpy")}
    return {**libraries, "python": f"{major}.{minor}", "engine": engine_folder().name}


def assert_same(asked: dict[str, str], own: dict[str, str]) -> None:
    """Refuse to mix versions.

    Raises
    ------
    VersionError
        With both of each that differs.
    """
    differ = [f"{name} {own.get(name)} there, {v} here" for name, v in asked.items() if own.get(name) != v]
    if differ:
        hint = "install the same versions on every machine: constraints.txt names them"
        raise VersionError(f"runs other versions: {'; '.join(differ)}", field="a worker", hint=hint)


def measured(task: Task) -> Record:
    """Simulate a point and keep what a table needs.

    Raises
    ------
    VersionError
        This process has other versions than the one that asks.
    """
    assert_same(task.made_by, versions())
    try:
        return _measured(task)
    except InputError as error:
        return failure(task.number, without_place(error))
    except NodePortSimError as error:
        return failure(task.number, f"a bug in nodeportsim: {error}")
    except Exception as error:  # noqa: BLE001  (whatever it is, the other points go on)
        return failure(task.number, f"a bug in nodeportsim: {type(error).__name__}: {error}")


def _measured(task: Task) -> Record:
    runs = replicate(task.scenario, task.profile, engine=task.engine, trace=0)
    counted_s = task.scenario.run.duration_s - runs.warmup_s
    observed, plain = (
        [observe(r, counted_s=counted_s) for r in part] for part in (runs.replications, runs.nominal)
    )
    found = estimates(runs.replications, observed, nominal=runs.nominal, nominal_observed=plain)
    return {
        "point": task.number,
        "status": DONE,
        "scenario_sha256": scenario_sha256(task.scenario),
        "warmup_s": runs.warmup_s,
        "metrics": list(NAMES),
        "replications": [r.number for r in runs.replications],
        "values": [[_digits(row[name]) for name in NAMES] for row in observed],
        "estimates": [[*map(_digits, (e.estimate, e.low, e.high)), e.reason] for e in found.values()],
    }


def _digits(value: float | None) -> float | None:
    """Round as the summary does; what there is not is null."""
    return None if value is None or isnan(value) else float(f"{value:.{DIGITS}g}")


def failure(number: int, reason: str) -> Record:
    """Make the record of a point that cannot be simulated."""
    return {"point": number, "status": FAILED, "reason": reason}


def without_place(error: InputError) -> str:
    """Say what is wrong in one line, without the file: records name no paths."""
    plain = InputError(error.rule, field=error.field, got=error.got, hint=error.hint)
    return "; ".join(line.strip() for line in str(plain).splitlines())
