"""When a fault happens and for how long: once, or again and again on a clock of its own.

An event that names several targets becomes an event for each of them. Those of a zone share one clock and
fail at one instant, in the order of names; with ``*`` each has its own. Up and down times are exponential.
Faults of one kind that overlap at one target add up (`begin`, `end`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.engine import draws
from nodeportsim.scenario.events import EVERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event

    Fault = Callable[[Control, int, Event, int], Process]
    Targets = dict[int, Event]  # by their numbers, with an event that names them


def repaired(control: Control, event: Event) -> Process:
    """Wait until the fault is repaired; without an end, for ever."""
    yield control.env.timeout(event.for_s) if event.for_s is not None else control.env.event()
    control.note("repair", f"{event.target} {event.fault}")


def begin(control: Control, event: Event, i: int, part: float) -> list[float]:
    """Put a fault's part in force at node or pod `i`; the parts in force there, first come first."""
    parts = control.in_force.setdefault((event.fault, i), [])
    parts.append(part)
    return parts


def end(control: Control, event: Event, i: int, part: float) -> list[float]:
    """Take a fault's part away; the parts that are left."""
    parts = control.in_force[event.fault, i]
    parts.remove(part)
    return parts


def clocks(control: Control, event: Event) -> dict[int, Targets]:
    """Targets of an event, by the clock they fail by."""
    cluster = control.scenario.cluster
    if event.zone is not None:
        zones = list(cluster.zone_names)
        names = {n: name for n, name in enumerate(control.names) if zones[n] == event.zone}
        each = {n: event.model_copy(update={"zone": None, "node": name}) for n, name in names.items()}
        return {zones.index(event.zone): each}
    if event.node is None and event.pod is None:
        return {0: {0: event}}
    kind = "node" if event.node is not None else "pod"
    there = control.names if kind == "node" else [pod.name for pod in control.scenario.placement]
    wanted = (event.node, event.pod)
    return {
        k: {k: event.model_copy(update={kind: name})}
        for k, name in enumerate(there)
        if name in wanted or EVERY in wanted
    }


def play(control: Control, number: int, clock: int, targets: Targets, fault: Fault) -> Process:
    """Let the fault happen to targets that share a clock, once, or again and again."""
    first, cycle = next(iter(targets.values())), 0
    yield control.env.timeout(first.at_s)
    if first.up_s is None or first.down_s is None:
        yield from _happen(control, number, targets, fault)
        return
    while True:
        up, down = draws.uniform2(control.key0, control.key1, draws.SCHEDULE, clock, cycle, number)
        yield control.env.timeout(-draws.log(up) * first.up_s)
        lasting = {"for_s": -draws.log(down) * first.down_s}
        drawn = {k: event.model_copy(update=lasting) for k, event in targets.items()}
        # Later cycles have draws of their own.
        yield from _happen(control, number + cycle * len(control.scenario.events), drawn, fault)
        cycle += 1


def _happen(control: Control, number: int, targets: Targets, fault: Fault) -> Process:
    """Let the fault happen to all of the targets, and wait until all are repaired."""
    if len(targets) == 1:
        ((k, event),) = targets.items()
        yield from _one(control, number, k, event, fault)
    else:
        each = [control.env.process(_one(control, number, k, event, fault)) for k, event in targets.items()]
        yield control.env.all_of(each)


def _one(control: Control, number: int, k: int, event: Event, fault: Fault) -> Process:
    if event.pod is not None and control.slices.pods[k].gone:
        return  # Another pod has taken its place.
    control.note("fault", f"{event.target} {event.fault}")
    config = control.world.config
    config.fault_s = min(config.fault_s, control.env.now)
    yield from fault(control, k, event, number)
