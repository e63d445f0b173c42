"""One scenario, many replications, one summary.

A replication is independent of the others and of where it runs: its draws depend on (seed, replication)
only, and histograms, counts and sums merge exactly. So the summary is the same bytes for any number of
processes. Every replication's books are checked before it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError, NodePortSimError
from nodeportsim.metrics.compare import TOTALS
from nodeportsim.metrics.compare import compare as compare_replications
from nodeportsim.metrics.timeline import SUCCEEDED, mser5
from nodeportsim.study.control import controlled_latency
from nodeportsim.study.limits import assert_bounded, expected_requests
from nodeportsim.study.precision import Watch
from nodeportsim.study.provenance import provenance, scenario_sha256
from nodeportsim.study.uncertainty import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from nodeportsim.engine.simulate import Engine, Replication
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

    Progress = Callable[[int, int], None]
    Task = tuple[int, Profile]  # Number of a replication, and its prices.

INTERPRETED_REQUESTS = 50_000
"""Up to here a run is interpreted if the kernel has not been compiled yet: at some 15,000 requests/s it ends
long before the minute that a cold compilation takes. The numbers are the same."""

TRACED = 2_000
"""So many requests of each replication, the first to end, say where they went (`metrics.routes`)."""

MEASURES = TOTALS
"""What can be measured in one replication, by name."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome:
    """What a scenario led to.

    Parameters
    ----------
    scenario
        The question.
    replications
        The raw answers, one an independent run, in order of their numbers.
    warmup_s
        Requests that were to arrive earlier are in none of them.
    summary
        The answer in numbers, as in ``summary.json``.
    nominal
        With ``run.uncertainty``, where each replication had prices of its own: the same ones at the profile's
        values.
    pilot_latency_s
        Mean latency in each second of the first run, where MSER-5 looked at it to find the warm-up.
    """

    scenario: Scenario
    replications: tuple[Replication, ...]
    warmup_s: float
    summary: dict[str, Any]
    nominal: tuple[Replication, ...] = ()
    pilot_latency_s: tuple[float, ...] = ()

    def __repr__(self) -> str:
        """Paste back: a run is a function of its scenario."""
        return f"simulate({self.scenario!r})"

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tidy tables by name, a unit in the name of each column that has one."""
        from nodeportsim.metrics.tables import tables, warm_up

        found = tables(self.replications)
        if self.pilot_latency_s:
            found["warm_up"] = warm_up(self.pilot_latency_s, self.replications, self.warmup_s)
        return found


DEFAULT: Engine = "compiled"


def choose_engine(scenario: Scenario, requested: Engine | None) -> Engine:
    """Take the engine asked for, else the compiled one, unless a small run would wait for its compilation."""
    from nodeportsim.engine.cache import is_warm

    if requested is None and not is_warm() and expected_requests(scenario) <= INTERPRETED_REQUESTS:
        return "simpy"
    return requested or DEFAULT


def run(
    scenario: Scenario, *, engine: Engine | None = None, jobs: int = 1, progress: Progress | None = None
) -> Outcome:
    """Run all replications of a scenario and sum them up.

    Parameters
    ----------
    engine
        ``compiled`` or ``simpy``; None is compiled, but a small run does not wait for a first compilation.
        Both give the same numbers.
    jobs
        Threads of the compiled engine, processes of the other, at work at a time.
    progress
        Called with (done, total) after every replication.

    Raises
    ------
    InputError
        The scenario cannot be simulated.
    NodePortSimError
        The books of a replication do not balance: a bug of ours.
    """
    from nodeportsim.metrics.thresholds import parse
    from nodeportsim.scenario.profile import load_profile

    parse(scenario.thresholds)  # A misspelt one is worth knowing before the work.
    chosen = choose_engine(scenario, engine)
    profile = load_profile(scenario.cluster.profile)
    runs = replicate(scenario, profile, engine=chosen, jobs=jobs, progress=progress)
    return Outcome(
        scenario=scenario,
        replications=runs.replications,
        warmup_s=runs.warmup_s,
        # Not `chosen`: a summary does not depend on what has been compiled before.
        summary=_summary(scenario, profile, runs, engine or DEFAULT),
        nominal=runs.nominal,
        pilot_latency_s=runs.pilot_latency_s,
    )


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The replications of a scenario, before anything is made of them; fields as in `Outcome`.

    Parameters
    ----------
    precision
        Where a precision was asked for: what the summary says of it.
    """

    replications: tuple[Replication, ...]
    warmup_s: float
    nominal: tuple[Replication, ...] = ()
    pilot_latency_s: tuple[float, ...] = ()
    precision: dict[str, Any]


