"""Many points of a parameter space, each with all its replications, in a folder that survives anything.

A sweep is a scenario and a design, or an experiment's cells. Its points share seed and replications, so
that they share arrivals and demands and their differences are paired. Points are measured in any order,
in any process; what is written at the end is made from their files in the order of points: the same bytes
however it was run, and however often it was interrupted.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import IncompleteError, InputError
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.read import is_experiment, read
from nodeportsim.study import workers
from nodeportsim.study.design import Point, points, size
from nodeportsim.study.experiment import cells, experiments, find
from nodeportsim.study.folder import claimed
from nodeportsim.study.limits import expected_cpu_s, expected_requests
from nodeportsim.study.measure import DONE, Task, failure, versions, without_place
from nodeportsim.study.provenance import LIBRARIES, profile_sha256, scenario_sha256
from nodeportsim.study.results import wanted as wanted_measures
from nodeportsim.study.results import write_results
from nodeportsim.study.run import DEFAULT, INTERPRETED_REQUESTS
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.design import Axis, Method
    from nodeportsim.study.folder import Folder
    from nodeportsim.study.measure import Record

    Read = Callable[[Sequence[str]], Scenario]
    Item = Task | Record

MOST_POINTS = 10_000
LONGEST_S = 3600.0
SAMPLED = 50
"""Points that are read before the work, evenly over the design, for an estimate of all of it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is to be measured.

    Parameters
    ----------
    base
        The scenario that is varied.
    read
        Gives the scenario with some settings, as ``--set`` takes them.
    design
        How the points were chosen, for provenance.
    points
        All of them.
    """

    base: Scenario
    read: Read
    design: dict[str, Any]
    points: tuple[Point, ...]

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What ``sweep.json`` says: nothing of the clock, the machine or the way it is run."""
        base = self.base
        columns = list(dict.fromkeys(path for point in self.points for path in point.labels))
        sets = json.dumps([point.sets for point in self.points])
        return {
            "apiVersion": "nodeportsim/v1",
            "kind": "Sweep",
            "scenario": base.name,
            "scenario_sha256": scenario_sha256(base),
            "profile": base.cluster.profile,
            "profile_sha256": profile_sha256(load_profile(base.cluster.profile)),
            "seed": base.run.seed,
            "replications": base.run.replications,
            "version": version("nodeportsim"),
            "libraries": {name: version(name) for name in LIBRARIES},
            "design": self.design,
            "settings_sha256": hashlib.sha256(sets.encode()).hexdigest(),
            "columns": columns,
            "points": [[point.labels.get(path) for path in columns] for point in self.points],
        }


def designed(
    read: Read,
    axes: Sequence[Axis],
    *,
    method: Method = "grid",
    samples: int | None = None,
    yes: bool = False,
) -> Sweep:
    """Make a sweep of a scenario over a design; the scenario's seed is the design's, too.

    Raises
    ------
    InputError
        The scenario is not usable, axes and method do not fit, or there are very many points and nobody
        said yes.
    """
    base = read(())
    _assert_few(size(axes, method, samples), yes=yes)
    design = {"method": method, "samples": samples, "vary": [axis.written for axis in axes]}
    found = points(axes, method=method, samples=samples, seed=base.run.seed)
    return Sweep(base=base, read=read, design=design, points=found)


def _assert_few(count: int, *, yes: bool) -> None:
    if count > MOST_POINTS and not yes:
        rule = f"has {count:,} points; more than {MOST_POINTS:,} are only taken on with --yes"
        hint = "fewer values, --method zip, or --method lhs --samples N cover the same space with less"
        raise InputError(rule, field="the design", hint=hint)


def of_experiment(name: str, sets: Sequence[str]) -> Sweep | None:
    """Make a sweep of the cells of an experiment; None where the file, or the name, is not one's.

    Parameters
    ----------
    name
        A file, or the name of one of ours.
    sets
        Settings for all cells.
    """
    if name not in experiments() and not is_experiment(name):
        return None
    plan, home = find(name)

    def read_cell(more: Sequence[str]) -> Scenario:
        return read(home / plan.scenario, sets=(*sets, *more))

    found = tuple(Point(labels=dict(cell.labels), sets=cell.sets) for cell in cells(plan))
    design = {"method": "experiment", "question": plan.question}
    return Sweep(base=read_cell(()), read=read_cell, design=design, points=found)


