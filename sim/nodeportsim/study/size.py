"""How many nodes and pods: the cheapest designs that keep to the limits, also with a node or a zone lost.

A *family* is a number of nodes with a mode, policies and workers; in it the smallest feasible number of pods
is sought. Families come in the order of the cost below which they cannot be (`floor`), and the search ends
where that is more than the fifth answer costs: nothing cheaper is left out but families with more pods than
they need. What is feasible is decided by simulation alone (`nodeportsim.study.trial`) but for slow resources;
closed forms screen (never what the simulator accepts) and say where to look first.

Confidence is 95 % for each interval, by itself: a design is taken for feasible by error in at most one of
forty cases a measure and look. Many designs are tried and the cheapest is taken, so where several lie at the
frontier the chance that the one named is a little beyond it is larger than that; its neighbours in the table
show by how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nodeportsim.study.search import smallest
from nodeportsim.study.slo import QUANTILES
from nodeportsim.study.space import parse_cost, space_of
from nodeportsim.study.trial import SLOW, bench_of
from nodeportsim.theory.capacity import binding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.capacity import Capacity
    from nodeportsim.study.space import Cost, Design, Space
    from nodeportsim.study.trial import Bench, State, Trial
    from nodeportsim.theory.capacity import Resource

WANTED = 5
SURE = 4.0
"""Standard deviations of the number of arrivals that a screen allows for."""
HALF = 0.5
"""Share of the mean backlog that a screen counts on: pods share it unevenly."""
IN_TIME = 0.9
"""Share of a time-out that it counts on, where requests give up."""


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A feasible design, and what it showed.

    Parameters
    ----------
    p99_s, p99_degraded_s
        Estimates in N and in the degraded state; None where a trial cannot carry it, or nothing is lost.
    binding, headroom
        The resource that breaks first in the worst state, and the share of it that is left.
    """

    design: Design
    cost: float
    p99_s: float | None
    p99_degraded_s: float | None
    binding: Resource
    judged: tuple[tuple[str, str, float | None, float | None], ...]

    @property
    def headroom(self) -> float:
        """Share of the binding resource that is left."""
        return self.binding.headroom


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What `size` found.

    Parameters
    ----------
    designs
        The cheapest, one a family, by cost.
    infeasible_because
        Why there is none, at the largest design of the range; None where there is one.
    tried
        Every design that was simulated, with why it is not feasible, if so.
    question
        What was asked.
    """

    designs: tuple[Sized, ...]
    infeasible_because: str | None
    tried: tuple[tuple[Design, float, str | None], ...]
    question: Question


@dataclass(frozen=True, kw_only=True)
class Question:
    """A scenario, where to look, what to pay, and the bench to try on."""

    scenario: Scenario
    space: Space
    cost: Cost
    bench: Bench


def size(
    scenario: Scenario,
    *,
    slo: str,
    survive: str | None = None,
    slo_during: str | None = None,
    cost: str = "node=1,pod=0.1",
    engine: Engine | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    **ranges: str | None,
) -> Answer:
    """Find the cheapest numbers of nodes and pods that keep to limits, also with some of them lost.

    Parameters
    ----------
    scenario
        The service and its clients; its own nodes and pods are not looked at.
    slo
        Limits in steady state: ``p99<50ms, errors<0.1%, max_over_mean<1.3``.
    survive
        What is lost, ``node=1`` or ``zone=1``: the limits hold with it lost, too.
    slo_during
        Limits of one such failure: ``lost<5000`` requests.
    cost
        Prices: ``node=1,pod=0.1``.
    engine, jobs, progress
        As in `nodeportsim.study.run.run`; progress counts families of designs.
    ranges
        Where to look: ``nodes="2..20", pods="2..60", workers="4,8", modes="iptables,nftables",
        policies="Cluster,Local", entries="balancer"``; what is not given stays, nodes and pods as here.

    Raises
    ------
    InputError
        A limit, a price or a range cannot be used.
    """
    bench = bench_of(slo, slo_during, survive, engine, jobs)
    prices, space = parse_cost(cost), space_of(scenario, ranges, bench.loss)
    return search(Question(scenario=scenario, space=space, cost=prices, bench=bench), progress)


def search(question: Question, progress: Callable[[int, int], None] | None = None) -> Answer:
    """Find the cheapest feasible designs of a question."""
    return _Search(question, progress).answer()


class _Search:
    """Trials remembered, families in order."""

    def __init__(self, question: Question, progress: Callable[[int, int], None] | None) -> None:
        self.question, self.progress = question, progress
        self.trials: dict[Design, Trial] = {}
        self.reasons: dict[Design, str | None] = {}

    def answer(self) -> Answer:
        """Go through the families, the one that may be cheapest first."""
        found: list[Design] = []
        families = sorted(self._families(), key=lambda family: (self._price(family), family))
        for done, family in enumerate(families):
            if self.progress:
                self.progress(done, len(families))
            if len(found) == WANTED and self._price(family) >= self._price(found[-1]):
                break
            best = self._best(family, self._price(found[-1]) if len(found) == WANTED else math.inf)
            found += [] if best is None else [best]
            found = sorted(found, key=lambda design: (self._price(design), design))[:WANTED]
        because = None if found else self._because()
        return Answer(
            designs=tuple(self._sized(design) for design in found),
            infeasible_because=because,
            tried=tuple((d, self._price(d), self.reasons[d]) for d in sorted(self.reasons)),
            question=self.question,
        )

    def _price(self, design: Design) -> float:
        return self.question.cost.of(design)

    def _families(self) -> Iterator[Design]:
        """Give each family's smallest design that is not screened out."""
        for family in self.question.space.families():
            floor = self._floor(family)
            if floor is not None:
                yield replace(family, pods=floor)

    def _trial(self, design: Design) -> Trial:
        if design not in self.trials:
            self.trials[design] = self.question.bench.trial(design.applied(self.question.scenario))
        return self.trials[design]

    def _floor(self, family: Design) -> int | None:
        """Fewest pods that the screen leaves; None where it leaves none."""
        pods = self.question.space.pods
        lowest = pods[0]
        return smallest(
            lowest, pods[-1], lowest, lambda n: screened(self._trial(replace(family, pods=n))) is None
        )

    def _best(self, family: Design, below: float) -> Design | None:
        """Fewest pods that are feasible, among those that cost less than `below`."""
        top = self.question.space.pods[-1]
        while top > family.pods and self._price(replace(family, pods=top)) >= below:
            top -= 1
        pods = smallest(
            family.pods, top, self._guess(family, top), lambda n: self._enough(replace(family, pods=n))
        )
        if pods is None:
            return None
        # In turn over the nodes: a full round is the least that a lost node takes along.
        round_up = math.ceil(pods / family.nodes) * family.nodes
        for n in dict.fromkeys((pods, min(round_up, top))):
            design = replace(family, pods=n)
            if self._keeps(design) and self._withstands(design):
                return design
        return None

    def _guess(self, family: Design, top: int) -> int:
        """Fewest pods whose latency, in closed form, keeps to the limits in the worst state."""
        found = smallest(family.pods, top, family.pods, lambda n: self._expected(replace(family, pods=n)))
        return top if found is None else found

    def _expected(self, design: Design) -> bool:
        states = self._trial(design).states
        forms = states[0].forms
        return (
            all(
                limit.keeps(forms.latency_quantile_s(QUANTILES[limit.name]))
                for limit in self.question.bench.slo
                if limit.name in QUANTILES
            )
            and forms.pods.is_stable
        )

    def _enough(self, design: Design) -> bool:
        """Whether it has all the pods it needs, though it may have too many for an even load."""
        self.reasons[design] = self._trial(design).reason
        return not self._trial(design).lacks_pods

    def _keeps(self, design: Design) -> bool:
        """Whether it is feasible in its steady states."""
        self.reasons[design] = self._trial(design).reason
        return self.reasons[design] is None

    def _withstands(self, design: Design) -> bool:
        self.reasons[design] = self._trial(design).reason_during
        return self.reasons[design] is None

    def _because(self) -> str:
        """Say what is wrong with the largest design."""
        largest = self.question.space.largest()
        trial = self._trial(largest)
        reason = screened(trial) or trial.reason or trial.reason_during or "no design in between does"
        return f"{largest}: {reason}"

    def _sized(self, design: Design) -> Sized:
        trial = self._trial(design)
        p99 = {state.name: _p99(state) for state in trial.states}
        worst = min((_binding(state) for state in trial.states), key=lambda resource: resource.headroom)
        return Sized(
            design=design,
            cost=self._price(design),
            p99_s=p99["all up"],
            p99_degraded_s=next((p99[name] for name in p99 if name != "all up"), None),
            binding=worst,
            judged=tuple(
                (state.name, one.limit.name, one.estimate.estimate, one.estimate.high)
                for state in trial.states
                for one in state.judged
            ),
        )