def replicate(
    scenario: Scenario,
    profile: Profile,
    *,
    engine: Engine,
    jobs: int = 1,
    progress: Progress | None = None,
    trace: int = TRACED,
) -> Runs:
    """Run all replications of a scenario and check their books; arguments and errors as in `run`.

    Parameters
    ----------
    trace
        Requests of each replication that are kept one by one; none, where nobody asks for their routes.
    """
    watch = Watch(scenario.run)
    assert_bounded(scenario, engine)
    pilot, warmup_s, pilot_latency_s = _warm_up(
        scenario, engine, _tasks(scenario, profile, range(1))[0], trace
    )
    own: list[Replication] = []
    nominal: list[Replication] = []
    for size in watch.sizes:
        numbers = range(len(own), size)
        tasks = _tasks(scenario, profile, numbers)
        done: list[Replication] = []
        for replication in _replications(scenario, engine, jobs, warmup_s, pilot, tasks, trace):
            assert_conserved(replication, scenario)
            done.append(replication)
            if progress:
                progress(len(own) + len(nominal) + len(done), len(own) + len(nominal) + len(tasks))
        own, nominal, pilot = own + done[: len(numbers)], nominal + done[len(numbers) :], None
        if watch.enough(own, nominal):
            break
    return Runs(
        replications=tuple(own),
        warmup_s=warmup_s,
        nominal=tuple(nominal),
        pilot_latency_s=pilot_latency_s,
        precision=watch.summary(len(own)),
    )


def _tasks(scenario: Scenario, profile: Profile, numbers: range) -> list[Task]:
    """List the runs by number and prices: first any with drawn prices, then at the profile's values."""
    plain = [(number, profile) for number in numbers]
    if not scenario.run.uncertainty:
        return plain
    return [(number, sample(scenario, profile, number)) for number, _ in plain] + plain


def _warm_up(
    scenario: Scenario, engine: Engine, first: Task, trace: int
) -> tuple[Replication | None, float, tuple[float, ...]]:
    """Decide what to leave out as warm-up; give the pilot, where one ran and lost nothing, and its series.

    What is declared counts. With events nothing is left out. Else MSER-5 on the mean latency of each second
    of the first run decides; a pilot that never settles, is too short to tell or has seconds without an
    answer leaves nothing out.
    """
    from nodeportsim.engine.simulate import simulate

    if scenario.run.warmup_s is not None or scenario.events:
        return None, scenario.run.warmup_s or 0.0, ()
    number, prices = first
    pilot = simulate(scenario, number, engine=engine, profile=prices, warmup_s=0.0, trace=trace)
    answered = pilot.timeline[:, SUCCEEDED]
    if not answered.all():
        return pilot, 0.0, ()
    series = pilot.second_latency_ns / answered
    dropped_s = mser5(series) or 0
    return None if dropped_s else pilot, float(dropped_s), tuple((series * 1e-9).tolist())


def _replications(
    scenario: Scenario,
    engine: Engine,
    jobs: int,
    warmup_s: float,
    pilot: Replication | None,
    tasks: Sequence[Task],
    trace: int,
) -> Iterator[Replication]:
    """Simulate in order, one or several at a time; a pilot that fits is the first of them."""
    from nodeportsim.engine.simulate import simulate

    if pilot is not None:
        yield pilot
    left = tasks[int(pilot is not None) :]
    if min(jobs, len(left)) <= 1:
        for number, prices in left:
            yield simulate(scenario, number, engine=engine, profile=prices, warmup_s=warmup_s, trace=trace)
        return
    from joblib import Parallel, delayed

    # The kernel runs without the interpreter's lock, so threads do: nothing to start, to copy, to load twice.
    prefer = "threads" if engine == "compiled" else "processes"
    parallel = Parallel(n_jobs=jobs, prefer=prefer, return_as="generator", batch_size=1)
    yield from parallel(
        delayed(simulate)(scenario, number, engine=engine, profile=prices, warmup_s=warmup_s, trace=trace)
        for number, prices in left
    )