def run_sweep(
    sweep: Sweep,
    path: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    engine: Engine | None = None,
    metrics: Sequence[str] = (),
    yes: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure every point that is not yet finished, and write the results of all.

    Parameters
    ----------
    path
        The folder; what is finished there is not measured again.
    jobs
        Processes at work at a time.
    scheduler
        Address of a Dask scheduler, in place of processes.
    metrics
        What the result files hold, see `nodeportsim.metrics.observables.chosen`; the points keep everything.
    progress
        Called with (finished points, all points).
    notice
        Told what is worth knowing: damaged files, what is resumed.

    Raises
    ------
    InputError
        The sweep is not usable or too long, or its folder is not.
    IncompleteError
        Some points could not be simulated; the results of the others are written.
    KeyboardInterrupt
        With how to go on.
    """
    _assert_few(len(sweep.points), yes=yes)
    wanted_measures(metrics)  # A misspelt one is worth knowing before the work.
    chosen = _estimated(sweep, engine, jobs, yes=yes or scheduler is not None)
    with claimed(path, sweep.manifest) as folder:
        wanted = folder.missing(notice)
        total = len(sweep.points)
        if len(wanted) < total:
            notice(f"{total - len(wanted)} of {total} points are finished already")
        items = _items(sweep, wanted, chosen)
        records = _records(items, min(jobs, len(wanted)), scheduler, chosen)
        failed = _kept(folder, records, total - len(wanted), progress)
        write_results(folder, metrics)
    if failed:
        reasons = "; ".join(dict.fromkeys(failed.values()))
        rule = f"{len(failed)} of {total} points could not be simulated ({reasons[:300]})"
        raise IncompleteError(f"{rule}; points.csv says which, and the same command tries them again")


def _records(items: Iterator[Item], jobs: int, scheduler: str | None, engine: Engine) -> Iterator[Record]:
    """Measure where it was asked for; no worker is started for nothing."""
    from nodeportsim.engine.cache import is_warm

    if jobs == 0:
        return iter(())
    if scheduler is not None:
        return workers.cluster(items, address=scheduler)
    # Whoever comes first compiles, and the others would do it at the same time.
    alone = 1 if engine == "compiled" and not is_warm() else 0
    return itertools.chain(map(workers.work, itertools.islice(items, alone)), workers.local(items, jobs=jobs))


def _kept(
    folder: Folder,
    records: Iterator[Record],
    done: int,
    progress: Callable[[int, int], None] | None,
) -> dict[int, str]:
    """Write the records as they come; give the reasons of those that failed."""
    failed: dict[int, str] = {}
    total = len(folder.manifest["points"])
    try:
        for record in records:
            folder.write(record)
            done += 1
            if record["status"] != DONE:
                failed[record["point"]] = record["reason"]
            if progress:
                progress(done, total)
    except KeyboardInterrupt:
        kept = f"{done - len(failed)} of {total} points are kept; the same command goes on from there"
        raise KeyboardInterrupt(kept) from None
    return failed


def _items(sweep: Sweep, numbers: Sequence[int], engine: Engine) -> Iterator[Item]:
    """Read the scenarios one by one, as they are wanted."""
    profile_of, made_by = functools.cache(load_profile), versions()
    for number in numbers:
        try:
            scenario = sweep.read(sweep.points[number].sets)
            profile = profile_of(scenario.cluster.profile)
        except InputError as error:
            yield failure(number, without_place(error))
            continue
        yield Task(number=number, scenario=scenario, profile=profile, engine=engine, made_by=made_by)


def _estimated(sweep: Sweep, engine: Engine | None, jobs: int, *, yes: bool) -> Engine:
    """Choose the engine for all points; refuse what would take very long.

    Raises
    ------
    InputError
        No point that was tried is a scenario; or it takes more than an hour, and nobody said yes.
    """
    from nodeportsim.engine.cache import is_warm

    every = max(len(sweep.points) // SAMPLED, 1)
    tried, problems = [], []
    for point in sweep.points[::every]:
        try:
            tried.append(sweep.read(point.sets))
        except InputError as error:
            problems.append(error)
    if not tried:
        raise problems[0]
    share = len(sweep.points) / (len(tried) + len(problems))
    requests = share * sum(map(expected_requests, tried))
    cold = engine is None and not is_warm() and requests <= INTERPRETED_REQUESTS
    chosen: Engine = "simpy" if cold else engine or DEFAULT
    cpu_s = share * sum(expected_cpu_s(scenario, chosen) for scenario in tried)
    if cpu_s / jobs > LONGEST_S and not yes:
        took = format_long(cpu_s / jobs)
        rule = f"would take some {took}, {jobs} at a time: more than an hour is only taken on with --yes"
        hint = "fewer points or replications, shorter runs, more --jobs or a --scheduler take less"
        raise InputError(rule, field=f"{len(sweep.points):,} points", hint=hint)
    return chosen


def format_long(seconds: float) -> str:
    """Write a time of minutes, hours or days for people."""
    for unit, size_s in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:,.0f} {unit}"
    return format_duration(seconds)
