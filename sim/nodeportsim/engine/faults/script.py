"""How long a fault lasts, and what overlapping faults of one kind do to one node or pod together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


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
