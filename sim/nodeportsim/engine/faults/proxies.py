"""Faults of a node's kube-proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .script import begin, end, repaired

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def proxy_stop(control: Control, n: int, event: Event, _number: int) -> Process:
    """Stop kube-proxy: the rules stay as they are."""
    begin(control, event, n, 1.0)
    control.proxies[n].running = False
    control.disturb([])
    yield from repaired(control, event)
    control.proxies[n].running = not end(control, event, n, 1.0)
    control.resync(n, "restart")
