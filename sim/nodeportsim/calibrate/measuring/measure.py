"""Measure what kube-proxy's rules cost this machine's kernel: probe, build, measure, write tables.

Modes this machine cannot do are left out with the reason; a rule set that takes too long to load as well. A
rule set through which a packet walks otherwise than `kubeproxy` counts is not timed at all.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from nodeportsim.calibrate.measuring import backends, tables
from nodeportsim.calibrate.measuring.lab import Lab
from nodeportsim.calibrate.measuring.plans import Plan, cells
from nodeportsim.calibrate.measuring.scene import Scene, Subject
from nodeportsim.calibrate.measuring.sweeps import measure as measure_cell
from nodeportsim.calibrate.measuring.system import CommandError, environment, l2_bytes, require
from nodeportsim.calibrate.measuring.tables import Tables, noisy, summary
from nodeportsim.calibrate.measuring.testbed import build
from nodeportsim.calibrate.measuring.timer import timer
from nodeportsim.errors import InputError, ThresholdError
from nodeportsim.study.store import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nodeportsim.calibrate.measuring.plans import Cell
    from nodeportsim.calibrate.measuring.testbed import Bed

    Say = Callable[[str], None]
    Progress = Callable[[int, int], None] | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    ``backends`` and ``services`` stand in for the plan's where given; ``label`` names the machine in the
    tables, which hold nothing else that identifies it.
    """

    plan: Plan
    backends: tuple[str, ...] = ()
    services: tuple[int, ...] = ()
    version: tuple[int, int] = (1, 36)
    timer: Literal["c", "python"] | None = None
    label: str = "this-node"
    seed: int = 1

    def resolved(self) -> Plan:
        """Give the plan with what the user wants instead."""
        plan = replace(self.plan, backends=self.backends or self.plan.backends)
        if not self.services:
            return plan
        return replace(
            plan,
            services=self.services,
            capped=False,
            one_rule=tuple(n for n in plan.one_rule if n in self.services),
            cold=tuple(n for n in plan.cold if n in self.services),
        )


@dataclass
class Abilities:
    """What this machine can do, found by trying."""

    beds: dict[str, Bed]
    two_rules: bool = True
    affinity: bool = True
    overlay: bool = True
    reasons: list[str] = field(default_factory=list)
    """What it cannot, in words."""


@dataclass(frozen=True)
class Answer:
    """What came out, beside the tables."""

    summary: list[dict[str, Any]]
    refused: list[str]
    """Rule sets that were not timed, since a packet's walk was not the counted one."""


def measure(request: Request, out: Path, *, say: Say, progress: Progress = None) -> Answer:
    """Measure, and write the tables into a folder, all or none.

    Parameters
    ----------
    request
        What to measure.
    out
        Folder of the tables.
    say
        Called with a sentence on whatever is left out.
    progress
        Called with (cells done, cells in all).

    Raises
    ------
    InputError
        The machine cannot be measured, or the folder not be written.
    """
    require()
    plan, rng = request.resolved(), Random(request.seed)  # noqa: S311  (an order, no secret)
    found = Tables({**environment(request.label), "l2_bytes": l2_bytes()})
    with staged(out) as folder, ExitStack() as stack:
        clock = stack.enter_context(timer(request.timer))
        able = _probe(stack, plan, request.version)
        for reason in able.reasons:
            say(reason)
        lab = Lab({**able.beds, **_baselines(stack)}, clock, plan, rng, found)
        todo = cells(
            plan,
            list(able.beds),
            rng,
            version=request.version,
            two_rules=able.two_rules,
            affinity=able.affinity,
            overlay=able.overlay,
        )
        refused = _measure_all(lab, todo, say, progress)
        found.write(folder)
    rows = summary(found.rows[tables.SERVICES])
    if words := noisy(rows):
        say(words)
    return Answer(rows, refused)


def _measure_all(lab: Lab, todo: list[Cell], say: Say, progress: Progress) -> list[str]:
    """Measure cell by cell; leave out what is too large, and say which walks were not as counted."""
    refused: list[str] = []
    too_large: dict[str, int] = {}
    untimed: list[tuple[str, Scene]] = []
    for done, cell in enumerate(todo):
        if progress:
            progress(done, len(todo))
        larger = cell.services >= too_large.get(cell.backend, cell.services + 1)
        if larger or (cell.backend, cell.scene) in untimed:
            continue
        try:
            measure_cell(lab, cell)
        except CommandError as error:
            if not lab.beds[cell.backend].path("node").exists():
                raise InputError("has lost its network: somebody removed it", field="measure") from None
            too_large[cell.backend] = cell.services
            say(f"{cell.backend}: {cell.services} Services or more are left out: {error}")
        except ThresholdError as error:
            untimed.append((cell.backend, cell.scene))
            refused.append(str(error))
    return refused


def _probe(stack: ExitStack, plan: Plan, version: tuple[int, int]) -> Abilities:
    """Build a testbed per mode and find out, by loading one Service's rules, what can be measured."""
    able = Abilities({})
    one = Scene(services=1, version=version, two_rules=False)
    for name in plan.backends:
        bed = stack.enter_context(build())
        able.overlay = bed.has_overlay()
        refusal = backends.refusal(bed, name, one.view())
        if refusal is None:
            able.beds[name] = bed
        else:
            able.reasons.append(f"{name} is left out: {refusal}")
    if not able.beds:
        raise InputError(
            "finds no mode that can be measured here", field="measure", hint="; ".join(able.reasons)
        )
    iptables = [name for name in able.beds if backends.BACKENDS[name] == "iptables"]
    if refusal := _first_refusal(able, iptables, replace(one, two_rules=True)):
        able.two_rules = False
        able.reasons.append(f"the rules that count loopback traffic are left out: {refusal}")
    if refusal := _first_refusal(able, able.beds, replace(one, tested={0: Subject(affinity=True)})):
        able.affinity = False
        able.reasons.append(f"session affinity is left out: {refusal}")
    if not able.overlay:
        able.reasons.append("the way through an overlay is left out: this kernel has no vxlan")
    return able


def _first_refusal(able: Abilities, names: Iterable[str], scene: Scene) -> str | None:
    refusals = (backends.refusal(able.beds[name], name, scene.view()) for name in names)
    return next(filter(None, refusals), None)


def _baselines(stack: ExitStack) -> dict[str, Bed]:
    """Build a testbed that never sees a rule, and one whose only rule follows connections."""
    beds = {name: stack.enter_context(build()) for name in backends.BASELINES}
    backends.follow_connections(beds["conntrack"])
    return beds
