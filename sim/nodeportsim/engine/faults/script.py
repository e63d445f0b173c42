"""How long a fault lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def repaired(control: Control, event: Event) -> Process:
    """Wait until the fault is repaired; without an end, for ever."""
    yield control.env.timeout(event.for_s) if event.for_s is not None else control.env.event()
    control.note("repair", f"{event.target} {event.fault}")
