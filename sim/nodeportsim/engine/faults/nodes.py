"""Faults of a machine: power, cables, a graceful shutdown, a drain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.engine.lifecycle import bring_up, end_process, kill
from nodeportsim.engine.port_rows import forget_ports

from .script import repaired

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event

DELETION_SHOWN_SINCE = 30  # KEP-3836: on by default since Kubernetes 1.30.


def _stop_machine(control: Control, n: int) -> None:
    """Take the node's power: conntrack, rules and work are lost."""
    world, node = control.world, control.world.nodes[n]
    control.unpowered[n] += 1
    node.up, node.epoch = 0, node.epoch + 1
    node.conntrack, node.programmed, node.endpoints = 0, 0, 0
    for row in (world.expiry[n], world.cpu_free_s[n], world.active[n], world.inactive[n]):
        for k in range(len(row)):
            row[k] = 0
    forget_ports(world, n)
    for sticky in world.sticky[n]:
        sticky.pod = -1
    for p in control.pods_of(n):
        kill(control, p, told=False)


def _boot_machine(control: Control, n: int) -> None:
    """Boot: kube-proxy writes everything anew, the kubelet restarts its pods."""
    node = control.world.nodes[n]
    control.unpowered[n] -= 1
    if control.unpowered[n]:
        return  # Another fault keeps it off.
    node.up, node.booted_s, node.drained = 1, control.env.now, int(control.env.now)
    for p in control.pods_of(n):
        control.set_pod(p, ready=False)
        control.env.process(bring_up(control, p))
    control.resync(n, "full")


def power_off(control: Control, n: int, event: Event, _number: int) -> Process:
    """Take the power: silence, and all that was in memory is lost."""
    dead = control.pods_of(n)
    _stop_machine(control, n)
    control.disturb(dead)
    yield from repaired(control, event)
    _boot_machine(control, n)


def cut(control: Control, n: int, event: Event, _number: int) -> Process:
    """Part the node from everybody."""
    yield from _part(control, n, event, ("cut", "deaf", "mute"))
    control.resync(n, "partial")


def cut_in(control: Control, n: int, event: Event, _number: int) -> Process:
    """Let nothing arrive at the node."""
    yield from _part(control, n, event, ("cut", "deaf"))
    control.resync(n, "partial")


def cut_out(control: Control, n: int, event: Event, _number: int) -> Process:
    """Let nothing leave the node."""
    yield from _part(control, n, event, ("cut", "mute"))
    control.resync(n, "partial")


def _part(control: Control, n: int, event: Event, ways: tuple[str, ...]) -> Process:
    """Count up what parts the node from others, and down again."""
    for way in ways:
        setattr(control.world.nodes[n], way, getattr(control.world.nodes[n], way) + 1)
    control.disturb(control.pods_of(n))
    yield from repaired(control, event)
    for way in ways:
        setattr(control.world.nodes[n], way, getattr(control.world.nodes[n], way) - 1)
    node = control.world.nodes[n]
    if not node.cut and not node.cut_nodes:
        control.revive([p for p in control.pods_of(n) if control.world.pods[p].up])


def cut_control_plane(control: Control, n: int, event: Event, _number: int) -> Process:
    """Part the node from the API server: its rules stay as they are."""
    control.off_plane[n] += 1
    control.disturb([])
    yield from repaired(control, event)
    control.off_plane[n] -= 1
    control.resync(n, "restart")


def cut_nodes(control: Control, n: int, event: Event, _number: int) -> Process:
    """Part the node from the other nodes: its pods are reached through it alone."""
    yield from _part(control, n, event, ("cut_nodes",))


def shutdown(control: Control, n: int, event: Event, _number: int) -> Process:
    """Graceful node shutdown: pods terminate and leave the slices while the node still serves."""
    pods = [p for p in control.pods_of(n) if p not in control.deployment.deleted]
    for p in pods:
        control.set_pod(p, ready=control.slices.pods[p].serving, terminating=True)
        if control.scenario.pods.on_term != "ignore":
            control.env.process(end_process(control, p))
    control.disturb([])
    yield control.env.timeout(float(control.scenario.pods.termination_grace_period_seconds))
    control.note("node stopped", control.names[n])
    _stop_machine(control, n)
    for p in pods:
        control.set_pod(p, ready=False, terminating=True)
    control.disturb(pods)
    yield from repaired(control, event)
    for p in pods:
        control.set_pod(p, ready=False, terminating=False)
    _boot_machine(control, n)


def drain(control: Control, n: int, event: Event, _number: int) -> Process:
    """Cordon the node and evict its pods; without an end the machine goes when they are gone, else it stays.

    While a node is being deleted its kube-proxy says 503 on healthz, so that balancers send new connections
    elsewhere (KEP-3836); those that only pass through it break when it stops.
    """
    yield from control.leadership.at_work()
    control.begin_change()
    control.deployment.cordoned[n] += 1
    if event.for_s is None and control.minor >= DELETION_SHOWN_SINCE:
        control.leaving.add(n)
    for p in control.pods_of(n):
        control.deployment.delete(p)
    least, over = control.env.timeout(event.stay_s), control.env.timeout(event.for_s or 0.0)
    yield from control.deployment.cleared(n)
    control.note("node drained", control.names[n])
    yield least
    if event.for_s is None:
        control.note("node stopped", control.names[n])
        control.removed.add(n)
        _stop_machine(control, n)
        control.end_change()
        return
    control.end_change()
    yield over
    control.note("repair", f"{event.target} {event.fault}")
    control.deployment.cordoned[n] -= 1
    control.deployment.wake()
