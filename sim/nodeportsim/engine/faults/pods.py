"""Faults of a pod's process."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from nodeportsim.engine import draws
from nodeportsim.engine.lifecycle import bring_up, kill

from .script import begin, end, repaired

if TYPE_CHECKING:
    from collections.abc import Callable

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


FIRST_BACKOFF_S, MOST_BACKOFF_S = 10.0, 300.0  # k8s:pkg/kubelet/kubelet.go, MaxContainerBackOff.
FORGIVEN_S = 600.0  # A container that ran for ten minutes begins anew (KEP-4603).


def crash_loop(control: Control, p: int, event: Event, number: int) -> Process:
    """The container exits so long after each start: it starts at once, then after 10, 20, 40 ... 300 s."""
    assert event.alive_s is not None
    end_s = control.env.now + event.for_s if event.for_s is not None else inf
    wait_s, crash = 0.0, 0
    while control.world.pods[p].up and control.env.now < end_s:
        crash += 1
        control.note("pod crashed", event.target)
        kill(control, p, told=True)
        control.disturb([p])
        relist_s = control.uniform(draws.LIFE, p, number << 16 | crash) * control.clocks.kubelet_relist_s
        yield control.env.timeout(relist_s)
        control.report(p, ready=False)
        yield control.env.timeout(max(0.0, wait_s - relist_s))
        forgiven = event.alive_s >= FORGIVEN_S
        wait_s = 0.0 if forgiven else min(max(2.0 * wait_s, FIRST_BACKOFF_S), MOST_BACKOFF_S)
        control.env.process(bring_up(control, p))
        yield control.env.timeout(control.scenario.pods.startup_s + event.alive_s)
    if control.env.now >= end_s:
        control.note("repair", f"{event.target} {event.fault}")


def pod_hang(control: Control, p: int, event: Event, number: int) -> Process:
    """The process accepts and never answers; its readiness probe fails period after period."""
    until_s = control.env.now + event.for_s if event.for_s is not None else inf
    pod, free_s = control.world.pods[p], control.world.work_free_s[p]
    pod.hung_until_s = max(pod.hung_until_s, until_s)
    for k in range(len(free_s)):
        free_s[k] = max(free_s[k], until_s)
    control.disturb([p])
    epoch = pod.epoch

    def hangs() -> bool:
        return control.world.pods[p].hung_until_s > control.env.now

    control.env.process(
        _probe(control, p, number, epoch, hangs, control.scenario.pods.readiness_probe.timeout_s)
    )
    yield from repaired(control, event)
    if control.world.pods[p].hung_until_s <= control.env.now:
        control.revive([p])


def pod_not_ready(control: Control, p: int, event: Event, number: int) -> Process:
    """The pod says that it is not ready, though it answers: a dependency is away, say."""
    until_s = control.env.now + event.for_s if event.for_s is not None else inf
    control.disturb([])
    epoch = control.world.pods[p].epoch
    control.env.process(_probe(control, p, number, epoch, lambda: control.env.now < until_s, 0.0))
    yield from repaired(control, event)


def _probe(
    control: Control, p: int, number: int, epoch: int, fails: Callable[[], bool], takes_s: float
) -> Process:
    """Readiness probe of a pod that fails it, which takes so long, until it passes."""
    probe = control.scenario.pods.readiness_probe
    yield control.env.timeout(control.uniform(draws.RELIST, p, 2 * number + 1) * probe.period_s)
    failed = passed = 0
    while control.world.pods[p].epoch == epoch and not control.slices.pods[p].gone:
        if fails():
            failed, passed = failed + 1, 0
            if failed == probe.failure_threshold:
                yield control.env.timeout(takes_s)
                control.report(p, ready=False)
        else:
            failed, passed = 0, passed + 1
            if passed == probe.success_threshold:
                control.report(p, ready=True)
                return
        yield control.env.timeout(probe.period_s)
