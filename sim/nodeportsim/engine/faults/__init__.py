"""The script of failures: what each does to the data plane, and how it is repaired (docs/models/faults.md).

| fault | SYN or data at that node | its pods | lease | noticed by |
| --- | --- | --- | --- | --- |
| power-off | silence | gone, work lost | stops | lease |
| cut | silence | run, answers lost | stops | lease |
| cut-control-plane | served, rules frozen | answer | stops | lease |
| cut-nodes | entry works, remote pods silent | reachable through it only | renews | nobody |
| shutdown | served until the stop | SIGTERM, terminating | renews | at once |
| drain | served until the stop | evicted, replaced elsewhere | renews | at once |
| proxy-stop | served, rules frozen | run | renews | healthz only |
| pod-crash | served | RST at once | renews | kubelet, slice, sync |
| crash-loop | served | RST at once, again and again | renews | kubelet, slice, sync |
| pod-hang | served | accepts, never answers | renews | readiness probe |
| pod-not-ready | served | answer | renews | readiness probe |
| rolling-update, scale | served | terminate, new ones start | renews | at once |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import nodes, pods, proxies, rollouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event

FAULTS: dict[str, Callable[[Control, int, Event, int], Process]] = {
    "power-off": nodes.power_off,
    "cut": nodes.cut,
    "cut-control-plane": nodes.cut_control_plane,
    "cut-nodes": nodes.cut_nodes,
    "shutdown": nodes.shutdown,
    "drain": nodes.drain,
    "proxy-stop": proxies.proxy_stop,
    "pod-crash": pods.pod_crash,
    "crash-loop": pods.crash_loop,
    "pod-hang": pods.pod_hang,
    "pod-not-ready": pods.pod_not_ready,
    "rolling-update": rollouts.rolling_update,
    "scale": rollouts.scale,
}


def start(control: Control) -> None:
    """Start one process for each event of the scenario."""
    for number, event in enumerate(control.scenario.events):
        control.env.process(_happen(control, event, number))


def _happen(control: Control, event: Event, number: int) -> Process:
    """Wait for the event's time, let it happen, repair it."""
    yield control.env.timeout(event.at_s)
    control.note("fault", f"{event.target} {event.fault}")
    target = -1
    if event.node is not None:
        target = control.names.index(event.node)
    elif event.pod is not None:
        target = [p.name for p in control.scenario.placement].index(event.pod)
        if control.slices.pods[target].gone:
            return  # It was replaced: nothing can happen to it.
    yield from FAULTS[event.fault](control, target, event, number)
