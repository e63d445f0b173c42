"""Faults of the control plane, of a node's lease, and of the external balancer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simpy import Interrupt

from nodeportsim.engine import draws
from nodeportsim.engine.leases import renew

from .script import repaired

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def api_outage(control: Control, _target: int, event: Event, _number: int) -> Process:
    """Nothing is written, watched or renewed; what kubelets have to say waits for their next renewal."""
    control.leadership.lose_api()
    control.disturb([])
    yield from repaired(control, event)
    control.leadership.regain_api()
    if not control.leadership.api_down:
        control.deliver(len(control.names))  # What stands outside the cluster renews no lease.
        control.catch_up()


def controller_manager_outage(control: Control, _target: int, event: Event, _number: int) -> Process:
    """Nobody writes EndpointSlices or looks at leases, until a process runs again and leads."""
    control.leadership.stop()
    control.disturb([])
    yield from repaired(control, event)
    control.leadership.restart()


def lease_flap(control: Control, n: int, event: Event, _number: int) -> Process:
    """The kubelet is late: it renews its lease once a period, from a phase of the node's own."""
    control.late[n] += 1
    control.disturb([])
    late = control.env.process(_renew_late(control, n, event.period_s or 0.0))
    yield from repaired(control, event)
    late.interrupt()
    control.late[n] -= 1


def _renew_late(control: Control, n: int, period_s: float) -> Process:
    try:
        yield control.env.timeout(control.uniform(draws.LEASE, n) * period_s)
        while True:
            renew(control, n)
            yield control.env.timeout(period_s)
    except Interrupt:
        return


def balancer_failover(control: Control, _target: int, event: Event, _number: int) -> Process:
    """The active balancer dies; its standby takes over, and knows its connections or does not."""
    config = control.world.config
    config.balancer_down += 1
    config.balancer_epoch += 1
    if event.connections != "kept":
        config.balancer_known = config.balancer_epoch
        config.balancer_resets = int(event.connections == "reset")
    control.disturb([])
    yield from repaired(control, event)
    control.world.config.balancer_down -= 1
