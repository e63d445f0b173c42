"""One design on trial: whether it keeps to the limits with all nodes up, and with some of them lost.

The rule, the same for a search and for trying everything: a design is feasible when every slow resource
(conntrack, ports: `SLOW`) has room in closed form, and the upper end of the 95 % interval of every measure
keeps to its limit, in N and in the degraded steady state; with limits of the failure itself, in that too. The
first look takes few replications and only refuses what is far off; where the interval of the second holds the
limit, a third with four times as many decides, and what is still open then is not feasible. All designs see
the same arrivals and demands.

Slow resources are taken from theory, since an entry of conntrack stays for two minutes and a trial takes
seconds. Runs are no longer than the scenario's own: `window_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.scenario.profile import load_profile
from nodeportsim.study.capacity import Capacity
from nodeportsim.study.run import assert_conserved
from nodeportsim.study.slo import parse_slo
from nodeportsim.study.survive import failing, lost_nodes, parse_loss, without

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nodeportsim.engine.simulate import Engine, Replication
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.slo import Judged, Limit
    from nodeportsim.study.survive import Loss

LOOKS = (2, 10, 40)
"""Replications of the first, second and third look."""
LOOKS_DURING = (1, 10)
"""... of a failure, which takes longer."""
REQUESTS = 5000
"""A replication holds about so many requests, if the scenario's duration allows."""
SHORTEST_S = 5.0
SERVICES = 500
"""... and lasts so many service times at least."""
WARM_UP = 0.1
"""Share of a trial's time that is left out: it starts with empty queues."""
FAULT_AT_S = 10.0
SLOW = ("conntrack", "masquerade ports", "client ports", "NodePorts")
"""Resources that a trial is too short for. Not a balancer's ports: its addresses are not declared."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where designs are tried.

    Parameters
    ----------
    slo, during
        Limits in both steady states, and of the failure.
    loss
        What must be survived; None: nothing.
    engine, jobs
        As in `nodeportsim.study.run.run`.
    """

    slo: tuple[Limit, ...]
    during: tuple[Limit, ...] = ()
    loss: Loss | None = None
    engine: Engine = "compiled"
    jobs: int = 1

    def prepared(self, scenario: Scenario) -> Scenario:
        """Take a scenario as it is tried: without events and thresholds, and short."""
        duration_s = window_s(scenario)
        update = {"duration_s": duration_s, "warmup_s": WARM_UP * duration_s, "uncertainty": False}
        run = scenario.run.model_copy(update=update)
        return scenario.model_copy(update={"events": (), "thresholds": {}, "run": run})

    def trial(self, scenario: Scenario) -> Trial:
        """Try one design."""
        return Trial(scenario=self.prepared(scenario), bench=self)


def bench_of(
    slo: str | None, during: str | None, survive: str | None, engine: Engine | None, jobs: int
) -> Bench:
    """Make a bench of limits and losses as people write them.

    Raises
    ------
    InputError
        They cannot be read, or there are limits of a failure and nothing fails.
    """
    limits = () if slo is None else parse_slo(slo)
    meanwhile = () if during is None else parse_slo(during, field="--slo-during", during=True)
    if meanwhile and survive is None:
        raise InputError("needs --survive: it says what fails", field="--slo-during")
    loss = None if survive is None else parse_loss(survive)
    return Bench(slo=limits, during=meanwhile, loss=loss, engine=engine or "compiled", jobs=jobs)


def window_s(scenario: Scenario) -> float:
    """How long a replication of a trial lasts: long enough, and no longer than the scenario's own."""
    rate_rps = sum(group.rate_rps for group in scenario.clients)
    enough_s = max(SHORTEST_S, REQUESTS / max(rate_rps, 1e-9), SERVICES * scenario.pods.service_time.mean_s)
    return min(scenario.run.duration_s, enough_s)


