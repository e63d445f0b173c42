"""The script of failures: what each does to the data plane, and how it is repaired (docs/models/faults.md).

| fault | SYN or data at that node | its pods | lease | noticed by |
| --- | --- | --- | --- | --- |
| power-off | silence | gone, work lost | stops | lease |
| cut | silence | run, answers lost | stops | lease |
| cut-control-plane | served, rules frozen | answer | stops | lease |
| cut-nodes | entry works, remote pods silent | reachable through it only | renews | nobody |
| shutdown | served until the stop | SIGTERM, terminating | renews | at once |
| drain | served until the stop | evicted, replaced elsewhere | renews | at once |
| cut-in | silence | run, answers of local ones leave | stops | lease |
| cut-out | walks the rules, answers lost | work, answers lost | stops | lease |
| slow-node | served, slower | work slower | renews | nobody |
| slow-pod | served | works slower | renews | nobody |
| pod-errors | served | answers a share with 500 | renews | nobody |
| loss | a share lost, each way | a share lost, each way | renews | nobody |
| firewall | new connections dropped or refused | reachable through others | renews | a check of node-port |
| conntrack-fill | SYNs dropped while the table is full | run | renews | nobody |
| lease-flap | served | answer; leave and return | renews too late | lease |
| proxy-stop, proxy-restart | served, rules frozen (flush: refused) | run | renews | healthz only |
| proxy-hang, proxy-lag | served, rules frozen or late | run | renews | healthz after 60 s |
| pod-crash | served | RST at once | renews | kubelet, slice, sync |
| crash-loop | served | RST at once, again and again | renews | kubelet, slice, sync |
| pod-hang | served | accepts, never answers | renews | readiness probe |
| pod-not-ready | served | answer | renews | readiness probe |
| rolling-update, scale | served | terminate, new ones start | renews | at once |
| api-outage | served, all rules frozen | run | cannot | everybody |
| controller-manager-outage | served, all rules frozen | run | renews | who waits for slices |
| balancer-failover | silence behind a balancer | run | renews | the standby |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import nodes, paths, plane, pods, proxies, rollouts
from .script import clocks, play

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control

    from .script import Fault

FAULTS: dict[str, Fault] = {
    "power-off": nodes.power_off,
    "cut": nodes.cut,
    "cut-in": nodes.cut_in,
    "cut-out": nodes.cut_out,
    "cut-control-plane": nodes.cut_control_plane,
    "cut-nodes": nodes.cut_nodes,
    "shutdown": nodes.shutdown,
    "drain": nodes.drain,
    "lease-flap": plane.lease_flap,
    "proxy-stop": proxies.proxy_stop,
    "proxy-restart": proxies.proxy_restart,
    "proxy-hang": proxies.proxy_hang,
    "proxy-lag": proxies.proxy_lag,
    "pod-crash": pods.pod_crash,
    "crash-loop": pods.crash_loop,
    "pod-hang": pods.pod_hang,
    "pod-not-ready": pods.pod_not_ready,
    "rolling-update": rollouts.rolling_update,
    "scale": rollouts.scale,
    "slow-node": paths.slow_node,
    "slow-pod": paths.slow_pod,
    "pod-errors": paths.pod_errors,
    "loss": paths.loss,
    "firewall": paths.firewall,
    "conntrack-fill": paths.conntrack_fill,
    "api-outage": plane.api_outage,
    "controller-manager-outage": plane.controller_manager_outage,
    "balancer-failover": plane.balancer_failover,
}


def start(control: Control) -> None:
    """Start a process for each clock of each event of the scenario."""
    for number, event in enumerate(control.scenario.events):
        for clock, targets in clocks(control, event).items():
            control.env.process(play(control, number, clock, targets, FAULTS[event.fault]))
