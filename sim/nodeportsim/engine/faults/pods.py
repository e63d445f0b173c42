"""Faults of a pod's process."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from nodeportsim.engine import draws
from nodeportsim.engine.lifecycle import bring_up, kill

from .script import begin, end, repaired

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def pod_crash(control: Control, p: int, event: Event, number: int) -> Process:
    """The container exits: RST at once; the kubelet notices at its next relist and starts it again."""
    kill(control, p, told=True)
    begin(control, event, p, 1.0)
    control.disturb([p])
    relist_s = control.uniform(draws.RELIST, p, 2 * number + 1) * control.clocks.kubelet_relist_s
    yield control.env.timeout(relist_s)
    control.report(p, ready=False)
    if event.for_s is not None:
        yield control.env.timeout(max(0.0, event.for_s - relist_s))
    control.note("repair", f"{event.pod} {event.fault}")
    if not end(control, event, p, 1.0):  # The last of several crashes that overlap brings it up.
        yield from bring_up(control, p)


def pod_hang(control: Control, p: int, event: Event, number: int) -> Process:
    """The process accepts and never answers; its readiness probe fails period after period."""
    until_s = control.env.now + event.for_s if event.for_s is not None else inf
    pod, free_s = control.world.pods[p], control.world.work_free_s[p]
    pod.hung_until_s = max(pod.hung_until_s, until_s)
    for k in range(len(free_s)):
        free_s[k] = max(free_s[k], until_s)
    control.disturb([p])
    epoch = pod.epoch
    control.env.process(_probe(control, p, number, epoch))
    yield from repaired(control, event)
    if control.world.pods[p].hung_until_s <= control.env.now:
        control.revive([p])


def _probe(control: Control, p: int, number: int, epoch: int) -> Process:
    """Readiness probe of a hung pod: fails until it comes round."""
    probe = control.scenario.pods.readiness_probe
    yield control.env.timeout(control.uniform(draws.RELIST, p, 2 * number + 1) * probe.period_s)
    failed = passed = 0
    while control.world.pods[p].epoch == epoch:
        if control.world.pods[p].hung_until_s > control.env.now:
            failed, passed = failed + 1, 0
            if failed == probe.failure_threshold:
                yield control.env.timeout(probe.timeout_s)
                control.report(p, ready=False)
        else:
            failed, passed = 0, passed + 1
            if passed == probe.success_threshold:
                control.report(p, ready=True)
                return
        yield control.env.timeout(probe.period_s)
