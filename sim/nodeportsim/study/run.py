"""One scenario, many replications, one summary.

A replication is independent of the others and of where it runs: its draws depend on (seed, replication)
only, and histograms, counts and sums merge exactly. So the summary is the same bytes for any number of
processes. Every replication's books are checked before it counts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError, NodePortSimError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from nodeportsim.engine.simulate import Engine, Replication
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Clients, Scenario

    Progress = Callable[[int, int], None]

INTERPRETED_REQUESTS = 50_000
"""Up to here a run is interpreted by default: at some 15,000 requests/s it ends before the 20 to 30 s that a
cold compilation takes. The rule looks at the scenario only, so that a summary does not depend on a cache."""

LIBRARIES = ("numba", "numpy", "scipy", "simpy")
"""Libraries that touch the numbers of a summary."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome:
    """What a scenario led to.

    Parameters
    ----------
    scenario
        The question.
    replications
        The raw answers, one an independent run, in order of their numbers.
    summary
        The answer in numbers, as in ``summary.json``.
    """

    scenario: Scenario
    replications: tuple[Replication, ...]
    summary: dict[str, Any]

    def __repr__(self) -> str:
        """Paste back: a run is a function of its scenario."""
        return f"simulate({self.scenario!r})"

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tidy tables by name, a unit in the name of each column that has one."""
        from nodeportsim.metrics.tables import tables

        return tables(self.replications)


def expected_requests(scenario: Scenario) -> float:
    """Estimate how many requests all replications offer, from the declared load alone."""
    return scenario.run.replications * sum(_offered(group, scenario) for group in scenario.clients)


def _offered(group: Clients, scenario: Scenario) -> float:
    if group.arrivals == "trace":
        return float(len(group.trace_s))
    if group.loop == "open":
        return group.rate_rps * scenario.run.duration_s
    cycle_s = group.think_time.mean_s + scenario.pods.service_time.mean_s
    # A closed loop without any pause is bounded by the network's round trip.
    round_trip_s = 2 * (scenario.cluster.network.client_node_s + scenario.cluster.network.wake_up_s)
    return group.count * scenario.run.duration_s / max(cycle_s + round_trip_s, 1e-6)


def choose_engine(scenario: Scenario, requested: Engine | None) -> Engine:
    """Take the engine asked for, else the one that is likely to be done first; results are the same."""
    if requested is not None:
        return requested
    return "simpy" if expected_requests(scenario) <= INTERPRETED_REQUESTS else "compiled"


def run(
    scenario: Scenario, *, engine: Engine | None = None, jobs: int = 1, progress: Progress | None = None
) -> Outcome:
    """Run all replications of a scenario and sum them up.

    Parameters
    ----------
    engine
        ``compiled`` or ``simpy``; None chooses by size. Both give the same numbers.
    jobs
        Processes. 1 stays in this one.
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
    total = scenario.run.replications
    done: list[Replication] = []
    for replication in _replications(scenario, chosen, jobs):
        assert_conserved(replication, scenario)
        done.append(replication)
        if progress:
            progress(len(done), total)
    return Outcome(
        scenario=scenario,
        replications=tuple(done),
        summary=_summary(scenario, profile, done, chosen),
    )


def _replications(scenario: Scenario, engine: Engine, jobs: int) -> Iterator[Replication]:
    """Simulate in order of number, in this process or in several."""
    from nodeportsim.engine.simulate import simulate

    numbers = range(scenario.run.replications)
    if min(jobs, len(numbers)) == 1:
        yield from (simulate(scenario, number, engine=engine) for number in numbers)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)
    yield from parallel(delayed(simulate)(scenario, number, engine=engine) for number in numbers)


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


def scenario_sha256(scenario: Scenario) -> str:
    """Hash a scenario's canonical JSON: sorted keys, no blanks, every default written out."""
    return _sha256(scenario.model_dump(mode="json"))


