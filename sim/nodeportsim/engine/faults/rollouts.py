"""Planned changes of the Deployment: a new revision, another number of pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def rolling_update(control: Control, _target: int, event: Event, _number: int) -> Process:
    """Replace every pod by one of a new revision, some at a time."""
    control.begin_change()
    control.deployment.roll()
    yield from _complete(control, event)


def scale(control: Control, _target: int, event: Event, _number: int) -> Process:
    """Want another number of pods: so much later where an autoscaler, or an image, takes its time."""
    assert event.replicas is not None
    control.begin_change()
    yield control.env.timeout(event.late_s)
    control.deployment.scale(event.replicas)
    yield from _complete(control, event)


def _complete(control: Control, event: Event) -> Process:
    """The change is over when the last deleted pod is gone and the last new one is available."""
    yield from control.deployment.settled()
    control.note("complete", event.fault)
    control.end_change()
