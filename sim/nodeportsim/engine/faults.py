"""The script of failures: what each does to the data plane, and how it is repaired (docs/models/faults.md).

| fault | SYN or data at that node | its pods | lease | noticed by |
| --- | --- | --- | --- | --- |
| power-off | silence | gone, work lost | stops | lease |
| cut | silence | run, answers lost | stops | lease |
| cut-control-plane | served, rules frozen | answer | stops | lease |
| cut-nodes | entry works, remote pods silent | reachable through it only | renews | nobody |
| shutdown | served until the stop | SIGTERM, terminating | renews | at once |
| proxy-stop | served, rules frozen | run | renews | healthz only |
| pod-crash | served | RST at once | renews | kubelet, slice, sync |
| pod-hang | served | accepts, never answers | renews | readiness probe |
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from . import draws

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import simpy

    from nodeportsim.scenario.spec import Event

    from .control import Control

    Process = Generator[simpy.Event, Any, None]


def start(control: Control) -> None:
    """Start one process for each event of the scenario."""
    for number, event in enumerate(control.scenario.events):
        control.env.process(_happen(control, event, number))


def _happen(control: Control, event: Event, number: int) -> Process:
    """Wait for the event's time, let it happen, repair it."""
    yield control.env.timeout(event.at_s)
    control.note("fault", f"{event.node or event.pod} {event.fault}")
    if event.node is not None:
        target = control.names.index(event.node)
    else:
        target = [p.name for p in control.scenario.placement].index(event.pod or "")
    yield from FAULTS[event.fault](control, target, event, number)


def _repaired(control: Control, event: Event) -> Process:
    """Wait until the fault is repaired; without an end, for ever."""
    yield control.env.timeout(event.for_s) if event.for_s is not None else control.env.event()
    control.note("repair", f"{event.node or event.pod} {event.fault}")


def _stop_machine(control: Control, n: int) -> None:
    """Take the node's power: conntrack, rules and work are lost."""
    world, node = control.world, control.world.nodes[n]
    node.up, node.epoch = 0, node.epoch + 1
    node.conntrack, node.programmed, node.endpoints = 0, 0, 0
    for row in (world.expiry[n], world.cpu_free_s[n], world.active[n], world.inactive[n]):
        for k in range(len(row)):
            row[k] = 0
    for sticky in world.sticky[n]:
        sticky.pod = -1
    for p in control.pods_of(n):
        control.kill(p, told=False)


def _boot_machine(control: Control, n: int) -> None:
    """Boot: kube-proxy writes everything anew, the kubelet restarts its pods. One that runs does not boot."""
    node = control.world.nodes[n]
    if node.up:
        return  # Two faults of one node ended.
    node.up, node.booted_s, node.drained = 1, control.env.now, int(control.env.now)
    for p in control.pods_of(n):
        control.set_pod(p, ready=False)
        control.env.process(control.bring_up(p))
    control.resync(n, "full")


def _power_off(control: Control, n: int, event: Event, _number: int) -> Process:
    dead = control.pods_of(n)
    _stop_machine(control, n)
    control.disturb(dead)
    yield from _repaired(control, event)
    _boot_machine(control, n)


def _cut(control: Control, n: int, event: Event, _number: int) -> Process:
    control.world.nodes[n].cut = 1
    control.disturb(control.pods_of(n))
    yield from _repaired(control, event)
    control.world.nodes[n].cut = 0
    control.revive(control.pods_of(n))
    control.resync(n, "partial")


def _cut_control_plane(control: Control, n: int, event: Event, _number: int) -> Process:
    control.off_plane.add(n)
    control.disturb([])
    yield from _repaired(control, event)
    control.off_plane.discard(n)
    control.resync(n, "restart")


def _cut_nodes(control: Control, n: int, event: Event, _number: int) -> Process:
    control.world.nodes[n].cut_nodes = 1
    control.disturb(control.pods_of(n))
    yield from _repaired(control, event)
    control.world.nodes[n].cut_nodes = 0
    control.revive(control.pods_of(n))


def _shutdown(control: Control, n: int, event: Event, _number: int) -> Process:
    """Graceful node shutdown: pods terminate and leave the slices while the node still serves."""
    pods = control.pods_of(n)
    for p in pods:
        control.set_pod(p, ready=True, terminating=True)
    control.disturb([])
    yield control.env.timeout(float(control.scenario.pods.termination_grace_period_seconds))
    control.note("node stopped", control.names[n])
    _stop_machine(control, n)
    for p in pods:
        control.set_pod(p, ready=False, terminating=True)
    control.disturb(pods)
    yield from _repaired(control, event)
    for p in pods:
        control.set_pod(p, ready=False, terminating=False)
    _boot_machine(control, n)


def _proxy_stop(control: Control, n: int, event: Event, _number: int) -> Process:
    control.proxies[n].running = False
    control.disturb([])
    yield from _repaired(control, event)
    control.proxies[n].running = True
    control.resync(n, "restart")


def _pod_crash(control: Control, p: int, event: Event, number: int) -> Process:
    """The container exits: RST at once; the kubelet notices at its next relist and starts it again."""
    control.kill(p, told=True)
    control.disturb([p])
    relist_s = control.uniform(draws.RELIST, p, 2 * number + 1) * control.clocks.kubelet_relist_s
    yield control.env.timeout(relist_s)
    control.set_pod(p, ready=False)
    if event.for_s is not None:
        yield control.env.timeout(max(0.0, event.for_s - relist_s))
    control.note("repair", f"{event.pod} {event.fault}")
    yield from control.bring_up(p)


def _pod_hang(control: Control, p: int, event: Event, number: int) -> Process:
    """The process accepts and never answers; its readiness probe fails period after period."""
    until_s = control.env.now + event.for_s if event.for_s is not None else inf
    pod, free_s = control.world.pods[p], control.world.work_free_s[p]
    pod.hung_until_s = until_s
    for k in range(len(free_s)):
        free_s[k] = max(free_s[k], until_s)
    control.disturb([p])
    epoch = pod.epoch
    control.env.process(_probe(control, p, number, epoch))
    yield from _repaired(control, event)
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
                control.set_pod(p, ready=False)
        else:
            failed, passed = 0, passed + 1
            if passed == probe.success_threshold:
                control.set_pod(p, ready=True)
                return
        yield control.env.timeout(probe.period_s)


FAULTS: dict[str, Callable[[Control, int, Event, int], Process]] = {
    "power-off": _power_off,
    "cut": _cut,
    "cut-control-plane": _cut_control_plane,
    "cut-nodes": _cut_nodes,
    "shutdown": _shutdown,
    "proxy-stop": _proxy_stop,
    "pod-crash": _pod_crash,
    "pod-hang": _pod_hang,
}