@dataclass(frozen=True, kw_only=True)
class State:
    """A cluster in steady state: its closed forms, and what is measured in it.

    Parameters
    ----------
    name
        ``all up`` or what is lost.
    """

    name: str
    scenario: Scenario
    bench: Bench

    @cached_property
    def forms(self) -> Capacity:
        """Closed forms of this state."""
        return Capacity(scenario=self.scenario, profile=profile_of(self.scenario))

    @cached_property
    def full(self) -> str | None:
        """Name a slow resource that has no room, as a reason."""
        for each in self.forms.resources():
            if each.name in SLOW and each.utilisation > 1:
                return f"{each.name} {100 * each.utilisation:.0f} % {self.where}"
        return None

    @property
    def where(self) -> str:
        """Say in words which state this is."""
        return "with all nodes up" if self.name == "all up" else f"with {self.name} lost"

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """Judge every limit, with as many replications as that takes."""
        return judged(self.bench.slo, self.scenario, self.bench, LOOKS)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a design shows; everything is found out when it is asked for, and once."""

    scenario: Scenario
    bench: Bench

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """Names of the nodes that are lost."""
        return lost_nodes(self.scenario, self.bench.loss) if self.bench.loss else ()

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The steady states, the hardest first; none where nobody is left in one of them."""
        whole = State(name="all up", scenario=self.scenario, bench=self.bench)
        if self.bench.loss is None:
            return (whole,)
        rest = without(self.scenario, self.lost)
        if rest is None:
            return ()
        return (State(name=str(self.bench.loss), scenario=rest, bench=self.bench), whole)

    @cached_property
    def reason(self) -> str | None:
        """Why it is not feasible in its steady states; None where it is."""
        if not self.states:
            return f"no node with a pod is left with {self.bench.loss} lost"
        full = next((state.full for state in self.states if state.full), None)
        return full or next(self._missed(rising=False), None) or next(self._missed(rising=True), None)

    @property
    def lacks_pods(self) -> bool:
        """Whether it is not feasible for a reason that more pods may mend."""
        return self.reason is not None and (
            not self.states
            or any(state.full for state in self.states)
            or any(True for _ in self._missed(rising=False))
        )

    @cached_property
    def during(self) -> tuple[Judged, ...]:
        """Judge the failure itself."""
        if not self.bench.during:
            return ()
        scenario = failing(self.scenario, self.lost, FAULT_AT_S)
        return judged(self.bench.during, scenario, self.bench, LOOKS_DURING)

    @property
    def reason_during(self) -> str | None:
        """Why it is not feasible while it fails; None where it is."""
        return next((said(one, "per failure") for one in self.during if one.verdict != "holds"), None)

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps to everything."""
        return self.reason is None and self.reason_during is None

    def _missed(self, *, rising: bool) -> Iterator[str]:
        for state in self.states:
            for one in state.judged:
                if one.verdict != "holds" and one.limit.rises == rising:
                    yield said(one, state.where)


def judged(
    limits: Sequence[Limit], scenario: Scenario, bench: Bench, looks: Sequence[int]
) -> tuple[Judged, ...]:
    """Judge limits, with more replications at each look as long as something is open."""
    runs: list[Replication] = []
    found: tuple[Judged, ...] = ()
    for look in looks:
        runs += replicate(scenario, range(len(runs), look), bench)
        found = tuple(limit.judge(runs) for limit in limits)
        # Another limit's failure says nothing of whether more pods would help.
        failed = any(one.verdict == "fails" and not one.limit.rises for one in found)
        if failed or all(one.verdict != "open" for one in found):
            break
    return found


def said(one: Judged, where: str) -> str:
    """Say what a measure was where it does not keep to its limit."""
    estimate, limit = one.estimate, one.limit
    if estimate.estimate is None:
        return f"{limit.name} {limit.text} cannot be told {where}: {estimate.reason}"
    if one.verdict == "open" and estimate.high is not None:
        found = f"{estimate.estimate:.4g}, up to {estimate.high:.4g}"
        return f"{limit.name} {limit.text} is not sure {where}: {found}"
    return f"{limit.name} is {estimate.estimate:.4g} {where}, must be {limit.text}"


def profile_of(scenario: Scenario) -> Profile:
    """Load a scenario's profile."""
    return load_profile(scenario.cluster.profile)


def replicate(scenario: Scenario, numbers: Sequence[int], bench: Bench) -> list[Replication]:
    """Simulate replications by their numbers; threads do for the compiled engine."""
    from nodeportsim.engine.simulate import simulate

    profile = profile_of(scenario)
    if min(bench.jobs, len(numbers)) <= 1:
        runs = [simulate(scenario, n, engine=bench.engine, profile=profile) for n in numbers]
    else:
        from joblib import Parallel, delayed

        prefer = "threads" if bench.engine == "compiled" else "processes"
        work = (delayed(simulate)(scenario, n, engine=bench.engine, profile=profile) for n in numbers)
        runs = list(Parallel(n_jobs=bench.jobs, prefer=prefer, batch_size=1)(work))
    for run in runs:
        assert_conserved(run, scenario)
    return runs
