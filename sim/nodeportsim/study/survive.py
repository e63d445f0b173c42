"""What is left of a cluster when nodes are lost: the steady state after detection, and the failure itself.

After detection the endpoints on lost nodes are out of all rules, and the clients, or what stands in front of
them, know the nodes that are left. Nothing is rescheduled: pods on a lost node stay bound to it for the
toleration of 300 s (k8s:plugin/pkg/admission/defaulttolerationseconds), and the question is whether what is
left carries the load until then. The worst nodes are lost, those with the most pods; of zones likewise.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nodeportsim.errors import InputError
from nodeportsim.scenario.events import Event

if TYPE_CHECKING:
    from nodeportsim.scenario.spec import Scenario

_LOSS = re.compile(r"\s*(node|zone)s?\s*=\s*(\d{1,4})\s*")
GRACE_50_SINCE = 32
"""Kubernetes 1.32: node-monitor-grace-period 50 s instead of 40 s (kubernetes#126287)."""
SETTLED_S = 20.0
"""From the node's becoming NotReady until rules are right everywhere, with room for a slow sync."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How many nodes or zones are lost at once."""

    kind: Literal["node", "zone"]
    count: int

    def __str__(self) -> str:
        return f"{self.kind}={self.count}"


def parse_loss(text: str) -> Loss:
    """Read ``node=1`` or ``zone=1``."""
    match = _LOSS.fullmatch(text)
    if match is None or int(match[2]) == 0:
        raise InputError("must be node=N or zone=N, N at least 1", field="--survive", got=text)
    return Loss(kind="zone" if match[1] == "zone" else "node", count=int(match[2]))


def lost_nodes(scenario: Scenario, loss: Loss) -> tuple[str, ...]:
    """Name the nodes that are lost, in the cluster's order: all of them where there are no more."""
    cluster = scenario.cluster
    pods = Counter(pod.node for pod in scenario.placement)
    if loss.kind == "node":
        worst = sorted(cluster.names, key=lambda name: -pods[name])[: loss.count]
        return tuple(name for name in cluster.names if name in set(worst))
    zone_of = dict(zip(cluster.names, cluster.zone_names, strict=True))
    sizes = {zone: [0, 0] for zone in dict.fromkeys(cluster.zone_names)}
    for name, zone in zone_of.items():
        sizes[zone][0] += pods[name]
        sizes[zone][1] += 1
    gone = set(sorted(sizes, key=lambda zone: [-size for size in sizes[zone]])[: loss.count])
    return tuple(name for name in cluster.names if zone_of[name] in gone)


def without(scenario: Scenario, lost: tuple[str, ...]) -> Scenario | None:
    """Give the same clients on the nodes and pods that are left; None where nobody is left to answer."""
    gone = set(lost)
    cluster, service, pods = scenario.cluster, scenario.service, scenario.pods
    left = [name for name in cluster.names if name not in gone]
    placement = tuple(pod for pod in scenario.placement if pod.node not in gone)
    if not left or not placement:
        return None
    zone_of = dict(zip(cluster.names, cluster.zone_names, strict=True))
    zones = tuple(zone_of[name] for name in left)
    # Clients of a zone that is gone come from outside.
    clients = tuple(
        group if group.zone in {None, *zones} else group.model_copy(update={"zone": None})
        for group in scenario.clients
    )
    nodes = {"nodes": len(left), "node_names": tuple(left), "node_zones": zones}
    return scenario.model_copy(
        update={
            "cluster": cluster.model_copy(update=nodes),
            "service": service.model_copy(update={"replicas": len(placement)}),
            "pods": pods.model_copy(update={"placement": placement}),
            "clients": clients,
            "events": (),
        }
    )


def failing(scenario: Scenario, lost: tuple[str, ...], at_s: float) -> Scenario:
    """Let the nodes lose power at `at_s`, and run until everything has been noticed."""
    plane = scenario.cluster.control_plane
    minor = int(scenario.cluster.kubernetes_version.split(".")[1])
    grace_s = plane.node_monitor_grace_period_s or (50.0 if minor >= GRACE_50_SINCE else 40.0)
    events = tuple(Event(at_s=at_s, fault="power-off", node=name) for name in lost)
    end_s = at_s + grace_s + plane.node_monitor_period_s + plane.lease_renew_interval_s + SETTLED_S
    run = scenario.run.model_copy(update={"duration_s": end_s, "warmup_s": at_s / 2})
    return scenario.model_copy(update={"events": events, "run": run})
