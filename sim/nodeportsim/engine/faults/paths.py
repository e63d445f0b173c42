"""Gray faults, of paths and machines: slow, lossy, blocked, full, wrong. Leases go on and nobody notices.

Several may overlap on one node or pod: what holds is made of the parts of all of them, so that the end of one
leaves exactly the others.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from nodeportsim.engine.codes import DROPPING, PASSING, REJECTING
from nodeportsim.engine.node import drain_conntrack

from .script import begin, end, repaired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event

ANSWERS = {"drop": DROPPING, "reject": REJECTING}
ALL = -1  # For a pod's or a node's number.


def slow_node(control: Control, n: int, event: Event, _number: int) -> Process:
    """Steal the node's CPU: packets and its pods' work take `factor` times as long."""
    factor = event.factor or 1.0
    control.world.nodes[n].slow = prod(begin(control, event, n, factor), start=1.0)
    control.plane.stretch(control.env.now, n, ALL, factor)
    control.disturb([])
    yield from repaired(control, event)
    control.world.nodes[n].slow = prod(end(control, event, n, factor), start=1.0)
    control.plane.stretch(control.env.now, n, ALL, 1.0 / factor)


def slow_pod(control: Control, p: int, event: Event, _number: int) -> Process:
    """Let the pod's work take `factor` times as long."""
    factor = event.factor or 1.0
    control.world.pods[p].slow = prod(begin(control, event, p, factor), start=1.0)
    control.plane.stretch(control.env.now, ALL, p, factor)
    control.disturb([])
    yield from repaired(control, event)
    control.world.pods[p].slow = prod(end(control, event, p, factor), start=1.0)
    control.plane.stretch(control.env.now, ALL, p, 1.0 / factor)


def loss(control: Control, n: int, event: Event, _number: int) -> Process:
    """Lose a share of the packets between the node and everybody."""
    ratio = event.loss_ratio or 0.0
    control.world.nodes[n].loss_ratio = _either(begin(control, event, n, ratio))
    control.world.config.noisy += 1
    control.disturb([])
    yield from repaired(control, event)
    control.world.nodes[n].loss_ratio = _either(end(control, event, n, ratio))
    control.world.config.noisy -= 1


def firewall(control: Control, n: int, event: Event, _number: int) -> Process:
    """Block new connections to the NodePort at the node; of two firewalls the silent one decides."""
    code = ANSWERS[event.answer or "drop"]
    control.world.nodes[n].firewall = int(min(begin(control, event, n, code)))
    control.disturb([])
    yield from repaired(control, event)
    control.world.nodes[n].firewall = int(min(end(control, event, n, code), default=PASSING))


def conntrack_fill(control: Control, n: int, event: Event, _number: int) -> Process:
    """Let other traffic of the node hold entries of its conntrack table; it goes first."""
    drain_conntrack(control.world, control.env.now, n)
    node, entries = control.world.nodes[n], event.entries or 0
    node.occupied += entries
    held = min(node.conntrack + node.occupied, node.conntrack_max)
    node.conntrack_peak = max(node.conntrack_peak, held)
    control.disturb([])
    yield from repaired(control, event)
    node = control.world.nodes[n]
    node.occupied -= entries
    node.full = 0  # The next time it fills is told again.


def pod_errors(control: Control, p: int, event: Event, _number: int) -> Process:
    """Let the application answer a share of the requests with an error, after its work."""
    ratio = event.errors_ratio or 0.0
    control.world.pods[p].errors_ratio = _either(begin(control, event, p, ratio))
    control.disturb([])
    yield from repaired(control, event)
    control.world.pods[p].errors_ratio = _either(end(control, event, p, ratio))


def _either(ratios: Iterable[float]) -> float:
    """Chance that at least one of independent things happens."""
    whole = 0.0
    for ratio in ratios:
        whole += ratio * (1.0 - whole)
    return whole