def assert_conserved(replication: Replication, scenario: Scenario) -> None:
    """Check the books: offered = succeeded + failed by cause + in flight, in every view of them.

    Raises
    ------
    NodePortSimError
        With what reproduces it.
    """
    r = replication
    ended = r.succeeded + r.failed
    views = {
        "offered = succeeded + failed + in flight": r.offered == ended + r.in_flight,
        "failed = failures by cause": r.failed == int(r.errors.sum()),
        "succeeded = latencies counted": r.succeeded == int(r.latency.sum()),
        "offered = offered by second": r.offered == int(r.timeline[:, 0].sum()),
        "succeeded = succeeded by second": r.succeeded == int(r.timeline[:, 1].sum()),
        "failures by cause = by second": bool((r.errors == r.timeline[:, 2:].sum(axis=0)).all()),
        "counts = by phase": [r.offered, r.succeeded, r.failed] == r.phases.sum(axis=0).tolist(),
        "latency = its stages": int(r.latency_sum_ns.sum()) == int(r.stage_sum_ns.sum()),
    }
    broken = [view for view, holds in views.items() if not holds]
    if broken:
        which = f"replication {r.number}, seed {scenario.run.seed}, scenario {scenario_sha256(scenario)[:8]}"
        raise NodePortSimError(
            f"the books do not balance: {'; '.join(broken)} ({which}, version {version('nodeportsim')})"
        )


def _summary(scenario: Scenario, profile: Profile, runs: Runs, engine: Engine) -> dict[str, Any]:
    from nodeportsim.engine.codes import CAUSES, PHASES, STAGES
    from nodeportsim.metrics.summarise import summarise
    from nodeportsim.metrics.thresholds import check

    own, nominal, warmup_s = runs.replications, runs.nominal, runs.warmup_s
    summary = summarise(own, nominal=nominal, causes=CAUSES, stages=STAGES, phases=PHASES)
    if len(own) == 1 and not scenario.events and not nominal:
        _by_batches(summary, own[0], warmup_s)
    summary["thresholds"] = check(scenario.thresholds, summary)
    summary["provenance"] = provenance(scenario, profile, engine, warmup_s, len(own))
    return summary | controlled_latency(scenario, own, warmup_s) | runs.precision


def _by_batches(summary: dict[str, Any], replication: Replication, warmup_s: float) -> None:
    """Give the mean latency and the failed share of one run in steady state an interval by batch means."""
    from nodeportsim.metrics.batches import of_run
    from nodeportsim.metrics.summarise import rounded

    found = rounded(of_run(replication, warmup_s))
    for whole in (summary, *summary["phases"].values()):
        whole["latency_s"]["mean"] = found["latency_s.mean"]
    for phase in summary["phases"].values():
        phase["failed_ratio"] = found.get("failed_ratio", phase["failed_ratio"])


def compare(a: Outcome, b: Outcome) -> pd.DataFrame:
    """Compare two variants replication by replication: common draws cancel in the difference.

    Each outcome leaves out its own warm-up. Where these differ less of the chance cancels, no more. With
    ``run.uncertainty`` both sides draw the same prices, and the interval is of the difference on one node
    whose prices are somewhere in their errors.

    Returns
    -------
    DataFrame
        One row a measure (see `nodeportsim.metrics.compare`): ``metric, before, after, difference, low,
        high`` (b minus a, 95 % interval) and the same difference over a's value, ``difference_ratio,
        low_ratio, high_ratio``; NaN where that is zero or the sample cannot carry it.

    Raises
    ------
    InputError
        Seeds, replications or uncertainty differ: the pairs would not share their draws.
    """
    import pandas as pd

    runs_a, runs_b = a.scenario.run, b.scenario.run
    if (runs_a.seed, len(a.replications)) != (runs_b.seed, len(b.replications)):
        raise InputError("must have the same seed and replications to be compared", field="run")
    if runs_a.uncertainty != runs_b.uncertainty:
        raise InputError("must be the same to be compared", field="run.uncertainty")
    numbers = ["before", "after", "difference", "low", "high"]
    nominal = (a.nominal, b.nominal) if a.nominal else None
    table = pd.DataFrame(compare_replications(a.replications, b.replications, nominal=nominal))
    table = table.rename(columns={"a": "before", "b": "after"})[["metric", *numbers]]
    table = table.astype(dict.fromkeys(numbers, float))
    base = table["before"].where(table["before"] != 0)
    return table.assign(**{f"{name}_ratio": table[name] / base for name in ("difference", "low", "high")})
