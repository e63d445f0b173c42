"""A pod's life: it is made, its container starts, becomes ready, dies; it is deleted and its address goes.

A deletion starts two clocks at once: the endpoint is written as terminating, and the kubelet runs the preStop
hook, sends SIGTERM, and SIGKILL when the grace period since the deletion is over. Which is first where, the
rules on the last node or the process's end, decides what new connections meet. A pod never comes back: the
one that takes its place is another, with another address. Sources: docs/models/lifecycle.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import draws
from .codes import DOWN, DRAINING, SERVING
from .slices import Conditions

if TYPE_CHECKING:
    from .control import Control, Process

LEAST_GRACE_S = 2.0  # minimumGracePeriodInSeconds, k8s:pkg/kubelet/kuberuntime/kuberuntime_container.go.


def create(control: Control, n: int) -> int:
    """Make a pod on node n, not started yet."""
    p, workers = len(control.slices.pods), control.scenario.pods.workers
    control.plane.make_room(p + 1, workers)
    pod = control.world.pods[p]
    pod.node, pod.workers, pod.weight, pod.slow = n, workers, 1, 1.0
    name = f"{control.scenario.service.name}-{p}"
    control.slices.add(Conditions(name=name, node=control.names[n], ready=False, serving=False))
    control.standing[n].add(p)
    control.born_s[p] = control.env.now
    control.write_slices()
    control.note("pod created", name)
    return p


def start(control: Control, p: int) -> Process:
    """Let the kubelet of a new pod's node hear of it and start it."""
    yield from _heard(control, p)
    yield from bring_up(control, p)


def bring_up(control: Control, p: int) -> Process:
    """Start the container, then wait for its readiness probe."""
    epoch = control.world.pods[p].epoch
    yield control.env.timeout(control.scenario.pods.startup_s)
    pod = control.world.pods[p]
    if pod.epoch != epoch or not control.world.nodes[pod.node].up or p in control.deployment.deleted:
        return
    pod.up, pod.started_s = SERVING, control.env.now
    control.revive([p])
    yield control.env.timeout(
        control.uniform(draws.RELIST, p, 2 * epoch) * control.scenario.pods.readiness_probe.period_s
    )
    pod = control.world.pods[p]
    if pod.epoch == epoch and pod.up:
        control.report(p, ready=True)


def kill(control: Control, p: int, *, told: bool) -> None:
    """End the pod's process: its work is lost; `told` if its kernel lives to send RST."""
    pod, free_s = control.world.pods[p], control.world.work_free_s[p]
    if told:
        control.plane.reset_clients(control.env.now, p)
        pod = control.world.pods[p]
    pod.up, pod.epoch, pod.told = DOWN, pod.epoch + 1, int(told)
    pod.inside = pod.queued = 0
    pod.hung_until_s = 0.0
    for k in range(len(free_s)):
        free_s[k] = 0.0


def terminate(control: Control, p: int) -> Process:
    """Delete the pod: its endpoint terminates at once, its kubelet ends it, its address goes last."""
    control.set_pod(p, ready=control.slices.pods[p].serving, terminating=True)
    yield from _heard(control, p)
    yield from end_process(control, p)
    yield control.env.timeout(control.scenario.pods.teardown_s)
    _vanish(control, p)
    yield from _heard(control, p)
    control.set_pod(p, ready=False, gone=True)


def _heard(control: Control, p: int) -> Process:
    """Wait until the pod's kubelet hears of its orders: it asks again as often as it renews its lease."""
    while not control.connected(int(control.world.pods[p].node)):
        yield control.env.timeout(control.clocks.lease_renew_interval_s)


def end_process(control: Control, p: int) -> Process:
    """PreStop, SIGTERM, at last SIGKILL; the hook counts into the grace period, and 2 s are left at least."""
    epoch, pods = control.world.pods[p].epoch, control.scenario.pods
    if not control.world.pods[p].up:
        return
    grace_s = float(pods.termination_grace_period_seconds)
    hook_s = min(pods.pre_stop_s, grace_s)
    if hook_s > 0.0:
        yield control.env.timeout(hook_s)
    ended = control.emptied[p] = control.env.event()
    if _lives(control, p, epoch):
        _end_of_service(control, p)
    if _lives(control, p, epoch):
        yield control.env.timeout(max(LEAST_GRACE_S, grace_s - hook_s)) | ended
    if _lives(control, p, epoch):
        kill(control, p, told=True)
        control.disturb([p])


def _lives(control: Control, p: int, epoch: int) -> bool:
    """The process is the one it was."""
    return bool(control.world.pods[p].epoch == epoch)


def _end_of_service(control: Control, p: int) -> None:
    """SIGTERM: the process does not heed it, or ends at once, or takes nothing new until it is empty."""
    pod = control.world.pods[p]
    if control.scenario.pods.on_term == "ignore":
        return
    if control.scenario.pods.on_term == "drain" and pod.inside > 0:
        pod.up, pod.drained_s = DRAINING, control.env.now
    else:
        kill(control, p, told=True)
    control.disturb([p])


def _vanish(control: Control, p: int) -> None:
    """The pod's network is torn down: nobody has its address any more."""
    control.world.pods[p].gone = 1
    control.standing[int(control.world.pods[p].node)].discard(p)
    control.gone_s[p] = control.env.now
    control.note("pod gone", control.slices.pods[p].name)
    control.deployment.forget(p)