def _binding(state: State) -> Resource:
    """Name what breaks first of what a scenario speaks of."""
    return binding(r for r in state.forms.resources() if r.simulated or r.name in SLOW)


def _p99(state: State) -> float | None:
    return next((one.estimate.estimate for one in state.judged if one.limit.name == "p99"), None)


def screened(trial: Trial) -> str | None:
    """Say why the simulator cannot accept a design, without simulating; None where it may.

    Sound by design: every bound here is from below.
    """
    if not trial.states:
        return trial.reason
    for state in trial.states:
        if state.full:
            return state.full
        for limit in trial.bench.slo:
            least_s = _least_s(state, limit.name)
            if least_s and not limit.keeps(least_s):
                return f"{limit.name} {limit.text}: at least {least_s:.3g} s {state.where}, in closed form"
    return None


def _least_s(state: State, measure: str) -> float:
    """Bound a latency from below: the work itself, and the backlog where it is too much for all workers."""
    forms = state.forms
    if measure not in {*QUANTILES, "mean"} or not _plain(forms):
        return 0.0
    if measure == "mean":
        return forms.law.mean_s
    quantile = QUANTILES[measure]
    return max(forms.law.quantile_s(quantile), _backlog_s(forms, quantile))


def _plain(forms: Capacity) -> bool:
    """Whether every request is done once and in full: no copies, nothing held back, nothing rejected."""
    groups, pods = forms.scenario.clients, forms.scenario.pods
    tricks = [
        g.hedge.max or g.breaker.failures or g.ejection.failures or g.entry.attempt_delay_s for g in groups
    ]
    return not any(tricks) and pods.overload == "queue" and all(g.arrivals == "poisson" for g in groups)


def _backlog_s(forms: Capacity, quantile: float) -> float:
    """Wait of late arrivals where more work arrives than all workers together can do in the time there is."""
    at_s = (quantile - 0.02) * forms.scenario.run.duration_s
    arrived = forms.rate_rps * at_s
    least = arrived - SURE * math.sqrt(arrived * (1 + forms.law.scv))
    workers = forms.scenario.service.replicas * forms.scenario.pods.workers
    backlog_s = HALF * (least * forms.law.mean_s / workers - at_s)
    given_up_s = [
        IN_TIME * limit
        for group in forms.scenario.clients
        for limit in (group.timeouts.request_s, group.timeouts.total_s)
        if limit
    ]
    return max(0.0, min([backlog_s, *given_up_s]))
