"""The script of failures: what each does to the data plane, and how it is repaired (docs/models/faults.md).

| fault | SYN or data at that node | its pods | lease | noticed by |
| --- | --- | --- | --- | --- |
| power-off | silence | gone, work lost | stops | lease |
| cut | silence | run, answers lost | stops | lease |
| cut-control-plane | served, rules frozen | answer | stops | lease |
| cut-nodes | entry works, remote pods silent | reachable through it only | renews | nobody |
| shutdown | served until the stop | SIGTERM, terminating | renews | at once |
| cut-in | silence | run, answers of local ones leave | stops | lease |
| cut-out | walks the rules, answers lost | work, answers lost | stops | lease |
| proxy-stop | served, rules frozen | run | renews | healthz only |
| pod-crash | served | RST at once | renews | kubelet, slice, sync |
| pod-hang | served | accepts, never answers | renews | readiness probe |
| slow-node | served, slower | work slower | renews | nobody |
| slow-pod | served | works slower | renews | nobody |
| pod-errors | served | answers a share with 500 | renews | nobody |
| loss | a share lost, each way | a share lost, each way | renews | nobody |
| firewall | new connections dropped or refused | reachable through others | renews | a check of node-port |
| conntrack-fill | SYNs dropped while the table is full | run | renews | nobody |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.scenario.events import EVERY

from . import nodes, paths, pods, proxies

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event

FAULTS: dict[str, Callable[[Control, int, Event, int], Process]] = {
    "power-off": nodes.power_off,
    "cut": nodes.cut,
    "cut-in": nodes.cut_in,
    "cut-out": nodes.cut_out,
    "cut-control-plane": nodes.cut_control_plane,
    "cut-nodes": nodes.cut_nodes,
    "shutdown": nodes.shutdown,
    "proxy-stop": proxies.proxy_stop,
    "pod-crash": pods.pod_crash,
    "pod-hang": pods.pod_hang,
    "slow-node": paths.slow_node,
    "slow-pod": paths.slow_pod,
    "pod-errors": paths.pod_errors,
    "loss": paths.loss,
    "firewall": paths.firewall,
    "conntrack-fill": paths.conntrack_fill,
}


def start(control: Control) -> None:
    """Start one process for each event of the scenario."""
    for number, event in enumerate(control.scenario.events):
        control.env.process(_happen(control, event, number))


def _happen(control: Control, event: Event, number: int) -> Process:
    """Wait for the event's time, let it happen, repair it."""
    yield control.env.timeout(event.at_s)
    control.note("fault", f"{event.target} {event.fault}")
    if event.node is not None:
        target = control.names.index(event.node)
    elif event.pod == EVERY:
        target = paths.ALL
    else:
        target = [p.name for p in control.scenario.placement].index(event.pod or "")
    yield from FAULTS[event.fault](control, target, event, number)
