"""A pod's life: its container starts, becomes ready, dies, is replaced elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import draws

if TYPE_CHECKING:
    from .control import Control, Process


def kill(control: Control, p: int, *, told: bool) -> None:
    """End the pod's process: its work is lost; `told` if its kernel lives to send RST."""
    pod, free_s = control.world.pods[p], control.world.work_free_s[p]
    if told:
        control.plane.reset_clients(control.env.now, p)
        pod = control.world.pods[p]
    pod.up, pod.epoch, pod.told = 0, pod.epoch + 1, int(told)
    pod.inside = pod.queued = 0
    pod.hung_until_s = 0.0
    for k in range(len(free_s)):
        free_s[k] = 0.0


def bring_up(control: Control, p: int) -> Process:
    """Start the container, then wait for its readiness probe."""
    epoch = control.world.pods[p].epoch
    yield control.env.timeout(control.scenario.pods.startup_s)
    pod = control.world.pods[p]
    if pod.epoch != epoch or not control.world.nodes[pod.node].up:
        return
    pod.up = 1
    control.revive([p])
    yield control.env.timeout(
        control.uniform(draws.RELIST, p, 2 * epoch) * control.scenario.pods.readiness_probe.period_s
    )
    pod = control.world.pods[p]
    if pod.epoch == epoch and pod.up:
        control.report(p, ready=True)


def replace_pod(control: Control, p: int) -> Process:
    """Taint-based eviction: the pod is deleted and its ReplicaSet makes another one elsewhere."""
    homes = [n for n in range(len(control.names)) if n not in control.unknown]
    if not homes:
        return
    control.note("pod evicted", control.slices.pods[p].name)
    kill(control, p, told=False)
    move(control, p, min(homes, key=lambda n: (len(control.standing[n]), n)))
    control.set_pod(p, ready=False, gone=True)
    yield from bring_up(control, p)


def move(control: Control, p: int, n: int) -> None:
    """Put a pod on another node."""
    pod = control.world.pods[p]
    control.standing[int(pod.node)].discard(p)
    control.standing[n].add(p)
    pod.node = n
