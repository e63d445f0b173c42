"""How the cluster finds out that a node is gone: leases, the node controller, what it does to the pods.

Every kubelet renews a Lease every 10 s; the node controller passes over all nodes every 5 s and, once it
has not seen a renewal for the grace period, sets the node's Ready to Unknown and its pods' Ready to False,
one API call a pod; after the toleration it evicts them. These are clocks with phases of their own, so the
time to detection is a distribution, not a sum of guesses. Sources: docs/models/control-plane.md.

A new leader of the controllers counts everybody's grace, and every toleration, anew. While every node is
lost none is evicted: then the controller takes itself for the one that is cut off.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from . import draws

if TYPE_CHECKING:
    from .control import Control, Process

SLACK_S = 1e-3
GRACE_50_SINCE = 32


def start(control: Control) -> None:
    """Start the leases of all nodes and the controller that watches them."""
    for n in range(len(control.names)):
        control.env.process(_lease(control, n))
    control.env.process(_node_controller(control))


def _lease(control: Control, n: int) -> Process:
    """The kubelet of node n renews its lease while it runs and reaches the API server."""
    interval_s = control.clocks.lease_renew_interval_s
    phase_s = control.uniform(draws.LEASE, n) * interval_s
    control.renewed_s[n] = phase_s - interval_s
    yield control.env.timeout(phase_s)
    while True:
        if not control.late[n]:
            renew(control, n)
        yield control.env.timeout(interval_s)


def renew(control: Control, n: int) -> None:
    """Renew the lease of node n, if its kubelet reaches the API server; it writes what it owes, too."""
    if control.connected(n):
        control.renewed_s[n] = control.env.now
        if n in control.unknown:
            _node_is_back(control, n)
        control.deliver(n)


def _node_controller(control: Control) -> Process:
    """Look every 5 s whose lease has not moved for the grace period, from a phase of its own."""
    period_s = control.clocks.node_monitor_period_s
    first_s = control.uniform(draws.MONITOR, 0) * period_s
    known_s = list(control.renewed_s)
    seen_s = [first_s + period_s * ceil((known - first_s) / period_s) for known in known_s]
    yield control.env.timeout(first_s)
    yield from _passes(control, known_s, seen_s, term=0)


def take_over(control: Control) -> None:
    """A new leader looks for the first time: whoever has not renewed from now on will be lost."""
    control.note("new leader", "kube-controller-manager")
    seen_s = [control.env.now] * len(control.names)
    term = control.leadership.term
    control.env.process(_passes(control, list(control.renewed_s), seen_s, term=term))


def _passes(control: Control, known_s: list[float], seen_s: list[float], *, term: int) -> Process:
    """Pass over all nodes again and again, until another controller is to lead.

    The grace counts from the pass that last saw a lease move.
    A pass takes time and the next starts 5 s after its end, so ten passes take a little more than
    50 s and the tenth finds the node lost; hence the small slack in the comparison.
    """
    grace_s = _grace_s(control)
    while control.leadership.term == term:
        for n, renewed_s in enumerate(control.renewed_s) if control.leadership.works else ():
            if renewed_s != known_s[n]:
                known_s[n], seen_s[n] = renewed_s, control.env.now
            elif control.env.now - seen_s[n] >= grace_s - SLACK_S:
                _node_is_lost(control, n)
        yield control.env.timeout(control.clocks.node_monitor_period_s)


def _grace_s(control: Control) -> float:
    """node-monitor-grace-period: 50 s since 1.32 (kubernetes/kubernetes#126287), 40 s before."""
    minor = int(control.scenario.cluster.kubernetes_version.split(".")[1])
    return control.clocks.node_monitor_grace_period_s or (50.0 if minor >= GRACE_50_SINCE else 40.0)


def _node_is_lost(control: Control, n: int) -> None:
    """Ready is Unknown; the pods follow one by one. Known already, or deleted, it is no news."""
    if n in control.unknown or n in control.removed:
        return
    control.unknown.add(n)
    control.losses[n] += 1
    control.note("node not ready", control.names[n])
    control.env.process(_mark_pods(control, n, control.losses[n]))


def _lost(control: Control, n: int, loss: int) -> bool:
    """Node n has not come back since this loss of it."""
    return n in control.unknown and control.losses[n] == loss


def _mark_pods(control: Control, n: int, loss: int) -> Process:
    """Set the pods of a lost node not ready, one API call each, and evict them later."""
    for p in control.pods_of(n):
        yield control.env.timeout(1.0 / control.clocks.pod_status_rate_rps)
        yield from control.leadership.at_work()
        if _lost(control, n, loss):
            control.set_pod(p, ready=False)
    counted_s = control.env.now
    yield control.env.timeout(control.clocks.toleration_s)
    while _lost(control, n, loss):
        began_s = max(control.leadership.since_s, control.regained_s)
        if not control.leadership.works or len(control.unknown) == len(control.names):
            yield control.env.timeout(control.clocks.node_monitor_period_s)
        elif began_s > counted_s:  # The count began anew meanwhile.
            counted_s = began_s
            yield control.env.timeout(max(0.0, began_s + control.clocks.toleration_s - control.env.now))
        else:
            for p in control.pods_of(n):
                control.note("pod evicted", control.slices.pods[p].name)
                control.deployment.delete(p)
            return


def _node_is_back(control: Control, n: int) -> None:
    """A renewal after Unknown: Ready again, and so are the pods that run and pass their probe."""
    if len(control.unknown) == len(control.names):
        control.regained_s = control.env.now
    control.unknown.discard(n)
    control.note("node ready", control.names[n])
    control.deployment.wake()
    for p in control.pods_of(n):
        if control.world.pods[p].up and not control.slices.pods[p].terminating:
            control.set_pod(p, ready=True)