def _sha256(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _summary(
    scenario: Scenario, profile: Profile, replications: list[Replication], engine: str
) -> dict[str, Any]:
    from nodeportsim.engine.records import CAUSES, PHASES, STAGES
    from nodeportsim.metrics.summarise import summarise
    from nodeportsim.metrics.thresholds import check

    summary = summarise(replications, causes=CAUSES, stages=STAGES, phases=PHASES)
    summary["thresholds"] = check(scenario.thresholds, summary)
    summary["provenance"] = _provenance(scenario, profile, engine)
    return summary


def _provenance(scenario: Scenario, profile: Profile, engine: str) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "scenario_sha256": scenario_sha256(scenario),
        "mode": scenario.cluster.proxy.mode,
        "profile": profile.name,
        "profile_sha256": _sha256(profile.model_dump(mode="json")),
        "version": version("nodeportsim"),
        "seed": scenario.run.seed,
        "replications": scenario.run.replications,
        "engine": engine,
        "libraries": {name: version(name) for name in LIBRARIES},
        "assumptions": list(_assumptions(scenario, profile)),
    }


def _assumptions(scenario: Scenario, profile: Profile) -> Iterator[str]:
    """Say which numbers of this run nobody measured: of the network, and those the profile calls assumed."""
    from nodeportsim.scenario.profile import mode_key
    from nodeportsim.units import format_duration

    network = scenario.cluster.network
    delays = {"client to node": network.client_node_s, "node to node": network.node_node_s}
    delays |= {"zone to zone": network.zone_zone_s, "wake-up": network.wake_up_s}
    told = ", ".join(f"{name} {format_duration(delay_s)}" for name, delay_s in delays.items())
    yield f"one-way network delays are the scenario's: {told}"
    used = ("host.", f"modes.{mode_key(scenario.cluster.proxy.mode, scenario.cluster.proxy.backend)}.")
    for name, parameter in profile.parameters().items():
        if name.startswith(used) and not parameter.identified:
            yield f"{name} = {parameter.value:g}: {parameter.note or parameter.source}"


def compare(a: Outcome, b: Outcome) -> pd.DataFrame:
    """Compare two variants replication by replication: common draws cancel in the difference.

    Returns
    -------
    DataFrame
        One row a measure: ``metric, before, difference, low, high`` (b minus a, 95 % interval) and the same
        difference over a's value, ``difference_ratio, low_ratio, high_ratio``, NaN where that is zero.

    Raises
    ------
    InputError
        Seeds or replications differ: the pairs would not share their draws.
    """
    import pandas as pd

    from nodeportsim.metrics.intervals import paired_difference

    runs_a, runs_b = a.scenario.run, b.scenario.run
    if (runs_a.seed, runs_a.replications) != (runs_b.seed, runs_b.replications):
        raise InputError("must have the same seed and replications to be compared", field="run")
    rows = []
    for metric, measure in MEASURES.items():
        first, second = ([measure(r) for r in outcome.replications] for outcome in (a, b))
        before = sum(first) / len(first)
        moved = paired_difference(first, second).as_dict()
        row = {"metric": metric, "before": before, "difference": moved["estimate"]}
        rows.append(row | {"low": moved["low"], "high": moved["high"]})
    table = pd.DataFrame(rows).astype({"difference": float, "low": float, "high": float})
    base = table["before"].where(table["before"] != 0)
    return table.assign(
        **{f"{column}_ratio": table[column] / base for column in ("difference", "low", "high")}
    )


def _per_request(total: str) -> Callable[[Replication], float]:
    return lambda r: getattr(r, total) / r.offered if r.offered else 0.0


MEASURES: dict[str, Callable[[Replication], float]] = {
    "failed_ratio": _per_request("failed"),
    "attempts_per_request": _per_request("attempts"),
    "latency_mean_s": lambda r: float(r.latency_sum_ns.sum()) * 1e-9 / max(r.succeeded, 1),
}
"""What is compared within a replication; totals only, since a quantile needs the merged histogram."""
