"""What stands in front of the nodes: a load balancer's health checks, a virtual IP's failover.

A balancer asks every node in turn (HAProxy's words): `fall` failures in a row take a node out, `rise`
successes bring it back. A check on the nodePort is a connection like any other: it meets the node's
rules, so it may land on a dead endpoint of a healthy node. One on /healthz asks kube-proxy alone; one on
healthCheckNodePort asks whether this node has ready endpoints of its own (policy Local).

A virtual IP (MetalLB layer 2, keepalived) sits on one node; when that falls silent the next live one
takes over after `failover_s`, and clients' packets go there `arp_s` later, once routers have learnt its
address. The balancer's own death is a fault (front.py, faults/plane.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import draws
from .codes import PASSING, SERVING

if TYPE_CHECKING:
    from collections.abc import Generator

    import simpy

    from nodeportsim.scenario.spec import Balancer, Check

    from .control import Control

    Process = Generator[simpy.Event, Any, None]


def start(control: Control) -> None:
    """Start the checks of every node, or the watch over the virtual IP."""
    policies = {group.entry.policy for group in control.scenario.clients}
    balancer = control.scenario.balancer
    if "balancer" in policies:
        for n in range(len(control.names)):
            control.env.process(_check(control, balancer.check, n))
    if "virtual-ip" in policies:
        control.env.process(_leadership(control, balancer))


def _check(control: Control, check: Check, n: int) -> Process:
    """Check node n for ever; checks of the nodes are spread over the interval."""
    yield control.env.timeout(check.interval_s * n / len(control.names))
    good = bad = number = 0
    while True:
        answered_s = _answer_s(control, check, n, number)
        passed = answered_s is not None
        yield control.env.timeout(check.timeout_s if answered_s is None else answered_s)
        good, bad = (good + 1, 0) if passed else (0, bad + 1)
        healthy = control.world.nodes[n].healthy
        if (healthy and bad >= check.fall) or (not healthy and good >= check.rise):
            control.world.nodes[n].healthy = int(not healthy)
            control.note("node taken in" if passed else "node taken out", control.names[n])
            control.withdrawn[n] += int(not passed)
            if not passed and control.scenario.balancer.drain_s is not None:
                control.env.process(_close(control, n, control.scenario.balancer.drain_s))
        number += 1
        yield control.env.timeout(max(0.0, check.interval_s - (answered_s or check.timeout_s)))


def _close(control: Control, n: int, drain_s: float) -> Process:
    """Close the connections that are left on a node some time after it was taken out, if it still is."""
    times = control.withdrawn[n]
    yield control.env.timeout(drain_s)
    world = control.world
    if not world.nodes[n].healthy and control.withdrawn[n] == times:
        world.config.balancer_epoch += 1
        world.nodes[n].balancer_known = world.config.balancer_epoch
        control.note("connections closed", control.names[n])


def _answer_s(control: Control, check: Check, n: int, number: int) -> float | None:
    """How long a passing check takes; None where it fails, by silence or by a clear no."""
    node = control.world.nodes[n]
    if not node.up or node.cut:
        return None
    trip_s = 2.0 * (
        control.scenario.cluster.network.client_node_s + control.scenario.cluster.network.wake_up_s
    )
    if check.kind == "healthz":
        leaving = n in control.leaving  # A node about to be deleted says so (KEP-3836).
        return trip_s if control.healthy_proxy(n) and node.programmed and not leaving else None
    if check.kind == "health-check-node-port":
        return trip_s if control.healthy_proxy(n) and control.ready_here(n) else None
    if node.endpoints == 0 or node.firewall != PASSING:
        return None
    rank = int(control.uniform(draws.CHECK, n, number) * node.endpoints)
    pod = control.world.pods[int(control.world.endpoints[node.first + rank])]
    there = control.world.nodes[int(pod.node)]
    near = int(pod.node) == n
    reachable = there.up and (near or not (there.cut or there.cut_nodes or node.cut_nodes))
    alive = reachable and pod.up == SERVING and not pod.gone and pod.hung_until_s <= control.env.now
    return trip_s if alive else None


def _leadership(control: Control, balancer: Balancer) -> Process:
    """Move the virtual IP when its node has been silent for `failover_s`."""
    silent_since_s = None
    owner = int(control.world.config.leader)
    while True:
        world = control.world
        leader = world.nodes[owner]
        if leader.up and not leader.cut:
            silent_since_s = None
        elif silent_since_s is None:
            silent_since_s = control.env.now
        if silent_since_s is not None and control.env.now - silent_since_s >= balancer.failover_s:
            live = [n for n in range(len(control.names)) if world.nodes[n].up and not world.nodes[n].cut]
            if live:
                owner = live[0]
                control.note("virtual IP moved", control.names[owner])
                control.env.process(_learn(control, owner, balancer.arp_s))
        yield control.env.timeout(WATCH_S)


def _learn(control: Control, owner: int, arp_s: float) -> Process:
    """Routers learn where the virtual IP is now; until then packets go where it was."""
    if arp_s:
        yield control.env.timeout(arp_s)
    control.world.config.leader = owner


WATCH_S = 0.1  # Resolution of the failover; far below any announcement interval in use.
